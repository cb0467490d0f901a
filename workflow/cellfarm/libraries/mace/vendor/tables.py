"""The tables that mace_run --benchmark prints through its log."""

from __future__ import annotations

import math
import re
from typing import Any

_LINE = re.compile(r"^I \S*statistics\.cc:\d+\] ?(.*)$")
_COUNT = re.compile(r"^(\d+) ops total\.$")
#: The sum of rounded means against the rounded mean of sums, in ms for each operator.
_ROUNDING_MS = 0.001


def operators(text: str, runs: int) -> list[dict[str, Any]]:
    """The operators in the order of execution: {"name", "type", "node", "ms": [the mean]}.

    An operator is called after the last node that was fused into it.

    Raises:
        ValueError: the tables are not there, not whole, or do not agree with one another.
    """
    lines = _lines(text)
    rows = _table(lines, "Sort by Run Order")
    counts = [int(count[1]) for line in lines if (count := _COUNT.match(line.strip()))]
    if counts != [len(rows)]:
        raise ValueError(f"{len(rows)} operators were printed; mace_run counts {counts or 'none'}")
    found: list[dict[str, Any]] = [
        {
            "name": row["name"],
            "type": row["Op Type"],
            "node": row["name"],
            "ms": [_number(row["Avg(ms)"])],
        }
        for row in rows
    ]
    total = summary(text)
    if total["round"] != runs:
        raise ValueError(f"{runs} inferences were asked for; mace_run counts {total['round']:g}")
    added_ms = math.fsum(one["ms"][0] for one in found)
    if abs(added_ms - total["avg_ms"]) > _ROUNDING_MS * (len(rows) + 1):
        raise ValueError(
            f"the operators add up to {added_ms:g} ms; mace_run says {total['avg_ms']:g} ms"
        )
    return found


def summary(text: str) -> dict[str, float]:
    """The sum over the operators: `round`, and `first_ms`, `min_ms`, `max_ms`, `avg_ms`, `std_ms`.

    Raises:
        ValueError: no such table.
    """
    lines = _lines(text)
    (row,) = _table(lines, "Summary of Ops' Stat") or [{}]
    if not row:
        raise ValueError("mace_run printed no summary of its operators")
    return {
        "round": _number(row["round"]),
        **{f"{name}_ms": _number(row[f"{name}(ms)"]) for name in ("first", "min", "max", "avg")},
        # The one column in microseconds, without saying so.
        "std_ms": _number(row["std"]) / 1e3,
    }


def _lines(text: str) -> list[str]:
    return [found[1] for line in text.splitlines() if (found := _LINE.match(line))]


def _table(lines: list[str], title: str) -> list[dict[str, str]]:
    """The rows of a table by the names in its head; it must be closed."""
    starts = [number for number, line in enumerate(lines) if line.strip() == title]
    if len(starts) != 1:
        raise ValueError(f"mace_run printed {len(starts)} tables '{title}'; 1 is expected")
    rows: list[list[str]] = []
    rules = 0
    for line in lines[starts[0] + 1 :]:
        if line and set(line) == {"-"}:
            rules += 1
        elif line.startswith("|"):
            rows.append([cell.strip() for cell in line.strip().strip("|").split("|")])
        if rules == 3:
            break
    if rules != 3 or not rows:
        raise ValueError(f"the table '{title}' of mace_run is cut off")
    head, *body = rows
    if any(len(row) != len(head) for row in body):
        raise ValueError(f"the table '{title}' of mace_run has rows of several lengths")
    return [dict(zip(head, row, strict=True)) for row in body]


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"{text!r:.40} is no time")
    return value
