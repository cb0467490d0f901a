"""Classes of launches: made-up series of each kind, and what holds for any series."""

from __future__ import annotations

import numpy as np
import pytest
from cellfarm.analysis.steady import Steady, _quartiles, classify, outliers
from hypothesis import given, settings
from hypothesis import strategies as st

SERIES = st.lists(st.floats(0.5, 50.0), min_size=1, max_size=80)
KINDS = {"flat", "warm-up", "slowdown", "no steady state"}


def noise(rng: np.random.Generator, count: int, spread: float = 0.02) -> np.ndarray:
    """Flat iterations around 10 ms, 1 % of them spikes."""
    spikes = np.where(rng.random(count) < 0.01, rng.uniform(1.3, 3.0, count), 1.0)
    return 10 * rng.lognormal(0, spread, count) * spikes


def shaped(*parts: tuple[int, float], seed: int = 0, spread: float = 0.02) -> np.ndarray:
    """Noise on levels; each part is a number of iterations and a multiple of 10 ms."""
    levels = np.concatenate([np.full(count, level) for count, level in parts])
    return noise(np.random.default_rng(seed), len(levels), spread) * levels


def share(kind: str, make, trials: int = 60) -> float:
    return float(np.mean([classify(make(seed)).kind == kind for seed in range(trials)]))


@pytest.mark.parametrize("spread", [0.005, 0.02, 0.1])
@pytest.mark.parametrize("count", [20, 60, 300])
def test_noise_with_spikes_is_flat(count: int, spread: float):
    assert share("flat", lambda seed: shaped((count, 1.0), seed=seed, spread=spread)) >= 0.98


@pytest.mark.parametrize("count", [10, 59, 5000])
def test_a_constant_series_is_flat(count: int):
    result = classify([3.0] * count)
    assert (result.kind, result.warm_from) == ("flat", 0)
    assert [(segment.start, segment.stop, segment.median_ms) for segment in result.segments] == [
        (0, count, 3.0)
    ]


def test_a_warm_up_of_10_percent_is_found():
    assert share("warm-up", lambda seed: shaped((10, 1.1), (50, 1.0), seed=seed)) >= 0.95


def test_the_warm_part_starts_where_the_last_level_does():
    result = classify(shaped((8, 2.0), (12, 1.3), (60, 1.0)))
    assert result.kind == "warm-up"
    assert 20 <= result.warm_from <= 40
    assert [segment.start for segment in result.segments] == [0, 8, 20]
    assert result.segments[-1].median_ms == pytest.approx(10, rel=0.02)


def test_a_fading_warm_up_leaves_no_tail():
    rng = np.random.default_rng(3)
    fading = 1 + np.exp(-np.arange(100) / 6)
    launches = [noise(rng, 100) * fading for _ in range(30)]
    warm = [np.median(launch[classify(launch).warm_from :]) for launch in launches]
    assert np.mean(warm) == pytest.approx(10, rel=0.005)


def test_a_few_slow_iterations_at_the_start_are_a_warm_up():
    result = classify(shaped((3, 1.6), (40, 1.0)))
    assert result.kind == "warm-up"
    assert 3 <= result.warm_from <= 23


def test_one_slow_iteration_at_the_start_is_an_outlier():
    samples = shaped((1, 1.6), (40, 1.0), spread=0.01)
    assert classify(samples).kind == "flat"
    assert outliers(samples)[0]


@pytest.mark.parametrize("parts", [[(30, 1.0), (30, 1.1)], [(20, 1.0), (20, 1.1), (30, 1.3)]])
def test_a_rise_that_stays_is_a_slowdown(parts):
    assert share("slowdown", lambda seed: shaped(*parts, seed=seed)) >= 0.95
    assert classify(shaped(*parts)).warm_from == 0


