"""Which library is fastest where, and whether the measurements can tell.

Pure: rows (mappings with the columns of the warehouse's `cells` view) in, rankings out.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .grouping import grouped

Row = Mapping[str, Any]

#: What each flag means. A flagged cell keeps its numbers and does not rank.
FLAG_MEANINGS = {
    "contended": "other programs used the processor before or during a launch",
    "drifted": "the calibration load took longer or shorter than this device's baseline",
    "hot": "a launch began too far above the device's temperature at rest",
    "low_battery": "a launch began with too little charge",
    "cold_disturbed": "a start with a cold page cache ran outside a gate; its figures alone",
    "noisy": "the launches are spent and the interval is still too wide",
    "operators_gap": "the operators' sum is over 15 % off; doubts the profile only",
    "throttled": "the clock fell, or the calibration load was slow",
    "ungated": "the device's state could not be read before a launch",
    "unpinned": "a launch did not run on the processors that it was to run on",
    "unsteady": "most launches slowed down or reached no steady state",
}
#: Flags that do not doubt the latency: a cell with one of them still ranks.
INFORMATIONAL_FLAGS = frozenset({"cold_disturbed", "operators_gap", "unsteady"})

#: Columns whose values must agree for two results to be comparable. The protocol is one of them:
#: a burst and a sustained latency answer different questions.
COMPARISON_COLUMNS = ("model", "device", "variant", "processor", "threads", "protocol")


@dataclass(frozen=True, slots=True)
class Entry:
    """One library's place in a comparison.

    Latencies in milliseconds; `low_ms` and `high_ms` bound the 95 % interval, None when unknown.
    `ratio_to_best` is 1.0 for the fastest and 2.0 for one that takes twice as long; `ratio_low`
    and `ratio_high` bound its 95 % interval, None when unknown and for the fastest itself.
    `crosses_experiments`: it was measured in another experiment than the fastest.
    `flags` are those for which it does not rank by default.
    """

    library: str
    latency_ms: float
    low_ms: float | None
    high_ms: float | None
    ratio_to_best: float
    library_version: str | None = None
    ratio_low: float | None = None
    ratio_high: float | None = None
    crosses_experiments: bool = False
    flags: tuple[str, ...] = ()

    @property
    def has_interval(self) -> bool:
        return self.low_ms is not None and self.high_ms is not None

    @property
    def has_ratio_interval(self) -> bool:
        return self.ratio_low is not None and self.ratio_high is not None


@dataclass(frozen=True, slots=True)
class Ranking:
    """The libraries that ran one model in one setting, fastest first.

    `winners` holds the fastest library and all that are not slower beyond doubt (see `is_slower`);
    more than one is a tie. `margin` is how much longer the second takes than the first, as a
    fraction (0.25 = 25 %), None with a single entry. `decided` is False where no interval bounds
    the second against the first, or a flagged result has a lower latency (`faster_flagged`, by
    library): then there is a fastest number, but no claim.
    """

    model: str
    device: str
    variant: str
    processor: str
    threads: int
    protocol: str | None
    entries: tuple[Entry, ...]
    winners: tuple[str, ...]
    margin: float | None
    decided: bool
    faster_flagged: tuple[str, ...] = ()

    @property
    def best(self) -> Entry:
        return self.entries[0]

    @property
    def worst(self) -> Entry:
        return self.entries[-1]

    @property
    def is_comparison(self) -> bool:
        """Whether there are at least two libraries."""
        return len(self.entries) > 1

    @property
    def times_best(self) -> dict[str, float]:
        """Library -> how many times as long it takes as the best, 1 or more.

        The best has the least ratio to the first entry: in a tie it is not always the first.
        """
        least = min(entry.ratio_to_best for entry in self.entries)
        return {entry.library: entry.ratio_to_best / least for entry in self.entries}

    @property
    def is_tie(self) -> bool:
        return len(self.winners) > 1

    @property
    def crosses_experiments(self) -> bool:
        """Whether any of the entries was measured in another experiment than the fastest."""
        return any(entry.crosses_experiments for entry in self.entries)

    @property
    def sole_winner(self) -> str | None:
        """The library that beat the others beyond doubt, or None."""
        if self.is_comparison and self.decided and not self.is_tie:
            return self.winners[0]
        return None


def doubts(row: Row) -> tuple[str, ...]:
    """The flags of a result that cast doubt on its latency."""
    return tuple(flag for flag in row.get("flags") or () if flag not in INFORMATIONAL_FLAGS)


def ranks(row: Row, flagged: bool = False) -> bool:
    """Whether a result may be compared: correct, measured on real hardware, and not flagged.

    Args:
        flagged: take flagged results too. Wrong and emulated ones never rank.
    """
    if row.get("status") != "ok" or row.get("emulated"):
        return False
    if not flagged and row.get("flags") and doubts(row):
        return False
    return _positive(row.get("latency_ms")) is not None


def count_flagged(rows: Iterable[Row]) -> int:
    """How many results would rank but for their flags."""
    return sum(bool(doubts(row)) and ranks(row, flagged=True) for row in rows)


def library_labels(rows: Iterable[Row]) -> dict[tuple[str, str | None], str]:
    """(library, version) -> the name to print: the version joins it only where several occur."""
    versions: dict[str, set[str | None]] = defaultdict(set)
    for row in rows:
        versions[str(row["library"])].add(row.get("library_version"))
    return {
        (library, version): library if len(known) == 1 else f"{library} {version or '?'}"
        for library, known in versions.items()
        for version in known
    }


def rank(rows: Iterable[Row], ratios: Iterable[Row] = (), flagged: bool = False) -> list[Ranking]:
    """Rank the libraries of every comparison that has at least one result that ranks.

    Rows that do not rank (see `ranks`) are left out. Sorted by the comparison's columns. The
    fastest has the lowest latency, unless a ratio says beyond doubt that another is faster, as
    happens across experiments; the others follow by their ratio to it.

    Args:
        rows: of the view `cells`.
        ratios: of the view `ratios`: `ratio` is the latency of `other_key` over that of `key`,
            bounded by `ratio_ci_low` and `ratio_ci_high`. Where a pair has none, latencies are
            divided and their intervals compared.
        flagged: rank flagged results too.
    """
    rows = list(rows)
    labels = library_labels(rows)
    by_pair = {(row["key"], row["other_key"]): row for row in ratios}
    groups = grouped((row for row in rows if ranks(row, flagged=True)), COMPARISON_COLUMNS)
    rankings = []
    for values, correct in sorted(groups.items(), key=lambda item: _sortable(item[0])):
        ranked = [row for row in correct if ranks(row, flagged)]
        doubted = [row for row in correct if not ranks(row, flagged)]
        if ranked:
            rankings.append(_rank_group(values, ranked, doubted, labels, by_pair))
    return rankings


def is_slower(best: Entry, entry: Entry) -> bool | None:
    """Whether an entry takes longer than the fastest beyond doubt, None without intervals.

    The interval of their ratio must be above 1; without a ratio their intervals must not overlap.
    """
    if entry.ratio_low is not None and entry.has_ratio_interval:
        return entry.ratio_low > 1.0
    if best.high_ms is None or entry.low_ms is None:
        return None
    return entry.low_ms > best.high_ms


_Ratios = Mapping[tuple[Any, Any], Row]


def _rank_group(
    values: tuple[Any, ...],
    rows: list[Row],
    doubted: list[Row],
    labels: Mapping[tuple[str, str | None], str],
    ratios: _Ratios,
) -> Ranking:
    best_row = _fastest(rows, ratios)
    others = [_entry(row, best_row, labels, ratios) for row in rows if row is not best_row]
    # The name orders equal latencies, so that the same table always ranks the same.
    others.sort(key=lambda entry: (entry.ratio_to_best, entry.library))
    best = _entry(best_row, best_row, labels, ratios)
    tied = (entry.library for entry in others if is_slower(best, entry) is False)
    faster = sorted(
        labels[str(row["library"]), row.get("library_version")]
        for row in doubted
        if row["latency_ms"] < best.latency_ms
    )
    bounded = is_slower(best, others[0]) is not None if others else best.has_interval
    setting: dict[str, Any] = dict(zip(COMPARISON_COLUMNS, values, strict=True))
    return Ranking(
        **setting,
        entries=(best, *others),
        winners=(best.library, *tied),
        margin=others[0].ratio_to_best - 1.0 if others else None,
        decided=bounded and not faster,
        faster_flagged=tuple(faster),
    )


def _fastest(rows: Sequence[Row], ratios: _Ratios) -> Row:
    """The row of the lowest latency, or one that a ratio says is faster than that beyond doubt."""
    first = min(rows, key=lambda row: (row["latency_ms"], str(row["library"])))
    faster = [
        (ratio["ratio"], str(row["library"]), position)
        for position, row in enumerate(rows)
        if (ratio := ratios.get((first.get("key"), row.get("key")))) is not None
        and (_positive(ratio["ratio_ci_high"]) or 1.0) < 1.0
    ]
    return rows[min(faster)[2]] if faster else first


def _entry(
    row: Row, best: Row, labels: Mapping[tuple[str, str | None], str], ratios: _Ratios
) -> Entry:
    ratio = ratios.get((best.get("key"), row.get("key"))) if row is not best else None
    value = _positive(ratio["ratio"]) if ratio else None
    return Entry(
        library=labels[(str(row["library"]), row.get("library_version"))],
        library_version=row.get("library_version"),
        latency_ms=float(row["latency_ms"]),
        low_ms=_positive(row.get("latency_ci_low_ms")),
        high_ms=_positive(row.get("latency_ci_high_ms")),
        ratio_to_best=value or float(row["latency_ms"]) / float(best["latency_ms"]),
        ratio_low=_positive(ratio["ratio_ci_low"]) if ratio and value else None,
        ratio_high=_positive(ratio["ratio_ci_high"]) if ratio and value else None,
        crosses_experiments=bool(ratio and ratio["crosses_experiments"]),
        flags=doubts(row),
    )


def _positive(value: Any) -> float | None:
    """A usable number of milliseconds, or None: NaN, infinity and zero are not measurements."""
    if value is None or not math.isfinite(value) or value <= 0:
        return None
    return float(value)


def _sortable(values: tuple[Any, ...]) -> tuple[tuple[bool, Any], ...]:
    return tuple((value is None, "" if value is None else value) for value in values)
