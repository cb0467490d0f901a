"""Verdicts on pairs of cells. Pure.

Cells that were measured together are compared round by round, others through the calibration load of their
experiments (see cellfarm.analysis.ratios).
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
#: The worst first.
VERDICTS = (BROKEN, SLOWER, FASTER, SAME, NOT_COMPARABLE)
_BROKEN = ("unsupported", "failed", "wrong", "timeout")
#: What two comparable results must share, and what to say where they do not.
_MUST_AGREE = ("model", "device", "protocol", "runner", "measure")
_WORDS = CAUSES | {
    "runner": "the runner's code changed",  # in results older than the keys of measures
    "measure": "the measure (its code or its settings) changed",
}
_SETTING = ("model", "variant", "device", "processor", "threads", "protocol")


@dataclass(frozen=True)
class Verdict:
    """One cell on both sides; `ratio` is the second's latency over the first's.

    `verdict` is of the second side: broken where only the first has a correct output, slower where the
    whole 95 % interval lies above 1, faster where it lies below, same where it lies within the threshold
    of 1, and otherwise not comparable, with the reason.
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
    """All pairs of two sides, and the cells that only one side has.

    `missing` counts, for each side, the requested cells without a result.
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
        return [verdict for verdict in self.verdicts if verdict.is_regression(self.threshold)]

    @property
    def counts(self) -> dict[str, int]:
        counts = Counter(verdict.verdict for verdict in self.verdicts)
        return {name: counts[name] for name in VERDICTS}


def compare_sides(first: Side, second: Side, threshold: float, flagged: bool = False) -> Comparison:
    """Pair the cells of two sides and judge each.

    Args:
        threshold: of the ratio's distance from 1, such as 0.05.
        flagged: take flagged cells too. Wrong and emulated ones are never compared.
    """
    by_version = _of_several_versions(first.rows) | _of_several_versions(second.rows)
    before, after = (_by_identity(side.rows, by_version) for side in (first, second))
    verdicts = [
        _judge(before[identity], after[identity], first, second, threshold, flagged)
        for identity in sorted(before.keys() & after.keys(), key=str)
    ]
    only_first = [row for identity, row in before.items() if identity not in after]
    only_second = [row for identity, row in after.items() if identity not in before]
    missing = {side.name: side.missing for side in (first, second) if side.missing}
    return Comparison(
        first.name, second.name, threshold, verdicts, only_first, only_second, missing
    )


Identity = tuple[Any, ...]


def _of_several_versions(rows: Iterable[Row]) -> set[Identity]:
    """The cells, without a version, of which a side has several versions."""
    versions: dict[Identity, set[str]] = defaultdict(set)
    for row in rows:
        versions[_identity(row, set())].add(row["library_version"])
    return {identity for identity, known in versions.items() if len(known) > 1}


def _identity(row: Row, by_version: set[Identity]) -> Identity:
    identity = (row["library"], *(row[name] for name in _SETTING))
    return (*identity, row["library_version"]) if identity in by_version else identity


def _by_identity(rows: Sequence[Row], by_version: set[Identity]) -> dict[Identity, Row]:
    newest_last = sorted(rows, key=lambda row: row["measured_at"])
    return {_identity(row, by_version): row for row in newest_last}


def _judge(
    before: Row, after: Row, first: Side, second: Side, threshold: float, flagged: bool
) -> Verdict:
    reason = _obstacle(before, flagged, first.name) or _obstacle(after, flagged, second.name)
    same_store = first.warehouse == second.warehouse
    # A copy of a warehouse holds the same results; measured again, a cell has another time.
    same_time = same_store or before["measured_at"] == after["measured_at"]
    if same_time and before["key"] == after["key"]:
        reason = reason or "the same result on both sides"
    changed = _changed(before, after)
    reason = reason or changed
    ratio, paired = Ratio(None, None, None, 0), None
    is_broken = before["status"] == "ok" and after["status"] in _BROKEN and not changed
    if reason is None:
        launches = first.launches.get(before["key"]), second.launches.get(after["key"])
        if launches[0] is None or launches[1] is None:
            reason = "the samples of one of them are gone"
        else:
            ratio, paired = ratio_of(launches[0], launches[1], same_store)
            reason = _undecided(ratio, threshold)
    return Verdict(
        cell={"library": before["library"], **{name: before[name] for name in _SETTING},
              "versions": [before["library_version"], after["library_version"]]},
        verdict=BROKEN if is_broken else _verdict(ratio) if reason is None else NOT_COMPARABLE,
        reason=reason,
        first_ms=before["latency_ms"],
        second_ms=after["latency_ms"],
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


def _changed(before: Row, after: Row) -> str | None:
    old, new = before["causes"], after["causes"]
    return "; ".join(_WORDS[name] for name in _MUST_AGREE if old.get(name) != new.get(name)) or None


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
