"""Launches, and what measures ask of them. Pure.

A launch is a fresh process of the runner for a cell; its record is a mapping as the journal has it. What it
did is its mode. Some measures use the launches of another: the starts of those that take a latency are
cold starts, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from .quality.verification import Comparison

#: What a launch does: `measure` takes warm samples; `start` ends after the first inference, `cold` too, with
#: a cold page cache; `quality` runs the held-out inputs, `profile` gives the time of each operator,
#: `accuracy` runs labelled pictures.
MEASURE, START, COLD = "measure", "start", "cold"
QUALITY, PROFILE, ACCURACY = "quality", "profile", "accuracy"
#: Of the runner as well, and no launch (see cellfarm.experiments.gates).
GATE = "gate"

Launch = Mapping[str, Any]
Launches = Sequence[Launch]


def of_mode(launches: Launches, *modes: str) -> list[Launch]:
    """The launches of some modes."""
    return [launch for launch in launches if launch["mode"] in modes]


def is_emulated(launches: Launches) -> bool:
    """Whether a software implementation of the processor did the work."""
    return any(launch.get("emulated") for launch in launches)


def worst_comparison(launches: Launches) -> Comparison:
    """The launch whose output is farthest from the reference: one wrong launch makes a cell wrong."""
    comparisons = [Comparison(**(launch.get("comparison") or {})) for launch in launches]
    for comparison in comparisons:
        if comparison.problem:
            return comparison
        if comparison.cosine is None:
            return Comparison(problem="the output was not compared")
    top1 = [match for each in comparisons if (match := each.top1_match) is not None]
    return Comparison(
        cosine=min((each.cosine for each in comparisons if each.cosine is not None), default=None),
        max_abs_error=max((each.max_abs_error or 0.0 for each in comparisons), default=None),
        max_relative_error=max(
            (each.max_relative_error or 0.0 for each in comparisons), default=None
        ),
        top1_match=all(top1) if top1 else None,
    )


def median_of(values: Sequence[float | None]) -> float | None:
    """The median of the known values; None without any."""
    known = [value for value in values if value is not None]
    return float(median(known)) if known else None
