"""Loads the store into the warehouse: adds new results, removes vanished ones."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import orjson

from ..base.errors import TransientHostError
from ..store.results import Store
from .querying import schema_version
from .rows import (
    cold_phase_rows,
    condition_rows,
    launch_rows,
    operator_rows,
    result_row,
    series_rows,
)
from .schema import current_schema, schema
from .stored_ratios import ratio_rows

BUSY_RETRY_S = 30.0
#: Results that are read and inserted together: bounds the memory of a first load.
BATCH = 1500
_LINE = orjson.OPT_APPEND_NEWLINE | orjson.OPT_SERIALIZE_NUMPY
#: Key of a cell -> measure -> key of its result.
Current = Mapping[str, Mapping[str, str]]
#: Table -> the function that makes its rows from a result's document; all tables but `results`.
_TABLES = {
    "series": series_rows,
    "launch_facts": launch_rows,
    "cold_phases": cold_phase_rows,
    "operator_times": operator_rows,
    "condition_series": condition_rows,
}


@dataclass
class Loaded:
    """What a load did. `unreadable` are files of the store that are not results: they
    were renamed, and their cells will be measured again."""

    added: int = 0
    removed: int = 0
    unreadable: list[str] = field(default_factory=list)


def load(
    warehouse: Path,
    store: Store,
    current: Current,
    devices: Mapping[str, Any],
    models: Iterable[Mapping[str, Any]] = (),
) -> Loaded:
    """Bring the warehouse up to date with the store, in one transaction.

    Args:
        current: key of each cell that is wanted now -> measure -> key of its result; these results
            make the view `cells`.
        devices: device -> facts, for the view `devices`.
        models: the rows of the view `models`.

    Raises:
        TransientHostError: another process keeps the warehouse open.
    """
    warehouse.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(_open(warehouse)) as connection:
        connection.begin()
        loaded = _synchronise(connection, store)
        _replace_current(connection, current, devices)
        connection.execute("DELETE FROM models_now")
        _insert_rows(connection, "models_now", models)
        connection.execute("DELETE FROM result_keys; INSERT INTO result_keys FROM keyed_results()")
        _add_ratios(connection)
        connection.commit()
        return loaded


def rebuild(
    warehouse: Path,
    store: Store,
    current: Current,
    devices: Mapping[str, Any],
    models: Iterable[Mapping[str, Any]] = (),
) -> Loaded:
    """Make the warehouse anew from the store; the old one stays until the new one is complete."""
    fresh = warehouse.with_name(f".{warehouse.name}.{os.getpid()}.tmp")
    fresh.unlink(missing_ok=True)
    try:
        loaded = load(fresh, store, current, devices, models)
        os.replace(fresh, warehouse)
    finally:
        for leftover in (fresh, fresh.with_name(f"{fresh.name}.wal")):
            leftover.unlink(missing_ok=True)
    return loaded


def _open(warehouse: Path) -> duckdb.DuckDBPyConnection:
    """Connect to a warehouse; make it anew if it has another schema."""
    version = current_schema()
    connection = _connect(warehouse)
    if schema_version(connection) == version:
        return connection
    connection.close()
    warehouse.unlink(missing_ok=True)
    connection = _connect(warehouse)
    connection.execute(schema())
    connection.execute("INSERT INTO meta VALUES ('schema', ?)", [version])
    return connection


def _connect(warehouse: Path) -> duckdb.DuckDBPyConnection:
    deadline = time.monotonic() + BUSY_RETRY_S
    while True:
        try:
            return duckdb.connect(str(warehouse))
        except duckdb.IOException as error:
            if "not a valid DuckDB database" in str(error):
                # Nothing is lost: all of it comes from the store.
                print(f"cellfarm: {warehouse} is damaged and made anew", file=sys.stderr)
                warehouse.unlink()
                continue
            if "lock" not in str(error).lower() or time.monotonic() > deadline:
                raise TransientHostError(f"{warehouse} cannot be opened: {error}") from error
            time.sleep(0.5)


def _synchronise(connection: duckdb.DuckDBPyConnection, store: Store) -> Loaded:
    known = {
        path: (size, mtime)
        for path, size, mtime in connection.execute(
            "SELECT path, size_bytes, mtime_ns FROM results"
        ).fetchall()
    }
    states = store.states()
    gone = [path for path, state in known.items() if states.get(path) != state]
    new = sorted(path for path, state in states.items() if known.get(path) != state)
    loaded = Loaded(removed=sum(path not in states for path in gone))
    if gone:
        keys = connection.execute(
            "SELECT result FROM results WHERE list_contains(?, path)", [gone]
        ).fetchall()
        connection.execute(
            "DELETE FROM cell_ratios"
            " WHERE list_contains($1, result) OR list_contains($1, other_result)",
            [[key for (key,) in keys]],
        )
        for table in ("results", *_TABLES):
            connection.execute(f"DELETE FROM {table} WHERE list_contains(?, path)", [gone])
    if new:
        types = {table: _types(connection, table) for table in ("results", *_TABLES)}
    for start in range(0, len(new), BATCH):
        batch = new[start : start + BATCH]
        _insert(connection, types, list(_read(store.root, batch, states, loaded)))
    return loaded


def _read(
    root: Path, paths: Iterable[str], states: Mapping[str, tuple[int, int]], loaded: Loaded
) -> Iterator[dict[str, Any]]:
    """Yield {"path", table: its rows} for each result; rename files that are not results."""
    for path in paths:
        try:
            document = orjson.loads((root / path).read_bytes())
            result: dict[str, Any] = {"path": path}
            result |= {table: list(rows(document)) for table, rows in _TABLES.items()}
            result["results"] = [result_row(path, states[path], document)]
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            # Renamed, so that its cell is measured again; not deleted, as results are kept.
            (root / path).rename(root / f"{path}.unreadable")
            loaded.unreadable.append(path)
            print(
                f"cellfarm: {root / path} is not a result ({error}): renamed to *.unreadable",
                file=sys.stderr,
            )
            continue
        loaded.added += 1
        yield result


def _add_ratios(connection: duckdb.DuckDBPyConnection) -> None:
    """Compare the current cells that have not been compared yet; old comparisons stay valid."""
    known = connection.execute("SELECT result, other_result FROM cell_ratios").fetchall()
    _insert_rows(connection, "cell_ratios", ratio_rows(connection, set(known)))


def _insert(
    connection: duckdb.DuckDBPyConnection,
    types: Mapping[str, Mapping[str, str]],
    results: Iterable[Mapping[str, Any]],
) -> None:
    """Insert all rows of some results (see `_read`).

    Args:
        types: table -> column -> type.
    """
    without_path = {
        table: {name: kind for name, kind in kinds.items() if name != "path"}
        for table, kinds in types.items()
    }
    nested = {
        table: f"STRUCT({_listed(kinds, '{} {}')})[]" for table, kinds in without_path.items()
    }
    with _json_lines(results, {"path": "VARCHAR"} | nested) as lines:
        connection.execute(f"CREATE OR REPLACE TEMP TABLE batch AS SELECT * FROM {lines}")
    for table, kinds in without_path.items():
        connection.execute(
            f"INSERT INTO {table} (path, {', '.join(kinds)}) SELECT path, {_listed(kinds, 'r.{}')}"
            f" FROM (SELECT path, unnest({table}) AS r FROM batch)"
        )
    connection.execute("DROP TABLE batch")


def _insert_rows(
    connection: duckdb.DuckDBPyConnection, table: str, rows: Iterable[Mapping[str, Any]]
) -> None:
    """Insert rows that have a table's columns."""
    with _json_lines(rows, _types(connection, table)) as lines:
        connection.execute(f"INSERT INTO {table} SELECT * FROM {lines}")


