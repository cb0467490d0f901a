"""The warehouse says what the store says, however it was built, and keeps its contract."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import duckdb
import pytest
from cellfarm.base.errors import UserError
from cellfarm.base.files import write_atomically
from cellfarm.base.project import Project
from cellfarm.measures.quality.comparison import Comparison
from cellfarm.store.results import Store
from cellfarm.warehouse import connect, load, loading, rebuild
from cellfarm.warehouse import schema as schema_module

from tests.support.records import Made
from tests.support.results import FACTS, bad_launch, make_cell, make_launch

#: The public contract: columns that users' queries rely on.
CONTRACT = {
    "cells": """model library library_version variant device processor threads protocol status reason
        latency_ms latency_ci_low_ms latency_ci_high_ms latency_p90_ms launches samples steady_state
        cold_total_ms cold_import_ms cold_load_ms cold_first_ms peak_rss_mb cpu_utilisation energy_mj
        cosine max_abs_error artifact_bytes emulated flags key measured_at""",
    "samples": "key launch iteration phase ms",
    "operators": "key position name type ms",
    "conditions": "key t metric value unit",
    "history": "model library status latency_ms key measured_at",
    "devices": "device facts",
}
DEVICES = {"host": FACTS}
OK, WRONG, FAILED = Made(), Made(make_cell(library="mnn")), Made(make_cell(threads=2))
WHY_WRONG = "cosine 0.41000 is below 0.999"
WHY_FAILED = "killed by SIGSEGV in phase load (launch 2, after 1 good ones)"
#: Results in the store: two of each cell.
STORED = 6


class Bench:
    """A store with the results of three cells, and a warehouse."""

    def __init__(self, root: Path) -> None:
        self.project = Project(root)
        self.store = Store(self.project.cells)
        self.current = {results.key: results.keys for results in (OK, WRONG, FAILED)}
        self.path = self.project.warehouse
        wrong = Comparison(0.41, 7.3, 1.2, False).as_dict()
        OK.commit(self.project)
        launches = [make_launch(comparison=wrong)] * 2
        WRONG.commit(self.project, launches, status="wrong", reason=WHY_WRONG)
        self.fail()

    def fail(self) -> None:
        launches = [make_launch(), bad_launch()]
        FAILED.commit(self.project, launches, status="failed", reason=WHY_FAILED)

    def load(self) -> tuple[int, int, int]:
        loaded = load(self.path, self.store, self.current, DEVICES)
        return loaded.added, loaded.removed, len(loaded.unreadable)

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        with connect(self.path) as connection:
            return connection.sql(sql).fetchall()

    def files(self, results: Made) -> list[Path]:
        return [results.path(self.project, measure) for measure in results.measures]

    def content(self, path: Path | None = None) -> dict[str, list[tuple[Any, ...]]]:
        with connect(path or self.path) as connection:
            return {
                view: connection.sql(f"SELECT * FROM {view} ORDER BY ALL").fetchall()
                for view in CONTRACT
            }

    def check_rebuild(self) -> None:
        """A warehouse that was built step by step equals one that is built at once."""
        before = self.content()
        rebuild(self.path, self.store, self.current, DEVICES)
        assert self.content() == before
        assert not [
            path for path in self.path.parent.iterdir() if path.name.startswith(".cellfarm")
        ]


@pytest.fixture
def bench(tmp_path) -> Bench:
    return Bench(tmp_path)


@pytest.mark.parametrize("view", CONTRACT)
def test_the_contracts_columns_are_there(bench, view: str):
    bench.load()
    with connect(bench.path) as connection:
        columns = connection.sql(f"FROM {view}").columns
    assert set(CONTRACT[view].split()) <= set(columns)


def test_results_become_cells(bench):
    assert bench.load() == (STORED, 0, 0)
    rows = bench.rows(
        "SELECT library, threads, status, latency_ms, launches, samples, cosine, cold_total_ms,"
        " reason FROM cells ORDER BY library, threads DESC"
    )
    assert rows[:2] == [
        ("mnn", 1, "wrong", 10.0, 2, 6, 0.41, 110.0, WHY_WRONG),
        ("ncnn", 2, "failed", None, None, None, None, None, WHY_FAILED),
    ]
    assert rows[2][2:] == ("ok", 10.0, 2, 6, 1.0, 110.0, None)


def test_what_is_not_known_is_null(bench):
    bench.load()
    names = "throughput_ratio, energy_mj, artifact_bytes"
    assert set(bench.rows(f"SELECT {names} FROM cells")) == {(None, None, None)}
    assert bench.rows("SELECT count(*) FROM cells WHERE latency_ms = 0") == [(0,)]


def test_every_raw_sample_is_there(bench):
    bench.load()
    rows = bench.rows(
        f"SELECT launch, iteration, phase, ms FROM samples WHERE key = '{OK.key}' ORDER BY ALL"
    )
    samples = [("first", [15.0]), ("import", [30.0]), ("load", [40.0]), ("read", [5.0]), ("start", [20.0]),
               ("warmup", [11.0]), ("warm", [10.0, 10.5, 9.5])]  # fmt: skip
    expected = [
        (launch, iteration, phase, ms)
        for launch in (0, 1) for phase, values in samples for iteration, ms in enumerate(values)
    ]  # fmt: skip
    assert rows == sorted(expected)


def test_conditions_are_told_with_their_units(bench):
    bench.load()
    rows = bench.rows(f"SELECT DISTINCT metric, value, unit FROM conditions WHERE key = '{OK.key}'")
    assert {
        ("peak_inference_rss_mb", 120.5, "MB"), ("mean_cpu_utilisation", 0.99, "cores"),
        ("calibration_compute_ms", 8.0, "ms"), ("before_waited_s", 0.0, "s"),
    } <= set(rows)  # fmt: skip
    assert bench.rows("SELECT min(t) FROM conditions") == [(0.0,)]


def test_a_load_with_nothing_new_changes_nothing(bench):
    bench.load()
    before = bench.content()
    assert bench.load() == (0, 0, 0)
    assert bench.content() == before


def test_what_is_new_is_added(bench):
    bench.load()
    added = Made(make_cell(model="another"))
    added.commit(bench.project)
    assert bench.load() == (2, 0, 0)
    assert len(bench.rows("FROM history")) == STORED + 2
    assert len(bench.rows("FROM cells")) == 3, "nobody wants that cell now"
    bench.current[added.key] = added.keys
    assert bench.load() == (0, 0, 0)
    assert len(bench.rows("FROM cells")) == 4
    bench.check_rebuild()


def test_the_keys_that_are_wanted_now_decide_what_is_current(bench):
    newer = Made(OK.cell, salt="newer")
    newer.commit(bench.project)
    bench.load()
    query = "SELECT key FROM cells WHERE library = 'ncnn' AND threads = 1"
    assert bench.rows(query) == [(OK.key,)]
    bench.current = {newer.key: newer.keys}
    bench.load()
    assert bench.rows("SELECT key FROM cells") == [(newer.key,)]
    assert len(bench.rows("FROM history")) == STORED + 2
    assert bench.rows("SELECT count(*) FROM history WHERE is_current") == [(2,)]


def test_what_vanished_is_removed_with_all_its_rows(bench):
    bench.load()
    for path in bench.files(WRONG):
        path.unlink()
    assert bench.load() == (0, 2, 0)
    for view in ("cells", "history", "samples", "conditions"):
        assert bench.rows(f"SELECT count(*) FROM {view} WHERE key = '{WRONG.key}'") == [(0,)]
        assert bench.rows(f"SELECT count(*) > 0 FROM {view}") == [(True,)]
    bench.check_rebuild()


def test_what_changed_is_loaded_anew(bench):
    bench.load()
    OK.commit(bench.project, [make_launch([20.0] * 4), make_launch([20.0] * 4)])
    assert bench.load() == (2, 0, 0)
    assert bench.rows(f"SELECT latency_ms, samples FROM cells WHERE key = '{OK.key}'") == [
        (20.0, 8)
    ]
    bench.check_rebuild()


def test_a_superseded_result_is_history(bench):
    bench.load()
    for path in bench.files(FAILED):
        bench.store.set_aside(path)
    assert bench.load() == (2, 2, 0)
    assert bench.rows(f"FROM cells WHERE key = '{FAILED.key}'") == []
    result = f"result = '{FAILED.keys['latency']}'"
    assert bench.rows(f"SELECT superseded, status FROM history WHERE {result}") == [
        (True, "failed")
    ]
    FAILED.commit(bench.project)
    bench.load()
    assert bench.rows(f"SELECT status FROM cells WHERE key = '{FAILED.key}'") == [("ok",)]
    assert len(bench.rows(f"FROM history WHERE {result}")) == 2
    bench.check_rebuild()


def damaged(bench: Bench) -> Iterable[tuple[str, str]]:
    """Files that are not results, each for another reason."""
    text = OK.path(bench.project).read_text()
    yield "torn", text[: len(text) // 2]
    yield "empty", ""
    yield "no-json", "\x00" * 100
    yield "list", "[]"
    yield "nan", text.replace("10.5", "NaN", 1)
    document = json.loads(text)
    launch = document["launches"][0]
    for name in ("key", "cell", "columns", "launches", "device_facts", "protocol"):
        yield (
            f"no-{name}",
            json.dumps({key: value for key, value in document.items() if key != name}),
        )
    yield "launches-are-text", json.dumps(document | {"launches": "none"})
    yield "empty-launch", json.dumps(document | {"launches": [{}]})
    yield (
        "operators-are-numbers",
        json.dumps(document | {"launches": [launch | {"profile": {"operators": [1, 2]}}]}),
    )


def test_an_unreadable_file_is_named_and_stops_nothing(bench, capsys):
    count = 0
    for name, text in damaged(bench):
        write_atomically(OK.path(bench.project).with_name(f"{name}.json"), text)
        count += 1
    assert bench.load() == (STORED, 0, count)
    assert capsys.readouterr().err.count("is not a result") == count
    assert len(bench.rows("FROM cells")) == 3
    bench.check_rebuild()


def test_a_file_that_is_mended_is_loaded(bench):
    path = OK.path(bench.project)
    text = path.read_text()
    path.write_text("torn")
    assert bench.load() == (STORED - 1, 0, 1)
    path.write_text(text)
    assert bench.load() == (1, 0, 0)
    bench.check_rebuild()


def test_another_schema_makes_the_warehouse_anew(bench, monkeypatch, tmp_path):
    bench.load()
    before = bench.content()
    schema = tmp_path / "schema.sql"
    schema.write_text(schema_module.SCHEMA.read_text() + "CREATE VIEW more AS SELECT 1;\n")
    monkeypatch.setattr(schema_module, "SCHEMA", schema)
    assert bench.load() == (STORED, 0, 0)
    assert bench.content() == before and bench.rows("FROM more") == [(1,)]


def test_many_batches_are_one_load(bench, monkeypatch):
    monkeypatch.setattr(loading, "BATCH", 2)
    for threads in range(3, 10):
        Made(make_cell(threads=threads)).commit(bench.project)
    assert bench.load() == (20, 0, 0)
    bench.check_rebuild()


def test_odd_texts_survive(bench):
    results = Made(make_cell(threads=64))
    reason = "line\nbreak \"quoted\" 'single' \u2028 🦊 \x00 \udcff ; DROP TABLE results; --"
    results.commit(bench.project, [bad_launch(reason=reason)], status="failed", reason=reason)
    bench.current[results.key] = results.keys
    bench.load()
    rows = bench.rows(f"SELECT reason FROM cells WHERE key = '{results.key}'")
    assert rows == [(reason.replace("\udcff", "\ufffd"),)]


def test_a_failed_load_leaves_the_warehouse_as_it_was(bench, monkeypatch):
    bench.load()
    before = bench.content()
    Made(make_cell(threads=64)).commit(bench.project)

    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(loading, "_replace_current", fail)
    with pytest.raises(KeyboardInterrupt):
        bench.load()
    with pytest.raises(KeyboardInterrupt):
        rebuild(bench.path, bench.store, bench.current, DEVICES)
    assert bench.content() == before


def test_a_warehouse_that_is_none_says_so(bench):
    with pytest.raises(UserError, match="no warehouse yet"):
        connect(bench.path)
    bench.path.write_bytes(b"something else" * 1000)
    with pytest.raises(UserError, match="cannot be opened"):
        connect(bench.path)
    bench.load()  # made anew
    with duckdb.connect(str(bench.path)) as connection:
        connection.execute("UPDATE meta SET value = 'older' WHERE name = 'schema'")
    with pytest.raises(UserError, match="another version of cellfarm; `cellfarm rebuild`"):
        connect(bench.path)
    bench.load()
