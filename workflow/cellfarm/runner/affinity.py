"""Which processors this process runs on."""

import contextlib
import os

from reading import listed  # type: ignore[import-not-found]


def pin(cores: list[int] | None) -> list[int] | None:
    """Put this process on these cores, before the library starts threads (they inherit it).

    Args:
        cores: their numbers; None or empty leaves everything as it is.

    Returns:
        The cores as the system reads them back: others than asked for if it refused or a cpuset
        narrows them; None where the system does not tell.
    """
    if not hasattr(os, "sched_setaffinity"):
        return None
    if cores:
        for thread in _threads():
            with contextlib.suppress(OSError, ValueError, OverflowError):
                os.sched_setaffinity(thread, cores)
    found: set[int] = set()
    for thread in _threads():
        with contextlib.suppress(OSError):
            found |= os.sched_getaffinity(thread)
    return sorted(found) or None


def _threads() -> list[int]:
    # 0, where /proc is hidden, is the calling thread.
    return [int(name) for name in listed("/", "proc/self/task")] or [0]
