"""What a device is doing: a small file per device, written by its experiment, read by `cellfarm farm`.

A run that a device dropped out of also records there that the device needs attention.
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
#: An unchanged state with new numbers is written at most this often.
WRITE_INTERVAL_S = 1.0


class DeviceState:
    """The state of a device, written by its experiment."""

    def __init__(self, project: Project, device: str) -> None:
        self._path = _path(project, device)
        self._values: dict[str, Any] = {"pid": os.getpid(), "since": time.time()}
        self._written = 0.0

    def write(self, state: str, **values: Any) -> None:
        """Write what the device does now; failures to write are ignored."""
        changed = self._values.get("state") != state
        self._values |= {"state": state, "at": time.time(), **values}
        if changed or time.monotonic() - self._written >= WRITE_INTERVAL_S:
            self._written = time.monotonic()
            with contextlib.suppress(OSError):
                write_atomically(self._path, json.dumps(self._values) + "\n", durable=False)


def read_state(project: Project, device: str) -> dict[str, Any]:
    """The last state of a device, {} if none; `interrupted` if its process is gone."""
    state = read_object(_path(project, device)) or {}
    if state and state.get("state") not in (IDLE, ATTENTION) and not _is_alive(state):
        return {**state, "state": "interrupted"}
    return state


def _is_alive(state: Mapping[str, Any]) -> bool:
    try:
        os.kill(int(state["pid"]), 0)
    except (KeyError, TypeError, ValueError, ProcessLookupError):
        return False
    except PermissionError:
        return True  # a process of another user
    return True


def _path(project: Project, device: str) -> Path:
    return project.results / "devices" / f"{device}.state.json"
