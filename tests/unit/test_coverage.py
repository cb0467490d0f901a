"""Seeded simulations: intervals cover the truth at their stated rate; equal cells are called equal.

The noise resembles that of real launches: each launch has an effect (thread placement, memory layout,
a slow mode), and its iterations have a right tail and spikes. The true value of each trial is known.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
from cellfarm.analysis.ratios import different, paired_ratio, unpaired_ratio
from cellfarm.analysis.statistics import Estimate, hierarchical_median
from cellfarm.analysis.steady import classify
from cellfarm.measures.hosts import Context, host_of

from tests.support.protocols import SMALLEST
from tests.support.results import TOLERANCE, make_launch

ITERATIONS = 30
#: Makes `count` effects of launches, as logarithms.
Effects = Callable[[np.random.Generator, int], np.ndarray]


def bimodal(share: float) -> Effects:
    """A share of the launches is 1.6 times as slow, as when two threads share one core."""
    return lambda rng, count: rng.normal(0, 0.01, count) + np.log(1.6) * (rng.random(count) < share)


EFFECTS: dict[str, Effects] = {
    "normal 0.5 %": lambda rng, count: rng.normal(0, 0.005, count),
    "normal 1 %": lambda rng, count: rng.normal(0, 0.01, count),
    "normal 3 %": lambda rng, count: rng.normal(0, 0.03, count),
    "heavy tails": lambda rng, count: 0.01 * rng.standard_t(3, count),
    "skewed": lambda rng, count: 0.02 * rng.lognormal(0, 1, count),
    "slow 0.1": bimodal(0.1),
    "slow 0.3": bimodal(0.3),
    # Drifting by 3 % over the launches of a trial; the truth is the median over all of them.
    "drift": lambda rng, count: rng.normal(0, 0.01, count) + np.linspace(-0.015, 0.015, count),
}


def iterations(
    rng: np.random.Generator, effects: np.ndarray, length: int = ITERATIONS
) -> np.ndarray:
    """Samples of one launch per effect, in ms: shape (launches, length)."""
    shape = (len(effects), length)
    spikes = np.where(rng.random(shape) < 0.01, rng.uniform(1.3, 3.0, shape), 1.0)
    return 10 * np.exp(effects)[:, None] * rng.lognormal(0, 0.02, shape) * spikes


@cache
def truth(name: str) -> float:
    """The median of the launches' medians over very many launches, in ms."""
    rng = np.random.default_rng(99)
    return float(np.median(np.median(iterations(rng, EFFECTS[name](rng, 40_000)), axis=1)))


def covers(estimate: Estimate, value: float) -> bool:
    assert estimate.low is not None and estimate.high is not None
    return estimate.low <= value <= estimate.high


def coverage(name: str, launches: int, trials: int) -> float:
    rng, value = np.random.default_rng(20240901), truth(name)
    return float(
        np.mean(
            [
                covers(
                    hierarchical_median(
                        list(iterations(rng, EFFECTS[name](rng, launches))), str(trial)
                    ),
                    value,
                )
                for trial in range(trials)
            ]
        )
    )


def estimate_when_stopped(
    samples: np.ndarray, least: int, most: int, target: float, seed: str
) -> tuple[Estimate, int]:
    """The estimate when an experiment's stopping rule stops it, and the number of launches by then.

    It stops after two narrow intervals in a row, as timing.TimingHost.is_finished does, but estimates once
    per launch (see test_the_rule_is_that_of_the_experiments).
    """
    was_narrow = False
    for count in range(least, most + 1):
        estimate = hierarchical_median(list(samples[:count]), seed)
        is_narrow = estimate.half_width is not None and estimate.half_width <= target
        if is_narrow and was_narrow:
            break
        was_narrow = is_narrow
    return estimate, count


@pytest.mark.parametrize("name", ["normal 3 %", "slow 0.3"])
def test_the_rule_is_that_of_the_experiments(name: str):
    rng = np.random.default_rng(8)
    host = host_of("latency")
    document = SMALLEST["measures"]["latency"] | {"launches": {"min": 3, "max": 12}}
    settings = host.settings(document | {"target_half_width": 0.05})
    for _ in range(5):
        samples = iterations(rng, EFFECTS[name](rng, 12))
        launches = [make_launch(list(samples_of_launch)) for samples_of_launch in samples]
        count = next(n for n in range(1, 13) if host.is_finished(launches[:n], settings, "key"))
        assert estimate_when_stopped(samples, 3, 12, 0.05, "key")[1] == count
        context = Context("key", TOLERANCE)
        summary = host.summarise(launches[:count], settings, context).columns
        estimate = hierarchical_median(list(samples[:count]), "key")
        assert summary["latency_ci_low_ms"] == estimate.low


def coverage_when_stopped(
    name: str, least: int, most: int, target: float, trials: int
) -> tuple[float, float]:
    """Share of trials whose interval covers the truth, and the mean number of launches."""
    rng, value = np.random.default_rng(20240902), truth(name)
    covered, launch_count = 0, 0
    for trial in range(trials):
        samples = iterations(rng, EFFECTS[name](rng, most))
        estimate, count = estimate_when_stopped(samples, least, most, target, str(trial))
        if name == "drift":  # the truth is the median of the time that was measured
            drifted = np.mean(np.linspace(-0.015, 0.015, most)[:count])
            covered += covers(estimate, value * np.exp(drifted))
        else:
            covered += covers(estimate, value)
        launch_count += count
    return covered / trials, launch_count / trials


