"""The analyses of a report, on tables made by hand whose answers are known."""

from __future__ import annotations

import math
from typing import Any

import pytest
from cellfarm.analysis.effects import effects
from cellfarm.analysis.fragmentation import changes, decided, entropy_bits, shares
from cellfarm.analysis.gap import gaps, regrets, spread
from cellfarm.analysis.pareto import front
from cellfarm.analysis.ranking import rank
from hypothesis import given
from hypothesis import strategies as st

from tests.support.synthetic_warehouse import row


def of(library: str, ms: float, half_ms: float | None = 0.1, **more: Any) -> dict[str, Any]:
    key = f"{library}/{sorted(more.items())}"
    return row(library, ms, half_ms, **{"key": key, **more})


#: ncnn wins on a and c, litert on b; on d the two cannot be told apart.
ROWS = [
    of("ncnn", 10, model="a"), of("litert", 20, model="a"), of("mnn", 40, model="a"),
    of("ncnn", 30, model="b"), of("litert", 10, model="b"),
    of("ncnn", 10, model="c"), of("litert", 11, model="c"),
    of("ncnn", 10.0, 1, model="d"), of("litert", 10.5, 1, model="d"),
    of("ncnn", 9, model="alone"),
]  # fmt: skip


def test_shares_count_a_tie_in_parts():
    found = {one.library: one for one in shares(rank(ROWS))}
    assert (found["ncnn"].wins, found["ncnn"].sole, found["ncnn"].comparisons) == (2.5, 2, 4)
    assert (found["litert"].wins, found["litert"].sole) == (1.5, 1)
    assert (found["mnn"].wins, found["mnn"].share) == (0, 0)
    expected = -(2.5 / 4) * math.log2(2.5 / 4) - (1.5 / 4) * math.log2(1.5 / 4)
    assert entropy_bits(list(found.values())) == pytest.approx(expected)
    assert entropy_bits([]) is None


def test_what_nothing_decides_is_no_win():
    rows = [of("ncnn", 10, None), of("litert", 20, None)]
    assert decided(rank(rows)) == [] and shares(rank(rows)) == []


def test_the_winner_changes_along_an_axis_where_nobody_wins_both():
    along = {one.axis: one for one in changes(rank(ROWS))}
    # Of the six pairs of models, b against a and against c; d shares a winner with all.
    assert (along["model"].pairs, along["model"].changed) == (6, 2)
    assert (along["device"].pairs, along["device"].share) == (0, None)
    two = [of("ncnn", 10), of("litert", 20), of("ncnn", 20, threads=2), of("litert", 10, threads=2)]
    along = {one.axis: one for one in changes(rank(two))}
    assert along["threads"].share == 1.0 and along["model"].pairs == 0


@given(st.lists(st.sampled_from(["x", "y", "z"]), min_size=1, max_size=30))
def test_entropy_lies_between_nothing_and_that_of_chance(winners):
    rows = []
    for number, winner in enumerate(winners):
        rows += [of(name, 1 if name == winner else 2, 0.01, model=f"m{number}") for name in "xyz"]
    found = shares(rank(rows))
    assert sum(one.wins for one in found) == pytest.approx(len(winners))
    assert 0 <= entropy_bits(found) <= math.log2(3) + 1e-9
    assert (entropy_bits(found) == 0) == (len(set(winners)) == 1)


def test_gaps_of_the_second_and_the_worst():
    found = {one.ranking.model: one for one in gaps(rank(ROWS))}
    assert (found["a"].second, found["a"].worst) == (2, 4)
    assert (found["b"].second, found["b"].worst) == (3, 3)
    assert "alone" not in found
    told = spread([one.worst for one in found.values()])
    assert (told.count, told.median, told.largest) == (4, pytest.approx(2.05), 4)
    assert spread([]) is None and spread([1.0, 2.0]).largest == 2.0


def test_regret_is_where_a_library_runs_and_says_how_often_that_is():
    found = {one.library: one for one in regrets(rank(ROWS))}
    assert found["ncnn"].mean == pytest.approx(3 ** (1 / 4) - 1)
    assert found["litert"].mean == pytest.approx((2 * 1.1 * 1.05) ** (1 / 4) - 1)
    assert (found["mnn"].mean, found["mnn"].covered, found["mnn"].comparisons) == (3, 1, 4)
    assert [one.library for one in regrets(rank(ROWS))][-1] == "mnn"


def test_effects_change_one_thing_only():
    rows = [
        of("ncnn", 10), of("litert", 30), of("ncnn", 4, variant="int8"),
        of("ncnn", 5, threads=2), of("ncnn", 2.5, processor="gpu", threads=2),
        of("mnn", 99, status="wrong"), of("qnn", 1, emulated=True),
    ]  # fmt: skip
    found = {one.what: one.ratios for one in effects(rows)}
    assert found == {
        "library, the slower over the faster": [3.0],
        "variant, fp32 to int8": [2.5],
        "processor, cpu to gpu": [2.0],  # against the fastest number of threads
        "threads, 1 to 2": [2.0],
    }
    assert effects([]) == []


def point(name: str, ms: float, size: int, memory: float, cosine: float | None) -> dict[str, Any]:
    return of(name, ms, artifact_bytes=size, peak_rss_mb=memory, cosine=cosine)


def test_the_front_is_what_nothing_beats_in_everything():
    rows = [
        point("fast", 1, 100, 100, 0.99), point("small", 9, 10, 100, 0.99),
        point("exact", 9, 100, 100, 1.0), point("beaten", 9, 100, 100, 0.9),
        point("unknown", 0.1, 1, 1, None), point("twin", 1, 100, 100, 0.99),
    ]  # fmt: skip
    assert [one["library"] for one in front(rows)] == ["fast", "small", "exact", "twin"]
    flagged = {**point("noisy", 0.5, 10, 100, 1.0), "flags": ["noisy"]}
    assert [one["library"] for one in front([*rows, flagged])] == ["fast", "small", "exact", "twin"]
    assert [one["library"] for one in front([*rows, flagged], flagged=True)] == ["noisy"]


@given(st.lists(st.tuples(*[st.integers(1, 5)] * 3, st.floats(0, 1)), max_size=12))
def test_nobody_off_the_front_is_unbeaten_and_nobody_on_it_is_beaten(points):
    rows = [point(f"l{number}", *values) for number, values in enumerate(points)]
    on = {one["library"] for one in front(rows)}
    assert bool(rows) == bool(on)
    for one in rows:
        beaten = any(_beats(other, one) for other in rows)
        assert (one["library"] in on) == (not beaten)


def _beats(one: dict[str, Any], two: dict[str, Any]) -> bool:
    a, b = (
        (x["latency_ms"], x["artifact_bytes"], x["peak_rss_mb"], 1 - x["cosine"])
        for x in (one, two)
    )
    return all(x <= y for x, y in zip(a, b, strict=True)) and a != b
