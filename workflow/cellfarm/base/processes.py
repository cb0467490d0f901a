"""Child processes that do not outlive the one that started them."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import time
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def die_with_parent(number: int = signal.SIGKILL) -> None:
    """For `preexec_fn`: the kernel kills the child when its parent ends, even by kill -9.

    Args:
        number: the signal that the child gets: one that it handles lets it end its own children.
    """
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, number)


def adopt_orphans() -> bool:
    """Make this process the parent of its descendants whose own parent ends, so that it can end them.

    Returns:
        Whether it is; not so under an emulator that does not know of it (qemu 7).
    """
    return _libc is not None and _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1) == 0


def kill_descendants(timeout_s: float = 5.0) -> bool:
    """Kill all that this process started, and what those started, whatever group they went to.

    Returns:
        Whether none is left.
    """
    deadline = time.monotonic() + timeout_s
    while _has_children():  # who adopts orphans and has no child has no descendant either
        left = _descendants(os.getpid())
        if not left:
            return True
        for pid in left:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def _has_children() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def kill_marked(name: str, **values: str) -> None:
    """Kill every process, but this one, that was started with a variable `name` and with these values."""
    wanted = {f"{key}={value}".encode() for key, value in values.items()}
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            pid = int(folder.name)
            variables = (folder / "environ").read_bytes().split(b"\0")
            is_marked = any(entry.startswith(f"{name}=".encode()) for entry in variables)
            if pid != os.getpid() and is_marked and wanted <= set(variables):
                os.kill(pid, signal.SIGKILL)


def _descendants(ancestor: int) -> set[int]:
    """From /proc: a parent that dies meanwhile hands its children to `ancestor` (see `adopt_orphans`)."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError, IndexError):
            pid = int(folder.name)
            text = (folder / "stat").read_text(encoding="utf-8", errors="replace")
            children.setdefault(int(text.rpartition(")")[2].split()[1]), []).append(pid)
    descendants: set[int] = set()
    reached = [ancestor]
    while reached:
        for pid in children.get(reached.pop(), []):
            if pid not in descendants:
                descendants.add(pid)
                reached.append(pid)
    return descendants
