"""Verdicts on pairs of cells. Pure.

A pair is compared as cells of one experiment are, round by round, where both were measured together;
otherwise through the calibration load of either experiment (see cellfarm.analysis.ratios).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..analysis.ranking import Row, doubts
from ..analysis.ratios import Ratio
from ..planning.keys import CAUSES
from ..warehouse.stored_ratios import ratio_of
from .sides import Side

FASTER, SLOWER, SAME, NOT_COMPARABLE = "faster", "slower", "same", "not comparable"
#: It ran on the first side and does not on the second.
BROKEN = "broken"
_BROKEN = ("unsupported", "failed", "wrong", "timeout")
#: What makes two results answers to different questions when it differs, with what to call it.
_MUST_AGREE = ("model", "device", "protocol", "runner", "measure")
_WORDS = CAUSES | {
    "runner": "the runner's code changed",  # of results of the time before measures were keyed apart
    "measure": "the measure (its code or its settings) changed",
}
_SETTING = ("model", "variant", "device", "processor", "threads", "protocol")


@dataclass(frozen=True)
class Verdict:
    """One cell on both sides; `ratio` is the second's latency over the first's.

    `verdict` is of the second side: broken where the first has an output that is right and the second has
    none, slower where the whole 95 % interval lies above 1, faster where
    it lies below, same where it lies within the threshold of 1, and otherwise not comparable, with
    the reason.
    """

    cell: Mapping[str, Any]
    verdict: str
    reason: str | None
    first_ms: float | None
    second_ms: float | None
    ratio: float | None
    low: float | None
    high: float | None
    is_paired: bool | None

    def is_regression(self, threshold: float) -> bool:
        """Whether it is broken, or slower beyond doubt and by more than the threshold (0.05 is 5 %)."""
        if self.verdict == BROKEN:
            return True
        return self.low is not None and self.verdict == SLOWER and self.low > 1 + threshold


@dataclass(frozen=True)
class Comparison:
    """All pairs of two sides, and the cells that only one of them has.

    `missing` says, of each side, how many cells were asked for that have no result.
    """

    first: str
    second: str
    threshold: float
    verdicts: list[Verdict]
    only_first: list[Row]
    only_second: list[Row]
    missing: Mapping[str, int]

    @property
    def regressions(self) -> list[Verdict]:
        return [one for one in self.verdicts if one.is_regression(self.threshold)]

    @property
    def counts(self) -> dict[str, int]:
        found = Counter(one.verdict for one in self.verdicts)
        return {name: found[name] for name in (BROKEN, SLOWER, FASTER, SAME, NOT_COMPARABLE)}


def compare_sides(first: Side, second: Side, threshold: float, flagged: bool = False) -> Comparison:
    """Pair the cells of two sides and judge each.

    Args:
        threshold: of the ratio's distance from 1, such as 0.05.
        flagged: take flagged cells too. Wrong and emulated ones are never compared.
    """
    by_version = _settings(first.rows) | _settings(second.rows)
    ones, twos = (_by_identity(side.rows, by_version) for side in (first, second))
    verdicts = [
        _judge(ones[identity], twos[identity], first, second, threshold, flagged)
        for identity in sorted(ones.keys() & twos.keys(), key=str)
    ]
    only_first = [row for identity, row in ones.items() if identity not in twos]
    only_second = [row for identity, row in twos.items() if identity not in ones]
    missing = {side.name: side.missing for side in (first, second) if side.missing}
    return Comparison(
        first.name, second.name, threshold, verdicts, only_first, only_second, missing
    )


Identity = tuple[Any, ...]


def _settings(rows: Iterable[Row]) -> set[Identity]:
    """The cells, without a version, of which this side has several versions."""
    versions: dict[Identity, set[str]] = defaultdict(set)
    for row in rows:
        versions[_identity(row, set())].add(row["library_version"])
    return {identity for identity, found in versions.items() if len(found) > 1}


def _identity(row: Row, by_version: set[Identity]) -> Identity:
    identity = (row["library"], *(row[name] for name in _SETTING))
    return (*identity, row["library_version"]) if identity in by_version else identity


def _by_identity(rows: Sequence[Row], by_version: set[Identity]) -> dict[Identity, Row]:
    newest_last = sorted(rows, key=lambda row: row["measured_at"])
    return {_identity(row, by_version): row for row in newest_last}


def _judge(
    one: Row, two: Row, first: Side, second: Side, threshold: float, flagged: bool
) -> Verdict:
    reason = _obstacle(one, flagged, first.name) or _obstacle(two, flagged, second.name)
    same_store = first.warehouse == second.warehouse
    # A copy of a warehouse holds the same results; another measurement of the same cell is of another time.
    same_time = same_store or one["measured_at"] == two["measured_at"]
    if same_time and one["key"] == two["key"]:
        reason = reason or "the same result on both sides"
    reason = reason or _changed(one, two)
    ratio, paired = Ratio(None, None, None, 0), None
    is_broken = one["status"] == "ok" and two["status"] in _BROKEN and not _changed(one, two)
    if reason is None:
        measured = first.launches.get(one["key"]), second.launches.get(two["key"])
        if measured[0] is None or measured[1] is None:
            reason = "the samples of one of them are gone"
        else:
            ratio, paired = ratio_of(measured[0], measured[1], same_store)
            reason = _undecided(ratio, threshold)
    return Verdict(
        cell={"library": one["library"], **{name: one[name] for name in _SETTING},
              "versions": [one["library_version"], two["library_version"]]},
        verdict=BROKEN if is_broken else _verdict(ratio) if reason is None else NOT_COMPARABLE,
        reason=reason,
        first_ms=one["latency_ms"],
        second_ms=two["latency_ms"],
        ratio=ratio.ratio,
        low=ratio.low,
        high=ratio.high,
        is_paired=paired,
    )  # fmt: skip


def _obstacle(row: Row, flagged: bool, side: str) -> str | None:
    if row["status"] != "ok":
        reason = f": {row['reason']}" if row["reason"] else ""
        return f"{row['status']} in {side}{reason}"
    if row["emulated"]:
        return f"emulated in {side}"
    if row["latency_ms"] is None:
        return f"no latency in {side}"
    if not flagged and doubts(row):
        return f"flagged in {side}: {', '.join(doubts(row))}"
    return None


def _changed(one: Row, two: Row) -> str | None:
    changed = [
        _WORDS[name] for name in _MUST_AGREE if one["causes"].get(name) != two["causes"].get(name)
    ]
    return "; ".join(changed) or None


def _undecided(ratio: Ratio, threshold: float) -> str | None:
    if ratio.low is None or ratio.high is None:
        return "too few launches for an interval"
    if ratio.low <= 1 <= ratio.high and not (
        1 - threshold <= ratio.low and ratio.high <= 1 + threshold
    ):
        return (
            f"the interval of the ratio, {ratio.low:.3f} to {ratio.high:.3f}, is too wide to tell "
            f"{100 * threshold:g} %"
        )
    return None


def _verdict(ratio: Ratio) -> str:
    assert ratio.low is not None and ratio.high is not None
    if ratio.low > 1:
        return SLOWER
    return FASTER if ratio.high < 1 else SAME
