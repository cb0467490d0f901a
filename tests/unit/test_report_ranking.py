"""Who wins: hand-made tables with known answers."""

from __future__ import annotations

import math

import pytest
from cellfarm.analysis.ranking import library_labels, rank, ranks

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
    "more",
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
def test_what_cannot_be_trusted_does_not_rank(more):
    fast = row("fast", 1.0) | more
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
