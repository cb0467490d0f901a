"""The effect of one change on latency: of the library, variant, processor or threads. Pure.

Each effect is a distribution of ratios between cells that differ in that one thing only. Two libraries
have no order, so the ratio is the slower over the faster. All other ratios are the start over the end of
a change, so that 2 says twice as fast.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from .grouping import grouped
from .ranking import COMPARISON_COLUMNS, Row, ranks
from .versions import newest


@dataclass(frozen=True)
class Effect:
    """`what` was changed, such as `fp32 to int8`, and the ratios, one for each pair of cells."""

    what: str
    ratios: list[float]


def effects(rows: Iterable[Row], flagged: bool = False) -> list[Effect]:
    """Every change that the rows show at least once, libraries first.

    Args:
        rows: of the view `cells`; those that do not rank are left out.
        flagged: let flagged results rank, too.
    """
    ranked = [row for row in rows if ranks(row, flagged)]
    on_cpu = [row for row in ranked if row["processor"] == "cpu"]
    threads = sorted({row["threads"] for row in on_cpu} - {1})
    return [
        *_of_libraries(ranked),
        *_of(ranked, "variant", "fp32", ("fp16", "int8", "int8_dynamic", "int8_weights")),
        *_of(ranked, "processor", "cpu", ("gpu", "npu")),
        *_of(on_cpu, "threads", 1, threads),
    ]


def _of_libraries(rows: Sequence[Row]) -> list[Effect]:
    ratios: list[float] = []
    for group in grouped(rows, COMPARISON_COLUMNS).values():
        times_ms = [row["latency_ms"] for row in newest(group)]
        ratios += [max(pair) / min(pair) for pair in combinations(times_ms, 2)]
    return [Effect("library, the slower over the faster", ratios)] if ratios else []


def _of(rows: Sequence[Row], axis: str, start: Any, ends: Sequence[Any]) -> list[Effect]:
    # Threads mean nothing on a gpu or an npu: compare them with the cpu's fastest number of threads.
    ignored = {axis, "threads"} if axis == "processor" else {axis}
    fixed = [name for name in COMPARISON_COLUMNS if name not in ignored]
    ratios: dict[Any, list[float]] = defaultdict(list)
    for group in grouped(rows, ("library", "library_version", *fixed)).values():
        best_ms: dict[Any, float] = {}
        for row in group:
            best_ms[row[axis]] = min(row["latency_ms"], best_ms.get(row[axis], math.inf))
        for end in ends:
            if start in best_ms and end in best_ms:
                ratios[end].append(best_ms[start] / best_ms[end])
    return [Effect(f"{axis}, {start} to {end}", ratios[end]) for end in ends if end in ratios]
