"""The launches of an experiment, and their order: random, seeded, and the same after an interruption."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from cellfarm.base.cells import Cell
from cellfarm.base.project import Project
from cellfarm.experiments import experiment, measuring, running_cell, summarising
from cellfarm.experiments.rounds import round_order
from cellfarm.experiments.speed import DeviceSpeed
from cellfarm.measures import all_measures
from cellfarm.planning.plan import PlannedCell
from cellfarm.store.results import Store
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs
from msgspec.structs import replace

from tests.support.measuring import Killed, MadeUp
from tests.support.protocols import with_measures
from tests.support.results import PROTOCOL, bad_launch, make_cell, make_planned

KEYS = st.lists(st.text("abcdef", min_size=1, max_size=4), min_size=1, max_size=8, unique=True)
ALL = ("latency", "cold_start", "operators", "quality", "accuracy")
BAD = {name: bad_launch()[name] for name in ("status", "reason", "log")}


@given(keys=KEYS, number=st.integers(0, 50), data=st.data())
def test_an_order_is_a_permutation_that_depends_on_seed_and_number_alone(keys, number, data):
    order = round_order(keys, "seed", number)
    assert sorted(order) == sorted(keys)
    assert round_order(data.draw(st.permutations(keys)), "seed", number) == order


def test_rounds_differ_and_so_do_seeds():
    keys = [f"k{number}" for number in range(10)]
    orders = {tuple(round_order(keys, seed, number)) for seed in ("a", "b") for number in range(20)}
    assert len(orders) == 40


def test_every_cell_is_first_about_equally_often():
    keys = ["a", "b", "c", "d"]
    first = Counter(round_order(keys, "0/host/model", number)[0] for number in range(400))
    assert set(first) == set(keys)
    assert max(first.values()) < 2 * min(first.values())


def test_an_order_does_not_change_with_the_version_of_the_code():
    """An interrupted experiment may be resumed later: the shuffle is part of its record."""
    assert round_order(["a", "b", "c", "d", "e"], "0/host/m", 0) == ["a", "e", "b", "d", "c"]


# -- the launches of experiments --------------------------------------------------------------------


def protocol(launches: int, cold: int = 0, warm: int = 0) -> dict[str, Any]:
    """A protocol with so many measuring launches of each cell, cold starts and warm starts."""
    return with_measures(
        PROTOCOL,
        latency={"launches": {"min": launches, "max": launches}},
        cold_start={"launches": cold, "warm": warm},
    )


@pytest.fixture
def device(tmp_path, monkeypatch) -> MadeUp:
    return MadeUp(Project(tmp_path), monkeypatch)


def stored(project: Project, planned: PlannedCell) -> dict[str, dict[str, Any]]:
    """The results of a cell by measure."""
    store = Store(project.cells)
    return {
        measure: json.loads(store.path(planned.cell, measure, key).read_text())
        for measure, key in planned.measures.items()
        if store.has(planned.cell, measure, key)
    }


def test_every_cell_is_launched_once_a_round_in_the_rounds_order(device):
    planned = [
        make_planned(make_cell(threads=threads), measures=["latency"]) for threads in (1, 2, 4)
    ]
    device.protocol = protocol(3)
    device.measure(*planned)
    cell_of = {planned_cell.key: planned_cell.cell for planned_cell in planned}
    assert device.made == [
        (cell_of[key], "measure")
        for number in range(3)
        for key in round_order(list(cell_of), "0/host/squeezenet1_1", number)
    ]


def test_cold_starts_go_with_the_first_rounds(device):
    device.protocol = protocol(3, cold=2)
    device.measure(make_planned())
    assert device.modes == ["measure", "cold", "measure", "cold", "measure"]


def test_what_follows_the_rounds_is_launched_once_in_the_order_of_the_measures(device):
    planned = make_planned(measures=ALL)
    device.protocol = protocol(2)
    device.measure(planned)
    assert device.modes == ["measure", "measure", "profile", "quality", "accuracy"]
    assert set(stored(device.project, planned)) == set(ALL)
    assert not device.project.journal("host", planned.key).exists()


@settings(max_examples=20)
@given(stop=st.integers(0, 30), cold=st.integers(0, 3))
def test_a_resumed_experiment_launches_each_cell_once_a_round(tmp_path_factory, stop, cold):
    project = Project(tmp_path_factory.mktemp("project"))
    cells = [make_cell(threads=threads) for threads in (1, 2, 3)]
    planned = [make_planned(cell, measures=ALL) for cell in cells]
    launched: list[tuple[Cell, str]] = []
    with pytest.MonkeyPatch.context() as monkeypatch:
        device = MadeUp(project, monkeypatch, protocol=protocol(3, cold), made=launched, limit=stop)
        with contextlib.suppress(Killed):
            device.measure(*planned)
        device.limit = None
        store = Store(project.cells)
        remaining = [
            planned_cell
            for planned_cell in planned
            if not store.has(planned_cell.cell, "latency", planned_cell.measures["latency"])
        ]
        if remaining:
            device.measure(*remaining)
    assert sorted(launched) == sorted(
        (cell, mode)
        for cell in cells
        for mode in ["measure"] * 3 + ["cold"] * cold + ["profile", "quality", "accuracy"]
    )
    for planned_cell in planned:
        launches = stored(project, planned_cell)["latency"]["launches"]
        assert [launch["round"] for launch in launches] == [0, 1, 2]


def test_results_that_were_committed_before_a_kill_are_not_written_again(device, monkeypatch):
    planned = make_planned(measures=ALL)
    commit, committed = Store.commit, []

    def kill_at_the_third(self: Store, *arguments: Any) -> Path:
        if len(committed) == 2:
            raise Killed
        committed.append(commit(self, *arguments))
        return committed[-1]

    monkeypatch.setattr(Store, "commit", kill_at_the_third)
    with pytest.raises(Killed):
        device.measure(planned)
    monkeypatch.setattr(Store, "commit", commit)
    before = {path: path.read_bytes() for path in committed}
    device.made.clear()
    device.measure(planned)
    assert device.made == [] and set(stored(device.project, planned)) == set(ALL)
    assert {path: path.read_bytes() for path in committed} == before


def test_a_bad_launch_ends_its_cell_and_no_other(device):
    planned = [make_planned(make_cell(threads=threads), measures=ALL) for threads in (1, 2)]
    device.protocol = protocol(3)
    device.launches = lambda cell, mode, number: BAD if cell.threads == 2 else {}
    device.measure(*planned)
    assert Counter(cell.threads for cell, _ in device.made) == {1: 6, 2: 1}
    failed_results = stored(device.project, planned[1])
    assert {
        measure: result["status"] for measure, result in failed_results.items()
    } == dict.fromkeys(ALL, "failed")
    assert {result["reason"] for result in failed_results.values()} == {BAD["reason"]}
    assert stored(device.project, planned[0])["latency"]["status"] == "ok"


@pytest.mark.parametrize(("mode", "measure"), [("profile", "operators"), ("accuracy", "accuracy")])
def test_what_the_cell_does_not_depend_on_fails_alone(device, mode: str, measure: str):
    planned = make_planned(measures=ALL)
    device.protocol = protocol(2)
    device.launches = lambda cell, launched, number: BAD if launched == mode else {}
    device.measure(planned)
    assert device.modes == ["measure", "measure", "profile", "quality", "accuracy"]
    results = stored(device.project, planned)
    for name in ALL:
        assert results[name]["status"] == ("failed" if name == measure else "ok"), name
    assert results["latency"]["columns"]["latency_ms"] == 10.0


def test_a_round_s_launch_that_the_cell_does_not_depend_on_ends_its_measure_alone(
    device, monkeypatch
):
    inessential = structs.replace(all_measures()["cold_start"], essential=False)
    measures = {**all_measures(), "cold_start": inessential}
    for module in (experiment, measuring, running_cell, summarising):
        monkeypatch.setattr(module, "all_measures", lambda: measures)
    planned = make_planned()
    device.protocol = protocol(3, cold=2)
    device.launches = lambda cell, mode, number: BAD if mode == "cold" else {}
    device.measure(planned)
    assert device.modes == ["measure", "cold", "measure", "measure"]
    results = stored(device.project, planned)
    assert (results["latency"]["status"], results["latency"]["columns"]["launches"]) == ("ok", 3)
    assert (results["cold_start"]["status"], results["cold_start"]["reason"]) == (
        "failed", BAD["reason"],
    )  # fmt: skip


def test_held_out_inputs_that_cannot_be_run_leave_no_numbers(device):
    planned = make_planned(measures=ALL)
    device.protocol = protocol(2)
    device.launches = lambda cell, mode, number: BAD if mode == "quality" else {}
    device.measure(planned)
    results = stored(device.project, planned)
    assert {result["status"] for result in results.values()} == {"failed"}
    assert results["latency"]["columns"] == {}


# -- measures that are stale alone ------------------------------------------------------------------


def remeasure(device: MadeUp, measure: str) -> tuple[dict[str, Any], dict[Path, int]]:
    """Measure a cell, then one of its measures under another key; `device` lists the latter launches alone.

    Returns:
        The result of that measure, and the files of the first time with their times of writing.
    """
    before = make_planned(measures=ALL)
    device.protocol = protocol(3, cold=1, warm=2)
    device.measure(before)
    device.made.clear()
    files = {path: path.stat().st_mtime_ns for path in device.project.cells.rglob("*.json")}
    after = replace(
        make_planned(measures=ALL, salt="other"),
        measures=before.measures | {measure: "ffffffffffffffffffff"},
        stale={measure: "the code that measures changed"},
    )
    device.measure(after)
    return stored(device.project, after)[measure], files


@pytest.mark.parametrize(
    ("measure", "modes"),
    [
        ("latency", ["measure"] * 3),
        ("cold_start", ["start", "cold", "start"]),
        ("operators", ["profile"]),
        ("quality", ["quality"]),
        ("accuracy", ["accuracy"]),
    ],
)
def test_a_measure_that_is_stale_alone_is_launched_alone(device, measure: str, modes: list[str]):
    result, files = remeasure(device, measure)
    assert device.modes == modes and result["status"] == "ok"
    assert [launch["mode"] for launch in result["launches"]] == modes
    for path, stamp in files.items():
        assert path.stat().st_mtime_ns == stamp, path.name
    assert len(list(device.project.cells.rglob("*.json"))) == len(files) + 1


def test_operators_alone_are_held_against_the_stored_latency(device):
    device.launches = lambda cell, mode, number: (
        {"profile": {"operators": [], "sum_ms": 12.0}} if mode == "profile" else {}
    )
    result, _ = remeasure(device, "operators")
    assert result["columns"]["operators_gap"] == pytest.approx(0.2)
    assert result["flags"] == ["operators_gap"]


def test_an_emulated_processor_has_no_profile_when_operators_are_stale_alone(device):
    device.launches = lambda cell, mode, number: {"emulated": True}
    result, _ = remeasure(device, "operators")
    assert device.modes == [] and result["status"] == "ok"
    assert "operators_sum_ms" not in result["columns"]


def test_a_device_of_another_speed_doubts_the_latency_and_nothing_else(device, monkeypatch):
    departure = {"ratio": 1.5, "low": 1.4, "high": 1.6, "departs": True}
    monkeypatch.setattr(DeviceSpeed, "departure", lambda self, threads, tolerance: departure)
    planned = make_planned(measures=ALL)
    device.measure(planned)
    flags = {
        measure: result["flags"] for measure, result in stored(device.project, planned).items()
    }
    assert "drifted" in flags.pop("latency")
    assert not [measure for measure, raised in flags.items() if "drifted" in raised]


def test_an_emulated_device_has_no_profile_either(device):
    device.facts = {"emulated": True}
    planned = make_planned(measures=["operators"])
    device.measure(planned)
    assert device.modes == []
    assert stored(device.project, planned)["operators"]["columns"] == {}


def test_the_starts_of_measuring_launches_are_cold_starts_and_stand_once(device):
    planned = make_planned()
    device.protocol = protocol(3, cold=1)
    device.measure(planned)
    results = stored(device.project, planned)
    assert results["cold_start"]["columns"]["cold_total_ms"] == 110.0
    cold_launches = [
        (launch["mode"], launch.get("shared_with"), "warm_ms" in launch)
        for launch in results["cold_start"]["launches"]
    ]
    shared = ("measure", "measure", False)
    assert cold_launches == [shared, ("cold", None, True), shared, shared]
    assert [launch.get("shared_with") for launch in results["latency"]["launches"]] == [None] * 3
