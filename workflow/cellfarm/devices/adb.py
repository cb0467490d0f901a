"""A link over ADB: adbutils for what the server and the device say, its bundled `adb` to push."""

from __future__ import annotations

import contextlib
import shlex
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import adbutils

from ..errors import PermanentDeviceError, TransientDeviceError, TransientHostError
from .link import TAIL_BYTES, Channel

CONNECT_TIMEOUT_S = 15.0
#: A push that is slower than this is taken for hanging.
LEAST_BYTES_PER_S = 500_000
# Ids of packets of the protocol shell_v2 (AOSP, packages/modules/adb/shell_protocol.h).
_STDIN, _STDOUT, _STDERR, _EXIT, _CLOSE_STDIN = 0, 1, 2, 3, 4
_HEAD_BYTES = 5
_MAX_PACKET_BYTES = 16 << 20
_SEND_BYTES = 1 << 16

#: A state that is not `device` -> what to do.
_STATES = {
    "unauthorized": "unlock it and allow debugging from this computer",
    "no permissions": "this user may not use it over USB: see udev rules for Android",
    "recovery": "it is in recovery; start Android",
    "sideload": "it is in sideload; start Android",
    "bootloader": "it is in its boot loader; start Android",
}


USUAL_PORT = 5037


def address_of(client: adbutils.AdbClient, serial: str) -> dict[str, Any]:
    """What a device's file has to say, to reach a phone through this adb server."""
    elsewhere = {"server_port": client.port} if client.port != USUAL_PORT else {}
    return {"serial": serial, **elsewhere}


