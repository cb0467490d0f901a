"""Flags of cells whose numbers are doubtful."""

from __future__ import annotations

from typing import Any

import pytest
from cellfarm.analysis.statistics import Estimate
from cellfarm.measures.flags import cell_flags, is_unsteady, launch_flags, steady_state
from cellfarm.measures.hosts import host_of

from tests.support.protocols import SMALLEST
from tests.support.results import make_launch

PRECISE = Estimate(10.0, 9.9, 10.1)


def flags(*launches: dict[str, Any]) -> list[str]:
    return cell_flags(launches, PRECISE, SMALLEST["gates"], 0.05)


def gate(**readings: Any) -> dict[str, Any]:
    return make_launch(gate={"exceeded": [], "waited_s": 0.0} | readings)


def test_a_quiet_cell_has_no_flags():
    assert flags(make_launch(), make_launch()) == []


@pytest.mark.parametrize(
    ("limit", "flag"),
    [("load", "contended"), ("temperature", "hot"), ("battery", "low_battery"),
     ("speed", "throttled")],
)  # fmt: skip
def test_what_ran_outside_a_gate_is_flagged(limit: str, flag: str):
    assert flags(make_launch(), gate(exceeded=[limit])) == [flag]


def test_a_device_that_could_not_be_read_is_flagged():
    assert flags(make_launch(), make_launch(gate={"problem": "the gate timed out"})) == ["ungated"]


def test_a_launch_that_was_not_where_it_was_to_be_is_unpinned():
    assert launch_flags(make_launch(asked_cores=[1], affinity=[1])) == set()
    assert launch_flags(make_launch(asked_cores=[1, 0], affinity=[0, 1])) == set()
    assert launch_flags(make_launch(asked_cores=None, affinity=None)) == set()
    for affinity in (None, [0], [0, 1]):
        assert launch_flags(make_launch(asked_cores=[1], affinity=affinity)) == {"unpinned"}


def clocks(mhz: list[float | None], used: float = 1.0) -> dict[str, Any]:
    metrics = {"frequency_policy0_mhz": mhz, "cpu_utilisation": [used] * len(mhz)}
    return make_launch(conditions={"t_s": list(range(len(mhz))), "metrics": metrics})


def test_clocks_that_fall_under_load_are_throttled():
    assert launch_flags(clocks([2000.0] * 4 + [1500.0] * 4)) == {"throttled"}
    assert launch_flags(clocks([2000.0] * 4 + [1950.0] * 4)) == set()
    assert launch_flags(clocks([2000.0] * 4 + [1500.0] * 4, used=0.1)) == set(), "idle clocks fall"
    assert launch_flags(clocks([None] * 8)) == set()
    assert launch_flags(clocks([2000.0, 1000.0])) == set(), "too few readings"


def test_the_steady_state_is_what_most_launches_have():
    def state(*kinds: str | None) -> str | None:
        return steady_state([make_launch(steady=kind) for kind in kinds])

    assert state("flat", "flat", "warm-up") == "flat"
    assert state("flat", "slowdown") == "slowdown", "of two as common the more doubtful one"
    assert state(None, "unheard of") is None


def test_cells_that_reach_no_steady_state_are_flagged_where_one_is_expected():
    unsteady = [
        make_launch(steady="no steady state"),
        make_launch(steady="slowdown"),
        make_launch(),
    ]
    assert is_unsteady(unsteady)
    assert "unsteady" in flags(*unsteady)
    assert not is_unsteady(unsteady[1:])
    sustained = host_of("sustained")
    assert sustained.kept_flags(flags(*unsteady)) == []
