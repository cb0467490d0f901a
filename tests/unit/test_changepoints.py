"""Changepoints against every possible segmentation, and against the library ruptures."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import ruptures
from cellfarm.analysis.changepoints import changepoints
from hypothesis import given, settings
from hypothesis import strategies as st


def cost(
    values: np.ndarray, ends: list[int], penalty: float, weights: np.ndarray | None = None
) -> float:
    weights = np.ones(len(values)) if weights is None else weights
    total = 0.0
    for start, end in itertools.pairwise([0, *ends]):
        segment, segment_weights = values[start:end], weights[start:end]
        deviations = segment - np.average(segment, weights=segment_weights)
        total += float((segment_weights * deviations**2).sum()) + penalty
    return total


@given(
    points=st.lists(st.tuples(st.integers(-20, 20), st.integers(1, 9)), min_size=2, max_size=10),
    weighted=st.booleans(),
    penalty=st.integers(1, 100),
    shortest=st.integers(1, 3),
)
def test_no_segmentation_costs_less(points, weighted, penalty, shortest):
    series, weights = np.array(points, dtype=float).T
    weights = weights if weighted else None
    count = len(series)
    possible = [
        [*inner, count]
        for size in range(count)
        for inner in itertools.combinations(range(1, count), size)
        if all(end - start >= shortest for start, end in itertools.pairwise([0, *inner, count]))
    ]
    if not possible:
        return
    ends = changepoints(series, penalty, shortest, weights)
    assert ends in possible
    lowest_cost = min(cost(series, ends, penalty, weights) for ends in possible)
    assert cost(series, ends, penalty, weights) == pytest.approx(lowest_cost, abs=1e-6)


@settings(deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(20, 400), steps=st.integers(0, 4))
def test_no_segmentation_of_ruptures_costs_less(seed, count, steps):
    """The costs are compared: of two segmentations of the same cost, either is right."""
    random = np.random.default_rng(seed)
    series = random.normal(1000, 1, count)
    for start in random.integers(0, count, steps):
        series[start:] += random.normal(0, 6)
    penalty = 3 * np.log(count)
    search = ruptures.KernelCPD("linear", min_size=5).fit(series.reshape(-1, 1))
    expected = [int(end) for end in search.predict(pen=penalty)]
    ends = changepoints(series, penalty, 5)
    assert cost(series, ends, penalty) <= cost(series, expected, penalty) + 1e-3


def test_a_step_is_found_where_it_is():
    series = np.array([1.0] * 30 + [5.0] * 20)
    assert changepoints(series, 3.0, 5) == [30, 50]
    assert changepoints(series[:30], 3.0, 5) == [30]
