"""Reads the warehouse into lists of dicts; computes nothing."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb

from cellfarm.base.errors import UserError
from cellfarm.measures import all_columns
from cellfarm.report import readings
from cellfarm.report.details import Details
from cellfarm.report.details import read as read_details
from cellfarm.warehouse import connect, records
from cellfarm.warehouse.reading import ratios

Cell = dict[str, Any]

#: The columns of the view `cells` that the page uses, before and after those of the measures.
_CELL = (
    *("model", "library", "library_version", "variant", "device", "processor", "threads"),
    *("protocol", "status", "reason"),
)
_RESULT = (
    *("artifact_bytes", "payload_bytes", "emulated"),
    *("flags", "key", "experiment", "drift_ratio", "log"),
)

#: The page shows the end of a log, which says what went wrong.
MAX_LOG_CHARS = 4_000


@dataclass(frozen=True, slots=True)
class Measurements:
    """Everything that the report reads. `devices` maps a device to its facts, possibly empty.

    The cells also have the columns of cellfarm.report.readings; `details` has the same order as the
    cells. `ratios` are the rows of that view; `calibration` is the calibration load over time by device.
    """

    cells: list[Cell]
    devices: dict[str, dict[str, Any]]
    details: Details
    ratios: list[dict[str, Any]] = field(default_factory=list)
    calibration: dict[str, readings.Calibration] = field(default_factory=dict)


def read(warehouse: Path) -> Measurements:
    """Read what the report shows.

    Raises:
        UserError: there is no warehouse, it is being written, or another version made it.
    """
    try:
        with connect(warehouse) as connection:
            cells = _read_cells(connection)
            readings.add_to(connection, cells)
            return Measurements(
                cells,
                _read_devices(connection),
                read_details(connection, cells),
                ratios(connection),
                readings.calibration(connection),
            )
    except duckdb.Error as error:
        raise UserError(f"{warehouse}: cannot be read as a warehouse: {error}") from error


def cell_columns() -> list[str]:
    """The columns of the view `cells` that the page uses."""
    return [*_CELL, *all_columns(), *_RESULT]


def _read_cells(connection: duckdb.DuckDBPyConnection) -> list[Cell]:
    # The time as a number: DuckDB needs pytz to read TIMESTAMP WITH TIME ZONE.
    relation = connection.execute(f"""
        SELECT {", ".join(cell_columns())}, epoch_ms(measured_at) AS measured_at FROM cells
        ORDER BY model, device, processor, variant, threads, protocol, library, library_version
    """)
    return [_clean(cell) for cell in records(relation)]


def _clean(cell: Cell) -> Cell:
    """Replace NaN and infinity by None, cut the log to its end, and format the time."""
    for name, value in cell.items():
        if isinstance(value, float) and not math.isfinite(value):
            cell[name] = None
    cell["flags"] = list(cell["flags"] or [])
    log = cell["log"]
    if log is not None and len(log) > MAX_LOG_CHARS:
        cell["log"] = f"[the last {MAX_LOG_CHARS:,} characters]\n{log[-MAX_LOG_CHARS:]}"
    if cell["measured_at"] is not None:
        moment = datetime.fromtimestamp(cell["measured_at"] / 1000, tz=UTC)
        cell["measured_at"] = moment.strftime("%Y-%m-%d %H:%M")
    return cell


def _read_devices(connection: duckdb.DuckDBPyConnection) -> dict[str, dict[str, Any]]:
    query = "SELECT device, CAST(facts AS VARCHAR) FROM devices ORDER BY device"
    devices = {}
    for device, text in connection.execute(query).fetchall():
        facts = json.loads(text) if text else None
        devices[device] = facts if isinstance(facts, dict) else {}
    return devices


def rounded(value: float, digits: int = 5) -> float:
    """Significant digits alone: the noise of timers is larger, and the page gets smaller."""
    return float(f"{value:.{digits}g}")
