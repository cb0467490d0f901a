"""The same tests on a virtual phone behind a real adb server and a board behind a real sshd."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator

import adbutils
import pytest
from cellfarm.base.errors import TransientDeviceError
from cellfarm.base.project import Project
from cellfarm.devices import Transport, open_device
from cellfarm.envs.environments import library_environment, locate
from cellfarm.envs.targets import target_of
from cellfarm.virtual.starting import Started, virtual_board, virtual_phone
from msgspec import structs

from tests.support.device_shell import shell
from tests.support.projects import REPOSITORY

CHECKOUT = Project(REPOSITORY)


@pytest.fixture(scope="module")
def adb_server(tmp_path_factory) -> Iterator[None]:
    """The tests' own adb server."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    folder = tmp_path_factory.mktemp("adb")
    settings = {
        "ANDROID_ADB_SERVER_PORT": str(port), "ADB_MDNS": "0", "HOME": str(folder),
        "TMPDIR": str(folder),
    }  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        subprocess.run([adbutils.adb_path(), "start-server"], check=True, capture_output=True)
        yield
        subprocess.run([adbutils.adb_path(), "kill-server"], check=False, capture_output=True)


@pytest.fixture(scope="module", params=["phone", "board"])
def started(request, tmp_path_factory, adb_server) -> Iterator[tuple[Project, Started]]:
    if request.param == "board" and not shutil.which("/usr/sbin/sshd"):
        pytest.skip("no sshd is installed")
    root = tmp_path_factory.mktemp(request.param)
    project = Project(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CELLFARM_ENVIRONMENTS", str(CHECKOUT.environments))
        (root / "envs").symlink_to(REPOSITORY / "envs")
        start = {"phone": virtual_phone, "board": virtual_board}[request.param]
        with start(project, "it") as device:
            yield project, device


@pytest.fixture
def transport(started) -> Iterator[Transport]:
    project, device = started
    transport = open_device(device.device, project)
    transport.prepare()
    yield transport
    transport.close()


@pytest.fixture
def bare(started) -> Iterator[Transport]:
    """The same device in another folder, without Python."""
    project, device = started
    folder = f"{device.device.work_folder}-bare"
    transport = open_device(
        structs.replace(device.device, python=False, work_folder=folder), project
    )
    transport.prepare()
    yield transport
    transport.close()


def test_a_command_s_end_comes_back(transport):
    launched, lines = shell(transport, "echo a; echo oh >&2; exit 3")
    assert lines == ["a"] and launched.code == 3 and launched.log == "oh\n"
    started_s = time.monotonic()
    launched, _ = shell(transport, "sleep 600 & sleep 600", timeout_s=1)
    assert launched.timed_out and time.monotonic() - started_s < 20


def test_files_are_there_once_they_are_put(transport, tmp_path):
    (tmp_path / "one/below").mkdir(parents=True)
    (tmp_path / "one/below/a b").write_bytes(os.urandom(300_000))
    assert transport.put(tmp_path / "one", "artifacts/one")
    assert not transport.put(tmp_path / "one", "artifacts/one")
    assert transport.read("artifacts/one/below/a b") == (tmp_path / "one/below/a b").read_bytes()
    transport.remove("artifacts/one")
    assert transport.read("artifacts/one/below/a b") is None


def test_a_shell_replaces_the_agent_where_there_is_no_python(bare, tmp_path):
    launched, lines = shell(bare, "echo a; echo $HOME; echo oh >&2; exit 3")
    assert lines == ["a", bare.work_folder] and launched.code == 3 and launched.log == "oh\n"
    assert shell(bare, "kill -9 $$")[0].code == -9
    launched, _ = shell(bare, "sleep 600", timeout_s=1)
    assert launched.timed_out and launched.code
    lines = []
    bare.run(["cat"], stdin=b"one\ntwo\n", timeout_s=60, variables=bare.variables,
             on_line=lines.append)  # fmt: skip
    assert lines == ["one", "two"]
    governors = [bare.take_control(governor)["reason"] for governor in ("keep", "performance")]
    assert governors[0] is None and "no Python" in governors[1]


def test_files_are_put_there_by_a_shell(bare, started, tmp_path):
    folder = tmp_path / "one"
    (folder / "below").mkdir(parents=True)
    (folder / "below/a b").write_bytes(os.urandom(300_000))
    (folder / "program").write_text("echo it runs\n")
    (folder / "program").chmod(0o755)
    assert bare.put(folder, "artifacts/one") and bare.put(folder / "program", "inputs/a file")
    second = open_device(
        structs.replace(started[1].device, python=False, work_folder=bare.work_folder), started[0]
    )
    assert not second.put(folder, "artifacts/one") and not bare.put(folder, "artifacts/one")
    second.close()
    assert bare.read("artifacts/one/below/a b") == (folder / "below/a b").read_bytes()
    assert bare.read("inputs/a file") == (folder / "program").read_bytes()
    program = bare.resolve("artifacts/one/program")
    assert shell(bare, f"test -x '{program}' && sh '{program}'")[1] == ["it runs"]
    bare.remove("artifacts/one")
    assert bare.read("artifacts/one/program") is None
    assert bare.put(folder, "artifacts/one")
    shell(bare, "cd $HOME; echo left >launches/x; echo left >arrivals/x")
    bare.prepare()
    _, lines = shell(bare, "cd $HOME && find . -type f | sort")
    assert lines == ["./artifacts/one/below/a b", "./artifacts/one/program", "./inputs/a file"]


def test_a_library_runs_there(transport):
    facts = transport.facts()
    name = library_environment("ncnn", "1.0.20261020", "run", str(target_of(facts)))
    from cellfarm.envs.environments import build

    environment = locate(CHECKOUT, name)
    assert build(environment).status == "ok"
    python = transport.interpreter(environment)
    lines: list[str] = []
    launched = transport.run(
        [*python.argv, "-c", "import ncnn, numpy, platform; print(platform.machine(), ncnn.__version__)"],
        stdin=b"", timeout_s=300, variables={**transport.variables, **python.variables},
        on_line=lines.append,
    )  # fmt: skip
    assert launched.code == 0, launched.log
    assert lines == [f"{facts['architecture']} 1.0.20261020"]


def test_a_lost_connection_is_taken_up_again(transport):
    """The phone's daemon or the board's session dies while a command runs."""
    lines: list[str] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            transport.run(
                ["sh", "-c", "echo $$; sleep 600"], stdin=b"", timeout_s=120,
                variables=transport.variables, on_line=lines.append,
            )  # fmt: skip
        except TransientDeviceError as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    while not lines:
        time.sleep(0.05)
    transport._link.close()  # what the connection goes through is closed under it
    session = transport._session
    session._channel.close()
    thread.join(60)
    assert errors, "the loss was not noticed"
    deadline = time.monotonic() + 30
    while shell(transport, f"kill -0 {lines[0]} 2>/dev/null && echo alive")[1]:
        assert time.monotonic() < deadline, "it still runs on the device"
        time.sleep(0.5)
