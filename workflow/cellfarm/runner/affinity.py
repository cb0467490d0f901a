"""The processors that this process runs on."""

import contextlib
import os

from reading import listed  # type: ignore[import-not-found]


def pin(cores: list[int] | None) -> list[int] | None:
    """Put this process on these cores, before the library starts threads (they inherit it).

    Args:
        cores: their numbers; None or empty leaves everything as it is.

    Returns:
        The cores that the system reports afterwards: not those asked for if it refused or a cpuset
        narrows them; None where it reports none.
    """
    if not hasattr(os, "sched_setaffinity"):
        return None
    if cores:
        for thread in _threads():
            with contextlib.suppress(OSError, ValueError, OverflowError):
                os.sched_setaffinity(thread, cores)
    affinity: set[int] = set()
    for thread in _threads():
        with contextlib.suppress(OSError):
            affinity |= os.sched_getaffinity(thread)
    return sorted(affinity) or None


def _threads() -> list[int]:
    # 0, where /proc is hidden, is the calling thread.
    return [int(name) for name in listed("/", "proc/self/task")] or [0]
