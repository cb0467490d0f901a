"""Connections to a board: a key file, an ssh-agent, a jump host; and hosts that are refused."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cellfarm.base.errors import PermanentDeviceError, TransientDeviceError
from cellfarm.base.project import Project
from cellfarm.devices import open_device
from cellfarm.devices.ssh import SshLink
from cellfarm.virtual.starting import virtual_board
from cellfarm.wanted.devices import SshAddress, parse_device

pytestmark = pytest.mark.skipif(
    not shutil.which("sshd", path="/usr/sbin"), reason="no sshd is installed"
)


@pytest.fixture(scope="module")
def board(tmp_path_factory) -> Iterator[tuple[Project, dict[str, Any]]]:
    project = Project(tmp_path_factory.mktemp("ssh"))
    with virtual_board(project, "board") as started:
        yield project, started.document


def ask(board, **changes: Any) -> dict[str, Any]:
    """Read the board's facts with changes of its address; None leaves a key out."""
    project, document = board
    address = {key: value for key, value in (document["address"] | changes).items() if value}
    transport = open_device(parse_device({**document, "address": address}, "test"), project)
    try:
        return transport.facts()
    finally:
        transport.close()


def test_a_board_behind_a_jump_host(board):
    address = board[1]["address"]
    assert ask(board, jump=address)["cores"] >= 1
    with pytest.raises(PermanentDeviceError, match="not in known_hosts"):
        ask(board, jump=address | {"known_hosts": os.devnull})


def test_a_key_in_an_ssh_agent(board, tmp_path, monkeypatch):
    socket = tmp_path / "agent"
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdout=subprocess.DEVNULL)
    try:
        monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
        with pytest.raises(PermanentDeviceError, match="refuses the key"):
            ask(board, key_file=None)
        subprocess.run(
            ["ssh-add", "-q", board[1]["address"]["key_file"]], check=True, capture_output=True
        )
        assert ask(board, key_file=None)["cores"] >= 1
    finally:
        agent.kill()
        agent.wait()


def test_a_host_that_is_not_known_is_not_talked_to(board, tmp_path):
    with pytest.raises(PermanentDeviceError, match="not in known_hosts"):
        ask(board, known_hosts=str(tmp_path / "nothing"))
    (tmp_path / "broken").write_bytes(b"\xff\xfe nothing of the kind\n")
    with pytest.raises(PermanentDeviceError, match="known_hosts"):
        ask(board, known_hosts=str(tmp_path / "broken"))


def test_another_key_than_the_known_one(board, tmp_path):
    address = board[1]["address"]
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "other"], check=True
    )
    kind, key = (tmp_path / "other.pub").read_text().split()[:2]
    known_hosts = tmp_path / "known"
    known_hosts.write_text(f"[{address['host']}]:{address['port']} {kind} {key}\n")
    with pytest.raises(PermanentDeviceError, match="is not the one in known_hosts"):
        ask(board, known_hosts=str(known_hosts))


def test_a_key_that_the_board_does_not_know(board, tmp_path):
    key = tmp_path / "other"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    with pytest.raises(PermanentDeviceError, match="refuses the key"):
        ask(board, key_file=str(key))
    key.write_text("no key at all")
    with pytest.raises(PermanentDeviceError, match="key"):
        ask(board, key_file=str(key))
    with pytest.raises(PermanentDeviceError, match="key"):
        ask(board, key_file=str(tmp_path / "absent"))


@pytest.mark.parametrize("change", [{"port": 1}, {"host": "no-such-host.invalid"}])
def test_an_unreachable_board_is_transient_and_its_address_is_not_shown(board, change):
    with pytest.raises(TransientDeviceError, match="cannot be reached") as raised:
        ask(board, **change)
    assert "127.0.0.1" not in str(raised.value) and "invalid" not in str(raised.value)


def test_the_user_s_own_known_hosts(board, tmp_path, monkeypatch):
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True)
    shutil.copy(board[1]["address"]["known_hosts"], home / ".ssh/known_hosts")
    monkeypatch.setattr(Path, "home", lambda: home)
    assert ask(board, known_hosts=None)["cores"] >= 1


def test_a_file_is_sent_in_parts_that_grow(board, tmp_path, monkeypatch):
    """A slow link transfers only the first part within the time limit."""
    project, document = board
    link = SshLink(msgspec.convert(document["address"], SshAddress), project.root)
    parts = []
    push_part = SshLink._push_part

    def noted(self, part, name, argv):
        parts.append(len(part))
        push_part(self, part, name, argv)

    monkeypatch.setattr(SshLink, "_push_part", noted)
    for size_bytes, expected in (
        (0, [0]),
        (1 << 20, [1 << 20]),
        ((16 << 20) + 5, [1 << 20, 2 << 20, 4 << 20, 8 << 20, (1 << 20) + 5]),
    ):
        parts.clear()
        (tmp_path / "source").write_bytes(os.urandom(size_bytes))
        arrived = tmp_path / "arrived"
        link.push(tmp_path / "source", str(arrived))
        assert arrived.read_bytes() == (tmp_path / "source").read_bytes()
        assert parts == expected
    link.close()
