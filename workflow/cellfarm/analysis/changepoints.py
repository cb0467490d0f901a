"""Changepoints of a series: where its mean changes."""

from __future__ import annotations

import numpy as np


def changepoints(
    values: np.ndarray, penalty: float, shortest: int, weights: np.ndarray | None = None
) -> list[int]:
    """Where segments end, the end of the series last.

    The squared deviations from the segments' means, plus a penalty for each segment, are least: exactly,
    by dynamic programming (optimal partitioning: Jackson et al., "An algorithm for optimal partitioning of
    data on an interval", 2005).

    Args:
        shortest: the least number of values in a segment.
        weights: of the values, in means and in deviations, such as the inverses of their variances.
    """
    count = len(values)
    weights = np.ones(count) if weights is None else weights
    sums, squares, masses = (
        np.concatenate([[0.0], np.cumsum(weights * power)])
        for power in (values, values * values, np.ones(count))
    )
    least = np.full(count + 1, np.inf)
    least[0] = 0.0
    best_start = np.zeros(count + 1, dtype=int)
    for end in range(shortest, count + 1):
        stop = end - shortest + 1
        spread = sums[end] - sums[:stop]
        costs = least[:stop] + squares[end] - squares[:stop]
        costs -= spread * spread / (masses[end] - masses[:stop])
        best_start[end] = np.argmin(costs)
        least[end] = costs[best_start[end]] + penalty
    ends = [count]
    while best_start[ends[0]] > 0:
        ends.insert(0, int(best_start[ends[0]]))
    return ends
