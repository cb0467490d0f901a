"""Whether a store that held every wanted result still does.

Planning ten thousand cells takes a second: forty thousand keys are made, and as many files looked for. So
a store that lacked nothing is remembered with the digests that its keys came from, and with the time of
change of each cell's folder. A file that comes, goes or is replaced changes its folder's time.
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import msgspec
from msgspec import Struct

from ..base.files import write_atomically
from ..base.project import Project
from ..envs.environments import ensure_locks
from ..store.results import Store
from .causes import Causes, Place

#: Two changes of a folder within one tick of its file system's clock look like one.
_SETTLED_NS = 3_000_000_000


class Seen(Struct, frozen=True):
    """A store as it was when it held every wanted result.

    Args:
        matrix: the digest of what the cells follow from.
        causes: what their keys came from: the digest at each place (see Causes).
        folders: each cell's, below results/cells -> its time of change in ns.
        current: the digest of the cells' keys.
        stored: the digest of the results' stamps (see Store.stamps).
    """

    matrix: str
    causes: list[tuple[Place, str]]
    folders: dict[str, int]
    current: str
    stored: str


def recall(project: Project, matrix: str, causes: Causes) -> Seen | None:
    """The store as it was remembered for a matrix, if nothing has changed since."""
    try:
        seen = msgspec.json.decode(_path(project, matrix).read_bytes(), type=Seen)
    except (OSError, msgspec.MsgspecError):
        return None
    versions = {(place[3], place[4]) for place, _ in seen.causes if place[0] == "artifact"}
    ensure_locks(project, sorted(versions))
    if any(causes.digest_of(place) != digest for place, digest in seen.causes):
        return None
    return seen if Store(project.cells).changed_ns(seen.folders) == seen.folders else None


def remember(project: Project, seen: Seen) -> None:
    """Keep a store in mind, unless it has just been written to."""
    if max(seen.folders.values()) > time.time_ns() - _SETTLED_NS:
        return
    # Nothing is lost where it cannot be written: the next start plans every cell.
    with contextlib.suppress(OSError):
        write_atomically(_path(project, seen.matrix), msgspec.json.encode(seen))


def _path(project: Project, matrix: str) -> Path:
    return project.plans / f"stored-{matrix}.json"
