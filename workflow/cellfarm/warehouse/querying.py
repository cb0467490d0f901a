"""Reading the warehouse."""

from __future__ import annotations

import csv
import datetime
import io
import json
import math
from pathlib import Path
from typing import Any

import duckdb
from rich.console import Console
from rich.table import Table

from ..core.digests import file_digest
from ..errors import UserError

_WIDTH = 1 << 20  # a value is never folded over lines: the terminal or a pager does that
SCHEMA = Path(__file__).with_name("schema.sql")
FORMATS = ("table", "csv", "json", "parquet")


def connect(warehouse: Path) -> duckdb.DuckDBPyConnection:
    """A read-only connection.

    Raises:
        UserError: there is no warehouse, it is being written, or another version made it.
    """
    if not warehouse.is_file():
        raise UserError(f"{warehouse}: no warehouse yet; run `make` (or `snakemake`) first")
    try:
        connection = duckdb.connect(str(warehouse), read_only=True)
    except duckdb.Error as error:
        raise UserError(
            f"{warehouse} cannot be opened: {error} (if it is damaged: cellfarm rebuild)"
        ) from error
    if schema_version(connection) not in (None, current_schema()):
        connection.close()
        raise UserError(
            f"{warehouse} was made by another version of cellfarm; `cellfarm rebuild` makes it anew"
            " from the results"
        )
    return connection


def current_schema() -> str:
    """The digest of the schema that this version makes."""
    return file_digest(SCHEMA)


def schema_version(connection: duckdb.DuckDBPyConnection) -> str | None:
    """The digest of the schema that a warehouse was made with; None if it does not tell."""
    try:
        rows = connection.execute("SELECT value FROM meta WHERE name = 'schema'").fetchall()
    except duckdb.CatalogException:
        return None
    return str(rows[0][0]) if rows else None


def records(relation: duckdb.DuckDBPyConnection | duckdb.DuckDBPyRelation) -> list[dict[str, Any]]:
    """The rows of what was executed, by the columns' names."""
    names = [column[0] for column in relation.description or ()]
    return [dict(zip(names, row, strict=True)) for row in relation.fetchall()]


def query(warehouse: Path, sql: str, form: str, output: Path | None) -> str | None:
    """Run one SQL query; the text to print, or None when it went to `output`.

    Raises:
        UserError: bad SQL, with DuckDB's own message; parquet without an output file.
    """
    if form == "parquet" and output is None:
        raise UserError("--format parquet needs --output FILE")
    with connect(warehouse) as connection:
        try:
            relation = connection.sql(sql)
            if relation is None:
                return ""
            if form == "parquet":
                relation.write_parquet(str(output))
                return None
            columns = relation.columns
            rows = relation.fetchall()
        except duckdb.Error as error:
            raise UserError(f"the query failed: {error}") from error
    text = {"csv": _csv, "json": _json, "table": _table}[form](columns, rows)
    if output is None:
        return text
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{output} cannot be written: {error.strerror}") from error
    return None


def _csv(columns: list[str], rows: list[tuple[Any, ...]]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_plain(value) for value in row] for row in rows)
    return buffer.getvalue()


def _json(columns: list[str], rows: list[tuple[Any, ...]]) -> str:
    records = [dict(zip(columns, map(_plain, row), strict=True)) for row in rows]
    # `default`: what stands inside lists and structs has not been made plain.
    return json.dumps(records, indent=1, ensure_ascii=False, default=_plain) + "\n"


def _table(columns: list[str], rows: list[tuple[Any, ...]]) -> str:
    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*(_shown(value) for value in row))
    buffer = io.StringIO()
    console = Console(file=buffer, width=_WIDTH, highlight=False, markup=False, emoji=False)
    console.print(table)
    count = f"{len(rows)} row{'s' if len(rows) != 1 else ''}"
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines()) + f"\n({count})\n"


def _plain(value: Any) -> Any:
    if isinstance(value, datetime.datetime | datetime.date):
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        return None  # JSON has no NaN
    if value is None or isinstance(value, bool | int | float | str | list | dict):
        return value
    return str(value)


def _shown(value: Any) -> str:
    if value is None:
        return "n/a"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(_plain(value))
