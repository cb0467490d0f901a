"""Who wins where, and how much that depends on where one looks. Pure: rankings in, counts out."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

from .ranking import COMPARISON_COLUMNS, Ranking

#: The axes along which a winner may change. Of the protocol nobody asks that.
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
    the winners of both. Two ties that share a library do not count as changed: nothing is known.
    """

    axis: str
    pairs: int
    changed: int

    @property
    def share(self) -> float | None:
        return self.changed / self.pairs if self.pairs else None


def decided(rankings: Iterable[Ranking]) -> list[Ranking]:
    """Those with somebody to win against, and intervals that tell."""
    return [one for one in rankings if one.is_comparison and one.decided]


def shares(rankings: Iterable[Ranking]) -> list[Share]:
    """Of every library that took part in a decided comparison, most wins first."""
    wins: dict[str, float] = defaultdict(float)
    sole: dict[str, int] = defaultdict(int)
    found = decided(rankings)
    for one in found:
        for entry in one.entries:
            wins[entry.library] += 0.0
        for winner in one.winners:
            wins[winner] += 1 / len(one.winners)
        if one.sole_winner:
            sole[one.sole_winner] += 1
    counted = [Share(name, count, sole[name], len(found)) for name, count in wins.items()]
    return sorted(counted, key=lambda one: (-one.wins, one.library))


def entropy_bits(found: Sequence[Share]) -> float | None:
    """Shannon's entropy of the winner: 0 if one library wins everywhere, log2(n) if n win alike.

    None without comparisons. Shannon, Bell System Technical Journal 27(3), 1948.
    """
    total = sum(one.wins for one in found)
    if not total:
        return None
    parts = [one.wins / total for one in found if one.wins]
    return max(0.0, -sum(part * math.log2(part) for part in parts))


def changes(rankings: Iterable[Ranking]) -> list[Change]:
    """Along every axis, in the order of AXES."""
    found = decided(rankings)
    return [_change(found, axis) for axis in AXES]


def _change(rankings: Sequence[Ranking], axis: str) -> Change:
    rest = [name for name in COMPARISON_COLUMNS if name != axis]
    groups: dict[tuple[object, ...], list[Ranking]] = defaultdict(list)
    for one in rankings:
        groups[tuple(getattr(one, name) for name in rest)].append(one)
    pairs = [pair for group in groups.values() for pair in combinations(group, 2)]
    changed = sum(not set(one.winners) & set(two.winners) for one, two in pairs)
    return Change(axis, len(pairs), changed)
