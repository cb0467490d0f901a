"""Locks between processes; a lock ends with the process that holds it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from cellfarm.base import locking
from cellfarm.base.locking import file_lock, machine_lock_path

WORKFLOW = Path(locking.__file__).parents[1]
#: Takes the lock, prints the id of its child or 0, and ends when its standard input ends.
HOLD = """
import subprocess, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from cellfarm.base.locking import file_lock
with file_lock(Path(sys.argv[2]), shared=sys.argv[3] == "shared") as descriptor:
    child = 0
    if sys.argv[3] == "with-child":
        child = subprocess.Popen(
            ["sleep", "600"], pass_fds=[descriptor], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        ).pid
    print(child, flush=True)
    sys.stdin.read()
"""


@contextmanager
def holding(path: Path, mode: str = "alone") -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Another process that holds the lock; yields it and the id of its child, or 0."""
    argv = [sys.executable, "-c", HOLD, str(WORKFLOW), str(path), mode]
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin and process.stdout
        child = int(process.stdout.readline())
        try:
            yield process, child
        finally:
            process.kill()


def is_free(path: Path, *, shared: bool = False) -> bool:
    try:
        with file_lock(path, shared=shared, wait=False):
            return True
    except BlockingIOError:
        return False


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "locks" / "device.lock"


def test_one_process_at_a_time(path):
    with holding(path):
        assert not is_free(path)
        assert not is_free(path, shared=True)
    assert is_free(path)


def test_a_lock_excludes_within_a_process_too(path):
    with file_lock(path):
        assert not is_free(path)
    assert is_free(path)


def test_it_is_released_when_its_block_fails(path):
    with pytest.raises(RuntimeError), file_lock(path):
        raise RuntimeError
    assert is_free(path)


def test_a_killed_holder_holds_nothing(path):
    with holding(path) as (process, _):
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert is_free(path)


def test_a_child_with_the_descriptor_keeps_the_lock_of_a_killed_parent(path):
    with holding(path, "with-child") as (process, child):
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not is_free(path)
        os.kill(child, signal.SIGKILL)
        with file_lock(path):  # free as soon as the child has ended
            pass


def test_the_descriptor_does_not_leak_into_other_children(path):
    with file_lock(path), subprocess.Popen(["sleep", "600"], close_fds=False) as child:
        open_paths = {str(entry.readlink()) for entry in Path(f"/proc/{child.pid}/fd").iterdir()}
        child.kill()
    assert str(path) not in open_paths


def test_many_may_share_unless_one_holds_it_alone(path):
    with holding(path, "shared"):
        assert is_free(path, shared=True)
        assert not is_free(path)
    with holding(path), pytest.raises(BlockingIOError), file_lock(path, shared=True, wait=False):
        pass


def test_who_wants_it_alone_comes_before_those_who_share_it_later(path):
    with holding(path, "shared"):
        argv = [sys.executable, "-c", HOLD, str(WORKFLOW), str(path), "alone"]
        waiter = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )  # fmt: skip
        try:
            for _ in range(200):
                if not is_free(path, shared=True):
                    break
                time.sleep(0.1)
            assert not is_free(path, shared=True)
        finally:
            waiter.kill()
            waiter.communicate()
        assert is_free(path, shared=True)


def test_who_waits_is_told_once_who_holds_it_and_then_gets_it(path, monkeypatch):
    monkeypatch.setattr(locking, "NOTICE_AFTER_S", 0.0)
    monkeypatch.setattr(locking, "POLL_S", 0.01)
    holders: list[str] = []
    with holding(path) as (process, _):

        def on_wait(holder: str) -> None:
            holders.append(holder)
            process.kill()

        with file_lock(path, on_wait=on_wait):
            assert holders == [f"process {process.pid}"]


#: Starts a process that wants the lock, and waits.
WANT = f"""
import subprocess, sys
waiting = subprocess.Popen([sys.executable, "-c", {HOLD!r}, *sys.argv[1:]], stdin=subprocess.DEVNULL)
sys.stdin.read()
"""


def waits_for(path: Path, pid: int) -> bool:
    """Whether a child of a process has the lock's file open."""
    open_paths = [
        file.path for child in psutil.Process(pid).children() for file in child.open_files()
    ]
    return str(path) in open_paths


def test_a_wait_ends_with_the_run_that_wanted_it(path):
    argv = [sys.executable, "-c", WANT, str(WORKFLOW), str(path), "shared"]
    with holding(path), subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as run:  # fmt: skip
        deadline = time.monotonic() + 60
        while not waits_for(path, run.pid):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(2 * locking.POLL_S)
        run.send_signal(signal.SIGKILL)
        output, errors = run.communicate(timeout=30)  # the waiting process has the same pipes
    assert output == "" and "the run that wanted this has ended meanwhile" in errors


def test_who_does_not_wait_is_told_nothing(path):
    holders: list[str] = []
    with file_lock(path, on_wait=holders.append):
        pass
    assert holders == []


def test_the_signature_is_that_of_the_last_holder(path):
    path.parent.mkdir()
    path.write_text("process 1234567890123\n")
    with file_lock(path):
        assert path.read_text() == f"process {os.getpid()}\n"


def test_a_link_is_not_followed(path, tmp_path):
    path.parent.mkdir()
    target = tmp_path / "victim"
    target.write_text("content")
    path.symlink_to(target)
    with pytest.raises(OSError), file_lock(path):
        pass
    assert target.read_text() == "content"


def test_every_user_of_the_machine_shares_a_lock(tmp_path, monkeypatch):
    monkeypatch.setattr(locking.tempfile, "gettempdir", lambda: str(tmp_path))
    path = machine_lock_path("tests")
    assert path == machine_lock_path("tests") != machine_lock_path("phone")
    with file_lock(path):
        assert path.stat().st_mode & 0o777 == 0o666
    assert path.parent.stat().st_mode & 0o7777 == 0o1777
