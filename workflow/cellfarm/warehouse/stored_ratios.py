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

    `ratio` is the latency of `other_result` over that of `result`.

    Args:
        known: pairs of results.
    """
    keys = _timed(connection)
    pairs = [pair for pair in _pairs(connection) if pair not in known]
    measured = measured_launches(
        connection, sorted({keys[result] for pair in pairs for result in pair})
    )
    for first, second in pairs:
        if keys[first] in measured and keys[second] in measured:
            ratio, paired = ratio_of(measured[keys[first]], measured[keys[second]])
            if ratio.ratio is None:
                continue
            yield {"result": first, "other_result": second, "ratio": ratio.ratio,
                   "ratio_ci_low": ratio.low, "ratio_ci_high": ratio.high,
                   "rounds": ratio.rounds if paired else None,
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


def _timed(connection: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """The results that a latency comes from, with the keys that they stand under; leaves a view of them."""
    columns = ", ".join(COMPARISON_COLUMNS)
    connection.execute(f"""
        CREATE OR REPLACE TEMP VIEW timed AS
        SELECT r.result, k.key, r.experiment, k.is_current, {columns}
        FROM results r JOIN result_keys k USING (path)
        WHERE NOT superseded AND status = 'ok' AND latency_ms IS NOT NULL
    """)
    return dict(connection.execute("SELECT result, key FROM timed").fetchall())


def _pairs(connection: duckdb.DuckDBPyConnection) -> Iterator[tuple[str, str]]:
    """Results of cells that may be compared, the smaller first."""
    columns = ", ".join(COMPARISON_COLUMNS)
    current: dict[tuple[Any, ...], list[str]] = defaultdict(list)
    for result, *group in connection.execute(
        f"SELECT result, {columns} FROM timed WHERE is_current"
    ).fetchall():
        current[tuple(group)].append(result)
    for results in current.values():
        yield from combinations(sorted(results), 2)
    yield from connection.execute(f"""
        SELECT first.result, second.result
        FROM timed AS first JOIN timed AS second USING (experiment, {columns})
        WHERE first.result < second.result AND NOT (first.is_current AND second.is_current)
    """).fetchall()


def measured_launches(
    connection: duckdb.DuckDBPyConnection, keys: list[str]
) -> Mapping[str, Measured]:
    """The measuring launches of the cells with these keys, as far as there are any."""
    found: dict[str, Measured] = {}
    if not keys:
        return found
    relation = connection.execute(
        """SELECT k.key, r.experiment, coalesce(l.session, ''), l.round,
                  l.calibration_compute_ms, l.median_ms
           FROM results r JOIN result_keys k USING (path) JOIN launch_facts l USING (path)
           WHERE NOT r.superseded AND l.median_ms IS NOT NULL
                 AND k.key IN (SELECT unnest(?::VARCHAR[]))
           ORDER BY k.key, l.launch""",
        [keys],
    )
    for key, experiment, session, number, calibration_ms, median_ms in relation.fetchall():
        one = found.setdefault(key, Measured(experiment))
        one.by_round[session, number] = [median_ms]
        if calibration_ms:
            one.calibration_ms.append(calibration_ms)
    return found
