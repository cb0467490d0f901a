"""Ratios of pairs of measurements, with bootstrap intervals. Pure and seeded."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

RESAMPLES = 5000

#: One list for each setting (model, threads ...); a value for each pair in it.
Settings = Sequence[Sequence[float]]


def geometric_mean(ratios: Settings) -> float:
    """The geometric mean over the settings of the geometric means over the pairs."""
    return math.exp(
        float(np.mean([np.mean(np.log(np.asarray(cell_ratios))) for cell_ratios in ratios]))
    )


def geometric_interval(ratios: Settings) -> tuple[float, float]:
    """The 95 % bootstrap interval of `geometric_mean`; the pairs of each setting are resampled."""
    generator = np.random.default_rng(0)
    totals = np.zeros(RESAMPLES)
    for cell_ratios in ratios:
        logarithms = np.log(np.asarray(cell_ratios))
        indices = generator.integers(len(logarithms), size=(RESAMPLES, len(logarithms)))
        totals += np.mean(logarithms[indices], axis=1) / len(ratios)
    low, high = np.quantile(totals, [0.025, 0.975])
    return math.exp(low), math.exp(high)


def ratio_of_medians(numerators: Settings, denominators: Settings) -> float:
    """Over the settings, the geometric mean of median(numerators) / median(denominators)."""
    logarithms = [
        math.log(float(np.median(numerator)) / float(np.median(denominator)))
        for numerator, denominator in zip(numerators, denominators, strict=True)
    ]
    return math.exp(float(np.mean(logarithms)))


def ratio_of_medians_interval(numerators: Settings, denominators: Settings) -> tuple[float, float]:
    """The 95 % bootstrap interval of `ratio_of_medians`.

    Pairs are resampled as a whole, so that common disturbances cancel.
    """
    generator = np.random.default_rng(0)
    totals = np.zeros(RESAMPLES)
    for numerator, denominator in zip(numerators, denominators, strict=True):
        indices = generator.integers(len(numerator), size=(RESAMPLES, len(numerator)))
        upper = np.median(np.asarray(numerator)[indices], axis=1)
        lower = np.median(np.asarray(denominator)[indices], axis=1)
        totals += np.log(upper / lower) / len(numerators)
    low, high = np.quantile(totals, [0.025, 0.975])
    return math.exp(low), math.exp(high)


def independent_interval(samples: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval of the median as if all samples were independent, by order statistics.

    What a benchmark reports that forgets that the samples of one process belong together: the
    ranks n/2 -+ 1.96 sqrt(n)/2 (David & Nagaraja, "Order Statistics", 2003, section 7.1).
    """
    ordered = sorted(samples)
    count = len(ordered)
    half = 0.98 * math.sqrt(count)
    low = max(0, math.floor(count / 2 - half))
    high = min(count - 1, math.ceil(count / 2 + half))
    return ordered[low], ordered[high]


def percent(ratio: float) -> float:
    """1.02 -> 2.0"""
    return (ratio - 1) * 100


def percent_interval(bounds: tuple[float, float]) -> str:
    """(0.99, 1.02) -> `-1.0 % to +2.0 %`"""
    return f"{percent(bounds[0]):+.2f} % to {percent(bounds[1]):+.2f} %"
