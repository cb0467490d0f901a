"""What a choice of library costs: the best against the rest, and one library everywhere. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import geometric_mean, median

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
    """One library everywhere, against the best of each comparison.

    `mean` is the geometric mean of its ratios to the fastest where it runs, less 1: 0.2 says that it
    takes 20 % longer. It ranks in `covered` of `comparisons`: in the others it is unsupported, wrong,
    failed or flagged.
    """

    library: str
    mean: float
    worst: float
    covered: int
    comparisons: int


def gaps(rankings: Iterable[Ranking]) -> list[Gap]:
    """The gap of every comparison with two libraries or more."""
    return [
        Gap(ranking, times[1], times[-1])
        for ranking in rankings if ranking.is_comparison
        for times in [sorted(ranking.times_best.values())]
    ]  # fmt: skip


def spread(values: Sequence[float]) -> Spread | None:
    """None without values."""
    return Spread(len(values), median(values), max(values)) if values else None


def regrets(rankings: Iterable[Ranking]) -> list[Regret]:
    """The regret of every library, by how many comparisons it covers, and then the smallest first."""
    comparisons = [ranking for ranking in rankings if ranking.is_comparison]
    ratios: dict[str, list[float]] = defaultdict(list)
    for ranking in comparisons:
        for name, times in ranking.times_best.items():
            ratios[name].append(times)
    counted = [
        Regret(name, geometric_mean(values) - 1, max(values) - 1, len(values), len(comparisons))
        for name, values in ratios.items()
    ]
    return sorted(counted, key=lambda regret: (-regret.covered, regret.mean, regret.library))
