"""The versions of a library as a series: where its latency steps, and which version fixes a slowdown. Pure.

A series holds the versions of one library in order, of one model and setting, measured under the same
conditions. Changepoints give the steps, as in cellfarm.analysis.steady; here each point's interval weighs it.
"""

from __future__ import annotations

import datetime
import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from .grouping import grouped
from .ranking import Row, ranks
from .shifts import LEAST_STEP, Level, Z, boundaries, levels
from .versions import order

#: The columns that all results of a series share.
SETTING = ("library", "model", "variant", "device", "processor", "threads", "protocol")
#: A rerun may use another protocol.
_RERUN = tuple(name for name in SETTING if name != "protocol")


@dataclass(frozen=True)
class Point:
    """A version's latency with its 95 % interval, in ms; `released` is a day, ISO 8601, if it is known."""

    version: str
    key: str
    latency_ms: float
    low_ms: float
    high_ms: float
    experiment: str | None
    released: str | None = None

    @property
    def sigma(self) -> float:
        """The standard deviation of the latency's logarithm."""
        return math.log(self.high_ms / self.low_ms) / (2 * Z)


class Rerun(StrEnum):
    """Whether other experiments that launched both versions of a step confirm it.

    A step between two experiments counts those two as well.
    """

    #: An experiment shows it: the versions' intervals do not overlap, in the same direction.
    CONFIRMED = "confirmed"
    #: None shows it, and in one the change is smaller or absent: the ratios' intervals do not overlap.
    CONTRADICTED = "contradicted"
    #: No such experiment, or none that decides.
    OPEN = "not confirmed"


@dataclass(frozen=True)
class Step:
    """A new level, from the version `after` on; `before` is the last version at the old level.

    `ratio` is the new level over the old one (1.2: 20 % slower), `low` and `high` its 95 % interval.
    """

    position: int  # of `after` among the points
    before: Point
    after: Point
    ratio: float
    low: float
    high: float
    rerun: Rerun

    @property
    def is_slowdown(self) -> bool:
        return self.ratio > 1

    @property
    def crosses_experiments(self) -> bool:
        """Whether the versions were measured apart, so that the device may have changed."""
        return self.before.experiment != self.after.experiment


@dataclass(frozen=True)
class Series:
    """The versions of a library under one setting, in order.

    `levels_ms` has the level of each point. `left_out` are versions without a latency that counts
    (unsupported, wrong, failed, flagged, without an interval), with the reason.
    """

    setting: Mapping[str, Any]
    points: tuple[Point, ...]
    levels_ms: tuple[float, ...]
    steps: tuple[Step, ...]
    left_out: Mapping[str, str]


@dataclass(frozen=True)
class Slowdown:
    """A step up, and the step that fixed it; `fixed` is None while the newest version has it.

    `versions` are the measured versions that have it. `days` is how long the newest release had it; None
    without a fix or its dates.
    """

    step: Step
    fixed: Step | None
    versions: tuple[str, ...]
    days: int | None


def all_series(
    rows: Iterable[Row],
    released: Mapping[str, Mapping[str, str]] | None = None,
    flagged: bool = False,
) -> list[Series]:
    """Every series of at least two versions.

    A version's newest result that is not superseded counts; all others serve to confirm. Where the model,
    the device, the protocol or the runner changed meanwhile, the series holds the conditions of most
    versions, and of equally common ones the latest.

    Args:
        rows: of the view `history`, with `conditions`: what must agree for a comparison.
        released: library -> version -> the day of its release.
        flagged: take flagged results too.
    """
    rows = sorted(rows, key=lambda row: row["measured_at"])
    reruns = grouped(rows, _RERUN)
    series = []
    for values, group in grouped(rows, SETTING).items():
        setting = dict(zip(SETTING, values, strict=True))
        dates = (released or {}).get(setting["library"], {})
        current = [row for row in group if not row["superseded"]]
        points, left_out = _points(_under_common_conditions(current, flagged), dates, flagged)
        if len(points) > 1:
            results = reruns[tuple(setting[name] for name in _RERUN)]
            ranked = [row for row in results if ranks(row, flagged)]
            series.append(_series(setting, points, left_out, ranked))
    return sorted(series, key=lambda item: [str(item.setting[name]) for name in SETTING])


def slowdowns(series: Series) -> list[Slowdown]:
    """Every step up that no rerun contradicts, and its fix.

    The fix is the first later step to a level that is at most LEAST_STEP above the level before the slowdown.
    """
    steps = [step for step in series.steps if step.rerun is not Rerun.CONTRADICTED]
    return [
        _slowdown(series, step, steps[number:])
        for number, step in enumerate(steps, start=1)
        if step.is_slowdown
    ]


