"""What a cell's page shows beside its numbers: raw samples, launches, conditions, environment.

DuckDB aggregates it: 10,000 cells and 1,000,000 samples become some megabytes.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import duckdb
import numpy as np

Cell = dict[str, Any]

#: The most samples of a cell that its plot has room for.
MAX_POINTS_PER_CELL = 1_000
#: The most samples in the page; the warehouse and the Parquet files have all.
MAX_POINTS = 1_500_000
#: The least samples of a cell in the page, however many cells there are.
MIN_POINTS_PER_CELL = 20
#: Bits of a float's 23 that are dropped: the rest is exact to 1 part in 16,000, and compresses well.
_DROPPED_BITS = 10
#: Phases that the page shows, in the order of time.
PHASES = ("first", "warmup", "warm")
#: Columns of a launch, in this order. `started_s` is in s since 1970, the median and the calibration
#: load in ms.
LAUNCH_COLUMNS = (
    *("launch", "mode", "status", "started_s", "median_ms", "warmup_iterations", "outliers"),
    *("steady_state", "calibration_ms", "waited_s", "flags"),
)


@dataclass(frozen=True, slots=True)
class Details:
    """Details of cells, in the order of the request; a cell without any has an empty list.

    `ms` has the raw samples of all cells one after the other (float32), rounded to 1 part in 16,000.
    `series` has per cell [launch, numbers of first, warm-up and warm samples]. Every nth sample of a
    launch's phase is included: `steps` has n, `counts` the number of all samples. `launches` are rows of
    LAUNCH_COLUMNS, `conditions` rows of (metric, unit, least, median, most, readings). `environment` is
    the position in `environments`, the facts of the devices at the time.
    """

    ms: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    series: list[list[list[int]]] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    launches: list[list[list[Any]]] = field(default_factory=list)
    conditions: list[list[list[Any]]] = field(default_factory=list)
    environment: list[int | None] = field(default_factory=list)
    environments: list[Any] = field(default_factory=list)
    causes: dict[str, list[str | None]] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """All but the samples."""
        names = (
            "series", "steps", "counts", "launches", "conditions", "environment", "environments",
            "causes",
        )  # fmt: skip
        return {name: getattr(self, name) for name in names} | {"launch_columns": LAUNCH_COLUMNS}


def read(connection: duckdb.DuckDBPyConnection, cells: Sequence[Cell]) -> Details:
    """The details of current cells."""
    places = {cell["key"]: place for place, cell in enumerate(cells)}
    steps, counts, series, ms = _samples(connection, places)
    environment, environments, causes = _environments(connection, places)
    return Details(
        ms=ms,
        series=series,
        steps=steps,
        counts=counts,
        launches=_grouped(connection, _LAUNCHES, places),
        conditions=_grouped(connection, _CONDITIONS, places),
        environment=environment,
        environments=environments,
        causes=causes,
    )


def _samples(
    connection: duckdb.DuckDBPyConnection, places: dict[str, int]
) -> tuple[list[int], list[int], list[list[list[int]]], np.ndarray]:
    """Steps, counts, series and samples of Details."""
    limit = MAX_POINTS // max(1, len(places))
    limit = max(MIN_POINTS_PER_CELL, min(MAX_POINTS_PER_CELL, limit))
    connection.execute(_PLACES, [list(places)])
    connection.execute(_THINNED.format(limit=limit))
    try:
        steps, counts = [1] * len(places), [0] * len(places)
        rows = connection.execute(
            "SELECT place, any_value(step), sum(count) FROM thinned GROUP BY place"
        )
        for place, step, count in rows.fetchall():
            steps[place], counts[place] = step, int(count)
        series: list[list[list[int]]] = [[] for _ in places]
        for place, *numbers in connection.execute(_SERIES).fetchall():
            series[place].append(numbers)
        values = connection.execute(_VALUES).fetchnumpy()["ms"]
    finally:
        connection.execute("DROP TABLE IF EXISTS thinned; DROP TABLE places")
    ms = np.ma.filled(values.astype(np.float32), np.nan)
    return steps, counts, series, _rounded(ms)


def _rounded(values: np.ndarray) -> np.ndarray:
    """Values [n] rounded to fewer bits."""
    bits = values.astype(np.float32).view(np.uint32)
    half = np.uint32(1 << (_DROPPED_BITS - 1))
    mask = np.uint32(0xFFFFFFFF ^ ((1 << _DROPPED_BITS) - 1))
    return np.where(np.isfinite(values), ((bits + half) & mask).view(np.float32), values)


def _grouped(
    connection: duckdb.DuckDBPyConnection, query: str, places: dict[str, int]
) -> list[list[list[Any]]]:
    """Rows of a query by cell; its first column is the key."""
    grouped: list[list[list[Any]]] = [[] for _ in places]
    for key, *row in connection.execute(query).fetchall():
        if key in places:
            grouped[places[key]].append(row)
    return grouped


def _environments(
    connection: duckdb.DuckDBPyConnection, places: dict[str, int]
) -> tuple[list[int | None], list[Any], dict[str, list[str | None]]]:
    distinct: dict[str, int] = {}
    environment: list[int | None] = [None] * len(places)
    causes: dict[str, list[str | None]] = defaultdict(lambda: [None] * len(places))
    for key, facts, digests in connection.execute(_ENVIRONMENTS).fetchall():
        if facts is not None:
            environment[places[key]] = distinct.setdefault(facts, len(distinct))
        for name, value in json.loads(digests or "{}").items():
            causes[name][places[key]] = value
    return environment, [json.loads(text) for text in distinct], dict(causes)


_PLACES = """
    CREATE TEMP TABLE places AS
    SELECT unnest($1::VARCHAR[]) AS key, unnest(range(len($1::VARCHAR[]))) AS place
