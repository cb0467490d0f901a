"""Connections to the warehouse, and queries."""

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

from ..base.errors import UserError
from .schema import current_schema

_WIDTH = 1 << 20  # no value is folded over lines: the terminal or a pager does that


def connect(warehouse: Path) -> duckdb.DuckDBPyConnection:
    """A read-only connection.

    Raises:
        UserError: there is no warehouse, it is being written, another version made it, or the file is
            something else.
    """
    if not warehouse.is_file():
        raise UserError(f"{warehouse}: no warehouse yet; run `make` (or `snakemake`) first")
    try:
        connection = duckdb.connect(str(warehouse), read_only=True)
    except duckdb.Error as error:
        raise UserError(
            f"{warehouse} cannot be opened: {error} (if it is damaged: cellfarm rebuild)"
        ) from error
    version = schema_version(connection)
    if version is None:
        connection.close()
        raise UserError(
            f"{warehouse} is no warehouse of cellfarm's, or an unfinished one; `cellfarm rebuild` makes "
            "the project's anew from the results"
        )
    if version != current_schema():
        connection.close()
        raise UserError(
            f"{warehouse} was made by another version of cellfarm; `cellfarm rebuild` makes it anew"
            " from the results"
        )
    return connection


def schema_version(connection: duckdb.DuckDBPyConnection) -> str | None:
    """The digest of the schema that a warehouse was made with; None if there is none."""
    try:
        rows = connection.execute("SELECT value FROM meta WHERE name = 'schema'").fetchall()
    except duckdb.Error:  # no table of this name, or another one
        return None
    return str(rows[0][0]) if rows else None


def records(relation: duckdb.DuckDBPyConnection | duckdb.DuckDBPyRelation) -> list[dict[str, Any]]:
    """The rows of an executed query, as column -> value."""
    names = [column[0] for column in relation.description or ()]
    return [dict(zip(names, row, strict=True)) for row in relation.fetchall()]


def query(warehouse: Path, sql: str, form: str, output: Path | None) -> str | None:
    """Run a SQL query; returns the text to print, or None if it went to `output`.

    Raises:
        UserError: the SQL is wrong, or parquet has no output file.
    """
    if form == "parquet" and output is None:
        raise UserError("--format parquet needs --output FILE")
    with connect(warehouse) as connection:
        try:
            relation = connection.sql(sql)
            if relation is None:
                raise UserError("the query has no rows: expected a SELECT")
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
    writer.writerows([_flat(value) for value in row] for row in rows)
    return buffer.getvalue()


def _json(columns: list[str], rows: list[tuple[Any, ...]]) -> str:
    for name in columns:
        if columns.count(name) > 1:
            raise UserError(
                f"two columns are called '{name}', which JSON cannot tell apart: name one with AS"
            )
    records = [dict(zip(columns, map(_plain, row), strict=True)) for row in rows]
    return json.dumps(records, indent=1, ensure_ascii=False) + "\n"


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
    """A value that JSON can hold."""
    if isinstance(value, datetime.datetime | datetime.date):
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        return None  # JSON has no NaN
    if isinstance(value, list | tuple):
        return [_plain(element) for element in value]
    if isinstance(value, dict):
        return {str(name): _plain(element) for name, element in value.items()}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)


def _flat(value: Any) -> Any:
    """A field of a CSV file: a list or a struct becomes JSON."""
    plain = _plain(value)
    return json.dumps(plain, ensure_ascii=False) if isinstance(plain, list | dict) else plain


def _shown(value: Any) -> str:
    if value is None:
        return "n/a"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(_plain(value))
