"""Faults of a device, and their outcomes.

Faults of its connection are the cases of benchmarks.fault_matrix, which says what each has to come to; here
their time limits are shorter. The others are of commands, files, clocks and of who measures.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import paramiko
import psutil
import pytest
from cellfarm.base.errors import PermanentDeviceError, TransientDeviceError
from cellfarm.base.processes import die_with_parent
from cellfarm.base.project import PACKAGE, Project
from cellfarm.devices import adb, ssh
from cellfarm.devices.remote import RemoteTransport
from cellfarm.devices.transport import Interpreter
from cellfarm.experiments import patience
from cellfarm.experiments.patience import Patience
from cellfarm.virtual.phone import WORK_FOLDER
from cellfarm.virtual.starting import virtual_phone

from benchmarks.fault_cases import ORPHAN_S, Extent
from benchmarks.fault_matrix import BOTH, FAULTS, is_as_recorded, possible, run_matrix, table
from benchmarks.faults import BOARD, PHONE, Device, lives, virtual_device, wait_until_gone
from benchmarks.own_adb import own_adb_server
from benchmarks.project_copy import CopiedProject
from tests.support.device_shell import shell
from tests.support.pipe_link import PipeLink
from tests.support.projects import REPOSITORY

#: A command with a child in its own session, which gets no signals.
STREAM = "setsid sleep 600 </dev/null >/dev/null 2>&1 & while :; do echo on; sleep 0.1; done"


def test_every_fault_of_a_connection_ends_as_recorded(monkeypatch):
    for module in (adb, ssh):
        monkeypatch.setattr(module, "CONNECT_TIMEOUT_S", 6.0)
    monkeypatch.setattr(adb, "STALLED_S", 20.0)
    monkeypatch.setattr(patience, "LONGEST_PAUSE_S", 1.0)
    faults = [replace(fault, lasts_s=fault.lasts_s and 2.0) for fault in possible(FAULTS)]
    ended = run_matrix(faults, BOTH, Extent(2.0, 90.0, pushed_mb=24, pulled_mb=20, lines=32))
    assert len(ended) == 4 * sum(len(fault.kinds) for fault in faults)
    unexpected = [
        case for case in ended if not is_as_recorded(case) or case.orphans or not case.works_again
    ]
    descriptions = [str(case) for case in unexpected]
    assert not unexpected, "\n".join([*table(ended), *descriptions])


@pytest.fixture(scope="module", params=BOTH)
def device(request, tmp_path_factory) -> Iterator[Device]:
    with virtual_device(request.param, "it", tmp_path_factory.mktemp(request.param)) as device:
        yield device


@pytest.fixture(scope="module")
def board(tmp_path_factory) -> Iterator[Device]:
    with virtual_device(BOARD, "it", tmp_path_factory.mktemp("board")) as board:
        yield board


@pytest.fixture(scope="module")
def phone(tmp_path_factory) -> Iterator[Device]:
    with virtual_device(PHONE, "it", tmp_path_factory.mktemp("phone")) as phone:
        yield phone


def use(device: Device) -> Iterator[RemoteTransport]:
    """A device that earlier tests have used; they may leave nothing behind."""
    Patience(60, print)(device.transport.prepare)
    yield device.transport
    assert wait_until_gone(device.strays, time.monotonic() + ORPHAN_S) == []


@pytest.fixture
def transport(device) -> Iterator[RemoteTransport]:
    yield from use(device)


@pytest.fixture
def on_board(board) -> Iterator[RemoteTransport]:
    yield from use(board)


# Faults of commands.


def test_a_command_that_is_killed_says_so_and_the_next_one_runs(transport):
    """The kernel kills commands when memory is short."""
    launched, lines = shell(transport, "echo before; kill -9 $$")
    assert (launched.code, launched.timed_out, lines) == (-signal.SIGKILL, False, ["before"])
    assert shell(transport, "echo after")[1] == ["after"]


def test_a_command_that_hangs_ends_at_its_deadline_with_all_that_it_started(device, transport):
    script = f"trap '' TERM HUP INT; {STREAM.replace('echo on', 'true')}"
    launched, _ = shell(transport, script, timeout_s=2)
    assert launched.timed_out
    assert shell(transport, "echo fine")[1] == ["fine"]
    agent = 1
    assert len(device.processes()) == agent


def test_output_that_is_no_text_comes_as_text(transport):
    launched, lines = shell(transport, r"printf '\377\376ok\n\000\n'; printf '\377no' >&2")
    assert lines == ["\ufffd\ufffdok", "\0"]
    assert launched.log == "\ufffdno"


def test_a_line_of_many_megabytes_comes_whole(transport):
    _, lines = shell(transport, "head -c 8000000 /dev/zero | tr '\\000' x; echo; echo end")
    assert [len(line) for line in lines] == [8_000_000, 3]


def test_output_without_end_is_broken_off_and_fills_no_memory(on_board, board):
    launched, lines = shell(on_board, "tr '\\000' x </dev/zero", timeout_s=300)
    assert launched.timed_out and lines == []
    (agent,) = board.processes()
    status = Path(f"/proc/{agent.pid}/status").read_text()
    peak_mb = int(status.partition("VmHWM:")[2].split()[0]) >> 10
    assert peak_mb < 200, status
    assert shell(on_board, "echo fine")[1] == ["fine"]


def test_a_command_without_memory_fails_alone(tmp_path):
    with closing(piped(tmp_path)) as transport:
        # What it reads has no end of a line, and all of it is kept.
        launched, _ = shell(transport, "ulimit -v 200000; exec tail /dev/zero")
        assert launched.code != 0 and not launched.timed_out
        assert "memory" in launched.log
        assert shell(transport, "echo fine")[1] == ["fine"]


# Faults of storage, clocks and keys.


def test_a_full_phone_is_told_and_nothing_half_written_gets_a_name(tmp_path):
    large_file, small_file = tmp_path / "big", tmp_path / "small"
    large_file.write_bytes(os.urandom(1 << 20) * 200)
    small_file.write_bytes(b"small")
    (tmp_path / "project").mkdir()
    project = CopiedProject(tmp_path / "project", Project(REPOSITORY).environments)
    project.locks.symlink_to(REPOSITORY / "envs")
    with own_adb_server(), virtual_phone(project, "full", storage_mb=160) as started:
        phone = Device("phone", "full", project, started)
        transport = phone.open()
        transport.prepare()
        with pytest.raises(PermanentDeviceError, match="storage is full"):
            transport.put(large_file, "inputs/big")
        # It fills up during a push.
        with pytest.raises(PermanentDeviceError, match="No space left"):
            transport._link.push(large_file, transport.resolve("arrivals/big"))
        _, lines = shell(transport, f"ls -A {transport.resolve('')}/arrivals; echo .")
        assert lines == ["."]
        assert transport.read("inputs/big") is None
        assert (
            transport.put(small_file, "inputs/small") and transport.read("inputs/small") == b"small"
        )
        transport.close()


def test_a_full_board_is_told(on_board, tmp_path):
    file = tmp_path / "file"
    file.write_bytes(os.urandom(1 << 20))
    with pytest.raises(PermanentDeviceError, match="No space left"):
        on_board._link.push(file, "/dev/full")


@pytest.mark.parametrize("size", [0, 1, (8 << 20), (20 << 20) + 1])
def test_a_file_that_is_sent_in_parts_arrives_whole(on_board, board, tmp_path, size):
    file = tmp_path / "file"
    file.write_bytes(os.urandom(1 << 10) * (size >> 10) + bytes(size % (1 << 10)))
    arrived = board.work_folder / "arrivals/parts"
    arrived.write_bytes(b"what was there before, and is longer" * (1 << 20))
    on_board._link.push(file, on_board.resolve("arrivals/parts"))
    assert arrived.read_bytes() == file.read_bytes()


#: Runs an agent whose calendar jumps by ten years whenever it looks.
_JUMPING = """
import itertools, runpy, sys, time
jumps = itertools.cycle([315e6, -315e6, 0.0])
real, real_ns = time.time, time.time_ns
time.time = lambda: real() + next(jumps)
time.time_ns = lambda: real_ns() + int(next(jumps) * 1e9)
sys.argv = sys.argv[1:]
sys.path.insert(0, sys.argv[0])
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def piped(folder: Path, python: Interpreter | None = None) -> RemoteTransport:
    """A prepared device that is a folder of this machine."""
    transport = RemoteTransport(PipeLink(), str(folder / "device"), Project(folder))
    transport._base = python or Interpreter((sys.executable, "-S"), {})
    transport.prepare()
    return transport


