"""What each device is doing: a small file a device, written by who measures, read by `cellfarm farm`.

Also what a run that a device dropped out of leaves for the next person: that it needs attention.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..base.files import read_object, write_atomically
from ..base.project import Project

IDLE, ATTENTION = "idle", "needs attention"
#: The same state with other numbers is not written more often.
EVERY_S = 1.0


class DeviceState:
    """The state of one device, as its experiment tells it."""

    def __init__(self, project: Project, device: str) -> None:
        self._path = _path(project, device)
        self._values: dict[str, Any] = {"pid": os.getpid(), "since": time.time()}
        self._written = 0.0

    def tell(self, state: str, **values: Any) -> None:
        """Say what the device does now. A disk that cannot take it loses nothing that counts."""
        changed = self._values.get("state") != state
        self._values |= {"state": state, "at": time.time(), **values}
        if changed or time.monotonic() - self._written >= EVERY_S:
            self._written = time.monotonic()
            with contextlib.suppress(OSError):
                write_atomically(self._path, json.dumps(self._values) + "\n", durable=False)


def read_state(project: Project, device: str) -> dict[str, Any]:
    """What a device was last told to do: {} if nothing; one whose process is gone is interrupted."""
    state = read_object(_path(project, device)) or {}
    if state and state.get("state") not in (IDLE, ATTENTION) and not _lives(state):
        return {**state, "state": "interrupted"}
    return state


def _lives(state: Mapping[str, Any]) -> bool:
    try:
        os.kill(int(state["pid"]), 0)
    except (KeyError, TypeError, ValueError, ProcessLookupError):
        return False
    except PermissionError:
        return True  # another user's
    return True


def _path(project: Project, device: str) -> Path:
    return project.results / "devices" / f"{device}.state.json"
