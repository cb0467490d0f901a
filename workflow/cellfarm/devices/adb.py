"""A link over ADB: adbutils talks to server and device, its bundled `adb` pushes files."""

from __future__ import annotations

import contextlib
import select
import shlex
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import adbutils

from ..base.errors import PermanentDeviceError, TransientDeviceError
from ..base.processes import die_with_parent
from ..wanted.devices import AdbAddress
from .link import TAIL_BYTES, Channel, error_text, push_error

CONNECT_TIMEOUT_S = 15.0
#: A push that is slower than this, or transfers nothing for so long, counts as hanging.
MIN_BYTES_PER_S = 500_000
STALLED_S = 40.0
SERVER_START_TIMEOUT_S = 20.0
# Ids of packets of the protocol shell_v2 (AOSP, packages/modules/adb/shell_protocol.h).
_STDIN, _STDOUT, _STDERR, _EXIT, _CLOSE_STDIN = 0, 1, 2, 3, 4
_HEAD_BYTES = 5
_MAX_PACKET_BYTES = 16 << 20
_SEND_BYTES = 1 << 16

#: What adbutils raises, also when the server disappears in the middle of an answer.
_ADB_ERRORS = (adbutils.AdbError, OSError, ValueError, subprocess.SubprocessError)

#: A state in which only a person can help -> what to do.
_PERMANENT_STATES = {
    "unauthorized": "unlock it and allow debugging from this computer",
    "no permissions": "this user may not use it over USB: see udev rules for Android",
    "recovery": "it is in recovery; start Android",
    "sideload": "it is in sideload; start Android",
    "bootloader": "it is in its boot loader; start Android",
}

#: The same for states that may pass.
_TRANSIENT_STATES = {
    "authorizing": "unlock it and allow debugging from this computer, if it asks",
    "offline": "wait for it to start, or plug it in again",
    "absent": "plug it in, or connect it to the network",
}

#: The port of an adb server that is started without a port.
DEFAULT_PORT = 5037


def address_of(client: adbutils.AdbClient, serial: str) -> dict[str, Any]:
    """The address in a device's file, for a phone behind this adb server."""
    server = {"server_port": client.port} if client.port != DEFAULT_PORT else {}
    return {"serial": serial, **server}


