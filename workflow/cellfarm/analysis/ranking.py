"""Which library is fastest where, and whether the measurements can tell.

Pure: rows (mappings with the columns of the warehouse's `cells` view) in, rankings out.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Row = Mapping[str, Any]

#: Columns whose values must agree for two results to be comparable. The protocol is one of them:
#: a burst and a sustained latency answer different questions.
COMPARISON_COLUMNS = ("model", "device", "variant", "processor", "threads", "protocol")


@dataclass(frozen=True, slots=True)
class Entry:
    """One library's place in a comparison.

    Latencies in milliseconds; `low_ms` and `high_ms` bound the 95 % interval, None when unknown.
    `ratio_to_best` is 1.0 for the fastest and 2.0 for one that takes twice as long.
    """

    library: str
    latency_ms: float
    low_ms: float | None
    high_ms: float | None
    ratio_to_best: float
    library_version: str | None = None

    @property
    def has_interval(self) -> bool:
        return self.low_ms is not None and self.high_ms is not None


@dataclass(frozen=True, slots=True)
class Ranking:
    """The libraries that ran one model in one setting, fastest first.

    `winners` holds the fastest library and all those whose 95 % intervals overlap its own; more
    than one is a tie. `margin` is how much longer the second takes than the first, as a fraction
    (0.25 = 25 %), None with a single entry. `decided` is False where the first or the second has
    no interval: then there is a fastest number, but no claim.
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

    @property
    def best(self) -> Entry:
        return self.entries[0]

    @property
    def worst(self) -> Entry:
        return self.entries[-1]

    @property
    def is_comparison(self) -> bool:
        """Whether there is anybody to win against."""
        return len(self.entries) > 1

    @property
    def is_tie(self) -> bool:
        return len(self.winners) > 1

    @property
    def sole_winner(self) -> str | None:
        """The library that beat the others beyond doubt, or None."""
        if self.is_comparison and self.decided and not self.is_tie:
            return self.winners[0]
        return None


def ranks(row: Row) -> bool:
    """Whether a result may be compared: correct, measured on real hardware, and not flagged."""
    return (
        row.get("status") == "ok"
        and not row.get("emulated")
        and not row.get("flags")
        and _positive(row.get("latency_ms")) is not None
    )


def library_labels(rows: Iterable[Row]) -> dict[tuple[str, str | None], str]:
    """(library, version) -> the name to print: the version joins it only where several occur."""
    versions: dict[str, set[str | None]] = defaultdict(set)
    for row in rows:
        versions[str(row["library"])].add(row.get("library_version"))
    return {
        (library, version): library if len(found) == 1 else f"{library} {version or '?'}"
        for library, found in versions.items()
        for version in found
    }


def rank(rows: Iterable[Row]) -> list[Ranking]:
    """Rank the libraries of every comparison that has at least one result that ranks.

    Rows that do not rank (see `ranks`) are left out. Sorted by the comparison's columns.
    """
    rows = list(rows)
    labels = library_labels(rows)
    groups: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in rows:
        if ranks(row):
            groups[tuple(row.get(column) for column in COMPARISON_COLUMNS)].append(row)
    return [
        _rank_group(group, found, labels)
        for group, found in sorted(groups.items(), key=lambda item: _sortable(item[0]))
    ]


def _rank_group(
    group: tuple[Any, ...], rows: list[Row], labels: Mapping[tuple[str, str | None], str]
) -> Ranking:
    # The name breaks the order of equal latencies, so that the same table ranks the same twice.
    rows = sorted(rows, key=lambda row: (row["latency_ms"], str(row["library"])))
    best_ms = float(rows[0]["latency_ms"])
    entries = tuple(
        Entry(
            library=labels[(str(row["library"]), row.get("library_version"))],
            library_version=row.get("library_version"),
            latency_ms=float(row["latency_ms"]),
            low_ms=_positive(row.get("latency_ci_low_ms")),
            high_ms=_positive(row.get("latency_ci_high_ms")),
            ratio_to_best=float(row["latency_ms"]) / best_ms,
        )
        for row in rows
    )
    best = entries[0]
    tied = (entry.library for entry in entries[1:] if _overlap(best, entry))
    place: dict[str, Any] = dict(zip(COMPARISON_COLUMNS, group, strict=True))
    return Ranking(
        **place,
        entries=entries,
        winners=(best.library, *tied),
        margin=entries[1].ratio_to_best - 1.0 if len(entries) > 1 else None,
        decided=all(entry.has_interval for entry in entries[:2]),
    )


def _overlap(left: Entry, right: Entry) -> bool:
    if left.low_ms is None or left.high_ms is None:
        return False
    if right.low_ms is None or right.high_ms is None:
        return False
    return left.low_ms <= right.high_ms and right.low_ms <= left.high_ms


def _positive(value: Any) -> float | None:
    """A usable number of milliseconds, or None: NaN, infinity and zero are not measurements."""
    if value is None or not math.isfinite(value) or value <= 0:
        return None
    return float(value)


def _sortable(values: tuple[Any, ...]) -> tuple[tuple[bool, Any], ...]:
    return tuple((value is None, "" if value is None else value) for value in values)
