"""Operators across libraries: time by type, matched operators, and the best library for each. Pure.

Libraries fuse, reorder and name operators in their own ways, and most keep no link to the source graph.
What survives is the order of the operators that do the arithmetic: convolutions and matrix products.
Where two libraries execute the same sequence of these, the n-th of one is the n-th of the other, but for
parallel branches in another order (see `_aligned`). Other operators, which one library fuses and another
does not, are not matched; the result holds their share.
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
#: What an operator's move by one position costs, in squared logarithms of time: operators change positions
#: only where both are off by more than a factor of two.
MOVE = float(np.log(2)) ** 2
#: Profilers count in steps of 0.001 ms.
_LEAST_MS = 1e-3
#: A profile with this flag does not add up to the latency.
DOUBTFUL = "operators_gap"


class Timed(NamedTuple):
    """One operator: its type in the common vocabulary, and its node of the source graph where known."""

    type: str
    ms: float
    node: str | None = None


#: In the order of execution.
Operators = Sequence[Timed]


@dataclass(frozen=True)
class Difference:
    """The time of one type of operators on both sides, in ms; 0 where a side has none."""

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
        return sum(operator.ms for operator in self.operators)

    @cached_property
    def anchors(self) -> list[Timed]:
        """The operators that are matched."""
        return [operator for operator in self.operators if operator.type in ANCHORS]

    @cached_property
    def sequence(self) -> tuple[str, ...]:
        """The anchors' kinds in order: profiles that share it are matched."""
        return tuple(ANCHORS[anchor.type] for anchor in self.anchors)

    @property
    def rest_ms(self) -> float:
        """The time of all other operators."""
        return self.sum_ms - sum(anchor.ms for anchor in self.anchors)


@dataclass(frozen=True)
class Matched:
    """One source operator in each library: its kind, its node where a library names it, and the time in ms by
    library."""

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
    operator's best time and of the smallest rest, `rest_ms`. No library reaches it: an activation fused into
    a convolution counts in no rest, and layouts would have to be converted between operators of different
    libraries. So `gain` is an upper bound.

    `unmatched` is the share of `best_ms` that is not matched. `left_out` are the profiled libraries with
    another sequence.
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
        return self.rest_ms + sum(operator.best_ms for operator in self.operators)

    @property
    def gain(self) -> float:
        """How many times as long the best library takes as the composition: 1 is no gain."""
        return self.best_ms / self.composed_ms

    @property
    def wins(self) -> Counter[str]:
        """How many of the matched operators each library is best at."""
        return Counter(operator.best for operator in self.operators)


def by_type(operators: Operators) -> dict[str, float]:
    """Type -> ms, most time first."""
    times_ms: dict[str, float] = defaultdict(float)
    for operator in operators:
        times_ms[operator.type] += operator.ms
    return _largest_first(times_ms)


def differences(before: Operators, after: Operators) -> list[Difference]:
    """What changed from one profile to another by type, the largest change first."""
    old_ms, new_ms = by_type(before), by_type(after)
    types = old_ms.keys() | new_ms.keys()
    changes = [Difference(name, old_ms.get(name, 0.0), new_ms.get(name, 0.0)) for name in types]
    return sorted(changes, key=lambda change: (-abs(change.ms), change.type))


def shares(cells: Iterable[Row], operators: Mapping[str, Operators]) -> dict[str, dict[str, float]]:
    """Library -> type -> its share of the operators' time: the median over the library's cells.

    Args:
        cells: of the view `cells`; those that do not rank, or whose profile is doubtful, are left out.
        operators: by key of a cell.
    """
    by_library: dict[str, list[dict[str, float]]] = defaultdict(list)
    for group in _profiles(cells, operators).values():
        for profile in group:
            times, total_ms = by_type(profile.operators), profile.sum_ms
            by_library[profile.library].append({name: ms / total_ms for name, ms in times.items()})
    return {library: _medians(parts) for library, parts in sorted(by_library.items())}


