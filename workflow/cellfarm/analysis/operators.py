"""What operators say across libraries: time by type, the same operator in each, the best of each. Pure.

Libraries fuse, reorder and name operators in their own ways, and most keep no link to the source graph.
What survives is the order of the operators that do the arithmetic: convolutions and matrix products.
Where two libraries execute the same sequence of those, the n-th of one is the n-th of the other, but for
parallel branches that they run in another order (see `_aligned`). All else (what is fused here and an
operator of its own there) is not matched, and its share is told.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from .grouping import grouped
from .ranking import COMPARISON_COLUMNS, Row, ranks
from .versions import newest

#: Types that are matched -> what they count as. XNNPACK computes a 1 x 1 convolution as a matrix product.
ANCHORS = {"Conv": "product", "MatMul": "product", "DepthwiseConv": "depthwise"}
#: What an operator's move by one place costs, in squared logarithms of time: operators change places only
#: where both are off by more than a factor of two as they stand.
MOVE = float(np.log(2)) ** 2
#: Profilers count in steps of 0.001 ms.
_LEAST_MS = 1e-3
#: A profile with this flag does not add up to the latency.
DOUBTFUL = "operators_gap"


class Timed(NamedTuple):
    """One operator; its type is in the common vocabulary, `node` of the source graph where that is known."""

    type: str
    ms: float
    node: str | None = None


#: In the order of execution.
Operators = Sequence[Timed]


@dataclass(frozen=True)
class Difference:
    """The time of one type of operators on both sides, in ms; 0 where a side has none of it."""

    type: str
    before_ms: float
    after_ms: float

    @property
    def ms(self) -> float:
        return self.after_ms - self.before_ms


@dataclass(frozen=True)
class Profile:
    """The operators of one library in one comparison."""

    library: str
    operators: Operators

    @property
    def sum_ms(self) -> float:
        return sum(one.ms for one in self.operators)

    @cached_property
    def anchors(self) -> list[Timed]:
        """What is matched."""
        return [one for one in self.operators if one.type in ANCHORS]

    @cached_property
    def sequence(self) -> tuple[str, ...]:
        """What the anchors count as, in order: profiles that share it are matched."""
        return tuple(ANCHORS[one.type] for one in self.anchors)

    @property
    def rest_ms(self) -> float:
        """What is not matched."""
        return self.sum_ms - sum(one.ms for one in self.anchors)


@dataclass(frozen=True)
class Matched:
    """One source operator in each library: what it counts as, its node where a library tells it, and the
    time in ms by library."""

    kind: str
    node: str | None
    times_ms: Mapping[str, float]

    @property
    def best(self) -> str:
        """The library that is fastest at it."""
        return min(self.times_ms, key=lambda library: (self.times_ms[library], library))

    @property
    def best_ms(self) -> float:
        return self.times_ms[self.best]


@dataclass(frozen=True)
class Potential:
    """One comparison with each operator taken from the library that is best at it; times in ms.

    `best` is the library with the smallest sum, `best_ms`. `composed_ms` is the sum of every matched
    operator's best time, and of the smallest rest, `rest_ms`. No library reaches it: an activation that one
    fuses into a convolution is in that one's convolution and in no rest, and layouts would have to be
    converted between operators of different libraries. So `gain` is an upper bound.

    `unmatched` is the share of `best_ms` that is not matched operator by operator. `left_out` are the
    profiled libraries whose sequence is another one.
    """

    setting: Mapping[str, Any]
    best: str
    best_ms: float
    rest_ms: float
    unmatched: float
    operators: tuple[Matched, ...]
    left_out: tuple[str, ...]

    @property
    def composed_ms(self) -> float:
        return self.rest_ms + sum(one.best_ms for one in self.operators)

    @property
    def gain(self) -> float:
        """How many times as long the best library takes as the composition: 1 is no gain."""
        return self.best_ms / self.composed_ms

    @property
    def wins(self) -> Counter[str]:
        """How many of the matched operators each library is best at."""
        return Counter(one.best for one in self.operators)


def by_type(operators: Operators) -> dict[str, float]:
    """Type -> ms, most time first."""
    found: dict[str, float] = defaultdict(float)
    for one in operators:
        found[one.type] += one.ms
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def differences(before: Operators, after: Operators) -> list[Difference]:
    """What changed from one profile to another by type, the largest change first."""
    one, two = by_type(before), by_type(after)
    found = [Difference(kind, one.get(kind, 0.0), two.get(kind, 0.0)) for kind in {**one, **two}]
    return sorted(found, key=lambda each: (-abs(each.ms), each.type))


def shares(cells: Iterable[Row], operators: Mapping[str, Operators]) -> dict[str, dict[str, float]]:
    """Library -> type -> its share of the operators' time: the median over the library's cells.

    Args:
        cells: of the view `cells`; those that do not rank, or whose profile is in doubt, are left out.
        operators: by key of a cell.
    """
    found: dict[str, list[dict[str, float]]] = defaultdict(list)
    for group in _profiles(cells, operators).values():
        for one in group:
            times, total_ms = by_type(one.operators), one.sum_ms
            found[one.library].append({kind: ms / total_ms for kind, ms in times.items()})
    return {library: _medians(parts) for library, parts in sorted(found.items())}


def potentials(cells: Iterable[Row], operators: Mapping[str, Operators]) -> list[Potential]:
    """Of every comparison in which at least two libraries execute the same sequence of anchors.

    The libraries of the most common sequence are matched, of several as common ones those of the longest.

    Args:
        cells, operators: as for `shares`. Of several versions of a library the newest counts.
    """
    found = []
    for place, group in _profiles(cells, operators).items():
        sequences: dict[tuple[str, ...], list[Profile]] = defaultdict(list)
        for one in group:
            sequences[one.sequence].append(one)
        sequence, matched = max(sequences.items(), key=lambda item: (len(item[1]), len(item[0])))
        if len(matched) > 1 and sequence:
            left_out = sorted(one.library for one in group if one not in matched)
            setting = dict(zip(COMPARISON_COLUMNS, place, strict=True))
            found.append(_potential(setting, matched, tuple(left_out)))
    # Times that are all 0 tell nothing of each other.
    return [one for one in found if one.composed_ms > 0]


def _potential(
    setting: Mapping[str, Any], matched: Sequence[Profile], left_out: tuple[str, ...]
) -> Potential:
    best = min(matched, key=lambda one: (one.sum_ms, one.library))
    columns = zip(*(_aligned(one, best) for one in matched), strict=True)
    operators = [
        Matched(
            kind=kind,
            node=next((one.node for one in column if one.node), None),
            times_ms={one.library: anchor.ms for one, anchor in zip(matched, column, strict=True)},
        )
        for kind, column in zip(best.sequence, columns, strict=True)
    ]
    return Potential(
        setting=setting,
        best=best.library,
        best_ms=best.sum_ms,
        rest_ms=min(one.rest_ms for one in matched),
        unmatched=best.rest_ms / best.sum_ms,
        operators=tuple(operators),
        left_out=left_out,
    )


def _aligned(one: Profile, other: Profile) -> list[Timed]:
    """The anchors of a profile in the order of another one's, whose sequence is the same.

    Libraries run parallel branches in different orders, and their names do not tell which is which.
    Operators of the same kind change places where that brings their times closer to the other's by more
    than the moves cost (an assignment problem). Of branches that take about as long any will do.
    """
    from scipy.optimize import linear_sum_assignment  # takes a while: not for every command's start

    logs = [np.log([max(a.ms, _LEAST_MS) for a in each.anchors]) for each in (other, one)]
    off = logs[1][None, :] - logs[0][:, None]
    off -= np.median(np.diagonal(off))  # one library may be slower at everything
    places = np.arange(len(one.anchors))
    kinds = np.asarray(one.sequence)
    cost = off**2 + MOVE * np.abs(places[None, :] - places[:, None])
    cost[kinds[None, :] != kinds[:, None]] = np.sum(cost)  # never
    _, chosen = linear_sum_assignment(cost)
    return [one.anchors[place] for place in chosen]


def _profiles(
    cells: Iterable[Row], operators: Mapping[str, Operators]
) -> dict[tuple[Any, ...], list[Profile]]:
    """The profiles that can be believed, by comparison."""
    believed = [
        cell
        for cell in cells
        if operators.get(cell["key"]) and ranks(cell) and DOUBTFUL not in (cell.get("flags") or ())
    ]
    found = {}
    for place, group in grouped(believed, COMPARISON_COLUMNS).items():
        profiles = [Profile(cell["library"], operators[cell["key"]]) for cell in newest(group)]
        found[place] = [one for one in profiles if one.sum_ms > 0]
    return {place: group for place, group in found.items() if group}


def _medians(parts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The median of each type over all profiles; a profile without it has a share of 0."""
    kinds = {kind for one in parts for kind in one}
    found = {kind: median(one.get(kind, 0.0) for one in parts) for kind in kinds}
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))
