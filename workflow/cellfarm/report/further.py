"""What the page says beyond single cells: operators across libraries, the roofline, versions over time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb

from cellfarm.analysis.longitudinal import all_series
from cellfarm.analysis.roofline import Roof, Size, spots
from cellfarm.libraries import released
from cellfarm.report import compute, potential, version_tables
from cellfarm.report.answers import Table
from cellfarm.report.panels import Arrangement
from cellfarm.warehouse.reading import history, operators


def further(
    warehouse: Path, arrangement: Arrangement
) -> tuple[list[Table], dict[str, dict[str, Any]]]:
    """Tables for the page (see cellfarm.report.answers), and specifications of figures by name.

    Raises:
        duckdb.Error: the warehouse cannot be read.
    """
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        if not _has(connection, "models"):
            return [], {}  # of an older version
        series = all_series(history(connection), released())
        keys = [cell["key"] for cell in arrangement.cells]
        keys += [point.key for each in series for point in each.points]
        profiles = operators(connection, keys)
        sizes, roofs = _sizes(connection), read_roofs(connection)
        ids = dict(connection.execute("SELECT key, causes->>'model' FROM cells").fetchall())
    cells = [{**cell, "model_id": ids.get(cell["key"])} for cell in arrangement.cells]
    seen = spots(cells, sizes, roofs)
    tables = [
        *potential.tables(cells, profiles),
        *compute.tables(seen),
        *version_tables.tables(series, profiles),
    ]
    return tables, version_tables.figures(series) | compute.figures(seen, roofs, arrangement.labels)


def read_roofs(connection: duckdb.DuckDBPyConnection) -> dict[tuple[str, int], Roof]:
    """What was measured of each device, by number of threads."""
    roofs = {}
    for device, text in connection.execute("FROM devices").fetchall():
        for threads, peak in (json.loads(text).get("peak") or {}).items():
            roofs[device, int(threads)] = Roof(peak["gflops"], peak["gb_s"])
    return roofs


def _sizes(connection: duckdb.DuckDBPyConnection) -> dict[str, Size]:
    rows = connection.execute("SELECT id, parameters, flops FROM models").fetchall()
    return {model_id: Size(parameters, flops) for model_id, parameters, flops in rows}


def _has(connection: duckdb.DuckDBPyConnection, view: str) -> bool:
    rows: list[Any] = connection.execute(
        "SELECT 1 FROM duckdb_views() WHERE view_name = ?", [view]
    ).fetchall()
    return bool(rows)
