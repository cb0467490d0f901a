"""Where a series of a few points with intervals of their own changes its level. Pure."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .changepoints import changepoints

#: A step that is smaller, as a share, is none: nobody would look for its cause.
LEAST_STEP = 0.02
#: Builds of the same code differ by about so much, through the layout of code and data alone, whatever the
#: interval of each says (Mytkowicz, Diwan, Hauswirth & Sweeney, "Producing wrong data without doing
#: anything obviously wrong!", ASPLOS 2009).
LEAST_NOISE = 0.01
#: A changepoint costs PENALTY log n variances, as in cellfarm.analysis.sustained; BIC asks 2 for a level and
#: its place.
PENALTY = 3.0
#: Differences of fewer points have no median that their steps leave alone.
MEDIAN_FROM = 4
#: The median of the absolute value of a standard normal variable.
_MEDIAN_OF_NORMAL = 0.6744898
#: 95 % of a normal distribution lie within so many standard deviations.
Z = 1.959964


@dataclass(frozen=True)
class Level:
    """`count` points at one level: the mean of their logarithms and its standard error."""

    mean: float
    error: float
    count: int


def boundaries(logs: np.ndarray, sigmas: np.ndarray) -> list[int]:
    """The positions at which a new level begins; none in a flat series.

    Changepoints of squared deviations, each divided by its point's variance. A level may be one point long:
    a release may be alone with a mistake. Then the steps whose interval includes none, or that are smaller
    than LEAST_STEP, are taken out, the least one first, and the levels beside it joined.

    Args:
        logs: logarithms of the latencies, in the order of versions, shape (points,).
        sigmas: their standard deviations, shape (points,); LEAST_NOISE is the least that counts.
    """
    penalty = PENALTY * math.log(len(logs))
    found = changepoints(logs, penalty, shortest=1, weights=_noise(logs, sigmas) ** -2)[:-1]
    while found:
        changes = list(itertools.pairwise(levels(logs, sigmas, found)))
        weak = [
            (abs(two.mean - one.mean), start)
            for start, (one, two) in zip(found, changes, strict=True)
            if not _is_clear(one, two)
        ]
        if not weak:
            break
        found.remove(min(weak)[1])
    return found


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


def _is_clear(one: Level, two: Level) -> bool:
    change = abs(two.mean - one.mean)
    return change > math.log1p(LEAST_STEP) and change > Z * math.hypot(one.error, two.error)


def _noise(logs: np.ndarray, sigmas: np.ndarray) -> np.ndarray:
    """The points' standard deviations, all widened where neighbours differ by more than these say.

    By how much they do in the median, on which a few steps have no influence (as the median of first
    differences estimates noise: Donoho & Johnstone, Biometrika 81, 1994). Else what differs between runs
    would be found as steps. Fewer than MEDIAN_FROM points have no median without their steps.
    """
    least = np.maximum(sigmas, LEAST_NOISE)
    if len(logs) < MEDIAN_FROM:
        return np.asarray(least)
    differences = np.abs(np.diff(logs)) / np.hypot(least[1:], least[:-1])
    return np.asarray(least * max(1.0, float(np.median(differences)) / _MEDIAN_OF_NORMAL))
