"""The versions of a library as a series: where its latency steps, and what takes a slowdown back. Pure.

A series holds one library, model and setting, measured under the same conditions, its versions in
order. Steps are found as steady states are (see cellfarm.analysis.steady), by changepoints; here each point
has an interval of its own, which weighs it.
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

#: What a series is of.
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
    """What experiments in which both versions of a step were launched in the same rounds say of it.

    Of a step within one experiment, others than that; of one between two experiments, those two as well.
    """

    #: One shows it too: one version's interval lies wholly above the other's, the same way round.
    CONFIRMED = "confirmed"
    #: None shows it, and by one the change is smaller, or none: the intervals of the two ratios do not meet.
    CONTRADICTED = "contradicted"
    #: There is none, or it cannot tell.
    OPEN = "not confirmed"


@dataclass(frozen=True)
class Step:
    """A new level, from the version `after` on; `before` is the last one at the old level.

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
        """Whether the two versions were measured apart, so that the device may have changed."""
        return self.before.experiment != self.after.experiment


@dataclass(frozen=True)
class Series:
    """The versions of a library under one setting, in order.

    `levels_ms` has one value for each point: the level that it belongs to. `left_out` are versions without
    a latency that counts (unsupported, wrong, failed, flagged, without an interval), with why.
    """

    setting: Mapping[str, Any]
    points: tuple[Point, ...]
    levels_ms: tuple[float, ...]
    steps: tuple[Step, ...]
    left_out: Mapping[str, str]


@dataclass(frozen=True)
class Slowdown:
    """A step up, and the step that took it back; `fixed` is None while the newest version has it.

    `versions` are those measured that have it. `days` is how long the newest release had it; None
    where a date is not known, or there is no fix.
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
    """Every series that at least two versions make up.

    Of several results of a version the newest that was not set aside counts; all others serve to confirm.
    Where the model, the device, the protocol or the runner changed meanwhile, the series is of the
    conditions that most versions were measured under, of several as common ones the latest.

    Args:
        rows: of the view `history`, with `conditions`: what must agree for two to be compared.
        released: library -> version -> the day of its release.
        flagged: take flagged results too.
    """
    rows = sorted(rows, key=lambda row: row["measured_at"])
    by_setting, reruns = grouped(rows, SETTING), grouped(rows, _RERUN)
    found = []
    for place, group in by_setting.items():
        setting = dict(zip(SETTING, place, strict=True))
        dates = (released or {}).get(setting["library"], {})
        chosen = _of_one_condition([row for row in group if not row["superseded"]], flagged)
        points, left_out = _points(chosen, dates, flagged)
        if len(points) > 1:
            others = reruns[tuple(setting[name] for name in _RERUN)]
            known = [row for row in others if ranks(row, flagged)]
            found.append(_series(setting, points, left_out, known))
    return sorted(found, key=lambda one: [str(one.setting[name]) for name in SETTING])


def slowdowns(series: Series) -> list[Slowdown]:
    """Every step up that no rerun contradicts, with what became of it.

    It is taken back by the first later level that is not above the one before it by more than LEAST_STEP.
    """
    return [_slowdown(series, step) for step in _believed(series) if step.is_slowdown]


def _believed(series: Series) -> list[Step]:
    return [step for step in series.steps if step.rerun is not Rerun.CONTRADICTED]


def _of_one_condition(rows: Sequence[Row], flagged: bool) -> list[Row]:
    """The newest result of each version, oldest measured first."""
    groups: dict[tuple[Any, ...], dict[str, Row]] = defaultdict(dict)
    for row in rows:
        groups[tuple(row["conditions"])][row["library_version"]] = row

    def versions_and_time(one: Mapping[str, Row]) -> tuple[int, int, Any]:
        counted = sum(ranks(row, flagged) for row in one.values())
        return counted, len(one), max(row["measured_at"] for row in one.values())

    return list(max(groups.values(), key=versions_and_time, default={}).values())


def _points(
    rows: Sequence[Row], released: Mapping[str, str], flagged: bool
) -> tuple[list[Point], dict[str, str]]:
    points, left_out = [], {}
    for row in sorted(rows, key=lambda row: order(row["library_version"])):
        version = row["library_version"]
        if not ranks(row, flagged):
            left_out[version] = _why(row)
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


def _why(row: Row) -> str:
    if row["status"] != "ok":
        return str(row["status"])
    return "emulated" if row["emulated"] else ", ".join(row["flags"] or ()) or "no latency"


def _series(
    setting: Mapping[str, Any],
    points: Sequence[Point],
    left_out: Mapping[str, str],
    known: Sequence[Row],
) -> Series:
    logs = np.log([point.latency_ms for point in points])
    sigmas = np.asarray([point.sigma for point in points])
    starts = boundaries(logs, sigmas)
    found = levels(logs, sigmas, starts)
    steps = [
        _step(points, start, one, two, known)
        for start, (one, two) in zip(starts, itertools.pairwise(found), strict=True)
    ]
    flat = [math.exp(one.mean) for one in found for _ in range(one.count)]
    return Series(setting, tuple(points), tuple(flat), tuple(steps), left_out)


def _step(
    points: Sequence[Point], start: int, one: Level, two: Level, known: Sequence[Row]
) -> Step:
    before, after = points[start - 1], points[start]
    ratio = _ratio(two.mean - one.mean, math.hypot(one.error, two.error))
    return Step(start, before, after, *ratio, _rerun(before, after, ratio, known))


def _ratio(change: float, error: float) -> tuple[float, float, float]:
    """A ratio with its 95 % interval, from its logarithm and that one's standard error."""
    half = Z * error
    return math.exp(change), math.exp(change - half), math.exp(change + half)


