"""A virtual board with its own address in a network namespace, and its clean-up."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from cellfarm.base.errors import PermanentHostError
from cellfarm.base.project import Project
from cellfarm.devices import Transport, open_device
from cellfarm.virtual.network import network_namespace
from cellfarm.virtual.starting import virtual_board
from cellfarm.wanted.configuration import read_device
from cellfarm.wanted.devices import AnyDevice, SshDevice

from tests.support.device_shell import shell
from tests.support.projects import REPOSITORY

pytestmark = pytest.mark.skipif(
    not shutil.which("sshd", path="/usr/sbin"), reason="no sshd is installed"
)
GONE_S = 30


@pytest.fixture
def privileges() -> None:
    """Skips where this user may not make a network namespace."""
    try:
        with network_namespace():
            pass
    except PermanentHostError as error:
        pytest.skip(f"no network namespace: {error}")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A folder that `cellfarm` accepts as a project."""
    (tmp_path / "Snakefile").touch()
    (tmp_path / "workflow/cellfarm").mkdir(parents=True)
    (tmp_path / "devices").mkdir()
    return Project(tmp_path)


@contextmanager
def opened(device: AnyDevice, project: Project) -> Iterator[Transport]:
    transport = open_device(device, project)
    try:
        yield transport
    finally:
        transport.close()


@contextmanager
def started(project: Project, *options: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """`cellfarm virtual board` as a user starts it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "cellfarm", "virtual", "board", "--name", "it", *options],
        cwd=project.root, stdout=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY / "workflow")} | variables,
    )  # fmt: skip
    with process:
        try:
            yield process
        finally:
            process.kill()


def output_until_up(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    output = ""
    for line in process.stdout:
        output += line
        if "is up" in line:
            return output
    raise AssertionError(output)


def interfaces() -> set[str]:
    """This machine's network devices, by numbers that the kernel never reuses."""
    names = set()
    for path in Path("/sys/class/net").glob("*/ifindex"):
        with suppress(OSError):
            names.add(path.read_text())
    return names


def interface_of(device: AnyDevice) -> str:
    """This machine's end of the link to a board."""
    assert isinstance(device, SshDevice)
    number = device.address.host.rpartition(".")[2]
    return Path(f"/sys/class/net/cellfarm{number}/ifindex").read_text()


def processes_of(project: Project) -> list[str]:
    """Commands other than this process that name the project's folder."""
    commands = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            command = " ".join(process.cmdline())
            if str(project.root) in command and process.pid != os.getpid():
                commands.append(command)
    return commands


def assert_soon(condition: Callable[[], bool], describe: Callable[[], Any]) -> None:
    deadline = time.monotonic() + GONE_S
    while not condition():
        assert time.monotonic() < deadline, describe()
        time.sleep(0.1)


def test_a_board_has_an_address_and_a_network_of_its_own(project, privileges):
    with (
        network_namespace() as own,
        network_namespace() as other_network,
        virtual_board(project, "it", network=own) as board,
        virtual_board(project, "other", network=other_network) as another,
    ):
        links = {interface_of(device.device) for device in (board, another)}
        assert len(links) == 2 and links <= interfaces()
        for device, network in ((board, own), (another, other_network)):
            assert isinstance(device.device, SshDevice)
            assert device.device.address.host == network.address != "127.0.0.1"
            with opened(device.device, project) as transport:
                assert transport.facts()["cores"] >= 1
                transport.prepare()
                _, lines = shell(transport, "cat /proc/net/dev")
            devices = {line.partition(":")[0].strip() for line in lines[2:]}
            assert {"lo", "eth0"} <= devices
            assert not any(name.startswith("cellfarm") for name in devices)
    assert_soon(lambda: links.isdisjoint(interfaces()), interfaces)
    assert not processes_of(project)


def test_nothing_is_left_of_a_board_whose_starter_is_killed(project, privileges):
    with started(project) as process:
        assert "in a network namespace, at 198.18." in output_until_up(process)
        device = read_device(project, "it", "test")
        link = interface_of(device)
        with opened(device, project) as transport:
            transport.prepare()  # an agent runs there, at the end of a connection
            assert len(processes_of(project)) >= 3
            process.kill()
            assert_soon(lambda: not processes_of(project), lambda: processes_of(project))
            assert_soon(lambda: link not in interfaces(), interfaces)


def test_a_board_on_loopback_where_that_is_wanted(project):
    with started(project, "--loopback") as process:
        assert "is up on a loopback port" in output_until_up(process)
        device = read_device(project, "it", "test")
        assert isinstance(device, SshDevice) and device.address.host == "127.0.0.1"
        with opened(device, project) as transport:
            assert transport.facts()["cores"] >= 1


def test_a_board_on_loopback_where_no_namespace_can_be_made(project, tmp_path):
    programs = tmp_path / "programs"
    programs.mkdir()
    keygen = shutil.which("ssh-keygen")
    assert keygen
    (programs / "ssh-keygen").symlink_to(keygen)
    with started(project, PATH=str(programs)) as process:
        output = output_until_up(process)
        assert "it gets no network namespace: unshare: No such file or directory\n" in output
        assert "is up on a loopback port" in output


def test_what_ip_refuses_is_said_and_nothing_is_left(privileges, tmp_path, monkeypatch):
    program = tmp_path / "ip"
    program.write_text("#!/bin/sh\ncat >/dev/null\necho 'RTNETLINK answers: No' >&2\nexit 2\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with (
        pytest.raises(PermanentHostError, match=r"^ip: RTNETLINK answers: No$"),
        network_namespace(),
    ):
        raise AssertionError("there is a network")
    assert "cat" not in {child.name() for child in psutil.Process().children(recursive=True)}
