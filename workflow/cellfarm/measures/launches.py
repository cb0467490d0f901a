"""Launches, and what measures need from them. Pure.

A launch is a fresh process of the runner for a cell. Its record is a mapping, as in the journal; its mode
is what it did. Some measures also use the launches of others: those of a latency are cold starts, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from .quality.comparison import Comparison, worst

#: Modes: `measure` takes warm samples; `start` ends after the first inference, as does `cold`, with a cold
#: page cache; `quality` runs the held-out inputs, `profile` times each operator, `accuracy` runs labelled
#: pictures.
MEASURE, START, COLD = "measure", "start", "cold"
QUALITY, PROFILE, ACCURACY = "quality", "profile", "accuracy"
#: A mode of the runner, but not of a launch (see cellfarm.experiments.gates).
GATE = "gate"

Launch = Mapping[str, Any]
Launches = Sequence[Launch]


def of_mode(launches: Launches, *modes: str) -> list[Launch]:
    """The launches of these modes."""
    return [launch for launch in launches if launch["mode"] in modes]


def is_emulated(launches: Launches) -> bool:
    """Whether a software implementation of the processor did the work."""
    return any(launch.get("emulated") for launch in launches)


def worst_comparison(launches: Launches) -> Comparison:
    """The worst over all launches: one wrong launch makes a cell wrong."""
    comparisons = [Comparison(**(launch.get("comparison") or {})) for launch in launches]
    for comparison in comparisons:
        if comparison.problem:
            return comparison
        if comparison.cosine is None:
            return Comparison(problem="the output was not compared")
    return worst(comparisons)


def median_of(values: Sequence[float | None]) -> float | None:
    """The median of the known values; None if there are none."""
    known = [value for value in values if value is not None]
    return float(median(known)) if known else None
