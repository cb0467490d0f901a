"""Where the level of a short series changes, each point having an interval. Pure."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .changepoints import changepoints

#: The least step, as a share of the level.
LEAST_STEP = 0.02
#: Builds of the same code differ by about this much, through the layout of code and data alone (Mytkowicz,
#: Diwan, Hauswirth & Sweeney, "Producing wrong data without doing anything obviously wrong!", ASPLOS 2009).
LEAST_NOISE = 0.01
#: A changepoint costs PENALTY log n variances, as in cellfarm.analysis.sustained. BIC asks 2 for a level and
#: its position.
PENALTY = 3.0
#: With fewer points, steps move the median of the differences.
MEDIAN_FROM = 4
#: The median of the absolute value of a standard normal variable.
_MEDIAN_OF_NORMAL = 0.6744898
#: 95 % of a normal distribution lie within this many standard deviations.
Z = 1.959964


@dataclass(frozen=True)
class Level:
    """`count` points at one level: the mean of their logarithms and its standard error."""

    mean: float
    error: float
    count: int


def boundaries(logs: np.ndarray, sigmas: np.ndarray) -> list[int]:
    """The positions at which a new level begins; none in a flat series.

    Changepoints of squared deviations, each divided by its point's variance. A level may be one point long,
    as a mistake may be in one release only. Then unclear steps (see `_is_clear`) are removed, the smallest
    first, and the levels beside them joined.

    Args:
        logs: logarithms of the latencies, in the order of versions, shape (points,).
        sigmas: their standard deviations, shape (points,); LEAST_NOISE is the least that counts.
    """
    penalty = PENALTY * math.log(len(logs))
    starts = changepoints(logs, penalty, shortest=1, weights=_noise(logs, sigmas) ** -2)[:-1]
    while starts:
        steps = itertools.pairwise(levels(logs, sigmas, starts))
        unclear = [
            (abs(after.mean - before.mean), start)
            for start, (before, after) in zip(starts, steps, strict=True)
            if not _is_clear(before, after)
        ]
        if not unclear:
            break
        starts.remove(min(unclear)[1])
    return starts


def levels(logs: np.ndarray, sigmas: np.ndarray, starts: Sequence[int]) -> list[Level]:
    """The levels between boundaries: means weighted by the inverse of each point's variance.

    Where points scatter more than their intervals say, the error is widened by Birge's ratio (Birge, Physical
    Review 40(2), 1932), as the Particle Data Group does.
    """
    ends, noise = [*starts, len(logs)], _noise(logs, sigmas)
    return [
        _level(logs[start:stop], noise[start:stop])
        for start, stop in itertools.pairwise([0, *ends])
    ]


def _level(logs: np.ndarray, sigmas: np.ndarray) -> Level:
    weights = sigmas**-2
    mean = float(np.average(logs, weights=weights))
    error = float(np.sum(weights)) ** -0.5
    if len(logs) > 1:
        scatter = float(np.sum(weights * (logs - mean) ** 2)) / (len(logs) - 1)
        error *= max(1.0, math.sqrt(scatter))
    return Level(mean, error, len(logs))


def _is_clear(before: Level, after: Level) -> bool:
    """Whether the step is at least LEAST_STEP and its interval excludes no change."""
    change = abs(after.mean - before.mean)
    return change > math.log1p(LEAST_STEP) and change > Z * math.hypot(before.error, after.error)


def _noise(logs: np.ndarray, sigmas: np.ndarray) -> np.ndarray:
    """The points' standard deviations, all widened where neighbours differ by more than these say.

    The factor is the median difference, on which a few steps have no influence (as the median of first
    differences estimates noise: Donoho & Johnstone, Biometrika 81, 1994). Otherwise differences between
    runs would become steps.
    """
    least = np.maximum(sigmas, LEAST_NOISE)
    if len(logs) < MEDIAN_FROM:
        return np.asarray(least)
    differences = np.abs(np.diff(logs)) / np.hypot(least[1:], least[:-1])
    return np.asarray(least * max(1.0, float(np.median(differences)) / _MEDIAN_OF_NORMAL))
