"""How a name on the command line selects a side, and which launches ran in the same rounds."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import pytest
from cellfarm.base.errors import UserError
from cellfarm.base.project import Project
from cellfarm.cli.compare import print_comparison, print_runs
from cellfarm.comparison import open_side
from cellfarm.warehouse import connect, load

from benchmarks.synthetic_store import Size, SyntheticStore


class MeasuredProject:
    """A project with one model on one device by two libraries, 8 launches each."""

    def __init__(self, root: Path) -> None:
        self.project = Project(root)
        size = Size(1, 2, 1, launches=8)
        self.store = SyntheticStore(self.project.cells, size, measures=("latency",))
        results = [keys["latency"] for keys in self.store.current.values()]
        self.paths = [
            next(path for path in self.store.store.files() if path.stem.endswith(result))
            for result in results
        ]

    def edit(self, number: int, change: Callable[[dict[str, Any]], None]) -> None:
        path = self.paths[number]
        document = json.loads(path.read_text())
        change(document)
        path.write_text(json.dumps(document))

    def load(self, current: int = 2) -> None:
        store = self.store
        current_cells = dict(list(store.current.items())[:current])
        load(self.project.warehouse, store.store, current_cells, store.devices)

    def ratios(self, current: int = 2) -> list[tuple[Any, ...]]:
        self.load(current)
        with connect(self.project.warehouse) as connection:
            query = "SELECT ratio, rounds, crosses_experiments FROM cell_ratios"
            return connection.execute(query).fetchall()


@pytest.fixture
def measured(tmp_path: Path) -> Iterator[MeasuredProject]:
    yield MeasuredProject(tmp_path)


def test_rounds_of_one_session_are_compared_one_by_one(measured):
    ((_, rounds, crosses),) = measured.ratios()
    assert (rounds, crosses) == (8, False)


def test_rounds_of_another_session_were_not_together(measured):
    """The same launches a day later, on a device that is 20 % slower: no library is slower."""
    first_result = json.loads(measured.paths[0].read_text())

    def copy_a_day_later(document: dict[str, Any]) -> None:
        document["launches"] = json.loads(json.dumps(first_result["launches"]))
        for launch in document["launches"]:
            launch["session"] = "another"
            launch["warm_ms"] = [1.2 * ms for ms in launch["warm_ms"]]
            launch["gate"]["calibration"]["compute_ms"] *= 1.2

    measured.edit(1, copy_a_day_later)
    ((ratio, rounds, crosses),) = measured.ratios()
    assert ratio == pytest.approx(1) and rounds is None and crosses


def test_cells_that_left_the_plan_keep_their_ratios(measured):
    assert measured.ratios(current=0) == measured.ratios()
    measured.edit(1, lambda document: document.update(experiment="abcdef/d/m"))
    assert measured.ratios(current=1) == []
    ((_, rounds, crosses),) = measured.ratios()
    assert rounds is None and crosses


def test_a_session_that_went_on_is_compared_by_what_was_together(measured):
    def interrupt(document: dict[str, Any]) -> None:
        for launch in document["launches"][:3]:
            launch["session"] = "before"

    measured.edit(0, interrupt)
    ((_, rounds, crosses),) = measured.ratios()
    assert (rounds, crosses) == (5, False)


@pytest.mark.parametrize("session", [4_194_304, None])
def test_results_that_name_their_session_by_a_number_or_not_at_all_are_still_read(
    measured, session
):
    def set_session(document: dict[str, Any]) -> None:
        for launch in document["launches"]:
            launch["session"] = session

    measured.edit(0, set_session)
    measured.edit(1, set_session)
    ((_, rounds, crosses),) = measured.ratios()
    assert (rounds, crosses) == (8, False)


def test_a_prefix_of_two_runs_is_ambiguous(measured):
    for number, run in enumerate(("abcdef1111", "abcdef2222")):
        measured.edit(number, lambda document, run=run: document.update(experiment=f"{run}/d/m"))
    measured.load()
    with pytest.raises(UserError, match="abcdef: several runs begin so: abcdef1111, abcdef2222"):
        open_side(measured.project, "abcdef")
    assert len(open_side(measured.project, "abcdef1").rows) == 1


def test_another_database_is_no_warehouse(tmp_path):
    path = tmp_path / "other.duckdb"
    with closing(duckdb.connect(str(path))) as connection:
        connection.execute("CREATE TABLE t (a INTEGER)")
    with pytest.raises(UserError, match=r"other\.duckdb is no warehouse of cellfarm's"):
        open_side(Project(tmp_path), str(path))


def test_a_warehouse_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match=r"gone\.duckdb: there is no such file"):
        open_side(Project(tmp_path), "gone.duckdb")


def test_names_are_not_cut_in_a_pipe(measured, capsys):
    version = "1.0.20261020." + "7" * 80
    measured.edit(0, lambda document: document["cell"].update(library_version=version))
    measured.load()
    print_runs(measured.project)
    assert f"@{version}" in capsys.readouterr().out


def test_sides_without_a_common_cell_are_a_mistake(measured):
    for number in (0, 1):
        run = f"abcdef{number}"
        measured.edit(number, lambda document, run=run: document.update(experiment=f"{run}/d/m"))
    measured.load()
    with pytest.raises(UserError, match="abcdef0 and abcdef1 have no cell in common"):
        print_comparison(measured.project, "abcdef0", "abcdef1", 0.05, "table", None, False)
