"""The Pareto front of latency, size, memory and error: the cells that no other beats in all. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .ranking import ranks

#: All are better when smaller. Columns of the view `cells`, but the error.
OBJECTIVES = ("latency_ms", "artifact_bytes", "peak_rss_mb", "error")


def front(rows: Sequence[Mapping[str, Any]], flagged: bool = False) -> list[Mapping[str, Any]]:
    """The rows of one model on one device that no other equals or beats in every objective.

    A row that lacks one of them is no candidate. The error is 1 less the cosine on held-out inputs, or,
    without those, on the one input of each launch.

    Args:
        flagged: let flagged results rank, too.
    """
    candidates = [(row, _point(row)) for row in rows if ranks(row, flagged)]
    known = [(row, point) for row, point in candidates if point is not None]
    return [
        row
        for row, point in known
        if not any(_beats(other, point) for _, other in known if other is not point)
    ]


def error(row: Mapping[str, Any]) -> float | None:
    """1 less the cosine; None where nothing was compared."""
    cosine = row.get("heldout_cosine")
    cosine = row.get("cosine") if cosine is None else cosine
    return None if cosine is None else max(0.0, 1.0 - float(cosine))


def _point(row: Mapping[str, Any]) -> tuple[float, ...] | None:
    values = [error(row) if name == "error" else row.get(name) for name in OBJECTIVES]
    if any(value is None for value in values):
        return None
    return tuple(float(value) for value in values if value is not None)


def _beats(first: tuple[float, ...], second: tuple[float, ...]) -> bool:
    return all(a <= b for a, b in zip(first, second, strict=True)) and first != second
