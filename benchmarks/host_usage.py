"""How much of this machine a process's descendants use while something runs."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

EVERY_S = 10.0


@dataclass
class Usage:
    """Peaks.

    Attributes:
        memory_mb: proportional set size: shared memory counts once.
    """

    processes: int = 0
    memory_mb: float = 0.0


@contextlib.contextmanager
def watched(excluded: int) -> Iterator[Usage]:
    """Sample this process's descendants until the block ends.

    Args:
        excluded: a descendant that does not count, and neither do its own.
    """
    usage, ended = Usage(), threading.Event()
    thread = threading.Thread(target=_watch, args=(usage, excluded, ended), daemon=True)
    thread.start()
    try:
        yield usage
    finally:
        ended.set()
        thread.join()


def cpu_s(pid: int) -> float:
    """CPU seconds of a process and its descendants so far, including those that ended."""
    total = 0.0
    for process in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True)):
        with contextlib.suppress(psutil.Error):
            # This counts only children that ended and were waited for: none counts twice.
            total += sum(process.cpu_times()[:4])
    return total


def _watch(usage: Usage, excluded: int, ended: threading.Event) -> None:
    current = psutil.Process(os.getpid())
    while not ended.wait(EVERY_S):
        with contextlib.suppress(psutil.Error):
            excluded_pids = _tree(psutil.Process(excluded))
            pids = {process.pid for process in current.children(recursive=True)} - excluded_pids
            usage.processes = max(usage.processes, len(pids))
            usage.memory_mb = max(usage.memory_mb, sum(map(_memory_mb, pids)))


def _tree(process: psutil.Process) -> set[int]:
    return {process.pid, *(child.pid for child in process.children(recursive=True))}


def _memory_mb(pid: int) -> float:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    return 0.0


def monotonic_of(path: Path) -> float:
    """When a file was written, in seconds of the monotonic clock."""
    return path.stat().st_mtime - time.time() + time.monotonic()
