"""What a choice of library costs: the best against the rest, and one library everywhere. Pure."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from .ranking import Ranking


@dataclass(frozen=True)
class Gap:
    """One comparison: how many times as long the second and the slowest take as the fastest."""

    ranking: Ranking
    second: float
    worst: float


@dataclass(frozen=True)
class Spread:
    """A distribution of ratios: its median and its largest."""

    count: int
    median: float
    largest: float


@dataclass(frozen=True)
class Regret:
    """One library everywhere, against the best for each.

    `mean` is the geometric mean of its ratios to the fastest where it runs, less 1: 0.2 says that it
    takes 20 % longer. `covered` of `comparisons` are those that it ranks in: elsewhere it is
    unsupported, wrong, failed or flagged, and no number stands for that.
    """

    library: str
    mean: float
    worst: float
    covered: int
    comparisons: int


def gaps(rankings: Iterable[Ranking]) -> list[Gap]:
    """Of every comparison with two libraries or more."""
    return [
        Gap(one, times[1], times[-1])
        for one in rankings if one.is_comparison
        for times in [sorted(one.times_best.values())]
    ]  # fmt: skip


def spread(values: Sequence[float]) -> Spread | None:
    """None without values."""
    return Spread(len(values), median(values), max(values)) if values else None


def regrets(rankings: Iterable[Ranking]) -> list[Regret]:
    """Of every library, those that run most first, and of these the smallest regret."""
    found = [one for one in rankings if one.is_comparison]
    ratios: dict[str, list[float]] = defaultdict(list)
    for one in found:
        for name, times in one.times_best.items():
            ratios[name].append(times)
    counted = [
        Regret(name, _geometric_mean(values) - 1, max(values) - 1, len(values), len(found))
        for name, values in ratios.items()
    ]
    return sorted(counted, key=lambda one: (-one.covered, one.mean, one.library))


def _geometric_mean(values: Sequence[float]) -> float:
    return math.exp(sum(math.log(value) for value in values) / len(values))
