"""The interval over launches scales with the unit of time. test_coverage.py checks its coverage."""

from __future__ import annotations

import numpy as np
import pytest
from cellfarm.analysis.statistics import Estimate, _resampled_medians, hierarchical_median
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

TRUE_MS = 10.0

SAMPLES = st.lists(st.floats(0.01, 1000.0), min_size=1, max_size=12)
LAUNCHES = st.lists(SAMPLES, min_size=2, max_size=6)


def simulated(generator: np.random.Generator, launches: int, spread: float) -> list[np.ndarray]:
    """Launches of 20 samples; `spread` is the standard deviation between launches, in ms.

    Within a launch the samples have a long right tail, as latencies have; each launch is shifted
    so that the median over all launches is TRUE_MS.
    """
    launch_samples = []
    for _ in range(launches):
        centre = TRUE_MS + generator.normal(0, spread)
        tail = generator.exponential(0.2, size=20) - 0.2 * np.log(2)
        launch_samples.append(centre + tail)
    return launch_samples


def test_iterations_are_not_taken_for_independent_launches():
    """A bootstrap over pooled samples would cover far less: launches differ, iterations agree."""
    generator = np.random.default_rng(1)
    pooled_hits, hits = 0, 0
    for trial in range(100):
        launches = simulated(generator, 10, spread=0.3)
        pooled = np.concatenate(launches)
        picks = generator.integers(len(pooled), size=(200, len(pooled)))
        low, high = np.quantile(np.median(pooled[picks], axis=1), [0.025, 0.975])
        pooled_hits += low <= TRUE_MS <= high
        estimate = hierarchical_median(launches, str(trial))
        hits += (estimate.low or 0) <= TRUE_MS <= (estimate.high or 0)
    assert pooled_hits < hits - 10


def test_more_launches_make_the_interval_narrower():
    generator = np.random.default_rng(5)
    widths = [
        np.median([
            hierarchical_median(simulated(generator, count, 0.3), str(n)).half_width
            for n in range(20)
        ])
        for count in (4, 16, 64)
    ]  # fmt: skip
    assert widths[0] > widths[1] > widths[2]


def test_the_estimate_is_the_median_of_the_launches_medians():
    estimate = hierarchical_median([[1.0, 2.0, 90.0], [9.0], [3.0, 3.0]])
    assert estimate.median == 3.0  # of 2, 9, 3: the launch with more samples weighs no more


def test_one_launch_has_no_interval():
    assert hierarchical_median([[1.0, 2.0, 3.0]]) == Estimate(2.0, None, None)
    assert hierarchical_median([[1.0]]).half_width is None


@pytest.mark.parametrize("count", [2, 3, 5])
def test_few_launches_can_reach_beyond_their_own_medians(count: int):
    """Three launches are all on the same side of the true median in 25 % of cases."""
    estimate = hierarchical_median([[10.0 + 0.2 * n] * 5 for n in range(count)])
    assert estimate.low is not None and estimate.high is not None
    assert 0 < estimate.low < 10.0
    assert estimate.high > 10.0 + 0.2 * (count - 1)
    # The interval is symmetric on a log scale.
    assert estimate.low * estimate.high == pytest.approx(estimate.median**2)


def test_two_launches_have_students_interval_with_one_degree_of_freedom():
    # The median of two is their mean: its standard error is half their distance, and 12.706 is the
    # 97.5 % quantile of t with one degree of freedom.
    estimate = hierarchical_median([[10.0] * 5, [10.1] * 5])
    assert estimate.half_width == pytest.approx(12.706 * np.log(1.01) / 2, rel=0.1)


def test_launches_that_all_agree_have_no_width():
    estimate = hierarchical_median([[5.0] * 3] * 4)
    assert (estimate.low, estimate.median, estimate.high, estimate.half_width) == (
        5.0,
        5.0,
        5.0,
        0.0,
    )


@pytest.mark.parametrize("launches", [[], [[]], [[1.0], []]])
def test_no_samples_are_refused(launches: list[list[float]]):
    with pytest.raises(ValueError, match="at least one sample"):
        hierarchical_median(launches)


@settings(max_examples=40)
@given(launches=LAUNCHES, seed=st.text(max_size=10))
def test_the_same_seed_gives_the_same_interval(launches, seed):
    assert hierarchical_median(launches, seed) == hierarchical_median(launches, seed)


def test_another_seed_draws_other_resamples():
    generator = np.random.default_rng(3)
    launches = simulated(generator, 6, 0.3)
    lows = {hierarchical_median(launches, seed).low for seed in "abcdef"}
    assert len(lows) > 1


@settings(max_examples=40)
@given(launches=LAUNCHES, exponent=st.integers(-6, 6))
def test_the_interval_scales_with_the_unit(launches, exponent):
    factor = 2.0**exponent  # a power of two scales floats without rounding
    estimate = hierarchical_median(launches, "s")
    scaled = hierarchical_median([[factor * ms for ms in samples] for samples in launches], "s")
    assert scaled.median == factor * estimate.median
    assert scaled.low == pytest.approx(factor * (estimate.low or 0), rel=1e-12)
    assert scaled.high == pytest.approx(factor * (estimate.high or 0), rel=1e-12)
    assert scaled.half_width == pytest.approx(estimate.half_width, rel=1e-9)


@settings(max_examples=40)
@given(launches=LAUNCHES)
def test_the_interval_holds_the_estimate(launches):
    estimate = hierarchical_median(launches)
    assert estimate.low is not None and estimate.high is not None
    assert 0 < estimate.low <= estimate.median <= estimate.high < np.inf


@settings(max_examples=40)
@given(launches=st.lists(SAMPLES, min_size=6, max_size=12))
def test_many_launches_stay_within_what_was_measured(launches):
    estimate = hierarchical_median(launches)
    all_ms = [ms for samples in launches for ms in samples]
    assert estimate.low is not None and estimate.high is not None
    assert min(all_ms) - 1e-9 <= estimate.low <= estimate.high <= max(all_ms) + 1e-9


@pytest.mark.parametrize("size", [1, 2, 5, 8, 50])
def test_medians_of_resamples_are_drawn_from_the_right_distribution(size: int):
    """Against plain resampling, which draws every value."""
    generator = np.random.default_rng(4)
    values = np.sort(generator.lognormal(0, 1, 9))
    picks = generator.integers(len(values), size=(20_000, size))
    resampled = np.median(values[picks], axis=1)
    drawn = _resampled_medians(values, size, 20_000, generator)
    assert stats.ks_2samp(resampled, drawn).statistic < 0.02  # 0.0136 is exceeded in 5 % of cases


def test_medians_that_are_not_positive_have_no_interval():
    assert hierarchical_median([[0.0], [1.0], [2.0]]) == Estimate(1.0, None, None)


def test_a_median_of_zero_has_no_relative_width():
    assert Estimate(0.0, 0.0, 1.0).half_width is None
