"""How many times as long one cell takes as another, with the ratio's own interval.

Overlapping intervals do not mean that two cells are alike: what hits both in the same round
(clock, temperature, a neighbour) widens each interval and leaves their ratio alone. So cells of one
experiment are compared round by round (Kalibera & Jones, "Rigorous benchmarking in reasonable
time", ISMM 2013, on intervals of ratios; Abedi & Brecht, "Conducting repeatable experiments in
highly variable cloud computing environments", ICPE 2017, on interleaved rounds).

The intervals are exact, not resampled: the same samples give the same interval.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import median
from typing import Any

import numpy as np

from .quantiles import CONFIDENCE, half_width

#: Least rounds for an interval by ranks alone; with 5, the widest covers 93.8 %.
RANKS_FROM = 6
#: The key of a round.
Round = Any


@dataclass(frozen=True)
class Ratio:
    """b's latency over a's, without unit: 1.05 says that b takes 5 % longer.

    `ratio` is None without data, the 95 % interval `low` to `high` with too little of it.
    `rounds` counts the pairs it comes from; 0 when it is not paired.
    """

    ratio: float | None
    low: float | None
    high: float | None
    rounds: int


def different(ratio: Ratio) -> bool | None:
    """Whether two cells differ at the 5 % level: the interval excludes 1. None without an interval."""
    if ratio.low is None or ratio.high is None:
        return None
    return not ratio.low <= 1.0 <= ratio.high


def paired_ratio(a: Mapping[Round, Sequence[float]], b: Mapping[Round, Sequence[float]]) -> Ratio:
    """b over a from the rounds of one experiment that both took part in.

    Each round gives the logarithm of the ratio of the two launches' medians. The estimate is the
    median of the averages of all pairs of those, each with itself included (Hodges & Lehmann, Annals
    of Mathematical Statistics 34(2), 1963). The interval:

    - from 6 rounds on that of Wilcoxon's signed-rank test: two of the sorted averages
      (Hollander, Wolfe & Chicken, "Nonparametric Statistical Methods", 2014, section 3.3).
      Ranks allow a few levels only, so the bound lies between the two averages whose levels
      enclose 5 %, in proportion (as Hettmansperger & Sheather do for the sign test, Statistics &
      Probability Letters 4(2), 1986). It needs no normality: if both cells are launched in random
      order and are alike, the logarithm is as likely positive as negative, whatever its
      distribution, and 5 % of comparisons come out different. An occasional slow launch costs
      less power than in a t interval;
    - for 2 to 5 rounds Student's t interval of the mean of the logarithms, as ranks cannot reach
      5 %: 5 % with normal launches, fewer with heavy tails.

    Args:
        a, b: warm samples by round (its number, or session and number), each non-empty and with a
            positive median.

    Raises:
        ValueError: a round without samples, or with a median that is not positive.
    """
    rounds = sorted(a.keys() & b.keys())
    if not rounds:
        return Ratio(None, None, None, 0)
    logarithms = _log_medians([b[key] for key in rounds]) - _log_medians([a[key] for key in rounds])
    first, second = _pairs(len(rounds))
    averages = np.sort((logarithms[first] + logarithms[second]) / 2)
    middle = len(averages) // 2
    estimate = float(averages[middle] + averages[-1 - middle]) / 2  # the median, as they are sorted
    if len(rounds) < 2:
        return Ratio(math.exp(estimate), None, None, len(rounds))
    if len(rounds) < RANKS_FROM:
        mean, error = float(np.mean(logarithms)), float(np.std(logarithms, ddof=1))
        half = half_width(error / math.sqrt(len(rounds)), len(rounds) - 1)
        low, high = mean - half, mean + half
    else:
        index, share = _rank_of_bound(len(rounds))
        low = _between(averages[index], averages[index + 1], share)
        high = _between(averages[-1 - index], averages[-2 - index], share)
    # Rounding must not put the estimate outside when all rounds agree.
    low, high = min(low, estimate), max(high, estimate)
    return Ratio(math.exp(estimate), math.exp(low), math.exp(high), len(rounds))


def unpaired_ratio(
    a: Sequence[Sequence[float]],
    b: Sequence[Sequence[float]],
    calibration_a: Sequence[float] | None = None,
    calibration_b: Sequence[float] | None = None,
) -> Ratio:
    """b over a for cells of different experiments, scaled by what the device itself did in each.

    Ratio of the geometric means of the launches' medians. With calibrations, each side is first
    divided by its experiment's calibration, so that a device that was 3 % slower that day does not
    make a library 3 % slower. The interval is Welch's on the logarithms, with Satterthwaite's
    degrees of freedom (Biometrika 34, 1947; Biometrics Bulletin 2(6), 1946) over the two or four
    samples, so the calibrations' own noise widens it. It assumes that launches are about normal on
    that scale; heavy tails make it wider, not wrong.

    Args:
        a, b: warm samples of every launch.
        calibration_a, calibration_b: times of the calibration load in each experiment, one per
            round, both or neither.

    Raises:
        ValueError: a launch without samples, a median or calibration that is not positive, or one
            calibration without the other.
    """
    if (calibration_a is None) != (calibration_b is None):
        raise ValueError("a ratio is scaled by the calibrations of both experiments or of neither")
    groups = [(1, _log_medians(b)), (-1, _log_medians(a))]
    if calibration_a is not None and calibration_b is not None:
        groups += [
            (-1, _log_medians([[value] for value in calibration_b])),
            (1, _log_medians([[value] for value in calibration_a])),
        ]
    if any(len(values) == 0 for _, values in groups):
        return Ratio(None, None, None, 0)
    estimate = sum(sign * float(np.mean(values)) for sign, values in groups)
    if any(len(values) < 2 for _, values in groups):
        return Ratio(math.exp(estimate), None, None, 0)
    variances = [float(np.var(values, ddof=1)) / len(values) for _, values in groups]
    total = sum(variances)
    half = 0.0
    if total > 0:
        parts = zip(variances, groups, strict=True)
        # As shares of the total: squares of tiny variances would vanish.
        freedom = 1 / sum((part / total) ** 2 / (len(values) - 1) for part, (_, values) in parts)
        half = half_width(math.sqrt(total), freedom)
    return Ratio(math.exp(estimate), math.exp(estimate - half), math.exp(estimate + half), 0)


def _log_medians(launches: Sequence[Sequence[float]]) -> np.ndarray:
    if any(len(samples) == 0 for samples in launches):
        raise ValueError("every launch needs at least one sample")
    medians = np.asarray([median(samples) for samples in launches], dtype=float)
    if np.any(medians <= 0):
        raise ValueError("a ratio needs positive medians")
    return np.asarray(np.log(medians))


def _between(outer: float, inner: float, share: float) -> float:
    return float(outer + share * (inner - outer))


#: All pairs of this many positions, each with itself included.
_pairs = cache(np.triu_indices)


@cache
def _rank_of_bound(pairs: int) -> tuple[int, float]:
    """Where a bound lies among the sorted averages: after this index, by this share to the next.

    An interval that leaves out `index` averages on each side misses in 2 P(W <= index) of cases.
    W is Wilcoxon's signed-rank statistic: the sum of the ranks, of 1 to `pairs`, with a positive sign.
    """
    ways = np.ones(1)  # ways[w]: number of sets of ranks with the sum w
    for rank in range(1, pairs + 1):
        ways = np.pad(ways, (0, rank)) + np.pad(ways, (rank, 0))
    cumulative = np.cumsum(ways) / 2.0**pairs
    tail = (1 - CONFIDENCE) / 2
    index = int(np.searchsorted(cumulative, tail, side="right")) - 1
    share = (tail - cumulative[index]) / (cumulative[index + 1] - cumulative[index])
    return index, float(share)
