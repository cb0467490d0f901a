"""A link over SSH (paramiko): strict host keys, an agent or a key file, jump hosts."""

from __future__ import annotations

import contextlib
import logging
import shlex
import socket
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import paramiko
from paramiko.pkey import UnknownKeyType

from ..base.errors import PermanentDeviceError, TransientDeviceError
from ..wanted.devices import SshAddress
from .link import TAIL_BYTES, Channel, error_text, push_error

CONNECT_TIMEOUT_S = 15.0
#: The kernel closes a connection whose data is not acknowledged for so long. paramiko's keep-alive
#: alone does not notice a pulled cable.
USER_TIMEOUT_MS = 15_000
_TCP_USER_TIMEOUT = getattr(socket, "TCP_USER_TIMEOUT", None)
_CHUNK_BYTES = 1 << 18
_WINDOW_BYTES = 8 << 20
#: A file is sent in parts, each by a command with a time limit: a device that does not notice a dead
#: connection waits for at most one part. The first part is small enough for a slow link (50 kB/s);
#: parts grow while they arrive quickly.
_FIRST_PART_MB = 1
_MAX_PART_MB = 8
_PART_S = 20
#: paramiko's message for an empty or absent ssh-agent, in a general exception.
_NO_KEYS = "No authentication methods available"
_LOST = (paramiko.SSHException, OSError, EOFError)
# Its log messages name addresses and keys; what matters comes as exceptions.
logging.getLogger("paramiko").setLevel(logging.CRITICAL)


class SshChannel:
    """A command on a board; see link.Channel."""

    def __init__(self, channel: paramiko.Channel) -> None:
        self._channel = channel
        self._log = b""

    def send(self, data: bytes, timeout_s: float) -> None:
        self._channel.settimeout(timeout_s)
        try:
            self._channel.sendall(data)
        except _LOST as error:  # TimeoutError is an OSError
            raise TransientDeviceError(f"the connection is lost: {error_text(error)}") from error

    def receive(self, timeout_s: float) -> bytes | None:
        try:
            while self._channel.recv_stderr_ready():  # else a command that writes much would hang
                self._keep_tail(self._channel.recv_stderr(_CHUNK_BYTES))
            self._channel.settimeout(max(0.001, timeout_s))
            chunk = self._channel.recv(_CHUNK_BYTES)
        except TimeoutError:
            return None
        except _LOST as error:
            raise TransientDeviceError(f"the connection is lost: {error_text(error)}") from error
        if not chunk and not self._channel.get_transport().is_active():
            raise TransientDeviceError("the connection is lost")
        return chunk

    def finish(self) -> None:
        with contextlib.suppress(*_LOST):
            self._channel.shutdown_write()

    def ended(self) -> tuple[int | None, bytes]:
        self._channel.settimeout(1.0)
        with contextlib.suppress(OSError):
            while chunk := self._channel.recv_stderr(_CHUNK_BYTES):
                self._keep_tail(chunk)
        deadline = time.monotonic() + 2
        while not self._channel.exit_status_ready():
            if time.monotonic() > deadline:
                return None, self._log
            time.sleep(0.01)
        code = self._channel.recv_exit_status()
        return (None if code < 0 else code), self._log

    def close(self) -> None:
        with contextlib.suppress(*_LOST):
            self._channel.close()

    def _keep_tail(self, chunk: bytes) -> None:
        self._log = (self._log + chunk)[-TAIL_BYTES:]


