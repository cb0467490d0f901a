"""Tables and figures across cells: operators of several libraries, the roofline, versions over time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb

from cellfarm.analysis.longitudinal import all_series as series_of
from cellfarm.analysis.roofline import Roof, Size, spots
from cellfarm.libraries import released
from cellfarm.report import compute, potential, version_tables
from cellfarm.report.answers import Table
from cellfarm.report.panels import Arrangement
from cellfarm.warehouse import connect
from cellfarm.warehouse.reading import history, operators


def further(
    warehouse: Path, arrangement: Arrangement
) -> tuple[list[Table], dict[str, dict[str, Any]]]:
    """Tables for the page (see cellfarm.report.answers), and specifications of figures by name.

    Raises:
        duckdb.Error: the warehouse cannot be read.
    """
    with connect(warehouse) as connection:
        all_series = series_of(history(connection), released())
        keys = [cell["key"] for cell in arrangement.cells]
        keys += [point.key for series in all_series for point in series.points]
        profiles = operators(connection, keys)
        sizes, roofs = _sizes(connection), read_roofs(connection)
        ids = dict(connection.execute("SELECT key, causes->>'model' FROM cells").fetchall())
    cells = [{**cell, "model_id": ids.get(cell["key"])} for cell in arrangement.cells]
    points = spots(cells, sizes, roofs)
    tables = [
        *potential.tables(cells, profiles),
        *compute.tables(points),
        *version_tables.tables(all_series, profiles),
    ]
    figures = version_tables.figures(all_series)
    return tables, figures | compute.figures(points, roofs, arrangement.labels)


def read_roofs(connection: duckdb.DuckDBPyConnection) -> dict[tuple[str, int], Roof]:
    """(Device, number of threads) -> the peaks that were measured."""
    roofs = {}
    for device, text in connection.execute("FROM devices").fetchall():
        for threads, peak in (json.loads(text).get("peak") or {}).items():
            roofs[device, int(threads)] = Roof(peak["gflops"], peak["gb_s"])
    return roofs


def _sizes(connection: duckdb.DuckDBPyConnection) -> dict[str, Size]:
    rows = connection.execute("SELECT id, parameters, flops FROM models").fetchall()
    return {model_id: Size(parameters, flops) for model_id, parameters, flops in rows}
