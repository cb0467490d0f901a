"""Ratios of two cells: paired by round, across experiments, and the verdict."""

from __future__ import annotations

import math

import numpy as np
import pytest
from cellfarm.analysis.ratios import Ratio, different, paired_ratio, unpaired_ratio
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

MEDIANS = st.lists(
    st.tuples(st.floats(0.01, 1000.0), st.floats(0.01, 1000.0)), min_size=2, max_size=14
)


def cells(pairs: list[tuple[float, float]]) -> tuple[dict, dict]:
    return (
        {n: [first] for n, (first, _) in enumerate(pairs)},
        {n: [second] for n, (_, second) in enumerate(pairs)},
    )


def drawn(count: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.lognormal(2, 0.05, count), rng.lognormal(2.02, 0.05, count)


def test_what_slows_a_round_cancels():
    slow_rounds = [1.0, 3.0, 1.2, 1.0, 2.0, 5.0]
    a = {n: [10 * slow] for n, slow in enumerate(slow_rounds)}
    b = {n: [10.5 * slow] for n, slow in enumerate(slow_rounds)}
    ratio = paired_ratio(a, b)
    assert (ratio.ratio, ratio.low, ratio.high) == pytest.approx((1.05, 1.05, 1.05))
    assert ratio.rounds == 6
    assert different(ratio) is True


def test_a_cell_against_itself_is_not_different():
    a = {n: [5.0 + n] for n in range(8)}
    assert paired_ratio(a, a) == Ratio(1.0, 1.0, 1.0, 8)
    assert different(paired_ratio(a, a)) is False


def test_only_rounds_that_both_have_count():
    a = {0: [10.0], 1: [10.0], 2: [10.0], 7: [99.0]}
    b = {0: [12.0], 1: [12.0], 2: [12.0], 5: [1.0]}
    ratio = paired_ratio(a, b)
    assert ratio.rounds == 3
    assert ratio.ratio == pytest.approx(1.2)


def test_the_unit_is_the_launch_not_the_sample():
    assert paired_ratio({0: [1, 2, 90]}, {0: [4.0]}).ratio == pytest.approx(2.0)


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_rounds_have_no_interval(count: int):
    ratio = paired_ratio({n: [2.0] for n in range(count)}, {n: [3.0] for n in range(9)})
    assert (ratio.low, ratio.high, ratio.rounds) == (None, None, count)
    assert ratio.ratio == (pytest.approx(1.5) if count else None)
    assert different(ratio) is None


@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_few_rounds_have_students_interval(count: int):
    a, b = drawn(count)
    expected = stats.ttest_rel(np.log(b), np.log(a)).confidence_interval(0.95)
    ratio = paired_ratio(*cells(list(zip(a, b, strict=True))))
    assert ratio.low == pytest.approx(math.exp(expected.low))
    assert ratio.high == pytest.approx(math.exp(expected.high))


@pytest.mark.parametrize("count", [6, 7, 9, 12, 30])
def test_more_rounds_have_the_interval_of_wilcoxons_test(count: int):
    """scipy's exact test at 5 % rejects ratios outside, and does not reject those clearly inside."""
    a, b = drawn(count)
    ratio = paired_ratio(*cells(list(zip(a, b, strict=True))))
    assert ratio.low is not None and ratio.high is not None

    def p_value(true_ratio: float) -> float:
        return float(stats.wilcoxon(np.log(b / a / true_ratio), method="exact").pvalue)

    # Exact levels are steps: at the bound, one step is at most 5 % and the next is above.
    width = math.log(ratio.high / ratio.low)
    for outside in (ratio.low * math.exp(-width / 2), ratio.high * math.exp(width / 2)):
        assert p_value(outside) <= 0.05
    for inside in (ratio.low * math.exp(width / 4), ratio.high * math.exp(-width / 4)):
        assert p_value(inside) > 0.05


def test_one_slow_launch_moves_the_ratio_little():
    a = {n: [10.0 + 0.01 * n] for n in range(10)}
    b = {n: [10.5 + 0.01 * n] for n in range(10)}
    b[4] = [16.0]
    ratio = paired_ratio(a, b)
    assert ratio.ratio == pytest.approx(1.05, abs=0.001)
    assert different(ratio) is True


@settings(max_examples=60)
@given(pairs=MEDIANS)
def test_swapping_the_cells_inverts_the_ratio(pairs):
    a, b = cells(pairs)
    ratio, inverse = paired_ratio(a, b), paired_ratio(b, a)
    assert ratio.ratio == pytest.approx(1 / (inverse.ratio or math.nan), rel=1e-9)
    assert ratio.low == pytest.approx(1 / (inverse.high or math.nan), rel=1e-9)
    assert ratio.high == pytest.approx(1 / (inverse.low or math.nan), rel=1e-9)


@settings(max_examples=60)
@given(pairs=MEDIANS, factor=st.floats(0.01, 100.0))
def test_an_interval_holds_its_ratio_and_has_no_unit(pairs, factor):
    a, b = cells(pairs)
    ratio = paired_ratio(a, b)
    assert ratio.low is not None and ratio.ratio is not None and ratio.high is not None
    assert 0 < ratio.low <= ratio.ratio <= ratio.high < math.inf
    scaled = paired_ratio(*cells([(factor * x, factor * y) for x, y in pairs]))
    assert scaled.ratio == pytest.approx(ratio.ratio, rel=1e-9)
    # Student's t reaches far with 2 rounds: compare logarithms.
    assert math.log(scaled.high or 0) == pytest.approx(math.log(ratio.high), rel=1e-6, abs=1e-6)


@settings(max_examples=60)
@given(st.lists(st.lists(st.floats(0.1, 100.0), min_size=1, max_size=9), min_size=4, max_size=12))
def test_a_launchs_median_tells_as_much_as_its_samples(launches):
    """The warehouse compares cells by the medians alone."""
    half = len(launches) // 2
    a, b = (dict(enumerate(part)) for part in (launches[:half], launches[half:]))
    medians = [{n: [float(np.median(ms))] for n, ms in cell.items()} for cell in (a, b)]
    assert paired_ratio(*medians) == paired_ratio(a, b)


def test_across_experiments_the_interval_is_welchs():
    a, b = drawn(7)
    expected = stats.ttest_ind(np.log(b), np.log(a[:5]), equal_var=False).confidence_interval()
    ratio = unpaired_ratio([[x] for x in a[:5]], [[x] for x in b])
    assert ratio.low == pytest.approx(math.exp(expected.low))
    assert ratio.high == pytest.approx(math.exp(expected.high))
    assert ratio.rounds == 0


def test_across_experiments_the_calibration_takes_the_device_out():
    a, b = [[10.0], [10.1], [9.9]], [[13.0], [13.13], [12.87]]  # the device became 30 % slower
    assert different(unpaired_ratio(a, b)) is True
    scaled = unpaired_ratio(a, b, [2.0, 2.01, 1.99], [2.6, 2.61, 2.59])
    assert scaled.ratio == pytest.approx(1.0, abs=0.001)
    assert different(scaled) is False


def test_a_noisy_calibration_widens_the_interval():
    a, b = [[10.0], [10.1], [9.9]], [[10.5], [10.6], [10.4]]
    quiet = unpaired_ratio(a, b, [2.0, 2.01, 1.99], [2.0, 2.01, 1.99])
    noisy = unpaired_ratio(a, b, [2.0, 2.4, 1.6], [2.0, 2.4, 1.6])
    assert (noisy.high or 0) - (noisy.low or 0) > (quiet.high or 0) - (quiet.low or 0)


def test_across_experiments_too_little_has_no_interval():
    assert unpaired_ratio([], [[1.0]]) == Ratio(None, None, None, 0)
    ratio = unpaired_ratio([[2.0]], [[3.0], [3.0]])
    assert ratio.ratio == pytest.approx(1.5)
    assert different(ratio) is None
    assert different(unpaired_ratio([[2.0]] * 2, [[2.0]] * 2, [1.0], [1.0, 1.0])) is None
    constant = unpaired_ratio([[2.0]] * 2, [[3.0]] * 2)
    assert constant.low == constant.high == pytest.approx(1.5)


def test_what_makes_no_ratio_is_refused():
    with pytest.raises(ValueError, match="at least one sample"):
        paired_ratio({0: [1.0]}, {0: []})
    with pytest.raises(ValueError, match="positive"):
        paired_ratio({0: [1.0]}, {0: [0.0]})
    with pytest.raises(ValueError, match="both experiments"):
        unpaired_ratio([[1.0]], [[1.0]], [1.0], None)


def test_the_bounds_are_part_of_the_interval():
    assert different(Ratio(1.01, 1.0, 1.02, 3)) is False
    assert different(Ratio(0.9, 0.8, 0.99, 3)) is True