class SshLink:
    """See link.Link.

    Args:
        address: ``host``, ``port``, ``user``, ``known_hosts``; optionally ``key_file`` and ``jump``
            (another such address).
        root: the folder of relative paths.
    """

    def __init__(self, address: SshAddress, root: Path) -> None:
        self._address = address
        self._root = root
        self._clients: list[paramiko.SSHClient] = []

    def open(self, argv: Sequence[str]) -> Channel:
        return SshChannel(self._start(shlex.join(argv)))

    def push(self, source: Path, destination: str) -> None:
        size_mb, sent_mb = _FIRST_PART_MB, 0
        with source.open("rb") as file:
            while (part := file.read(size_mb << 20)) or not sent_mb:
                # dd cuts off what the file held from this position on.
                position = [f"of={destination}", "bs=1M", f"seek={sent_mb}"]
                started_s = time.monotonic()
                self._push_part(part, source.name, ["timeout", str(_PART_S), "dd", *position])
                sent_mb += size_mb
                if time.monotonic() - started_s < _PART_S / 8:
                    size_mb = min(2 * size_mb, _MAX_PART_MB)

    def _push_part(self, part: bytes, name: str, argv: Sequence[str]) -> None:
        channel = SshChannel(self._start(shlex.join(argv)))
        lost = TransientDeviceError("the connection is lost")
        try:
            try:
                for start in range(0, len(part), _CHUNK_BYTES):
                    channel.send(part[start : start + _CHUNK_BYTES], USER_TIMEOUT_MS / 1000)
                channel.finish()
                if channel.receive(_PART_S + 5) is None:
                    lost = TransientDeviceError(f"{name} did not arrive in time")
            except TransientDeviceError as error:
                lost = error  # unless the command ended first, and says why
            code, log = channel.ended()
        finally:
            channel.close()
        if code is None:
            self.close()
            raise lost
        if code:
            # dd's counts come last; error lines begin with the command's name.
            lines = log.decode(errors="replace").splitlines()
            reasons = [line for line in lines if line.startswith(("dd:", "timeout:"))]
            reason = reasons[-1] if reasons else f"dd ended with {code}"
            raise push_error(name, reason[:400], argv, code)

    def close(self) -> None:
        for client in reversed(self._clients):
            with contextlib.suppress(Exception):  # half-open connections fail in many ways
                client.close()
        self._clients = []

    def _start(self, command: str) -> paramiko.Channel:
        transport = self._connected()
        # paramiko waits without limit for the answer to `exec_command`.
        watch = threading.Timer(CONNECT_TIMEOUT_S, transport.close)
        watch.daemon = True
        watch.start()
        try:
            channel = transport.open_session(window_size=_WINDOW_BYTES, timeout=CONNECT_TIMEOUT_S)
            channel.settimeout(CONNECT_TIMEOUT_S)
            channel.exec_command(command)
        except _LOST as error:
            self.close()
            raise TransientDeviceError(f"the connection is lost: {error_text(error)}") from error
        finally:
            watch.cancel()
        return channel

    def _connected(self) -> paramiko.Transport:
        transport = self._clients[-1].get_transport() if self._clients else None
        if transport is None or not transport.is_active():
            self.close()
            transport = self._connect(self._address)
        return transport

    def _connect(self, address: SshAddress) -> paramiko.Transport:
        """Connect to an address, through its jump host if it has one."""
        host, port = address.host, address.port or 22
        try:
            if address.jump:
                jump_host = self._connect(address.jump)
                sock: Any = jump_host.open_channel(
                    "direct-tcpip", (host, port), ("127.0.0.1", 0), timeout=CONNECT_TIMEOUT_S
                )
            else:
                sock = _open_socket(host, port)
            client = self._client(address)
            client.connect(
                host,
                port=port,
                username=address.user,
                pkey=self._key(address),
                allow_agent=address.key_file is None,
                look_for_keys=False,
                sock=sock,
                timeout=CONNECT_TIMEOUT_S,
                banner_timeout=CONNECT_TIMEOUT_S,
                auth_timeout=CONNECT_TIMEOUT_S,
            )
        except (paramiko.BadHostKeyException, _UnknownHost) as error:
            raise PermanentDeviceError(
                "the device's host key is not the one in known_hosts: it was set up anew, or it is "
                "another machine. If it may have changed, remove the old one (ssh-keygen -R) and "
                "connect once by ssh; see docs/adding-a-device.md"
                if isinstance(error, paramiko.BadHostKeyException)
                else "the device's host key is not in known_hosts; see docs/adding-a-device.md"
            ) from error
        except _LOST as error:
            if isinstance(error, paramiko.AuthenticationException) or _NO_KEYS in str(error):
                raise PermanentDeviceError(
                    "the device refuses the key: give key_file in the device's file, or load the "
                    "key into your ssh-agent"
                ) from error
            # paramiko's message for a host that accepts a connection and then falls silent.
            silent = "No existing session" in str(error)
            reason = "it accepts connections and then says nothing" if silent else error_text(error)
            raise TransientDeviceError(f"the device cannot be reached: {reason}") from error
        self._clients.append(client)
        transport = client.get_transport()
        assert transport is not None
        transport.set_keepalive(5)
        return transport

    def _client(self, address: SshAddress) -> paramiko.SSHClient:
        client = paramiko.SSHClient()
        known_hosts = self._path(address.known_hosts) or str(Path.home() / ".ssh" / "known_hosts")
        try:
            client.load_host_keys(known_hosts)
        except FileNotFoundError:
            pass  # no host is known, which the error for its key says
        except (OSError, paramiko.SSHException, UnicodeError) as error:
            raise PermanentDeviceError(
                f"known_hosts cannot be read: {error_text(error)}"
            ) from error
        client.set_missing_host_key_policy(_Refuse())
        return client

    def _key(self, address: SshAddress) -> paramiko.PKey | None:
        path = self._path(address.key_file)
        if path is None:
            return None
        try:
            return paramiko.PKey.from_path(path)
        except paramiko.PasswordRequiredException:
            raise  # the key is encrypted: `_connect` says what to do
        except OSError as error:
            reason = error.strerror
        except (paramiko.SSHException, UnknownKeyType, ValueError):
            reason = "it is no private key"
        raise PermanentDeviceError(f"key_file cannot be read: {reason}")

    def _path(self, path: str | None) -> str | None:
        return str(self._root / Path(path).expanduser()) if path else None


class _UnknownHost(paramiko.SSHException):
    """The host is not in the file of known hosts."""


class _Refuse(paramiko.MissingHostKeyPolicy):
    def missing_host_key(self, client: Any, hostname: str, key: Any) -> None:
        raise _UnknownHost(hostname)


def _open_socket(host: str, port: int) -> socket.socket:
    connection = socket.create_connection((host, port), timeout=CONNECT_TIMEOUT_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else reading is erratic
    if _TCP_USER_TIMEOUT is not None:
        connection.setsockopt(socket.IPPROTO_TCP, _TCP_USER_TIMEOUT, USER_TIMEOUT_MS)
    return connection
