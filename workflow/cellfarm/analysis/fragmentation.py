"""Which library wins where, and how much that depends on the setting. Pure: rankings in, counts out."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

from .ranking import COMPARISON_COLUMNS, Ranking

#: The axes along which a winner may change.
AXES = tuple(name for name in COMPARISON_COLUMNS if name != "protocol")


@dataclass(frozen=True)
class Share:
    """A library's wins: `wins` counts a tie of n as 1/n; `sole` counts wins beyond doubt only."""

    library: str
    wins: float
    sole: int
    comparisons: int

    @property
    def share(self) -> float:
        return self.wins / self.comparisons


@dataclass(frozen=True)
class Change:
    """How the winner changes along one axis.

    `pairs` are comparisons that differ in this axis only; in `changed` of them no library is among
    the winners of both. Two ties that share a library do not count as changed.
    """

    axis: str
    pairs: int
    changed: int

    @property
    def share(self) -> float | None:
        return self.changed / self.pairs if self.pairs else None


def decided(rankings: Iterable[Ranking]) -> list[Ranking]:
    """The rankings of at least two libraries whose intervals decide."""
    return [ranking for ranking in rankings if ranking.is_comparison and ranking.decided]


def shares(rankings: Iterable[Ranking]) -> list[Share]:
    """The share of every library in a decided comparison, most wins first."""
    wins: dict[str, float] = defaultdict(float)
    comparisons = decided(rankings)
    for ranking in comparisons:
        for entry in ranking.entries:
            wins[entry.library] += 0.0
        for winner in ranking.winners:
            wins[winner] += 1 / len(ranking.winners)
    sole = Counter(ranking.sole_winner for ranking in comparisons)
    counted = [Share(name, count, sole[name], len(comparisons)) for name, count in wins.items()]
    return sorted(counted, key=lambda share: (-share.wins, share.library))


def entropy_bits(winners: Sequence[Share]) -> float | None:
    """Shannon's entropy of the winner: 0 if one library wins everywhere, log2(n) if n win alike.

    None without comparisons. Shannon, Bell System Technical Journal 27(3), 1948.
    """
    total = sum(winner.wins for winner in winners)
    if not total:
        return None
    parts = [winner.wins / total for winner in winners if winner.wins]
    return max(0.0, -sum(part * math.log2(part) for part in parts))


def changes(rankings: Iterable[Ranking]) -> list[Change]:
    """The change along every axis, in the order of AXES."""
    comparisons = decided(rankings)
    return [_change(comparisons, axis) for axis in AXES]


def _change(rankings: Sequence[Ranking], axis: str) -> Change:
    fixed = [name for name in COMPARISON_COLUMNS if name != axis]
    groups: dict[tuple[object, ...], list[Ranking]] = defaultdict(list)
    for ranking in rankings:
        groups[tuple(getattr(ranking, name) for name in fixed)].append(ranking)
    pairs = [pair for group in groups.values() for pair in combinations(group, 2)]
    changed = sum(set(first.winners).isdisjoint(second.winners) for first, second in pairs)
    return Change(axis, len(pairs), changed)
