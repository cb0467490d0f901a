"""Links to a device, tested without one: which error a broken connection, a state or a refusal gives."""

from __future__ import annotations

import socket
import sys
import threading
import time
from types import SimpleNamespace

import psutil
import pytest
from cellfarm.base.errors import PermanentDeviceError, TransientDeviceError
from cellfarm.base.project import Project
from cellfarm.devices.adb import AdbChannel, AdbLink
from cellfarm.devices.link import push_error
from cellfarm.devices.remote import RemoteTransport
from cellfarm.devices.transport import Interpreter
from cellfarm.wanted.devices import AdbAddress

from tests.support.pipe_link import PipeLink


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("remote couldn't create file: No space left on device", PermanentDeviceError),
        ("dd: /x: Read-only file system", PermanentDeviceError),
        ("dd: /x: Permission denied", PermanentDeviceError),
        ("protocol fault (couldn't read status)", TransientDeviceError),
    ],
)
def test_errors_that_no_retry_changes_are_permanent(reason, kind):
    error = push_error("file", reason, ("dd",), 1)
    assert type(error) is kind and reason in str(error) and error.code == 1


def test_who_waits_for_a_channel_hears_that_it_is_closed():
    local_socket, remote_socket = socket.socketpair()
    channel = AdbChannel(local_socket)
    outcomes: list[BaseException | bytes | None] = []

    def wait() -> None:
        try:
            outcomes.append(channel.receive(60))
        except TransientDeviceError as error:
            outcomes.append(error)

    waiter = threading.Thread(target=wait, daemon=True)
    waiter.start()
    time.sleep(0.2)
    channel.close()
    waiter.join(10)
    assert [type(outcome) for outcome in outcomes] == [TransientDeviceError]
    with pytest.raises(TransientDeviceError):
        channel.receive(60)
    remote_socket.close()


def test_a_channel_waits_as_long_as_it_is_told_whatever_is_sent_meanwhile():
    local_socket, remote_socket = socket.socketpair()
    channel = AdbChannel(local_socket)
    channel.send(b"x", 0.05)  # the socket's own time limit is short from here on
    answer = bytes([1]) + (2).to_bytes(4, "little") + b"ok"
    threading.Timer(0.5, remote_socket.sendall, [answer]).start()
    assert channel.receive(30) == b"ok"
    assert channel.receive(0.05) is None
    remote_socket.close()
    channel.close()


@pytest.mark.parametrize(
    ("state", "kind", "message"),
    [
        ("no", PermanentDeviceError, "udev"),  # of "no permissions"
        ("unauthorized", PermanentDeviceError, "allow debugging"),
        ("offline", TransientDeviceError, "is offline"),
        ("authorizing", TransientDeviceError, "is authorizing"),
    ],
)
def test_a_phone_s_state_says_what_to_do(monkeypatch, state, kind, message):
    monkeypatch.setattr("cellfarm.devices.adb.ensure_server", lambda *_: None)
    link = AdbLink(AdbAddress("ABC", server_port=1))
    monkeypatch.setattr(link._client, "list", lambda: [SimpleNamespace(serial="ABC", state=state)])
    with pytest.raises(kind, match=message):
        link.open(["true"])


class ClosingLink(PipeLink):
    def __init__(self) -> None:
        super().__init__()
        self.closed = 0

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def transport(tmp_path):
    transport = RemoteTransport(ClosingLink(), str(tmp_path / "device"), Project(tmp_path))
    transport._base = Interpreter((sys.executable, "-S"), {})
    transport.prepare()
    yield transport
    transport.close()


def run(transport, code: str, on_line):
    return transport.run(
        [sys.executable, "-S", "-c", code],
        stdin=b"", timeout_s=60, variables=transport.variables, on_line=on_line,
    )  # fmt: skip


def test_a_call_that_is_broken_off_spoils_no_other(transport):
    """After Ctrl-C, later output of the command is not taken for the answer to the next call."""
    pids: list[int] = []

    def interrupt(line: str) -> None:
        pids.append(int(line))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(
            transport, "import os, time; print(os.getpid(), flush=True); time.sleep(600)", interrupt
        )
    started_s = time.monotonic()
    transport.release_control()  # as an experiment does after an interrupt
    assert time.monotonic() - started_s < 30
    lines: list[str] = []
    assert run(transport, "print('fine')", lines.append).code == 0 and lines == ["fine"]
    deadline = time.monotonic() + 10
    while psutil.pid_exists(pids[0]):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_lost_session_gives_its_link_up(transport):
    link = transport._link
    before = link.closed
    link.pull()
    with pytest.raises(TransientDeviceError):
        transport.read("x")
    assert link.closed > before
