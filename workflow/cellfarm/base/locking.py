"""Locks that end with the process that holds them (flock), whatever way it ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from .errors import TransientHostError

POLL_S = 0.2
NOTICE_AFTER_S = 1.0


@contextlib.contextmanager
def file_lock(
    path: Path,
    *,
    shared: bool = False,
    wait: bool = True,
    on_wait: Callable[[str], None] | None = None,
) -> Iterator[int]:
    """Hold a lock on a file; yields its descriptor.

    A child that inherits the descriptor keeps the lock alive: hand it to a measuring process, and
    the device stays taken for as long as that process lives, even if this one is killed.

    Args:
        shared: many may hold it at once, unless one holds it alone.
        wait: False raises BlockingIOError at once instead of waiting.
        on_wait: called once with who holds it, when there is a wait.

    Raises:
        TransientHostError: the process that started this one ended during the wait: what was asked for
            is nobody's wish any more.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = _open(path)
    try:
        notice = _Notice(descriptor, on_wait)
        # Who waits stands at the head of a queue: an experiment, which wants the machine alone, would
        # never come in between conversions that share it and overlap.
        queue = _open(path.with_suffix(".queue"))
        try:
            _acquire(queue, fcntl.LOCK_EX, wait, notice)
            _acquire(descriptor, fcntl.LOCK_SH if shared else fcntl.LOCK_EX, wait, notice)
        finally:
            os.close(queue)
        if not shared:
            _sign(descriptor)
        yield descriptor
    finally:
        os.close(descriptor)


def machine_lock_path(name: str) -> Path:
    """A lock that every user and every checkout on this machine shares."""
    # Not TMPDIR: users with different ones would measure at the same time.
    shared = Path("/tmp")  # noqa: S108
    folder = (shared if shared.is_dir() else Path(tempfile.gettempdir())) / "cellfarm-locks"
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o777)
        folder.chmod(0o1777)
    return folder / f"{name}.lock"


def _open(path: Path) -> int:
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(path, flags)
    except FileNotFoundError:
        descriptor = os.open(path, flags | os.O_CREAT, 0o666)
        with contextlib.suppress(OSError):
            os.fchmod(descriptor, 0o666)
        return descriptor


class _Notice:
    """Tells once, after a while, who holds what is waited for."""

    def __init__(self, descriptor: int, tell: Callable[[str], None] | None) -> None:
        self._descriptor = descriptor
        self._tell = tell
        self._started = time.monotonic()

    def __call__(self) -> None:
        if self._tell and time.monotonic() - self._started > NOTICE_AFTER_S:
            self._tell(holder(self._descriptor))
            self._tell = None


def _acquire(descriptor: int, kind: int, wait: bool, notice: Callable[[], None]) -> None:
    parent = os.getppid()
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if not wait:
                raise
        # Polling keeps Ctrl-C prompt, lets the wait be announced, and ends it for a run that was killed.
        if os.getppid() != parent:
            raise TransientHostError("the run that wanted this has ended meanwhile")
        notice()
        time.sleep(POLL_S)


def _sign(descriptor: int) -> None:
    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()}\n".encode(), 0)


def holder(descriptor: int) -> str:
    """Who signed the lock last: `process 123`."""
    with contextlib.suppress(OSError):
        signed = os.pread(descriptor, 100, 0).decode(errors="replace").strip()
        number = signed.removeprefix("process ")
        if number.isdigit() and Path(f"/proc/{number}").exists():
            return signed
    return "another process"  # who shares a lock does not sign it
