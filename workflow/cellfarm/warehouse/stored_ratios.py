"""The latency ratios of cells that may be compared, with their intervals.

Two cells of an experiment were launched in the same rounds: their ratio is taken round by round, so that
disturbances of both cancel. Cells of different experiments are compared through the calibration load
that ran before every launch.
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
    """The measuring launches of a cell, by session and round: a series with the median of the warm
    samples in ms as its single value; and the calibration readings.

    A session is a process of the experiment. After an interruption, another session may do a round for
    one cell that an earlier session did for the other: such launches were not measured together.
    """

    experiment: str
    by_round: dict[tuple[str, int], list[float]] = field(default_factory=dict)
    calibration_ms: list[float] = field(default_factory=list)


def ratio_rows(
    connection: duckdb.DuckDBPyConnection, known: set[tuple[str, str]]
) -> Iterator[dict[str, Any]]:
    """Rows of `cell_ratios` for the pairs that are not known yet: pairs of current cells, and pairs that
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


def ratio_of(first: Measured, second: Measured, same_store: bool = True) -> tuple[Ratio, bool]:
    """The latency of the second over that of the first, and whether they were measured together.

    Args:
        same_store: both come from the same store; experiments of different stores are different,
            whatever their names.
    """
    same_experiment = same_store and first.experiment == second.experiment
    if same_experiment and first.by_round.keys() & second.by_round.keys():
        return paired_ratio(first.by_round, second.by_round), True
    scaled = bool(first.calibration_ms and second.calibration_ms)
    ratio = unpaired_ratio(
        list(first.by_round.values()),
        list(second.by_round.values()),
        first.calibration_ms if scaled else None,
        second.calibration_ms if scaled else None,
    )
    return ratio, False


def _timed(connection: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """The results with a latency, and the keys of their cells; makes the view `timed` of them."""
    columns = ", ".join(COMPARISON_COLUMNS)
    connection.execute(f"""
        CREATE OR REPLACE TEMP VIEW timed AS
        SELECT r.result, k.key, r.experiment, k.is_current, {columns}
        FROM results r JOIN result_keys k USING (path)
        WHERE NOT superseded AND status = 'ok' AND latency_ms IS NOT NULL
    """)
    return dict(connection.execute("SELECT result, key FROM timed").fetchall())


def _pairs(connection: duckdb.DuckDBPyConnection) -> Iterator[tuple[str, str]]:
    """Pairs of results that may be compared, the smaller key first."""
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
    """The measuring launches of the cells with these keys; cells without any are left out."""
    launches: dict[str, Measured] = {}
    if not keys:
        return launches
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
        measured = launches.setdefault(key, Measured(experiment))
        measured.by_round[session, number] = [median_ms]
        if calibration_ms:
            measured.calibration_ms.append(calibration_ms)
    return launches
