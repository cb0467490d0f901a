"""A side of a comparison: the results that a name on the command line stands for.

ncnn@1.0.20261020       the newest results of that version in this project's warehouse
other/cellfarm.duckdb   the current results of a warehouse
config/mine.yaml        the results of that config's cells, as they are planned now
3f9c2a...               the results of a run (`cellfarm runs` lists them)
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import duckdb

from ..analysis.ranking import Row
from ..base.errors import UserError
from ..base.project import Project
from ..libraries import resolve
from ..planning.outlook import look
from ..wanted.configuration import load_file
from ..warehouse import connect, records
from ..warehouse.stored_ratios import Measured, measured_launches

_RUN = re.compile(r"[0-9a-f]{6,20}")
_COLUMNS = (
    "key", "model", "library", "library_version", "variant", "device", "processor", "threads",
    "protocol", "status", "reason", "latency_ms", "latency_ci_low_ms", "latency_ci_high_ms",
    "emulated", "flags", "experiment", "epoch_ms(measured_at) AS measured_at", "causes",
)  # fmt: skip


@dataclass(frozen=True)
class Side:
    """The results of one side; `launches` are the samples, by key, of those with a latency.

    `missing` counts the requested cells without a result.
    """

    name: str
    warehouse: Path
    rows: Sequence[Row]
    launches: Mapping[str, Measured]
    missing: int = 0


def open_side(project: Project, name: str) -> Side:
    """Read the results that a name stands for.

    Raises:
        UserError: the name stands for nothing, or there are no results.
    """
    path = Path(name)
    if path.suffix == ".duckdb":
        if not path.is_file():
            raise UserError(f"{name}: there is no such file")
        return _read(name, path, "SELECT {columns} FROM cells", [])
    if path.suffix in (".yaml", ".yml"):
        outlook = look(project, load_file(project, path))
        keys = [key for planned in outlook.cells for key in planned.measures.values()]
        side = _read(name, project.warehouse, f"{_HISTORY} AND key IN ({_OF_RESULTS})", [keys])
        return replace(side, missing=max(0, len(outlook.cells) - len(side.rows)))
    if "@" in name:
        library, version = resolve(name)
        where = f"{_HISTORY} AND library = ? AND library_version = ? {_NEWEST}"
        return _read(name, project.warehouse, where, [library, version])
    if _RUN.fullmatch(name):
        where = f"{_HISTORY} AND starts_with(experiment, ?)"
        side = _read(name, project.warehouse, where, [name])
        runs = sorted({str(row["experiment"]).partition("/")[0] for row in side.rows})
        if len(runs) > 1:
            raise UserError(f"{name}: several runs begin so: {', '.join(runs)}")
        return side
    raise UserError(
        f"{name}: expected library@version, a warehouse (.duckdb), a config (.yaml) or a run "
        "(`cellfarm runs` lists them)"
    )


_HISTORY = "SELECT {columns} FROM every_cell() WHERE is_timed AND NOT superseded"
_OF_RESULTS = "SELECT key FROM history WHERE NOT superseded AND list_contains(?, result)"
#: The newest of several results of a cell, which was measured again after a change.
_NEWEST = (
    "QUALIFY row_number() OVER (PARTITION BY model, variant, device, processor, threads, protocol "
    "ORDER BY measured_at DESC) = 1"
)


def _read(name: str, warehouse: Path, select: str, values: list[Any]) -> Side:
    with connect(warehouse) as connection:
        try:
            rows = records(connection.execute(select.format(columns=", ".join(_COLUMNS)), values))
        except duckdb.Error as error:
            raise UserError(f"{warehouse} is no warehouse of cellfarm's: {error}") from error
        rows = [{**row, "causes": json.loads(row["causes"] or "{}")} for row in rows]
        if not rows:
            raise UserError(f"{name}: no results in {warehouse}")
        keys = sorted(row["key"] for row in rows if row["latency_ms"] is not None)
        return Side(name, warehouse.resolve(), rows, measured_launches(connection, keys))
