"""What a person sees while an experiment runs: a live line on a terminal, a line per cell in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from ..core.cells import Cell

LOG_EVERY_S = 15.0
LIVE_EVERY_S = 0.5
#: mode of a launch -> what it is called in the live line
_DOING = {
    "cold": "cold start, ",
    "quality": "held-out inputs, ",
    "profile": "operators, ",
    "accuracy": "labelled pictures, ",
}


class Progress:
    """Progress of one experiment within its plan.

    Args:
        title: `mobilenet_v2 on host`.
        results: where the results of the whole plan will stand, one per cell.
        least: launches that every cell takes at least.
        log: a file that gets every line too.
    """

    def __init__(
        self, title: str, results: Sequence[Path], least: int, log: Path | None = None
    ) -> None:
        self._title = title
        self._missing = list(results)
        self._total = len(results)
        self._least = least
        self._log = log
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._live = sys.stderr.isatty()
        self._here = 0
        self._left = 0
        self._launches = 0
        self._started = time.monotonic()
        self._printed = 0.0

    def waiting(self, who: str) -> None:
        self._line(f"{self._title}: waiting for the device, in use by {who}")

    def deployed(self, name: str) -> None:
        self._status(f"{self._title}: deployed {name.partition('/')[0]}")

    def begin(self, cells: int, left: int) -> None:
        self._here = cells
        self._left = left
        self._started = time.monotonic()
        self._printed = self._started

    def note(self, text: str) -> None:
        self._line(f"{self._title}: {text}")

    def gate(self, what: str, waited_s: float) -> None:
        """A launch waits for the device to be quiet, cool, charged and fast."""
        due = time.monotonic() - self._printed >= (LIVE_EVERY_S if self._live else LOG_EVERY_S)
        if due:
            self._printed = time.monotonic()
            text = f"{self._title}: waiting {waited_s:.0f} s for the device: {what}"
            (self._status if self._live else self._line)(text)

    def measuring(self, cell: Cell, number: int, mode: str) -> None:
        due = time.monotonic() - self._printed >= (LIVE_EVERY_S if self._live else LOG_EVERY_S)
        if not due:
            return
        self._printed = time.monotonic()
        doing = _DOING.get(mode, "")
        where = f"{cell.versioned_library} t{cell.threads}, {doing}round {number + 1}"
        done = self._done()
        text = f"{self._title}: {where} · {done} of {self._total} cells done{self._eta(done)}"
        if self._live:
            self._status(text)
        else:
            self._line(text)

    def launched(self, left: int) -> None:
        self._launches += 1
        self._left = left

    def finished(self, cell: Cell, result: Mapping[str, Any]) -> None:
        self._here -= 1
        summary = result["summary"]
        what = f"{result['status']}: {result['reason']}" if result["reason"] else result["status"]
        if summary.get("latency_ms") is not None:
            what += f" {summary['latency_ms']:.2f} ms"
        doubts = f" [{', '.join(result['flags'])}]" if result["flags"] else ""
        setting = f"{cell.variant} {cell.processor} t{cell.threads}"
        self._line(
            f"[{self._done()}/{self._total}] {cell.model} · {cell.versioned_library} · {setting}"
            f" · {cell.device}: {what}{doubts}"
        )

    def close(self) -> None:
        if self._live:
            self._console.file.write("\r\x1b[2K")
            self._console.file.flush()

    def _done(self) -> int:
        """Cells of the whole plan that have a result by now."""
        self._missing = [path for path in self._missing if not path.exists()]
        return self._total - len(self._missing)

    def _eta(self, done: int) -> str:
        """Time left for the whole plan, as if every cell cost what those so far did."""
        if not self._launches:
            return ""
        each_s = (time.monotonic() - self._started) / self._launches
        elsewhere = max(0, self._total - done - self._here)
        minutes, seconds = divmod(round(each_s * (self._left + elsewhere * self._least)), 60)
        return f" · about {f'{minutes} min ' if minutes else ''}{seconds} s left"

    def _status(self, text: str) -> None:
        if self._live:
            width = self._console.width - 1
            self._console.file.write(f"\r\x1b[2K{text[:width]}")
            self._console.file.flush()

    def _line(self, text: str) -> None:
        self.close()
        self._console.print(text, markup=False)
        if self._log:
            self._log.parent.mkdir(parents=True, exist_ok=True)
            with self._log.open("a", encoding="utf-8") as file:
                file.write(text + "\n")