class AdbChannel:
    """A command on a phone, by the protocol shell_v2; see link.Channel."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._pending = bytearray()
        self._code: int | None = None
        self._log = b""

    def send(self, data: bytes, timeout_s: float) -> None:
        for start in range(0, len(data), _SEND_BYTES):
            self._send_packet(_STDIN, data[start : start + _SEND_BYTES], timeout_s)

    def receive(self, timeout_s: float) -> bytes | None:
        deadline = time.monotonic() + timeout_s
        while True:
            packet = self._take_packet()
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
            try:
                # Polled, as the socket's timeout belongs to the thread that sends.
                if not self._is_ready(deadline - time.monotonic()):
                    return None
                chunk = self._socket.recv(1 << 18)
            except (OSError, ValueError) as error:  # ValueError: it has been closed
                raise TransientDeviceError(
                    f"the connection is lost: {error_text(error)}"
                ) from error
            if not chunk:
                raise TransientDeviceError("the connection is lost")
            self._pending += chunk

    def _is_ready(self, timeout_s: float) -> bool:
        if timeout_s <= 0:
            return False
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return bool(poll.poll(timeout_s * 1000))

    def finish(self) -> None:
        with contextlib.suppress(TransientDeviceError):
            self._send_packet(_CLOSE_STDIN, b"", CONNECT_TIMEOUT_S)

    def ended(self) -> tuple[int | None, bytes]:
        return self._code, self._log

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes up a thread that waits for it
        with contextlib.suppress(OSError):
            self._socket.close()

    def _send_packet(self, kind: int, content: bytes, timeout_s: float) -> None:
        try:
            self._socket.settimeout(timeout_s)
            self._socket.sendall(bytes([kind]) + len(content).to_bytes(4, "little") + content)
        except OSError as error:
            raise TransientDeviceError(f"the connection is lost: {error_text(error)}") from error

    def _take_packet(self) -> tuple[int, bytes] | None:
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
        address: ``serial`` (of USB, or host:port); optionally ``server_host`` and ``server_port`` of
            the adb server.
    """

    def __init__(self, address: AdbAddress) -> None:
        self._serial = address.serial
        self._client = adbutils.AdbClient(
            host=address.server_host,
            port=address.server_port,
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
        except _ADB_ERRORS as error:
            connection.close()
            raise self._unreachable(error) from error
        return AdbChannel(connection.conn)

    def push(self, source: Path, destination: str) -> None:
        self._check()
        argv = [
            adbutils.adb_path(), "-H", self._client.host, "-P", str(self._client.port),
            "-s", self._serial, "push", str(source), destination,
        ]  # fmt: skip
        code, lines = self._push(argv, source)
        if code:
            self.close()
            reason = self._without_serial(lines[-1][:400]) if lines else "no reason given"
            raise push_error(source.name, reason, ("adb", "push"), code)

    def _push(self, argv: Sequence[str], source: Path) -> tuple[int, list[str]]:
        """Exit code and output lines of an `adb push`, which is killed if it hangs."""
        deadline = time.monotonic() + 30 + source.stat().st_size / MIN_BYTES_PER_S
        try:
            process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                preexec_fn=die_with_parent,
            )  # fmt: skip
        except OSError as error:
            raise TransientDeviceError(f"adb cannot be started: {error.strerror}") from error
        with process:
            try:
                io_counts, moved_s = "", time.monotonic()
                while True:
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        output, _ = process.communicate(timeout=1)
                        lines = output.decode(errors="replace").strip().splitlines()
                        return process.returncode, lines
                    now_s = time.monotonic()
                    if (now := _io_counts(process.pid)) != io_counts:
                        io_counts, moved_s = now, now_s
                    if now_s > min(deadline, moved_s + STALLED_S):
                        self.close()
                        raise TransientDeviceError(f"{source.name} did not arrive in time")
            finally:
                process.kill()

    def close(self) -> None:
        self._checked = False

    def _check(self) -> None:
        """Check the device's state once, and after every loss; connect to a device on the network."""
        ensure_server(self._client.host, self._client.port)
        if self._checked:
            return
        state = self._state()
        if state in ("offline", "absent") and ":" in self._serial:
            # A restarted server has forgotten devices on the network; one that is offline counts as
            # connected, hence the disconnect.
            with contextlib.suppress(*_ADB_ERRORS):
                self._client.disconnect(self._serial)
                self._client.connect(self._serial, timeout=CONNECT_TIMEOUT_S)
            state = self._state()
        if state in _PERMANENT_STATES:
            raise PermanentDeviceError(f"the device is {state}: {_PERMANENT_STATES[state]}")
        if state != "device":
            shown = "not connected" if state == "absent" else state
            advice = f": {_TRANSIENT_STATES[state]}" if state in _TRANSIENT_STATES else ""
            raise TransientDeviceError(f"the device is {shown}{advice}")
        if "shell_v2" not in self._features():
            raise PermanentDeviceError(
                "the device's adb has no shell_v2 (Android 7 and later): without it the exit code of a "
                "command is not known"
            )
        self._checked = True

    def _state(self) -> str:
        try:
            states = {device.serial: device.state for device in self._client.list()}
        except _ADB_ERRORS as error:
            raise TransientDeviceError(f"no adb server answers: {error_text(error)}") from error
        state = str(states.get(self._serial, "absent"))
        return "no permissions" if state == "no" else state  # adbutils gives only its first word

    def _features(self) -> list[str]:
        try:
            return str(self._client.device(serial=self._serial).get_features()).split(",")
        except _ADB_ERRORS as error:
            raise self._unreachable(error) from error

    def _transport(self) -> Any:
        try:
            return self._client.device(serial=self._serial).open_transport(
                timeout=CONNECT_TIMEOUT_S
            )
        except _ADB_ERRORS as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: BaseException) -> TransientDeviceError:
        self.close()
        return TransientDeviceError(
            f"the device cannot be reached: {self._without_serial(error_text(error))}"
        )

    def _without_serial(self, text: str) -> str:
        return text.replace(self._serial, "it")


def ensure_server(host: str, port: int) -> None:
    """Start this machine's adb server if none answers. adbutils would always start it at the default
    port, and let it write between our lines.

    Raises:
        TransientDeviceError: it cannot be started.
    """
    with contextlib.suppress(OSError), socket.create_connection((host, port), CONNECT_TIMEOUT_S):
        return
    if host not in ("127.0.0.1", "localhost", "::1"):
        return  # of another machine: the next call fails if it does not answer
    try:
        subprocess.run(
            [adbutils.adb_path(), "-P", str(port), "start-server"], stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,  # the server keeps them open
            timeout=SERVER_START_TIMEOUT_S, check=False,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        raise TransientDeviceError(
            f"the adb server cannot be started: {error_text(error)}"
        ) from error


def _io_counts(pid: int) -> str:
    """What a process has read and written so far; if unknown, a new text on each call."""
    try:
        return Path(f"/proc/{pid}/io").read_text(encoding="utf-8")
    except OSError:
        return str(time.monotonic())