class AdbChannel:
    """A command on a phone, by the protocol shell_v2; see link.Channel."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._pending = bytearray()
        self._code: int | None = None
        self._log = b""

    def send(self, data: bytes, timeout_s: float) -> None:
        for start in range(0, len(data), _SEND_BYTES):
            self._packet(_STDIN, data[start : start + _SEND_BYTES], timeout_s)

    def receive(self, timeout_s: float) -> bytes | None:
        deadline = time.monotonic() + timeout_s
        while True:
            packet = self._take()
            if packet is not None:
                kind, content = packet
                if kind == _STDOUT and content:
                    return content
                if kind == _STDERR:
                    self._log = (self._log + content)[-TAIL_BYTES:]
                elif kind == _EXIT:
                    self._code = content[0] if content else None
                    return b""
                continue
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            try:
                self._socket.settimeout(left)
                chunk = self._socket.recv(1 << 18)
            except TimeoutError:
                return None
            except OSError as error:
                raise TransientDeviceError(f"the connection is lost: {error.strerror}") from error
            if not chunk:
                raise TransientDeviceError("the connection is lost")
            self._pending += chunk

    def finish(self) -> None:
        with contextlib.suppress(TransientDeviceError):
            self._packet(_CLOSE_STDIN, b"", CONNECT_TIMEOUT_S)

    def ended(self) -> tuple[int | None, bytes]:
        return self._code, self._log

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.close()

    def _packet(self, kind: int, content: bytes, timeout_s: float) -> None:
        try:
            self._socket.settimeout(timeout_s)
            self._socket.sendall(bytes([kind]) + len(content).to_bytes(4, "little") + content)
        except OSError as error:
            raise TransientDeviceError(f"the connection is lost: {error.strerror}") from error

    def _take(self) -> tuple[int, bytes] | None:
        if len(self._pending) < _HEAD_BYTES:
            return None
        length = int.from_bytes(self._pending[1:_HEAD_BYTES], "little")
        if length > _MAX_PACKET_BYTES:
            raise TransientDeviceError("the connection is lost: it carries no packets")
        if len(self._pending) < _HEAD_BYTES + length:
            return None
        kind, content = self._pending[0], bytes(self._pending[_HEAD_BYTES : _HEAD_BYTES + length])
        del self._pending[: _HEAD_BYTES + length]
        return kind, content


class AdbLink:
    """See link.Link.

    Args:
        address: ``serial`` (of USB, or host:port), and, as far as they are given, ``server_host``
            and ``server_port`` of the adb server.
    """

    def __init__(self, address: Mapping[str, Any]) -> None:
        self._serial = str(address["serial"])
        self._client = adbutils.AdbClient(
            host=address.get("server_host"),
            port=address.get("server_port"),
            socket_timeout=CONNECT_TIMEOUT_S,
        )
        self._checked = False

    def open(self, argv: Sequence[str]) -> Channel:
        self._check()
        connection = self._transport()
        command = shlex.join(argv)
        try:
            connection.send_command(f"shell,v2,raw:{command}")
            connection.check_okay()
        except (adbutils.AdbError, OSError) as error:
            connection.close()
            raise self._lost(error) from error
        return AdbChannel(connection.conn)

    def push(self, source: Path, destination: str) -> None:
        self._check()
        argv = [
            adbutils.adb_path(), "-H", self._client.host, "-P", str(self._client.port),
            "-s", self._serial, "push", str(source), destination,
        ]  # fmt: skip
        timeout_s = 30 + source.stat().st_size / LEAST_BYTES_PER_S
        try:
            done = subprocess.run(
                argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout_s, check=False
            )
        except subprocess.TimeoutExpired as error:
            self.close()
            raise TransientDeviceError(
                f"{source.name} did not arrive within {timeout_s:.0f} s"
            ) from error
        except OSError as error:
            raise TransientHostError(f"adb cannot be started: {error.strerror}") from error
        if done.returncode:
            self.close()
            said = (done.stderr + done.stdout).decode(errors="replace").strip().splitlines()
            reason = self._without_serial(said[-1][:400]) if said else "no reason given"
            raise TransientDeviceError(
                f"{source.name} cannot be put on the device: {reason}", ("adb", "push"),
                done.returncode,
            )  # fmt: skip

    def close(self) -> None:
        self._checked = False

    def _check(self) -> None:
        """Look at the device's state once, and after every loss; connect to one on the network."""
        if self._checked:
            return
        state = self._state()
        if state in ("offline", "absent") and ":" in self._serial:
            # A server that was started anew forgets these; of one that is offline it says that it
            # is connected already.
            with contextlib.suppress(adbutils.AdbError, OSError):
                self._client.disconnect(self._serial)
                self._client.connect(self._serial, timeout=CONNECT_TIMEOUT_S)
            state = self._state()
        if state in _STATES:
            raise PermanentDeviceError(f"the device is {state}: {_STATES[state]}")
        if state != "device":
            known = "not connected" if state == "absent" else state
            raise TransientDeviceError(f"the device is {known}")
        if "shell_v2" not in self._features():
            raise PermanentDeviceError(
                "the device's adb has no shell_v2 (Android 7 and later): without it the exit code of a "
                "command is not known"
            )
        self._checked = True

    def _state(self) -> str:
        try:
            listed = {one.serial: one.state for one in self._client.list()}
        except (adbutils.AdbError, OSError, subprocess.SubprocessError) as error:
            raise TransientHostError(f"no adb server answers: {_said(error)}") from error
        return str(listed.get(self._serial, "absent"))

    def _features(self) -> list[str]:
        try:
            return str(self._client.device(serial=self._serial).get_features()).split(",")
        except (adbutils.AdbError, OSError) as error:
            raise self._lost(error) from error

    def _transport(self) -> Any:
        try:
            return self._client.device(serial=self._serial).open_transport(
                timeout=CONNECT_TIMEOUT_S
            )
        except (adbutils.AdbError, OSError, subprocess.SubprocessError) as error:
            raise self._lost(error) from error

    def _lost(self, error: BaseException) -> TransientDeviceError:
        self.close()
        return TransientDeviceError(
            f"the device cannot be reached: {self._without_serial(_said(error))}"
        )

    def _without_serial(self, text: str) -> str:
        return text.replace(self._serial, "it")


def _said(error: BaseException) -> str:
    return (str(error) or type(error).__name__)[:300]