def test_a_warm_up_before_a_slowdown_is_left_out():
    result = classify(shaped((8, 2.0), (30, 1.0), (30, 1.1)))
    assert (result.kind, result.warm_from) == ("slowdown", 8)


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param([(30, 1.0), (10, 1.6), (20, 1.0)], id="in the middle"),
        pytest.param([(50, 1.0), (10, 1.6)], id="at the end"),
        pytest.param([(25, 1.0), (5, 1.6), (25, 1.0)], id="short"),
        pytest.param([(15, 1.0), (15, 1.5)] * 2, id="again and again"),
        pytest.param([(15, 1.0), (20, 1.2), (20, 1.4), (9, 1.0)], id="too short at the end"),
    ],
)
def test_an_episode_is_no_steady_state_and_keeps_its_data(parts):
    assert share("no steady state", lambda seed: shaped(*parts, seed=seed)) >= 0.95
    assert classify(shaped(*parts)).warm_from == 0


def test_a_warm_up_before_an_episode_is_left_out():
    result = classify(shaped((8, 1.3), (32, 1.0), (8, 1.6), (12, 1.0)))
    assert (result.kind, result.warm_from) == ("no steady state", 8)


@pytest.mark.parametrize("spread", [0.002, 0.02])
def test_a_shift_of_1_percent_is_flat(spread: float):
    assert share("flat", lambda seed: shaped((50, 1), (50, 1.01), seed=seed, spread=spread)) >= 0.95


def test_long_series_are_searched_in_blocks():
    result = classify(shaped((3000, 1.1), (57_001, 1.0)))
    assert result.kind == "warm-up"
    assert abs(result.segments[1].start - 3000) <= 60
    assert result.segments[-1].stop == 60_001


@pytest.mark.parametrize("count", [1, 9])
def test_a_short_series_has_no_class(count: int):
    result = classify([1.0] * count)
    assert (result.kind, result.warm_from) == (None, 0)
    assert result.segments[0].stop == count


def test_a_series_of_zeros_has_no_class():
    assert classify([0.0] * 30).kind is None


def test_no_samples_are_refused():
    with pytest.raises(ValueError, match="at least one sample"):
        classify([])
    with pytest.raises(ValueError, match="steady part"):
        outliers([1.0, 2.0], warm_from=2)


@settings(max_examples=60)
@given(samples=SERIES)
def test_every_series_is_covered_and_keeps_some_data(samples):
    result = classify(samples)
    assert (result.kind in KINDS) == (len(samples) >= 10)
    assert 0 <= result.warm_from < len(samples)
    assert result.kind != "flat" or result.warm_from == 0
    assert result.segments[0].start == 0 and result.segments[-1].stop == len(samples)
    for before, after in zip(result.segments, result.segments[1:], strict=False):
        assert before.stop == after.start
    assert all(segment.stop - segment.start >= min(5, len(samples)) for segment in result.segments)
    assert len(outliers(samples, result.warm_from)) == len(samples)


@settings(max_examples=60)
@given(samples=SERIES, exponent=st.integers(-8, 8))
def test_the_unit_does_not_matter(samples, exponent):
    factor = 2.0**exponent  # a power of two scales floats without rounding
    result, scaled = classify(samples), classify([factor * ms for ms in samples])
    assert (scaled.kind, scaled.warm_from) == (result.kind, result.warm_from)
    assert [segment.median_ms for segment in scaled.segments] == [
        factor * segment.median_ms for segment in result.segments
    ]
    assert outliers([factor * ms for ms in samples]) == outliers(samples)


def test_results_are_plain_numbers():
    result = classify(shaped((10, 1.5), (50, 1.0)))
    assert isinstance(result, Steady)
    assert type(result.warm_from) is int
    assert {
        type(bound) for segment in result.segments for bound in (segment.start, segment.stop)
    } == {int}


def test_outliers_are_labelled_against_the_steady_part():
    samples = [20.0] * 10 + [10.0, 10.1, 9.9, 10.2, 9.8] * 6 + [30.0, 3.0]
    labels = outliers(samples, warm_from=10)
    assert labels == [True] * 10 + [False] * 30 + [True, True]


def test_outliers_of_a_timer_with_steps_are_not_all_else():
    assert not any(outliers([10.0] * 30 + [10.1]))
    assert outliers([10.0] * 30 + [11.0])[-1]


@given(st.lists(st.floats(0.001, 1e6), min_size=1, max_size=60))
def test_quartiles_are_numpys(samples):
    expected = np.quantile(samples, [0.25, 0.5, 0.75])
    assert _quartiles(np.array(samples)) == pytest.approx(tuple(expected), rel=1e-12)