"""
# Not the view `samples`: it unnests long series before any sample is left out.
_THINNED = f"""
    CREATE TEMP TABLE thinned AS
    WITH known AS (
        SELECT p.place, s.launch + k.first_launch AS launch,
               list_position({list(PHASES)}, s.phase) AS phase, s.ms
        FROM series s JOIN result_keys k USING (path) JOIN places p USING (key)
        WHERE k.is_current AND s.phase IN {PHASES}
    ), counted AS (
        SELECT place, ceil(sum(len(ms)) / {{limit}})::INTEGER AS step FROM known GROUP BY place
    )
    SELECT place, launch, phase, step, len(ms) AS count, ms[1:len(ms):step] AS ms
    FROM known JOIN counted USING (place) ORDER BY place, launch, phase
"""
_SERIES = """
    SELECT place, launch, coalesce(sum(len(ms)) FILTER (phase = 1), 0)::INTEGER,
           coalesce(sum(len(ms)) FILTER (phase = 2), 0)::INTEGER,
           coalesce(sum(len(ms)) FILTER (phase = 3), 0)::INTEGER
    FROM thinned GROUP BY place, launch ORDER BY place, launch
"""
_VALUES = "SELECT unnest(ms) AS ms FROM (FROM thinned ORDER BY place, launch, phase)"
_LAUNCHES = """
    SELECT key, launch, mode, status, epoch(started_at)::BIGINT, round(median_ms, 4),
           warmup_iterations, outliers, steady_state, round(calibration_compute_ms, 4),
           round(waited_s, 1), array_to_string(flags, ', ')
    FROM launches SEMI JOIN cells USING (key) WHERE NOT superseded ORDER BY key, launch
"""
# What the sampler read and counted while launches ran. The gate's readings are shown with the launches,
# and means add nothing to medians.
_CONDITIONS = """
    WITH readings AS (
        SELECT k.key, c.metric, c.unit, unnest(c.value) AS value
        FROM condition_series c JOIN result_keys k USING (path)
        WHERE k.is_current AND NOT regexp_matches(c.metric, '^(before|after|mean|calibration)_')
    )
    SELECT key, metric, any_value(unit), round(min(value), 4), round(median(value), 4),
           round(max(value), 4), count(value)
    FROM readings GROUP BY key, metric HAVING count(value) > 0 ORDER BY key, metric
"""
_ENVIRONMENTS = """
    SELECT key, CAST(device_facts AS VARCHAR), CAST(causes AS VARCHAR) FROM cells ORDER BY key
"""
