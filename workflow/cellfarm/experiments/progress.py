"""What a person sees while an experiment runs: a live line on a terminal, a line per cell in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from ..core.cells import Cell

LOG_EVERY_S = 15.0


class Progress:
    """Progress of one experiment within its plan.

    Args:
        title: `mobilenet_v2 on host`.
        done: counts the cells of the whole plan that have a result.
        total: the cells of the whole plan.
        log: a file that gets every line too.
    """

    def __init__(
        self, title: str, done: Callable[[], int], total: int, log: Path | None = None
    ) -> None:
        self._log = log
        self._title = title
        self._done = done
        self._total = total
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._live = sys.stderr.isatty()
        self._left = 0
        self._launches = 0
        self._started = time.monotonic()
        self._printed = 0.0

    def waiting(self, who: str) -> None:
        self._line(f"{self._title}: waiting for the device, in use by {who}")

    def deployed(self, name: str) -> None:
        self._status(f"{self._title}: deployed {name.partition('/')[0]}")

    def begin(self, left: int) -> None:
        self._left = left
        self._started = time.monotonic()
        self._printed = self._started

    def measuring(self, cell: Cell, number: int) -> None:
        where = f"{cell.versioned_library} t{cell.threads}, round {number + 1}"
        text = f"{self._title}: {where} · cell {self._done()} of {self._total} done{self._eta()}"
        if self._live:
            self._status(text)
        elif time.monotonic() - self._printed >= LOG_EVERY_S:
            self._printed = time.monotonic()
            self._line(text)

    def launched(self, left: int) -> None:
        self._launches += 1
        self._left = left

    def finished(self, cell: Cell, result: Mapping[str, Any]) -> None:
        summary = result["summary"]
        what = f"{result['status']}: {result['reason']}" if result["reason"] else result["status"]
        if "latency_ms" in summary:
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

    def _eta(self) -> str:
        if not self._launches or not self._left:
            return ""
        each = (time.monotonic() - self._started) / self._launches
        seconds = round(each * self._left)
        minutes, rest = divmod(seconds, 60)
        shown = f"{minutes} min {rest} s" if minutes else f"{rest} s"
        return f" · about {shown} left for this model"

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
