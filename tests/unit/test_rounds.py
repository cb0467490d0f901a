"""The order of launches: random, seeded, and the same after an interruption."""

from __future__ import annotations

from collections import Counter
from typing import Any

from cellfarm.experiments.rounds import round_order
from cellfarm.measures.hosts import host_of
from cellfarm.measures.launches import COLD, MEASURE, START
from hypothesis import given
from hypothesis import strategies as st

KEYS = st.lists(st.text("abcdef", min_size=1, max_size=4), min_size=1, max_size=8, unique=True)


@given(keys=KEYS, number=st.integers(0, 50), data=st.data())
def test_an_order_is_a_permutation_that_depends_on_seed_and_number_alone(keys, number, data):
    order = round_order(keys, "seed", number)
    assert sorted(order) == sorted(keys)
    assert round_order(data.draw(st.permutations(keys)), "seed", number) == order


def test_rounds_differ_and_so_do_seeds():
    keys = [f"k{n}" for n in range(10)]
    orders = {tuple(round_order(keys, seed, n)) for seed in ("a", "b") for n in range(20)}
    assert len(orders) == 40


def test_every_cell_is_first_about_equally_often():
    keys = ["a", "b", "c", "d"]
    first = Counter(round_order(keys, "0/host/model", number)[0] for number in range(400))
    assert set(first) == set(keys)
    assert max(first.values()) < 2 * min(first.values())


def test_an_order_does_not_change_with_the_version_of_the_code():
    """An interrupted experiment may be resumed later: the shuffle is part of its record."""
    assert round_order(["a", "b", "c", "d", "e"], "0/host/m", 0) == ["a", "e", "b", "d", "c"]


LATENCY = host_of("latency")
COLD_START = host_of("cold_start")
TIMING = LATENCY.settings({
    "launches": {"min": 2, "max": 9}, "target_half_width": 0.1,
    "samples": {"min": 1, "max": 1, "seconds": 0},
})  # fmt: skip


def starts(launches: int, warm: int = 0) -> Any:
    return COLD_START.settings({"launches": launches, "warm": warm})


def test_what_was_launched_in_this_round_is_passed_over():
    assert LATENCY.due({}, 0, TIMING) == (MEASURE,)
    assert LATENCY.due({MEASURE: 1}, 0, TIMING) == ()
    assert LATENCY.due({MEASURE: 1}, 1, TIMING) == (MEASURE,)


def test_cold_starts_go_with_the_first_rounds():
    assert COLD_START.due({MEASURE: 1}, 0, starts(2)) == (COLD,)
    assert COLD_START.due({MEASURE: 1, COLD: 1}, 0, starts(2)) == ()
    assert COLD_START.due({MEASURE: 2, COLD: 2}, 2, starts(2)) == ()


def test_the_starts_of_a_timing_measure_are_warm_starts():
    assert COLD_START.due({MEASURE: 1}, 0, starts(0, warm=3)) == ()
    assert COLD_START.due({}, 0, starts(0, warm=3)) == (START,)
    assert COLD_START.due({START: 3}, 3, starts(0, warm=3)) == ()


@given(keys=KEYS, stop=st.integers(0, 60), cold=st.integers(0, 5))
def test_a_resumed_experiment_launches_each_cell_once_a_round(
    keys: list[str], stop: int, cold: int
):
    rounds = 4
    launched: list[tuple[int, str, str]] = []

    def run(limit: int) -> None:
        for number in range(rounds):
            for key in round_order(keys, "s", number):
                for host, settings in ((LATENCY, TIMING), (COLD_START, starts(cold))):
                    taken = Counter(mode for _, own, mode in launched if own == key)
                    for mode in host.due(taken, number, settings):
                        if len(launched) == limit:
                            return
                        launched.append((number, key, mode))

    run(stop)
    run(10_000)
    assert launched == [
        (number, key, mode)
        for number in range(rounds)
        for key in round_order(keys, "s", number)
        for mode in ([MEASURE, COLD] if number < cold else [MEASURE])
    ]
