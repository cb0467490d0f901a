"""The tables that mace_run --benchmark prints through its log."""

from __future__ import annotations

import math
import re
from typing import Any

_LINE = re.compile(r"^I \S*statistics\.cc:\d+\] ?(.*)$")
_COUNT = re.compile(r"^(\d+) ops total\.$")
#: How far the sum of rounded means may be from the rounded mean of sums, in ms for each operator.
_ROUNDING_MS = 0.001


def operators(text: str, runs: int) -> list[dict[str, Any]]:
    """The operators in the order of execution: {"name", "type", "node", "ms": [the mean]}.

    An operator has the name of the last node that was fused into it.

    Raises:
        ValueError: a table is missing or incomplete, or the tables contradict each other.
    """
    lines = _lines(text)
    rows = _table(lines, "Sort by Run Order")
    counts = [int(count[1]) for line in lines if (count := _COUNT.match(line.strip()))]
    if counts != [len(rows)]:
        raise ValueError(f"{len(rows)} operators were printed; mace_run counts {counts or 'none'}")
    operators: list[dict[str, Any]] = [
        {
            "name": row["name"],
            "type": row["Op Type"],
            "node": row["name"],
            "ms": [_number(row["Avg(ms)"])],
        }
        for row in rows
    ]
    rounds, average_ms = _summary(lines)
    if rounds != runs:
        raise ValueError(f"{runs} inferences were asked for; mace_run counts {rounds:g}")
    sum_ms = math.fsum(operator["ms"][0] for operator in operators)
    if abs(sum_ms - average_ms) > _ROUNDING_MS * (len(rows) + 1):
        raise ValueError(f"the operators add up to {sum_ms:g} ms; mace_run says {average_ms:g} ms")
    return operators


def _summary(lines: list[str]) -> tuple[float, float]:
    """The number of inferences, and the mean over them of the sum of all operators in ms."""
    (row,) = _table(lines, "Summary of Ops' Stat") or [{}]
    if not row:
        raise ValueError("mace_run printed no summary of its operators")
    return _number(row["round"]), _number(row["avg(ms)"])


def _lines(text: str) -> list[str]:
    return [match[1] for line in text.splitlines() if (match := _LINE.match(line))]


def _table(lines: list[str], title: str) -> list[dict[str, str]]:
    """The rows of a table by the names in its head.

    Raises:
        ValueError: there is not exactly one such table, or it is not complete.
    """
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