def _rerun(
    before: Point, after: Point, step: tuple[float, float, float], known: Sequence[Row]
) -> Rerun:
    """Judge a step (its ratio with the interval) by the experiments that have both versions."""
    pairs = _pairs(before, after, known)
    ratio, low, high = step
    slower = ratio > 1
    if any(two.low_ms > one.high_ms if slower else one.low_ms > two.high_ms for one, two in pairs):
        return Rerun.CONFIRMED
    for one, two in pairs:
        change = math.log(two.latency_ms / one.latency_ms)
        _, bottom, top = _ratio(change, math.hypot(one.sigma, two.sigma))
        if top < low if slower else bottom > high:
            return Rerun.CONTRADICTED
    return Rerun.OPEN


def _pairs(before: Point, after: Point, known: Sequence[Row]) -> list[tuple[Point, Point]]:
    """The two versions as each experiment shows them, but that in which both of these points were found."""
    used = {None, before.experiment} if before.experiment == after.experiment else {None}
    shared: dict[str, dict[str, Point]] = defaultdict(dict)
    for row in known:
        if row["experiment"] not in used and (point := _point(row)):
            shared[row["experiment"]][point.version] = point
    return [
        (one, two)
        for points in shared.values()
        if (one := points.get(before.version)) and (two := points.get(after.version))
    ]


def _slowdown(series: Series, step: Step) -> Slowdown:
    was_ms = series.levels_ms[step.position - 1]
    fixed = next(
        (
            other
            for other in _believed(series)
            if other.position > step.position
            and series.levels_ms[other.position] <= was_ms * (1 + LEAST_STEP)
        ),
        None,
    )
    end = fixed.position if fixed else len(series.points)
    versions = tuple(point.version for point in series.points[step.position : end])
    return Slowdown(step, fixed, versions, _days(step.after, fixed.after) if fixed else None)


def _days(first: Point, last: Point) -> int | None:
    if first.released is None or last.released is None:
        return None
    days = datetime.date.fromisoformat(last.released) - datetime.date.fromisoformat(first.released)
    return days.days
