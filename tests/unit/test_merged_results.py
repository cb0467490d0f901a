"""A row of `cells` merges the results of all measures of its cell."""

from __future__ import annotations

from itertools import pairwise, permutations
from pathlib import Path
from typing import Any

import pytest
from cellfarm.base.project import Project
from cellfarm.store.results import Store
from cellfarm.warehouse import connect, load

from tests.support.records import Made
from tests.support.results import FACTS

CELL = Made(measures=("latency", "cold_start", "operators", "quality"))


class Bench:
    """A store of one cell, and its row in a warehouse."""

    def __init__(self, root: Path) -> None:
        self.project = Project(root)

    def row(self, *columns: str, current: Made = CELL) -> dict[str, Any]:
        store, keys = Store(self.project.cells), {current.key: current.keys}
        assert not load(self.project.warehouse, store, keys, {"host": FACTS}).unreadable
        with connect(self.project.warehouse) as connection:
            cursor = connection.sql(f"SELECT {', '.join(columns)} FROM cells")
            (row,) = cursor.fetchall()
        return dict(zip(columns, row, strict=True))

    def status(self) -> tuple[str, str | None]:
        row = self.row("status", "reason")
        return row["status"], row["reason"]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


SEVERITY = ("failed", "timeout", "unsupported", "wrong", "ok")


@pytest.mark.parametrize(("worse", "better"), list(pairwise(SEVERITY)))
@pytest.mark.parametrize("measures", list(permutations(("latency", "cold_start"))))
def test_a_cell_is_no_better_than_its_worst_essential_measure(bench, worse, better, measures):
    worse_measure, better_measure = measures
    CELL.store(bench.project, worse_measure, {}, status=worse, reason="the worse")
    CELL.store(bench.project, better_measure, {}, status=better, reason="the better")
    assert bench.status() == (worse, "the worse")


def test_a_measure_that_is_not_essential_does_not_decide(bench):
    CELL.store(bench.project, "operators", {}, status="failed", reason="no profiler")
    assert bench.status() == ("failed", "no profiler")  # no other measure is known
    CELL.store(bench.project, "latency", {"latency_ms": 3.0})
    assert bench.status() == ("ok", None)


def test_each_column_comes_from_the_measure_that_fills_it(bench):
    CELL.store(bench.project, "latency", {"latency_ms": 3.0, "launches": 5})
    CELL.store(bench.project, "cold_start", {"cold_total_ms": 80.0})
    CELL.store(bench.project, "quality", {"sqnr_db": 41.5})
    row = bench.row("latency_ms", "launches", "cold_total_ms", "sqnr_db", "energy_mj")
    assert row == {
        "latency_ms": 3.0, "launches": 5, "cold_total_ms": 80.0, "sqnr_db": 41.5,
        "energy_mj": None,
    }  # fmt: skip


def test_flags_are_those_of_all_measures_once(bench):
    CELL.store(bench.project, "latency", {}, flags=["noisy", "drifted"])
    CELL.store(bench.project, "cold_start", {}, flags=["noisy"])
    assert bench.row("flags") == {"flags": ["drifted", "noisy"]}


def test_a_failed_measure_keeps_the_numbers_of_the_others(bench):
    CELL.store(bench.project, "latency", {"latency_ms": 3.0})
    CELL.store(bench.project, "cold_start", {}, status="failed", reason="killed")
    assert bench.row("status", "latency_ms") == {"status": "failed", "latency_ms": 3.0}


def test_a_measure_whose_settings_changed_leaves_the_row_until_it_is_taken_again(bench):
    CELL.store(bench.project, "latency", {"latency_ms": 3.0})
    CELL.store(bench.project, "cold_start", {"cold_total_ms": 80.0})
    changed = Made(measures=CELL.measures, changed=("cold_start",))
    assert bench.row("latency_ms", "cold_total_ms", current=changed) == {
        "latency_ms": 3.0, "cold_total_ms": None
    }  # fmt: skip
    changed.store(bench.project, "cold_start", {"cold_total_ms": 70.0})
    assert bench.row("latency_ms", "cold_total_ms", current=changed) == {
        "latency_ms": 3.0, "cold_total_ms": 70.0
    }  # fmt: skip
