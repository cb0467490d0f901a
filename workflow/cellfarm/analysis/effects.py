"""What changing one thing does to latency: the library, the variant, the processor, the threads. Pure.

Each effect is a distribution of ratios between cells that differ in that one thing only. Of two
libraries nobody is the first, so the slower stands over the faster; for the others the ratio is of
what one would start from over what one would change to, so that 2 says twice as fast.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

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
    found = [row for row in rows if ranks(row, flagged)]
    return [
        *_of_libraries(found),
        *_of(found, "variant", "fp32", ("fp16", "int8", "int8_dynamic", "int8_weights")),
        *_of(found, "processor", "cpu", ("gpu", "npu")),
        *_of_threads(found),
    ]


def _of_libraries(rows: Sequence[Row]) -> list[Effect]:
    ratios = []
    for group in grouped(rows, COMPARISON_COLUMNS).values():
        for one, two in combinations(newest(group), 2):
            times = sorted((one["latency_ms"], two["latency_ms"]))
            ratios.append(times[1] / times[0])
    return [Effect("library, the slower over the faster", ratios)] if ratios else []


def _of(rows: Sequence[Row], axis: str, start: str, ends: Sequence[str]) -> list[Effect]:
    # Threads mean nothing on a gpu or an npu: the fastest number of threads of the cpu is what one has.
    ignored = {axis, "threads"} if axis == "processor" else {axis}
    names = (
        "library",
        "library_version",
        *(name for name in COMPARISON_COLUMNS if name not in ignored),
    )
    found: dict[str, list[float]] = defaultdict(list)
    for group in grouped(rows, names).values():
        best: dict[str, float] = {}
        for row in group:
            best[row[axis]] = min(row["latency_ms"], best.get(row[axis], float("inf")))
        for end in ends:
            if start in best and end in best:
                found[end].append(best[start] / best[end])
    return [Effect(f"{axis}, {start} to {end}", found[end]) for end in ends if end in found]


def _of_threads(rows: Sequence[Row]) -> list[Effect]:
    names = (
        "library",
        "library_version",
        *(name for name in COMPARISON_COLUMNS if name != "threads"),
    )
    found: dict[int, list[float]] = defaultdict(list)
    for group in grouped([row for row in rows if row["processor"] == "cpu"], names).values():
        times = {row["threads"]: row["latency_ms"] for row in group}
        for threads, ms in times.items():
            if threads != 1 and 1 in times:
                found[threads].append(times[1] / ms)
    return [Effect(f"threads, 1 to {count}", found[count]) for count in sorted(found)]