def test_a_clock_that_jumps_changes_nothing(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "a").write_bytes(b"a" * 1000)
    jumping = Interpreter((sys.executable, "-S", "-c", _JUMPING), {})
    first = piped(tmp_path, jumping)
    assert first.put(folder, "artifacts/one")
    first.close()
    second = piped(tmp_path, jumping)
    # A file stays whatever its date; dates in the past or the future do no harm.
    assert not second.put(folder, "artifacts/one")
    before_ns = time.monotonic_ns()
    launched, lines = shell(second, "echo $CELLFARM_SPAWNED_NS; sleep 0.2; echo late", timeout_s=30)
    assert (launched.code, launched.timed_out, lines[1]) == (0, False, "late")
    assert before_ns < launched.spawned_ns < time.monotonic_ns()
    assert lines[0] == str(launched.spawned_ns)
    assert shell(second, "sleep 600", timeout_s=1)[0].timed_out
    second.close()


# Faults of measuring hosts.


def test_two_pipelines_do_not_measure_on_one_device(device, transport):
    """The second one is refused, and the first one's measurement goes on after it ends."""
    running = threading.Event()
    lines: list[str] = []
    ended: list[int] = []

    def take(line: str) -> None:
        lines.append(line)
        running.set()

    def run() -> None:
        script = (
            "echo here >$TMPDIR/output; echo on; while [ ! -e $TMPDIR/go ]; do sleep 0.2; done; "
            "cat $TMPDIR/output"
        )
        launched = transport.run(
            ["sh", "-c", script], stdin=b"", timeout_s=60, variables=transport.variables,
            on_line=take,
        )  # fmt: skip
        ended.append(launched.code)

    first = threading.Thread(target=run, daemon=True)
    first.start()
    assert running.wait(30)
    second = device.open()
    with pytest.raises(TransientDeviceError, match="another cellfarm measures on this device"):
        second.prepare()
    second.close()
    assert wait_until_gone(lambda: agents(device)[1:], time.monotonic() + ORPHAN_S) == []
    (device.work_folder / "launches/go").touch()
    first.join(30)
    assert (ended, lines) == ([0], ["on", "here"])


