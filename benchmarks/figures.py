"""A figure: what a benchmark found, what it should reach, and what to compare it with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]


class NotMeasurable(Exception):
    """This benchmark cannot run here and now; the message says why and what to do."""


@dataclass(frozen=True)
class Options:
    """What the command line asks of every benchmark.

    `quick` shrinks it until it only shows that it works: its figures mean nothing.
    """

    quick: bool = False
    tests: str | None = None  # fresh: `make test` "after" `make`, or "alone"
    profile: bool = False
    runs: int | None = None


@dataclass(frozen=True)
class Baseline:
    """The same quantity without cellfarm (or with next to no work), from the same run."""

    what: str
    value: float
    unit: str


@dataclass(frozen=True)
class Figure:
    """One measured figure. `target` bounds its absolute value, in the same unit; None: no target."""

    what: str
    value: float
    unit: str
    target: float | None = None
    baselines: Sequence[Baseline] = ()
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def reached(self) -> bool | None:
        return None if self.target is None else abs(self.value) <= self.target

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"reached": self.reached}

    def lines(self) -> list[str]:
        """How a person reads it."""
        aim = ""
        if self.target is not None:
            verdict = "reached" if self.reached else "MISSED"
            aim = f"   (to reach: {self.target:g} {self.unit} or less: {verdict})"
        found = [f"  {self.what}: {shown(self.value)} {self.unit}{aim}"]
        found += [f"    {name}: {_detail(value)}" for name, value in self.details.items()]
        found += [
            f"    baseline, {one.what}: {shown(one.value)} {one.unit}" for one in self.baselines
        ]
        return found


def shown(value: float) -> str:
    """Three significant digits, without an exponent."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def spread(values: Sequence[float], unit: str) -> str:
    """`0.52 s (0.50 to 0.61, 5 runs)`."""
    low, high = shown(min(values)), shown(max(values))
    return f"{shown(median(values))} {unit} ({low} to {high}, {len(values)} runs)"


def _detail(value: Any) -> str:
    return shown(value) if isinstance(value, float) else str(value)
