"""`cellfarm query`: every format says the same, and a mistake is the user's."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import duckdb
import pytest
from cellfarm.base.errors import UserError
from cellfarm.base.project import Project
from cellfarm.store.results import Store
from cellfarm.warehouse import load, query

from tests.support.records import Made
from tests.support.results import FACTS, bad_launch, make_cell, make_launch

SQL = "SELECT threads, status, latency_ms, flags, measured_at FROM cells ORDER BY threads"


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory) -> Path:
    """Two cells: one measured, one that failed."""
    project = Project(tmp_path_factory.mktemp("project"))
    measured, failed = (
        Made(make_cell(threads=threads), measures=("latency",)) for threads in (1, 2)
    )
    measured.commit(project, [make_launch([10.0, 10.0, 10.0])] * 2)
    failed.commit(
        project, [bad_launch()], status="failed", reason="killed by SIGSEGV in phase load"
    )
    current = {results.key: results.keys for results in (measured, failed)}
    load(project.warehouse, Store(project.cells), current, {"host": FACTS})
    return project.warehouse


def ask(warehouse: Path, sql: str, form: str) -> str:
    text = query(warehouse, sql, form, None)
    assert text is not None
    return text


def test_a_table_is_for_people(warehouse):
    lines = ask(warehouse, SQL, "table").splitlines()
    assert lines[0].split() == ["threads", "status", "latency_ms", "flags", "measured_at"]
    assert lines[1].split()[:3] == ["1", "ok", "10"]
    assert lines[2].split()[:3] == ["2", "failed", "n/a"]
    assert lines[-1] == "(2 rows)"
    assert ask(warehouse, f"{SQL} LIMIT 1", "table").endswith("(1 row)\n")
    assert ask(warehouse, f"{SQL} LIMIT 0", "table").endswith("(0 rows)\n")


def test_a_table_shows_values_as_they_are(warehouse):
    text = ask(
        warehouse, "SELECT ':smile: [b]x[/b]' AS t, 1/3 AS third, [1, 2] AS list, '' AS e", "table"
    )
    assert ":smile: [b]x[/b]" in text and "0.333333" in text and "1, 2" in text


def test_a_row_is_a_line_however_wide_it_is(warehouse):
    assert len(ask(warehouse, "SELECT * EXCLUDE (log) FROM cells", "table").splitlines()) == 4
    assert "x" * 3000 in ask(warehouse, "SELECT repeat('x', 3000)", "table")


def test_csv_can_be_read_back(warehouse):
    rows = list(csv.DictReader(io.StringIO(ask(warehouse, SQL, "csv"))))
    assert [(row["threads"], row["latency_ms"]) for row in rows] == [("1", "10.0"), ("2", "")]
    text = ask(warehouse, "SELECT 'a,\"b\"\nc' AS text, NULL AS nothing", "csv")
    assert list(csv.reader(io.StringIO(text))) == [["text", "nothing"], ['a,"b"\nc', ""]]


def test_json_can_be_read_back(warehouse):
    rows = json.loads(ask(warehouse, SQL, "json"))
    assert [(row["status"], row["latency_ms"], row["flags"]) for row in rows] == [
        ("ok", 10.0, []), ("failed", None, []),
    ]  # fmt: skip
    assert rows[0]["measured_at"].startswith("20")


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("'nan'::DOUBLE", None),
        ("'inf'::DOUBLE", None),
        ("TRUE", True),
        ("12345678901234567890::HUGEINT", 12345678901234567890),
        ("'ü🦊'", "ü🦊"),
        ("{'a': 1, 'b': [NULL]}", {"a": 1, "b": [None]}),
        ("[DATE '2026-01-02']", ["2026-01-02"]),
        ("{'at': TIMESTAMP '2026-01-02 03:04:05'}", {"at": "2026-01-02T03:04:05"}),
        ("1.25::DECIMAL(4,2)", "1.25"),
    ],
)
def test_every_type_has_a_json_form(warehouse, expression: str, value: Any):
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    text = ask(warehouse, f"SELECT {expression} AS value", "json")
    assert json.loads(text, parse_constant=refuse) == [{"value": value}]


def test_parquet_can_be_read_back(warehouse, tmp_path):
    output = tmp_path / "cells.parquet"
    assert query(warehouse, SQL, "parquet", output) is None
    assert duckdb.sql(f"SELECT threads, latency_ms FROM '{output}' ORDER BY 1").fetchall() == [
        (1, 10.0), (2, None),
    ]  # fmt: skip


@pytest.mark.parametrize("form", ["table", "csv", "json"])
def test_a_file_gets_what_would_be_printed(warehouse, tmp_path, form: str):
    output = tmp_path / "out"
    assert query(warehouse, SQL, form, output) is None
    assert output.read_text(encoding="utf-8") == ask(warehouse, SQL, form)


@pytest.mark.parametrize(
    "sql",
    ["SELEC 1", "SELECT nothing FROM cells", "FROM nowhere", "SELECT 1/'x'", "", ";",
     "INSERT INTO results SELECT * FROM results", "DROP TABLE results", "SELECT 1; SELECT 2x y z"],
)  # fmt: skip
@pytest.mark.parametrize("form", ["table", "json"])
def test_bad_sql_is_the_users_mistake(warehouse, sql: str, form: str):
    with pytest.raises(UserError, match=r"the query (failed: |has no rows: expected a SELECT)"):
        query(warehouse, sql, form, None)
    assert ask(warehouse, "SELECT count(*) AS n FROM history", "json") == '[\n {\n  "n": 2\n }\n]\n'


def test_bad_sql_says_what_is_wrong(warehouse):
    with pytest.raises(UserError, match=r"latency_mz.*\n?.*latency_ms"):
        query(warehouse, "SELECT latency_mz FROM cells", "table", None)


def test_parquet_needs_a_file(warehouse):
    with pytest.raises(UserError, match="--output"):
        query(warehouse, SQL, "parquet", None)


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_file_that_cannot_be_written_is_the_users_mistake(warehouse, tmp_path, form: str):
    with pytest.raises(UserError, match="nowhere"):
        query(warehouse, SQL, form, tmp_path / "nowhere" / "out")


def test_no_warehouse_is_the_users_mistake(tmp_path):
    with pytest.raises(UserError, match="run `make`"):
        query(tmp_path / "none.duckdb", SQL, "table", None)


def test_json_holds_no_nan_at_any_depth_and_csv_no_python(warehouse):
    sql = "SELECT ['nan'::DOUBLE, 1] AS l, {'a': 'inf'::DOUBLE, 'b': DATE '2026-01-02'} AS s"
    (row,) = json.loads(ask(warehouse, sql, "json"), parse_constant=pytest.fail)
    assert row == {"l": [None, 1.0], "s": {"a": None, "b": "2026-01-02"}}
    (flat,) = csv.DictReader(io.StringIO(ask(warehouse, sql, "csv")))
    assert {name: json.loads(text) for name, text in flat.items()} == row


def test_json_does_not_lose_a_column_of_the_same_name(warehouse):
    with pytest.raises(UserError, match="two columns are called 'a'"):
        ask(warehouse, "SELECT 1 AS a, 2 AS a", "json")


@pytest.mark.parametrize(
    "statement",
    ["CREATE TABLE t (a INTEGER)", "CREATE TABLE meta (x INTEGER)",
     "CREATE TABLE meta (name INTEGER, value INTEGER); INSERT INTO meta VALUES (1, 1)", "SELECT 1"],
)  # fmt: skip
def test_another_database_is_no_warehouse(tmp_path, statement):
    path = tmp_path / "other.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute(statement)
    with pytest.raises(UserError, match="is no warehouse of cellfarm's"):
        query(path, "SELECT 1", "table", None)