_HOST = """
import json, sys
from pathlib import Path
from cellfarm.devices import open_device
from cellfarm.base.project import Project
from cellfarm.wanted.devices import parse_device
transport = open_device(parse_device(json.loads(sys.argv[1]), "test"), Project(Path(sys.argv[2])))
try:
    transport.prepare()
    transport.run(["sh", "-c", sys.argv[3]], stdin=b"", timeout_s=600, variables=transport.variables,
                  on_line=lambda line: print(line, flush=True))
finally:
    transport.release_control()
    transport.close()
"""


def heed_interrupts() -> None:
    """A shell's background jobs ignore Ctrl-C, and their children inherit that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    die_with_parent()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["Ctrl-C", "killed"])
def test_a_host_that_ends_leaves_nothing_on_the_device(device, number):
    device.transport.close()
    assert wait_until_gone(device.processes, time.monotonic() + ORPHAN_S) == []
    host = subprocess.Popen(
        [sys.executable, "-c", _HOST, json.dumps(device.document), device.project.root, STREAM],
        env=os.environ | {
            "PYTHONPATH": str(PACKAGE.parent),
            "CELLFARM_ENVIRONMENTS": str(device.project.environments),
        },
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=heed_interrupts,
    )  # fmt: skip
    with host:
        assert host.stdout.readline() == b"on\n", host.stderr.read().decode()
        assert len(device.processes()) >= 3
        host.send_signal(number)
        host.wait(30)  # and not as long as the command would run
    assert wait_until_gone(device.processes, time.monotonic() + ORPHAN_S) == []
    device.transport.prepare()
    assert shell(device.transport, "echo again")[1] == ["again"]


def test_a_board_that_falls_silent_while_it_is_asked_is_given_up(on_board, board, monkeypatch):
    """paramiko alone would wait forever for the answer."""
    monkeypatch.setattr(ssh, "CONNECT_TIMEOUT_S", 2.0)
    exec_command = paramiko.Channel.exec_command

    def falls_silent(channel: paramiko.Channel, command: str) -> None:
        board.suffer("freeze")
        exec_command(channel, command)

    errors: list[BaseException] = []

    def call() -> None:
        try:
            on_board._link.open(["true"])
        except TransientDeviceError as error:
            errors.append(error)

    with monkeypatch.context() as patch:
        patch.setattr(paramiko.Channel, "exec_command", falls_silent)
        caller = threading.Thread(target=call, daemon=True)
        caller.start()
        caller.join(30)
        board.suffer("thaw")
    assert not caller.is_alive() and len(errors) == 1
    Patience(30, print)(on_board.prepare)


def test_a_cut_while_a_device_is_full_of_output_leaves_nothing(device, transport):
    """An agent that is blocked in writing to a lost host ends, too."""
    output_seen, finished = threading.Event(), threading.Event()

    def take(_: str) -> None:
        output_seen.set()
        finished.wait(120)

    def run() -> None:
        with suppress(TransientDeviceError):
            transport.run(
                ["sh", "-c", "setsid sleep 600 & yes"], stdin=b"", timeout_s=600,
                variables=transport.variables, on_line=take,
            )  # fmt: skip

    threading.Thread(target=run, daemon=True).start()
    assert output_seen.wait(30)
    time.sleep(1)  # so that every buffer on the way is full
    processes = device.processes()
    assert len(processes) >= 3
    device.suffer("cut")
    until_s = time.monotonic() + ORPHAN_S
    assert (
        wait_until_gone(lambda: [process for process in processes if lives(process)], until_s) == []
    )
    finished.set()


def agents(device: Device) -> list[psutil.Process]:
    matches = []
    for process in device.processes():
        with suppress(psutil.Error):
            if any("/agents/" in part for part in process.cmdline()):
                matches.append(process)
    return matches


def test_an_agent_that_is_killed_takes_what_it_started_with_it(device, transport):
    """The kernel may choose the agent when memory is short."""
    lines: list[str] = []

    def stream(line: str) -> None:
        lines.append(line)
        if len(lines) == 3:
            agents(device)[0].kill()

    with pytest.raises(TransientDeviceError):
        transport.run(
            ["sh", "-c", STREAM], stdin=b"", timeout_s=60, variables=transport.variables,
            on_line=stream,
        )  # fmt: skip
    processes = device.processes()
    Patience(60, print)(transport.prepare)  # as an experiment calls a lost device again
    until_s = time.monotonic() + ORPHAN_S
    assert (
        wait_until_gone(lambda: [process for process in processes if lives(process)], until_s) == []
    )


@pytest.mark.parametrize("fault", ["cut", "reboot", "agent killed"])
def test_a_governor_is_put_back_whatever_happens(phone, fault):
    Patience(60, print)(phone.transport.prepare)
    root = Path(str(phone.work_folder).removesuffix(WORK_FOLDER))
    governor = root / "sys/devices/system/cpu/cpufreq/policy0/scaling_governor"
    assert governor.read_text().strip() == "schedutil"
    assert phone.transport.take_control("performance")["governor"] == "performance"
    assert governor.read_text().strip() == "performance"
    if fault == "agent killed":
        agents(phone)[0].kill()
    else:
        phone.suffer(fault)
    assert wait_until_gone(phone.processes, time.monotonic() + ORPHAN_S) == []
    if fault != "cut":  # then the agent has done it
        phone.transport.release_control()
        Patience(60, print)(phone.transport.prepare)
    assert governor.read_text().strip() == "schedutil"