# The standard error of a coverage from 150 trials is 0.018 at 0.95. With 1,000 trials the lowest
# is 0.936 (slow 0.3, 4 launches). A later test has one half of the launches slow.
@pytest.mark.parametrize("launches", [3, 5, 6, 30])
@pytest.mark.parametrize("name", EFFECTS)
def test_the_interval_covers_what_it_says(name: str, launches: int):
    assert coverage(name, launches, trials=60 if launches == 30 else 150) >= 0.92


@pytest.mark.parametrize("name", EFFECTS)
def test_the_interval_covers_when_launches_are_added_until_it_is_narrow(name: str):
    share, mean_launches = coverage_when_stopped(name, least=3, most=12, target=0.05, trials=150)
    assert share >= 0.92
    assert mean_launches < 12


@pytest.mark.parametrize("name", ["normal 1 %", "heavy tails", "slow 0.1"])
def test_the_interval_covers_with_the_narrow_target(name: str):
    share, _ = coverage_when_stopped(name, least=3, most=30, target=0.02, trials=100)
    assert share >= 0.92


def test_two_equal_modes_need_launches_in_both():
    """No interval covers a mode that was not observed; only more launches at first help."""
    rng = np.random.default_rng(5)
    one_mode = {3: 0, 6: 0}
    for trial in range(100):
        samples = iterations(rng, bimodal(0.5)(rng, 12))
        for least in one_mode:
            estimate, _ = estimate_when_stopped(samples, least, 12, 0.05, str(trial))
            assert estimate.low is not None and estimate.high is not None
            one_mode[least] += estimate.high < 12 or estimate.low > 14  # the modes: 10 and 16
    assert 0.05 <= one_mode[3] / 100 <= 0.2, "two looks need four launches that agree by chance"
    assert one_mode[6] / 100 <= 0.1


def test_launches_that_warm_up_are_covered_once_the_warm_up_is_found():
    rng, value, covered = np.random.default_rng(6), truth("normal 1 %"), 0
    for trial in range(100):
        samples = iterations(rng, rng.normal(0, 0.01, 10), length=100)
        extra = 0.3 * np.exp(-np.arange(100) / rng.uniform(1, 6, (10, 1)))
        launches = [launch[classify(launch).warm_from :] for launch in samples * (1 + extra)]
        covered += covers(hierarchical_median(launches, str(trial)), value)
    assert covered >= 92


def rounds(rng: np.random.Generator, name: str, count: int, slowdown: float) -> tuple[dict, dict]:
    """Launch medians of two cells by round; b is slower than a by a share, and both drift alike."""
    shared = np.linspace(0, 0.1, count)
    a, b = (10 * np.exp(EFFECTS_OF_PAIRS[name](rng, count) + shared) for _ in "ab")
    return (
        {n: [ms] for n, ms in enumerate(a)},
        {n: [ms * (1 + slowdown)] for n, ms in enumerate(b)},
    )


EFFECTS_OF_PAIRS: dict[str, Effects] = {
    "normal": lambda rng, count: rng.normal(0, 0.015, count),
    "heavy tails": EFFECTS["heavy tails"],
    "slow 0.1": bimodal(0.1),
}


def share_called_different(name: str, count: int, slowdown: float, trials: int) -> float:
    """Share of comparisons that call the two cells different."""
    rng = np.random.default_rng(20240903)
    return float(
        np.mean(
            [different(paired_ratio(*rounds(rng, name, count, slowdown))) for _ in range(trials)]
        )
    )


@pytest.mark.parametrize("count", [3, 4, 5, 6, 7, 8, 10, 30])
def test_alike_cells_are_called_different_in_5_of_100_comparisons(count: int):
    # The standard error of 600 trials is 0.009.
    assert 0.03 <= share_called_different("normal", count, 0.0, trials=600) <= 0.07


@pytest.mark.parametrize("name", ["heavy tails", "slow 0.1"])
@pytest.mark.parametrize("count", [3, 6, 10])
def test_alike_cells_are_not_called_different_more_often_when_launches_are_wild(name, count):
    level = share_called_different(name, count, 0.0, trials=600)
    assert level <= 0.07
    if count >= 6:  # the test is exact: it is not too rare either
        assert level >= 0.03


def test_a_slower_cell_is_found():
    assert share_called_different("normal", 10, 0.05, trials=200) == 1.0
    assert share_called_different("normal", 30, 0.05, trials=100) == 1.0
    assert share_called_different("normal", 10, 0.02, trials=200) >= 0.6
    assert share_called_different("normal", 30, 0.02, trials=100) >= 0.97
    assert share_called_different("slow 0.1", 30, 0.05, trials=200) >= 0.9


def test_comparisons_across_experiments_are_calibrated():
    rng, called_different = np.random.default_rng(8), []
    for _ in range(600):
        weather = rng.normal(0, 0.05, 2)  # the device's speed in each experiment
        a, b = (10 * np.exp(rng.normal(0, 0.015, 8) + shift) for shift in weather)
        loads = [np.exp(rng.normal(0, 0.01, 8) + shift) for shift in weather]
        called_different.append(different(unpaired_ratio(a[:, None], b[:, None], *loads)))
    assert 0.03 <= np.mean(called_different) <= 0.07