@contextlib.contextmanager
def _json_lines(rows: Iterable[Mapping[str, Any]], types: Mapping[str, str]) -> Iterator[str]:
    """SQL that reads rows from a file; a million rows as values of a statement take minutes."""
    with tempfile.NamedTemporaryFile(suffix=".jsonl") as file:
        file.writelines(orjson.dumps(row, option=_LINE) for row in rows)
        file.flush()
        columns = _listed(types, "'{}': '{}'")
        yield (
            f"read_json('{file.name}', format='newline_delimited', columns={{{columns}}},"
            " maximum_object_size=268435456)"
        )


def _types(connection: duckdb.DuckDBPyConnection, table: str) -> dict[str, str]:
    """Column -> type, in the table's order."""
    rows = connection.execute(
        "SELECT column_name, data_type FROM duckdb_columns() WHERE table_name = ?"
        " ORDER BY column_index",
        [table],
    )
    return dict(rows.fetchall())


def _listed(types: Mapping[str, str], form: str) -> str:
    """Columns and their types in a format, with commas between them."""
    return ", ".join(form.format(name, kind) for name, kind in types.items())


def _replace_current(
    connection: duckdb.DuckDBPyConnection, current: Current, devices: Mapping[str, Any]
) -> None:
    wanted = {
        (cell, measure, key)
        for cell, results in current.items()
        for measure, key in results.items()
    }
    if wanted != set(connection.execute("FROM current_keys").fetchall()):
        connection.execute("DELETE FROM current_keys")
        columns = ("cell_key", "measure", "key")
        rows = (dict(zip(columns, row, strict=True)) for row in sorted(wanted))
        _insert_rows(connection, "current_keys", rows)
    connection.execute("DELETE FROM devices_now")
    for device, facts in sorted(devices.items()):
        connection.execute(
            "INSERT INTO devices_now VALUES (?, ?)", [device, orjson.dumps(facts).decode()]
        )