def _under_common_conditions(rows: Sequence[Row], flagged: bool) -> list[Row]:
    """The newest result of each version under the conditions of most versions."""
    groups: dict[tuple[Any, ...], dict[str, Row]] = defaultdict(dict)
    for row in rows:
        groups[tuple(row["conditions"])][row["library_version"]] = row

    def versions_and_time(by_version: Mapping[str, Row]) -> tuple[int, int, Any]:
        counted = sum(ranks(row, flagged) for row in by_version.values())
        return counted, len(by_version), max(row["measured_at"] for row in by_version.values())

    return list(max(groups.values(), key=versions_and_time, default={}).values())


def _points(
    rows: Sequence[Row], released: Mapping[str, str], flagged: bool
) -> tuple[list[Point], dict[str, str]]:
    points, left_out = [], {}
    for row in sorted(rows, key=lambda row: order(row["library_version"])):
        version = row["library_version"]
        if not ranks(row, flagged):
            left_out[version] = _reason(row)
        elif point := _point(row, released.get(version)):
            points.append(point)
        else:
            left_out[version] = "no interval"
    return points, left_out


def _point(row: Row, released: str | None = None) -> Point | None:
    """None where the latency has no interval."""
    low_ms, high_ms = row["latency_ci_low_ms"], row["latency_ci_high_ms"]
    if low_ms is None or high_ms is None or not 0 < low_ms <= high_ms:
        return None
    return Point(row["library_version"], row["key"], row["latency_ms"], low_ms, high_ms,
                 row["experiment"], released)  # fmt: skip


def _reason(row: Row) -> str:
    if row["status"] != "ok":
        return str(row["status"])
    return "emulated" if row["emulated"] else ", ".join(row["flags"] or ()) or "no latency"


def _series(
    setting: Mapping[str, Any],
    points: Sequence[Point],
    left_out: Mapping[str, str],
    results: Sequence[Row],
) -> Series:
    logs = np.log([point.latency_ms for point in points])
    sigmas = np.asarray([point.sigma for point in points])
    starts = boundaries(logs, sigmas)
    all_levels = levels(logs, sigmas, starts)
    steps = [
        _step(points, start, old, new, results)
        for start, (old, new) in zip(starts, itertools.pairwise(all_levels), strict=True)
    ]
    levels_ms = [math.exp(level.mean) for level in all_levels for _ in range(level.count)]
    return Series(setting, tuple(points), tuple(levels_ms), tuple(steps), left_out)


def _step(
    points: Sequence[Point], start: int, old: Level, new: Level, results: Sequence[Row]
) -> Step:
    before, after = points[start - 1], points[start]
    ratio = _ratio(new.mean - old.mean, math.hypot(old.error, new.error))
    return Step(start, before, after, *ratio, _rerun(before, after, ratio, results))


def _ratio(change: float, error: float) -> tuple[float, float, float]:
    """A ratio with its 95 % interval, from its logarithm and the logarithm's standard error."""
    half = Z * error
    return math.exp(change), math.exp(change - half), math.exp(change + half)


def _rerun(
    before: Point, after: Point, step: tuple[float, float, float], results: Sequence[Row]
) -> Rerun:
    """Judge a step (its ratio with the interval) by the experiments that have both versions."""
    pairs = _pairs(before, after, results)
    ratio, low, high = step
    slower = ratio > 1
    if any(new.low_ms > old.high_ms if slower else old.low_ms > new.high_ms for old, new in pairs):
        return Rerun.CONFIRMED
    for old, new in pairs:
        change = math.log(new.latency_ms / old.latency_ms)
        _, bottom, top = _ratio(change, math.hypot(old.sigma, new.sigma))
        if top < low if slower else bottom > high:
            return Rerun.CONTRADICTED
    return Rerun.OPEN


def _pairs(before: Point, after: Point, results: Sequence[Row]) -> list[tuple[Point, Point]]:
    """The two versions in each experiment that has both, but the experiment that both points are of."""
    used = {None, before.experiment} if before.experiment == after.experiment else {None}
    by_experiment: dict[str, dict[str, Point]] = defaultdict(dict)
    for row in results:
        if row["experiment"] not in used and (point := _point(row)):
            by_experiment[row["experiment"]][point.version] = point
    return [
        (old, new)
        for points in by_experiment.values()
        if (old := points.get(before.version)) and (new := points.get(after.version))
    ]


def _slowdown(series: Series, step: Step, later: Sequence[Step]) -> Slowdown:
    highest_ms = series.levels_ms[step.position - 1] * (1 + LEAST_STEP)
    fixed = next((other for other in later if series.levels_ms[other.position] <= highest_ms), None)
    end = fixed.position if fixed else len(series.points)
    versions = tuple(point.version for point in series.points[step.position : end])
    return Slowdown(step, fixed, versions, _days(step.after, fixed.after) if fixed else None)


def _days(first: Point, last: Point) -> int | None:
    if first.released is None or last.released is None:
        return None
    start, end = map(datetime.date.fromisoformat, (first.released, last.released))
    return (end - start).days
