"""The progress of an experiment for people: a live line on a terminal, a line per cell in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from ..base.cells import Cell
from ..devices.activity import DeviceState

LOG_EVERY_S = 15.0
LIVE_EVERY_S = 0.5
#: mode of a launch -> its name in the live line
_DOING = {
    "cold": "cold start, ",
    "start": "start, ",
    "quality": "held-out inputs, ",
    "profile": "operators, ",
    "accuracy": "labelled pictures, ",
}


class Progress:
    """Progress of one experiment within its plan.

    Args:
        results: device -> for each of the plan's cells, the files of its results.
        least: launches that every cell takes at least.
        state: the device's state, as `cellfarm farm` shows it.
        log: a file that also gets every line.
    """

    def __init__(
        self,
        model: str,
        device: str,
        results: Mapping[str, Sequence[Sequence[Path]]],
        least: int,
        state: DeviceState,
        log: Path | None = None,
    ) -> None:
        self._title = f"{model} on {device}"
        self._model = model
        self._all_cells = _Cells([paths for cells in results.values() for paths in cells])
        self._device_cells = _Cells(results.get(device, ()))
        self._least = least
        self._state = state
        self._log = log
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        # Devices that work side by side would overwrite each other's line.
        self._live = sys.stderr.isatty() and len(results) < 2
        self._cells_left = 0
        self._launches_left = 0
        self._launches = 0
        self._started = time.monotonic()
        self._printed = 0.0
        self._temperatures_c: Mapping[str, float] = {}
        self._tell("starting", "")

    def waiting(self, who: str) -> None:
        self._tell("waiting", f"in use by {who}")
        self._line(f"{self._title}: waiting for the device, in use by {who}")

    def waiting_for_host(self, who: str) -> None:
        self._tell("waiting", "for this machine")
        self._line(f"{self._title}: waiting to set the device up until {who} has measured here")

    def deployed(self, name: str) -> None:
        self._tell("deploying", name.partition("/")[0])
        self._status(f"{self._title}: deployed {name.partition('/')[0]}")

    def begin(self, cells: int, launches_left: int) -> None:
        self._cells_left = cells
        self._launches_left = launches_left
        self._started = time.monotonic()
        self._printed = self._started

    def note(self, text: str) -> None:
        self._tell("lost", text)
        self._line(f"{self._title}: {text}")

    def gate(self, what: str, waited_s: float) -> None:
        """A launch waits for the device to be quiet, cool, charged and fast."""
        self._tell("waiting", what)
        if self._is_due():
            self._report(f"{self._title}: waiting {waited_s:.0f} s for the device: {what}")

    def measuring(self, cell: Cell, number: int, mode: str) -> None:
        doing = _DOING.get(mode, "")
        where = f"{cell.versioned_library} t{cell.threads}, {doing}round {number + 1}"
        self._tell("measuring", where)
        if not self._is_due():
            return
        done = self._all_cells.done()
        total = self._all_cells.total
        self._report(f"{self._title}: {where} · {done} of {total} cells done{self._eta(done)}")

    def launched(self, launches_left: int, gate: Mapping[str, Any]) -> None:
        self._launches += 1
        self._launches_left = launches_left
        self._temperatures_c = gate.get("temperatures_c") or self._temperatures_c

    def finished(
        self,
        cell: Cell,
        status: str,
        reason: str | None,
        flags: Sequence[str],
        latency_ms: float | None,
    ) -> None:
        self._cells_left -= 1
        what = f"{status}: {reason}" if reason else status
        if latency_ms is not None:
            what += f" {latency_ms:.2f} ms"
        doubts = f" [{', '.join(flags)}]" if flags else ""
        setting = f"{cell.variant} {cell.processor} t{cell.threads}"
        self._line(
            f"[{self._all_cells.done()}/{self._all_cells.total}] {cell.model} · {cell.versioned_library}"
            f" · {setting} · {cell.device}: {what}{doubts}"
        )

    def close(self, state: str, reason: str | None) -> None:
        """The experiment has ended; `state` is that of the device."""
        self._clear()
        self._tell(state, reason or "")

    def _tell(self, state: str, doing: str) -> None:
        zones = self._temperatures_c.values()
        self._state.write(
            state,
            model=self._model,
            doing=doing,
            done=self._device_cells.done(),
            total=self._device_cells.total,
            temperature_c=max(zones) if zones else None,
        )

    def _is_due(self) -> bool:
        """Whether a line about the present work is due; then it counts as printed."""
        due = time.monotonic() - self._printed >= (LIVE_EVERY_S if self._live else LOG_EVERY_S)
        if due:
            self._printed = time.monotonic()
        return due

    def _eta(self, done: int) -> str:
        """Least time left for the whole plan at the pace so far: noisy cells take more launches."""
        if not self._launches:
            return ""
        launch_s = (time.monotonic() - self._started) / self._launches
        other_cells = max(0, self._all_cells.total - done - self._cells_left)
        launches = self._launches_left + other_cells * self._least
        minutes, seconds = divmod(round(launch_s * launches), 60)
        return f" · at least {f'{minutes} min ' if minutes else ''}{seconds} s left"

    def _report(self, text: str) -> None:
        (self._status if self._live else self._line)(text)

    def _status(self, text: str) -> None:
        if self._live:
            width = self._console.width - 1
            self._console.file.write(f"\r\x1b[2K{text[:width]}")
            self._console.file.flush()

    def _clear(self) -> None:
        if self._live:
            self._console.file.write("\r\x1b[2K")
            self._console.file.flush()

    def _line(self, text: str) -> None:
        self._clear()
        self._console.print(text, markup=False)
        if self._log:
            self._log.parent.mkdir(parents=True, exist_ok=True)
            with self._log.open("a", encoding="utf-8") as file:
                file.write(text + "\n")


class _Cells:
    """Cells that a plan waits for, each with the files of its results."""

    def __init__(self, cells: Sequence[Sequence[Path]]) -> None:
        self._missing = list(cells)
        self.total = len(self._missing)

    def done(self) -> int:
        self._missing = [
            paths for paths in self._missing if not all(path.exists() for path in paths)
        ]
        return self.total - len(self._missing)
