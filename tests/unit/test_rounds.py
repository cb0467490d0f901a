"""The order of launches: random, seeded, and the same after an interruption."""

from __future__ import annotations

from collections import Counter

from cellfarm.experiments.rounds import round_order
from cellfarm.measures.launches import COLD, MEASURE
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


def test_what_was_launched_in_this_round_is_passed_over():
    order = ["c", "a", "b", "d"]
    taken = {"a": {MEASURE: 1}, "b": {}, "c": {}}  # d is finished already
    assert list(due(order, taken, 0, 0)) == [("c", MEASURE), ("b", MEASURE)]
    assert list(due(order, taken, 1, 0)) == [("c", MEASURE), ("a", MEASURE), ("b", MEASURE)]


def test_cold_starts_go_with_the_first_rounds():
    assert list(due(["a"], {"a": {}}, 0, 2)) == [("a", MEASURE), ("a", COLD)]
    assert list(due(["a"], {"a": {MEASURE: 1}}, 0, 2)) == [("a", COLD)]
    assert list(due(["a"], {"a": {MEASURE: 2, COLD: 2}}, 2, 2)) == [("a", MEASURE)]


@given(keys=KEYS, stop=st.integers(0, 60), cold=st.integers(0, 5))
def test_a_resumed_experiment_launches_each_cell_once_a_round(
    keys: list[str], stop: int, cold: int
):
    rounds = 4
    launched: list[tuple[int, str, str]] = []

    def run(limit: int) -> None:
        for number in range(rounds):
            taken: dict[str, Counter[str]] = {key: Counter() for key in keys}
            for _, key, mode in launched:
                taken[key][mode] += 1
            for key, mode in due(round_order(keys, "s", number), taken, number, cold):
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
