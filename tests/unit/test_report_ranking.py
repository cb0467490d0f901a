"""Which library is fastest: hand-made tables with known answers."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
from cellfarm.analysis.ranking import (
    FLAG_MEANINGS,
    INFORMATIONAL_FLAGS,
    is_slower,
    library_labels,
    rank,
    ranks,
)
from cellfarm.measures import flags as raised

from tests.support.synthetic_warehouse import row


def test_orders_by_latency_and_measures_the_gap():
    (ranking,) = rank([row("slow", 30.0), row("fast", 10.0), row("middle", 12.5)])
    assert [entry.library for entry in ranking.entries] == ["fast", "middle", "slow"]
    assert [entry.ratio_to_best for entry in ranking.entries] == [1.0, 1.25, 3.0]
    assert ranking.margin == pytest.approx(0.25)
    assert ranking.winners == ("fast",)
    assert ranking.sole_winner == "fast"
    assert not ranking.is_tie


def test_overlapping_intervals_tie_with_the_best_only():
    # c overlaps b but not a: being close to the second is no win.
    (ranking,) = rank([row("a", 10.0, 0.5), row("b", 10.8, 0.5), row("c", 11.6, 0.5)])
    assert ranking.winners == ("a", "b")
    assert ranking.is_tie
    assert ranking.sole_winner is None


def test_touching_intervals_overlap():
    (ranking,) = rank([row("a", 10.0, 0.5), row("b", 11.0, 0.5)])
    assert ranking.winners == ("a", "b")


def test_a_wide_interval_of_the_third_ties_too():
    (ranking,) = rank([row("a", 10.0, 0.1), row("b", 11.0, 0.1), row("c", 12.0, 5.0)])
    assert ranking.winners == ("a", "c")


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "wrong"},
        {"status": "failed"},
        {"flags": ["noisy"]},
        {"emulated": True},
        {"latency_ms": None},
        {"latency_ms": math.nan},
        {"latency_ms": 0.0},
    ],
)
def test_what_cannot_be_trusted_does_not_rank(changes):
    fast = row("fast", 1.0) | changes
    assert not ranks(fast)
    (ranking,) = rank([fast, row("slow", 30.0)])
    assert ranking.winners == ("slow",)
    assert not ranking.is_comparison
    assert ranking.margin is None
    assert ranking.sole_winner is None


def test_flags_may_be_null_or_empty():
    assert ranks(row("a", 1.0, flags=None, emulated=None))


def test_without_intervals_there_is_no_winner_beyond_doubt():
    (ranking,) = rank([row("a", 10.0, None), row("b", 30.0, None)])
    assert ranking.best.library == "a"
    assert not ranking.decided
    assert ranking.sole_winner is None


def test_a_flagged_result_that_is_faster_leaves_no_winner():
    rows = [row("a", 10.0), row("b", 20.0), row("c", 9.0, flags=["noisy"])]
    (ranking,) = rank(rows)
    assert (ranking.best.library, ranking.faster_flagged) == ("a", ("c",))
    assert not ranking.decided and ranking.sole_winner is None
    (with_flagged,) = rank(rows, flagged=True)
    assert (with_flagged.sole_winner, with_flagged.faster_flagged) == ("c", ())
    # A flagged result that is slower, wrong or emulated leaves the winner; an informational flag lets c win.
    for changes in ({"latency_ms": 11.0}, {"status": "wrong"}, {"emulated": True}):
        assert rank([*rows[:2], rows[2] | changes])[0].sole_winner == "a"
    assert rank([*rows[:2], rows[2] | {"flags": ["unsteady"]}])[0].sole_winner == "c"


def test_settings_are_compared_apart():
    rows = [
        row(library, latency, **setting)
        for setting in ({"threads": 1}, {"threads": 2}, {"device": "pi"}, {"variant": "int8"})
        for library, latency in (("a", 10.0), ("b", 20.0))
    ]
    rows.append(row("c", 1.0, protocol="sustained"))
    rankings = rank(rows)
    assert len(rankings) == 5
    assert [ranking.is_comparison for ranking in rankings].count(True) == 4


def test_versions_are_named_only_where_there_are_several():
    rows = [row("a", 1.0), row("b", 2.0), row("b", 3.0, library_version="2.0")]
    assert set(library_labels(rows).values()) == {"a", "b 1.0", "b 2.0"}
    (ranking,) = rank(rows)
    assert [entry.library for entry in ranking.entries] == ["a", "b 1.0", "b 2.0"]


def test_equal_latencies_rank_the_same_whatever_the_order_of_the_rows():
    rows = [row("b", 10.0), row("a", 10.0)]
    assert rank(rows) == rank(rows[::-1])
    assert rank([]) == []


def ratio(key, other, value, low=None, high=None, across=False):
    """Rows of the view `ratios`: of two cells and, as in the view, of the same cells swapped."""

    def directed(first, second, *numbers):
        names = ("ratio", "ratio_ci_low", "ratio_ci_high")
        columns = {"key": first, "other_key": second, "crosses_experiments": across}
        return columns | dict(zip(names, numbers, strict=True))

    inverse = (1 / value, 1 / high, 1 / low) if low and high else (1 / value, None, None)
    return [directed(key, other, value, low, high), directed(other, key, *inverse)]


def keyed(library, latency_ms, half_ms=0.1, **more):
    return row(library, latency_ms, half_ms, key=library, **more)


def test_a_ratio_decides_where_intervals_overlap():
    # The machine was slow in some rounds: both intervals are wide, their ratio is not.
    rows = [keyed("a", 10.0, 2.0), keyed("b", 10.6, 2.0)]
    assert rank(rows)[0].is_tie
    (ranking,) = rank(rows, ratio("a", "b", 1.05, 1.03, 1.07))
    assert ranking.sole_winner == "a"
    assert ranking.margin == pytest.approx(0.05)
    best, second = ranking.entries
    assert (second.ratio_to_best, second.ratio_low, second.ratio_high) == (1.05, 1.03, 1.07)
    assert (best.ratio_to_best, best.ratio_low, best.ratio_high) == (1.0, None, None)


def test_a_ratio_ties_where_intervals_do_not_overlap():
    rows = [keyed("a", 10.0), keyed("b", 10.6)]
    (ranking,) = rank(rows, ratio("a", "b", 1.05, 0.99, 1.10))
    assert ranking.winners == ("a", "b")
    assert ranking.decided


@pytest.mark.parametrize(("low", "tied"), [(1.0, True), (1.0001, False)])
def test_an_interval_that_touches_one_includes_it(low, tied):
    (ranking,) = rank([keyed("a", 10.0), keyed("b", 10.6)], ratio("a", "b", 1.05, low, 1.1))
    assert ranking.is_tie == tied


def test_without_the_interval_of_a_ratio_latencies_decide():
    rows = [keyed("a", 10.0, 0.5), keyed("b", 10.8, 0.5), keyed("c", 12.0, 0.5)]
    (ranking,) = rank(rows, ratio("a", "b", 1.07))
    assert ranking.winners == ("a", "b")
    assert ranking.entries[1].ratio_to_best == 1.07
    assert ranking.entries[2].ratio_to_best == pytest.approx(1.2)
    assert not ranking.entries[1].has_ratio_interval


def test_a_ratio_decides_where_latencies_have_no_interval():
    rows = [keyed("a", 10.0, None), keyed("b", 12.0, None)]
    (ranking,) = rank(rows, ratio("a", "b", 1.2, 1.1, 1.3))
    assert ranking.sole_winner == "a"
    assert is_slower(ranking.best, ranking.entries[1])


def test_across_experiments_the_scaled_ratio_counts_and_is_marked():
    # a was measured while the device was slow: by the calibration load it is the faster one.
    rows = [keyed("a", 11.0), keyed("b", 10.0), keyed("c", 15.0)]
    ratios = [
        *ratio("b", "a", 0.9, 0.87, 0.93, across=True),
        *ratio("b", "c", 1.5, 1.4, 1.6),
        *ratio("a", "c", 1.67, 1.5, 1.8, across=True),
    ]
    (ranking,) = rank(rows, ratios)
    assert [entry.library for entry in ranking.entries] == ["a", "b", "c"]
    assert ranking.sole_winner == "a"
    assert ranking.entries[1].ratio_to_best == pytest.approx(1 / 0.9)
    assert [entry.crosses_experiments for entry in ranking.entries] == [False, True, True]
    assert ranking.crosses_experiments
    assert not rank(rows, ratio("b", "c", 1.5, 1.4, 1.6))[0].crosses_experiments


def test_flagged_cells_rank_when_they_are_asked_for_and_are_marked():
    rows = [
        keyed("a", 10.0, flags=["noisy", "operators_gap"]),
        keyed("b", 20.0),
        keyed("wrong", 1.0, status="wrong"),
        keyed("emulated", 2.0, emulated=True),
    ]
    assert [entry.library for entry in rank(rows)[0].entries] == ["b"]
    (ranking,) = rank(rows, flagged=True)
    assert [(entry.library, entry.flags) for entry in ranking.entries] == [
        ("a", ("noisy",)),
        ("b", ()),
    ]


def test_a_doubtful_profile_keeps_no_cell_from_ranking():
    (ranking,) = rank([row("a", 10.0, flags=["operators_gap"]), row("b", 20.0)])
    assert ranking.sole_winner == "a"
    assert ranking.best.flags == ()


def test_every_flag_that_is_raised_has_a_meaning():
    names = set(raised._OF_GATE.values()) | set(INFORMATIONAL_FLAGS)
    for path in Path(raised.__file__).parent.rglob("*.py"):
        text = path.read_text()
        names |= set(re.findall(r'flags(?:\.add\(| = \[)"(\w+)"', text))
    assert {"contended", "noisy", "hot", "operators_gap", "cold_disturbed"} <= names
    assert names <= set(FLAG_MEANINGS)