def potentials(cells: Iterable[Row], operators: Mapping[str, Operators]) -> list[Potential]:
    """The potential of every comparison in which two libraries or more execute the same sequence of anchors.

    The libraries of the most common sequence are matched, and of equally common ones those of the longest.

    Args:
        cells, operators: as for `shares`. Of several versions of a library the newest counts.
    """
    results = []
    for values, group in _profiles(cells, operators).items():
        sequences: dict[tuple[str, ...], list[Profile]] = defaultdict(list)
        for profile in group:
            sequences[profile.sequence].append(profile)
        sequence, matched = max(sequences.items(), key=lambda item: (len(item[1]), len(item[0])))
        if len(matched) > 1 and sequence:
            left_out = sorted(profile.library for profile in group if profile not in matched)
            setting = dict(zip(COMPARISON_COLUMNS, values, strict=True))
            results.append(_potential(setting, matched, tuple(left_out)))
    # Times that are all 0 have no ratio.
    return [potential for potential in results if potential.composed_ms > 0]


def _potential(
    setting: Mapping[str, Any], matched: Sequence[Profile], left_out: tuple[str, ...]
) -> Potential:
    best = min(matched, key=lambda profile: (profile.sum_ms, profile.library))
    libraries = [profile.library for profile in matched]
    columns = zip(*(_aligned(profile, best) for profile in matched), strict=True)
    operators = [
        Matched(
            kind=kind,
            node=next((anchor.node for anchor in column if anchor.node), None),
            times_ms=dict(zip(libraries, (anchor.ms for anchor in column), strict=True)),
        )
        for kind, column in zip(best.sequence, columns, strict=True)
    ]
    return Potential(
        setting=setting,
        best=best.library,
        best_ms=best.sum_ms,
        rest_ms=min(profile.rest_ms for profile in matched),
        unmatched=best.rest_ms / best.sum_ms,
        operators=tuple(operators),
        left_out=left_out,
    )


def _aligned(profile: Profile, reference: Profile) -> list[Timed]:
    """The anchors of a profile in the order of the reference, which has the same sequence.

    Libraries run parallel branches in different orders, and names do not identify them. Operators of the
    same kind change positions where that brings their times closer to the reference by more than the moves
    cost (an assignment problem). Branches that take about as long may stay exchanged.
    """
    from scipy.optimize import linear_sum_assignment  # takes a while: not for every command's start

    logs, reference_logs = (
        np.log([max(anchor.ms, _LEAST_MS) for anchor in side.anchors])
        for side in (profile, reference)
    )
    off = logs[None, :] - reference_logs[:, None]
    off -= np.median(np.diagonal(off))  # one library may be slower at everything
    positions = np.arange(len(profile.anchors))
    kinds = np.asarray(profile.sequence)
    cost = off**2 + MOVE * np.abs(positions[None, :] - positions[:, None])
    cost[kinds[None, :] != kinds[:, None]] = np.sum(cost)  # never
    _, chosen = linear_sum_assignment(cost)
    return [profile.anchors[position] for position in chosen]


def _profiles(
    cells: Iterable[Row], operators: Mapping[str, Operators]
) -> dict[tuple[Any, ...], list[Profile]]:
    """The profiles that can be believed, by comparison."""
    believed = [
        cell
        for cell in cells
        if operators.get(cell["key"]) and ranks(cell) and DOUBTFUL not in (cell.get("flags") or ())
    ]
    by_comparison = {}
    for values, group in grouped(believed, COMPARISON_COLUMNS).items():
        profiles = [Profile(cell["library"], operators[cell["key"]]) for cell in newest(group)]
        if timed := [profile for profile in profiles if profile.sum_ms > 0]:
            by_comparison[values] = timed
    return by_comparison


def _medians(parts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The median of each type over all profiles; a profile without it has a share of 0."""
    types = set().union(*parts)
    return _largest_first({name: median(part.get(name, 0.0) for part in parts) for name in types})


def _largest_first(values: Mapping[str, float]) -> dict[str, float]:
    return dict(sorted(values.items(), key=lambda item: (-item[1], item[0])))
