"""What the page needs of launches, operators and conditions; DuckDB aggregates it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import duckdb

Cell = dict[str, Any]

#: Columns that `add_to` gives every cell; None if unknown.
COLUMNS = (
    *("waited_s", "outliers", "temperature_low_c", "temperature_high_c", "temperature_zone"),
    *("operators", "rate_s", "rate_per_s"),
)
#: The most points of a chart.
MAX_POINTS = 400
#: A longer gap between launches separates runs of the pipeline.
SESSION_GAP_S = 1800
#: The least length and number of inferences of a window in which throughput is counted.
WINDOW_S = 5
WINDOW_INFERENCES = 20


@dataclass(frozen=True, slots=True)
class Calibration:
    """The calibration load before the launches on a device, in the order of time.

    A point is a launch, or several if there are many: (number of the first launch, time as text,
    threads, median and maximum as factors of the median of all launches with as many threads, median
    in ms, launches). `sessions` are (number of the first launch, time as text).
    """

    points: list[tuple[int, str, int, float, float, float, int]]
    sessions: list[tuple[int, str]]
    launches: int


#: Raw samples of current results, one per row. Not the view `samples`, which goes through a series once
#: per sample.
SERIES = """
    SELECT k.key, s.launch + k.first_launch AS launch, s.phase,
           unnest(range(len(s.ms))) AS iteration, unnest(s.ms) AS ms
    FROM series s JOIN results r USING (path) JOIN result_keys k USING (path) WHERE k.is_current
"""


def add_to(connection: duckdb.DuckDBPyConnection, cells: Sequence[Cell]) -> None:
    """Give each cell COLUMNS.

    `waited_s` is how long the gates of all launches waited, `outliers` the number of warm samples
    labelled as outliers; `temperature_low_c` and `temperature_high_c` bound the readings of the
    hottest zone, `temperature_zone`; `operators` maps a type of operators to its time in ms (for the
    cells with the fewest threads among the profiled ones of their comparison); `rate_per_s` is the
    throughput at the times `rate_s`, in s since the first inference of a launch.
    """
    by_key: dict[str, Cell] = {}
    for cell in cells:
        cell |= dict.fromkeys(COLUMNS)
        by_key[cell["key"]] = cell
    for key, waited_s, outliers in _rows(connection, _LAUNCHES):
        by_key[key] |= {"waited_s": waited_s, "outliers": outliers}
    for key, zone, low_c, high_c in _rows(connection, _TEMPERATURES):
        by_key[key] |= {
            "temperature_zone": zone,
            "temperature_low_c": low_c,
            "temperature_high_c": high_c,
        }
    for key, kind, ms in _rows(connection, _OPERATORS):
        cell = by_key[key]
        cell["operators"] = (cell["operators"] or {}) | {kind: ms}
    for key, times_s, rates_per_s in _rows(connection, _THROUGHPUT):
        by_key[key] |= {"rate_s": times_s, "rate_per_s": rates_per_s}


def calibration(connection: duckdb.DuckDBPyConnection) -> dict[str, Calibration]:
    """The calibration load over time, by device; devices without a reading are left out."""
    by_device = {}
    rows = _rows(connection, _CALIBRATION)
    for device, group in itertools.groupby(rows, key=lambda row: row[0]):
        points, launches = [], 0
        sessions: dict[int, tuple[int, str]] = {}
        for _, session, first, start_s, threads, middle, most, ms, count in group:
            moment = _moment(start_s)
            sessions.setdefault(session, (first, moment))
            points.append((first, moment, threads, middle, most, ms, count))
            launches += count
        by_device[device] = Calibration(points, list(sessions.values()), launches)
    return by_device


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, tz=UTC).strftime("%Y-%m-%d %H:%M UTC")


def _rows(connection: duckdb.DuckDBPyConnection, query: str) -> list[tuple[Any, ...]]:
    return connection.execute(query).fetchall()


_LAUNCHES = """
    SELECT key, sum(waited_s), sum(outliers)
    FROM launches SEMI JOIN cells USING (key) WHERE NOT superseded GROUP BY key
"""
# Not the view `conditions`, which unnests every reading.
_TEMPERATURES = """
    WITH zones AS (
        SELECT k.key, regexp_extract(s.metric, 'temperature_(.+)_c$', 1) AS zone,
               min(list_min(s.value)) AS low, max(list_max(s.value)) AS high
        FROM condition_series s JOIN results USING (path) JOIN result_keys k USING (path)
        WHERE k.is_current AND regexp_matches(s.metric, 'temperature_.+_c$')
        GROUP BY ALL
    )
    SELECT key, arg_max(zone, high), arg_max(low, high), max(high) FROM zones
    WHERE high IS NOT NULL GROUP BY key
"""
_OPERATORS = """
    WITH chosen AS (
        SELECT key FROM cells WHERE operators_sum_ms IS NOT NULL
        QUALIFY threads = min(threads) OVER (
            PARTITION BY model, device, variant, processor, protocol
        )
    )
    SELECT key, coalesce(type, library_type, 'Other'), sum(ms)
    FROM operators SEMI JOIN chosen USING (key) WHERE NOT superseded
    GROUP BY ALL ORDER BY ALL
"""
_THROUGHPUT = f"""
    WITH ends AS (
        SELECT key, launch, ms,
               sum(ms) OVER (
                   PARTITION BY key, launch ORDER BY phase = 'warm', iteration
               ) / 1000 AS at_s
        FROM ({SERIES} AND r.throughput_burst_per_s IS NOT NULL)
        WHERE phase IN ('warmup', 'warm')
    ), windows AS (
        SELECT key, greatest(
            {WINDOW_S}, {WINDOW_INFERENCES} * median(ms) / 1000, max(at_s) / {MAX_POINTS} * 4
        ) AS width_s
        FROM ends GROUP BY key
    ), counted AS (
        SELECT key, launch, floor(at_s / width_s) AS number, count(*) / any_value(width_s) AS per_s,
               any_value(width_s) AS width_s
        FROM ends JOIN windows USING (key) GROUP BY key, launch, floor(at_s / width_s)
        -- the last window is not whole
        QUALIFY number < max(number) OVER (PARTITION BY key, launch)
    ), rates AS (
        SELECT key, (number + 0.5) * any_value(width_s) AS at_s, median(per_s) AS per_s
        FROM counted GROUP BY key, number
    )
    SELECT key, list(at_s ORDER BY at_s), list(per_s ORDER BY at_s) FROM rates GROUP BY key
"""
_CALIBRATION = f"""
    WITH read AS (
        SELECT c.device, c.threads, epoch(l.started_at) AS at_s, l.calibration_compute_ms AS ms
        FROM launches l JOIN cells c USING (key)
        WHERE NOT l.superseded AND l.calibration_compute_ms > 0 AND l.started_at IS NOT NULL
    ), paused AS (
        SELECT *, ms / median(ms) OVER (PARTITION BY device, threads) AS factor,
               row_number() OVER in_time - 1 AS number,
               at_s - lag(at_s) OVER in_time > {SESSION_GAP_S} AS pause,
               ceil(count(*) OVER (PARTITION BY device) / {MAX_POINTS}) AS step
        FROM read WINDOW in_time AS (PARTITION BY device ORDER BY at_s)
    ), placed AS (
        SELECT *, count(*) FILTER (pause) OVER (PARTITION BY device ORDER BY number) AS session
        FROM paused
    )
    SELECT device, session, min(number) AS first, min(at_s), threads, median(factor), max(factor),
           median(ms), count(*)
    FROM placed GROUP BY device, session, threads, floor(number / step) ORDER BY device, first
"""
