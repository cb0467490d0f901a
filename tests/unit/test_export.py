"""The warehouse is exported as files and data frames for other programs."""

from __future__ import annotations

import hashlib
import json

import cellfarm
import duckdb
import pytest
from cellfarm.base.errors import UserError
from cellfarm.warehouse.exporting import VIEWS, export, write_views

from tests.support import synthetic_warehouse


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory):
    return synthetic_warehouse.create(tmp_path_factory.mktemp("warehouse") / "cellfarm.duckdb")


def test_every_view_is_there_with_every_row_and_every_column_described(warehouse, tmp_path):
    written = {path.name for path in export(warehouse, tmp_path / "out", "9.9")}
    assert written == {f"{view}.parquet" for view in VIEWS} | {
        "dictionary.json", "DICTIONARY.md", "CITATION.txt"
    }  # fmt: skip
    described = json.loads((tmp_path / "out/dictionary.json").read_text())
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        views = {name for (name,) in connection.execute(
            "SELECT view_name FROM duckdb_views() WHERE NOT internal").fetchall()}  # fmt: skip
        assert views == set(VIEWS), "a view that is not exported"
        for view in VIEWS:
            file = tmp_path / f"out/{view}.parquet"
            original = connection.execute(f"SELECT count(*) FROM {view}").fetchone()
            assert duckdb.execute(f"SELECT count(*) FROM '{file}'").fetchall() == [original]
            columns = [row[0] for row in connection.execute(f"DESCRIBE {view}").fetchall()]
            assert [column["name"] for column in described[view]["columns"]] == columns
            assert all(column["means"] for column in described[view]["columns"])


def test_nothing_is_described_that_is_not_there(warehouse):
    from cellfarm.base.documents import load_yaml
    from cellfarm.warehouse.exporting import DICTIONARY

    dictionary = load_yaml(DICTIONARY)
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        for view in VIEWS:
            columns = {row[0] for row in connection.execute(f"DESCRIBE {view}").fetchall()}
            assert set(dictionary[view].get("columns", {})) <= columns, view


def test_a_citation_names_what_a_reader_needs(warehouse, tmp_path):
    export(warehouse, tmp_path, "9.9")
    export(warehouse, tmp_path, "9.9")  # again, into the same folder
    text = (tmp_path / "CITATION.txt").read_text()
    for part in ("cellfarm 9.9", "ncnn 1.0.20261020", "bert_mini", "standard", "Debian"):
        assert part in text
    digest = hashlib.sha256((tmp_path / "samples.parquet").read_bytes()).hexdigest()
    assert f"samples.parquet: {digest}" in text


def test_a_folder_that_cannot_be_made_is_refused(warehouse, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        export(warehouse, tmp_path / "file/out", "9.9")


def test_what_lies_in_the_folder_stays(warehouse, tmp_path):
    (tmp_path / "mine.txt").write_text("kept")
    with pytest.raises(UserError, match=r"holds something else \('mine.txt'\)"):
        export(warehouse, tmp_path, "9.9")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_the_report_s_own_folder_may_hold_more_and_a_killed_export_stops_none(warehouse, tmp_path):
    (tmp_path / ".export-killed").mkdir()
    assert len(export(warehouse, tmp_path, "9.9")) == len(VIEWS) + 3
    (tmp_path / "mine.txt").write_text("kept")
    assert len(write_views(warehouse, tmp_path, "9.9")) == len(VIEWS) + 3
    assert (tmp_path / "mine.txt").read_text() == "kept"


def test_an_export_that_fails_leaves_the_last_one(warehouse, tmp_path, monkeypatch):
    export(warehouse, tmp_path, "9.9")
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}

    def fail(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr("cellfarm.warehouse.exporting.citation", fail)
    with pytest.raises(UserError, match="cannot be written: No space left"):
        export(warehouse, tmp_path, "9.9")
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def test_data_frames(warehouse):
    with cellfarm.open(warehouse) as farm:
        cells = farm.cells()
        assert len(cells) == 30 and {"library", "latency_ms"} <= set(cells.columns)
        assert set(farm.cells("library = 'ncnn'")["library"]) == {"ncnn"}
        for view in VIEWS:
            assert len(getattr(farm, view)("true")) >= 0
        with pytest.raises(UserError, match="the query failed"):
            farm.cells("no such column")
        with pytest.raises(UserError, match="expected pandas"):
            farm.cells(frame="numpy")
        with pytest.raises(UserError, match="expected pandas"):
            farm.cells(frame=[])
        with pytest.raises(UserError, match="the query failed"):
            farm.cells("true; SELECT 1")
    with pytest.raises(UserError, match="no warehouse yet"):
        cellfarm.open("/nowhere.duckdb")
