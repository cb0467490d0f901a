"""A figure: a benchmark's value, its target, and its baselines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
#: On the disk that the checkout is on: a temporary folder may be in memory, where nothing is cold.
SCRATCH = REPOSITORY / "results" / "benchmarks"


class NotMeasurable(Exception):
    """This benchmark cannot run here and now; the message says why and what to do."""


@dataclass(frozen=True)
class Options:
    """The command line's options for every benchmark.

    `quick` only shows that a benchmark works: its figures mean nothing.
    """

    quick: bool = False
    tests: str | None = None  # fresh: `make test` "after" `make`, or "alone"
    profile: bool = False
    runs: int | None = None


@dataclass(frozen=True)
class Baseline:
    """The same quantity without cellfarm (or with almost no work), from the same run."""

    what: str
    value: float
    unit: str


@dataclass(frozen=True)
class Figure:
    """One measured figure with its unit and targets.

    `target` bounds its absolute value from above, `least` the value from below; None: no bound.
    """

    what: str
    value: float
    unit: str
    target: float | None = None
    baselines: Sequence[Baseline] = ()
    details: dict[str, Any] = field(default_factory=dict)
    least: float | None = None

    @property
    def reached(self) -> bool | None:
        if self.target is None and self.least is None:
            return None
        low_enough = self.target is None or abs(self.value) <= self.target
        return low_enough and (self.least is None or self.value >= self.least)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"reached": self.reached}

    def lines(self) -> list[str]:
        """The figure's text for a person."""
        aim = ""
        if self.reached is not None:
            verdict = "reached" if self.reached else "MISSED"
            aim = f"   (to reach: {self._wanted()} {self.unit}: {verdict})"
        lines = [f"  {self.what}: {shown(self.value)} {self.unit}{aim}"]
        lines += [f"    {name}: {_detail(value)}" for name, value in self.details.items()]
        lines += [
            f"    baseline, {baseline.what}: {shown(baseline.value)} {baseline.unit}"
            for baseline in self.baselines
        ]
        return lines

    def _wanted(self) -> str:
        if self.target is None:
            return f"at least {self.least:g}"
        if self.least is None:
            return f"at most {self.target:g}"
        return f"{self.least:g} to {self.target:g}"


def shown(value: float) -> str:
    """Three significant digits, without an exponent."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def spread(values: Sequence[float], unit: str) -> str:
    """`0.52 s (0.50 to 0.61, 5 runs)`."""
    low, high = shown(min(values)), shown(max(values))
    return f"{shown(median(values))} {unit} ({low} to {high}, {len(values)} runs)"


def keep_raw(name: str, options: Options, document: Any) -> Path:
    """Write the data of a figure to results/benchmarks/<name>.json."""
    stem = f"{name}.quick" if options.quick else name
    path = SCRATCH / f"{stem}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print(f"  raw numbers: {path.relative_to(REPOSITORY)}", flush=True)
    return path


def _detail(value: Any) -> str:
    return shown(value) if isinstance(value, float) else str(value)
