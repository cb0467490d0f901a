"""The ratios of cells that may be compared, each with an interval of its own.

Two cells of one experiment were launched in the same rounds: their ratio is taken round by round, so
that what slowed both cancels. Cells of different experiments are comparable only through the
calibration load that ran before every launch.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import duckdb

from ..analysis.ranking import COMPARISON_COLUMNS
from ..analysis.ratios import Ratio, paired_ratio, unpaired_ratio


@dataclass
class Measured:
    """The measuring launches of a cell, by session and round: the median of each one's warm samples in ms,
    as the one value of its series, and the calibration readings.

    A session is a process of the experiment. One that goes on after an interruption, perhaps days later, may
    do rounds for one cell that another did before it: those were not together.
    """

    experiment: str
    by_round: dict[tuple[str, int], list[float]] = field(default_factory=dict)
    calibration_ms: list[float] = field(default_factory=list)


def ratio_rows(
    connection: duckdb.DuckDBPyConnection, known: set[tuple[str, str]]
) -> Iterator[dict[str, Any]]:
    """Rows of `cell_ratios` for the pairs that are not known yet: of current cells, and of older ones that
    were measured together.

    `ratio` is the latency of `other_key` over that of `key`.
    """
    pairs = [pair for pair in _pairs(connection) if pair not in known]
    measured = measured_launches(connection, sorted({key for pair in pairs for key in pair}))
    for key, other in pairs:
        if key in measured and other in measured:
            one, two = measured[key], measured[other]
            ratio, paired = ratio_of(one, two)
            if ratio.ratio is None:
                continue
            yield {"key": key, "other_key": other, "ratio": ratio.ratio, "ratio_ci_low": ratio.low,
                   "ratio_ci_high": ratio.high, "rounds": ratio.rounds if paired else None,
                   "crosses_experiments": not paired}  # fmt: skip


def ratio_of(one: Measured, two: Measured, same_store: bool = True) -> tuple[Ratio, bool]:
    """The latency of the second over that of the first, and whether they were measured together.

    Args:
        same_store: both are of one store. In two of them experiments of one name are two.
    """
    is_one = same_store and one.experiment == two.experiment
    if is_one and one.by_round.keys() & two.by_round.keys():
        return paired_ratio(one.by_round, two.by_round), True
    scaled = bool(one.calibration_ms and two.calibration_ms)
    ratio = unpaired_ratio(
        list(one.by_round.values()),
        list(two.by_round.values()),
        one.calibration_ms if scaled else None,
        two.calibration_ms if scaled else None,
    )
    return ratio, False


def _pairs(connection: duckdb.DuckDBPyConnection) -> Iterator[tuple[str, str]]:
    """Keys of the cells that may be compared, the smaller first."""
    columns = ", ".join(COMPARISON_COLUMNS)
    connection.execute(f"""
        CREATE OR REPLACE TEMP VIEW measured AS
        SELECT key, experiment, is_current, {columns} FROM history
        WHERE NOT superseded AND status = 'ok' AND latency_ms IS NOT NULL
    """)
    current: dict[tuple[Any, ...], list[str]] = defaultdict(list)
    for key, *group in connection.execute(
        f"SELECT key, {columns} FROM measured WHERE is_current"
    ).fetchall():
        current[tuple(group)].append(key)
    for keys in current.values():
        yield from combinations(sorted(keys), 2)
    yield from connection.execute(f"""
        SELECT one.key, other.key
        FROM measured AS one JOIN measured AS other USING (experiment, {columns})
        WHERE one.key < other.key AND NOT (one.is_current AND other.is_current)
    """).fetchall()


def measured_launches(
    connection: duckdb.DuckDBPyConnection, keys: list[str]
) -> Mapping[str, Measured]:
    """The measuring launches of the results with these keys, as far as there are any."""
    found: dict[str, Measured] = {}
    if not keys:
        return found
    relation = connection.execute(
        """SELECT r.key, r.experiment, coalesce(l.session, ''), l.round,
                  l.calibration_compute_ms, l.median_ms
           FROM results r JOIN launch_facts l USING (path)
           WHERE NOT r.superseded AND l.median_ms IS NOT NULL
                 AND r.key IN (SELECT unnest(?::VARCHAR[]))
           ORDER BY r.key, l.launch""",
        [keys],
    )
    for key, experiment, session, number, calibration_ms, median_ms in relation.fetchall():
        one = found.setdefault(key, Measured(experiment))
        one.by_round[session, number] = [median_ms]
        if calibration_ms:
            one.calibration_ms.append(calibration_ms)
    return found
