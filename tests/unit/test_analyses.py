"""The analyses of a report, on small tables whose correct answers are known."""

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


def cell(library: str, ms: float, half_ms: float | None = 0.1, **fields: Any) -> dict[str, Any]:
    key = f"{library}/{sorted(fields.items())}"
    return row(library, ms, half_ms, **{"key": key, **fields})


#: ncnn wins on a and c, litert wins on b; on d their intervals overlap.
ROWS = [
    cell("ncnn", 10, model="a"), cell("litert", 20, model="a"), cell("mnn", 40, model="a"),
    cell("ncnn", 30, model="b"), cell("litert", 10, model="b"),
    cell("ncnn", 10, model="c"), cell("litert", 11, model="c"),
    cell("ncnn", 10.0, 1, model="d"), cell("litert", 10.5, 1, model="d"),
    cell("ncnn", 9, model="alone"),
]  # fmt: skip


def test_shares_count_a_tie_in_parts():
    by_library = {share.library: share for share in shares(rank(ROWS))}
    assert (by_library["ncnn"].wins, by_library["ncnn"].sole, by_library["ncnn"].comparisons) == (
        2.5,
        2,
        4,
    )
    assert (by_library["litert"].wins, by_library["litert"].sole) == (1.5, 1)
    assert (by_library["mnn"].wins, by_library["mnn"].share) == (0, 0)
    expected = -(2.5 / 4) * math.log2(2.5 / 4) - (1.5 / 4) * math.log2(1.5 / 4)
    assert entropy_bits(list(by_library.values())) == pytest.approx(expected)
    assert entropy_bits([]) is None


def test_an_undecided_comparison_has_no_winner():
    rows = [cell("ncnn", 10, None), cell("litert", 20, None)]
    assert decided(rank(rows)) == [] and shares(rank(rows)) == []


def test_the_winner_changes_along_an_axis_where_nobody_wins_both():
    by_axis = {change.axis: change for change in changes(rank(ROWS))}
    # The winner differs between b and a, and between b and c; d shares a winner with all the others.
    assert (by_axis["model"].pairs, by_axis["model"].changed) == (6, 2)
    assert (by_axis["device"].pairs, by_axis["device"].share) == (0, None)
    rows = [
        cell("ncnn", 10),
        cell("litert", 20),
        cell("ncnn", 20, threads=2),
        cell("litert", 10, threads=2),
    ]
    by_axis = {change.axis: change for change in changes(rank(rows))}
    assert by_axis["threads"].share == 1.0 and by_axis["model"].pairs == 0


@given(st.lists(st.sampled_from(["x", "y", "z"]), min_size=1, max_size=30))
def test_entropy_lies_between_nothing_and_that_of_chance(winners):
    rows = []
    for number, winner in enumerate(winners):
        rows += [cell(name, 1 if name == winner else 2, 0.01, model=f"m{number}") for name in "xyz"]
    library_shares = shares(rank(rows))
    assert sum(share.wins for share in library_shares) == pytest.approx(len(winners))
    assert 0 <= entropy_bits(library_shares) <= math.log2(3) + 1e-9
    assert (entropy_bits(library_shares) == 0) == (len(set(winners)) == 1)


def test_gaps_of_the_second_and_the_worst():
    by_model = {gap.ranking.model: gap for gap in gaps(rank(ROWS))}
    assert (by_model["a"].second, by_model["a"].worst) == (2, 4)
    assert (by_model["b"].second, by_model["b"].worst) == (3, 3)
    assert "alone" not in by_model
    summary = spread([gap.worst for gap in by_model.values()])
    assert (summary.count, summary.median, summary.largest) == (4, pytest.approx(2.05), 4)
    assert spread([]) is None and spread([1.0, 2.0]).largest == 2.0


def test_regret_is_where_a_library_runs_and_says_how_often_that_is():
    by_library = {regret.library: regret for regret in regrets(rank(ROWS))}
    assert by_library["ncnn"].mean == pytest.approx(3 ** (1 / 4) - 1)
    assert by_library["litert"].mean == pytest.approx((2 * 1.1 * 1.05) ** (1 / 4) - 1)
    assert (by_library["mnn"].mean, by_library["mnn"].covered, by_library["mnn"].comparisons) == (
        3,
        1,
        4,
    )
    assert [regret.library for regret in regrets(rank(ROWS))][-1] == "mnn"


def test_effects_change_one_thing_only():
    rows = [
        cell("ncnn", 10), cell("litert", 30), cell("ncnn", 4, variant="int8"),
        cell("ncnn", 5, threads=2), cell("ncnn", 2.5, processor="gpu", threads=2),
        cell("mnn", 99, status="wrong"), cell("qnn", 1, emulated=True),
    ]  # fmt: skip
    ratios = {effect.what: effect.ratios for effect in effects(rows)}
    assert ratios == {
        "library, the slower over the faster": [3.0],
        "variant, fp32 to int8": [2.5],
        "processor, cpu to gpu": [2.0],  # against the fastest number of threads
        "threads, 1 to 2": [2.0],
    }
    assert effects([]) == []


def point(name: str, ms: float, size: int, memory: float, cosine: float | None) -> dict[str, Any]:
    return cell(name, ms, artifact_bytes=size, peak_rss_mb=memory, cosine=cosine)


def test_the_front_is_what_nothing_beats_in_everything():
    rows = [
        point("fast", 1, 100, 100, 0.99), point("small", 9, 10, 100, 0.99),
        point("exact", 9, 100, 100, 1.0), point("beaten", 9, 100, 100, 0.9),
        point("unknown", 0.1, 1, 1, None), point("twin", 1, 100, 100, 0.99),
    ]  # fmt: skip
    assert [row["library"] for row in front(rows)] == ["fast", "small", "exact", "twin"]
    flagged = {**point("noisy", 0.5, 10, 100, 1.0), "flags": ["noisy"]}
    assert [row["library"] for row in front([*rows, flagged])] == ["fast", "small", "exact", "twin"]
    assert [row["library"] for row in front([*rows, flagged], flagged=True)] == ["noisy"]


@given(st.lists(st.tuples(*[st.integers(1, 5)] * 3, st.floats(0, 1)), max_size=12))
def test_nobody_off_the_front_is_unbeaten_and_nobody_on_it_is_beaten(points):
    rows = [point(f"l{number}", *values) for number, values in enumerate(points)]
    on_front = {row["library"] for row in front(rows)}
    assert bool(rows) == bool(on_front)
    for candidate in rows:
        beaten = any(_beats(other, candidate) for other in rows)
        assert (candidate["library"] in on_front) == (not beaten)


def _beats(first: dict[str, Any], second: dict[str, Any]) -> bool:
    a, b = (
        (row["latency_ms"], row["artifact_bytes"], row["peak_rss_mb"], 1 - row["cosine"])
        for row in (first, second)
    )
    return all(x <= y for x, y in zip(a, b, strict=True)) and a != b
