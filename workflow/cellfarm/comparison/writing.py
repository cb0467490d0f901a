"""A comparison as a table for a terminal, as Markdown for a pull request, as JSON for a program."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .verdicts import BROKEN, VERDICTS, Comparison, Verdict

SCHEMA = 1


def as_json(comparison: Comparison) -> str:
    document = {
        "schema": SCHEMA,
        "first": comparison.first,
        "second": comparison.second,
        "threshold": comparison.threshold,
        "counts": comparison.counts,
        "regressions": len(comparison.regressions),
        "cells": [
            {
                **verdict.cell,
                "verdict": verdict.verdict,
                "reason": verdict.reason,
                "is_regression": verdict.is_regression(comparison.threshold),
                "first_ms": verdict.first_ms,
                "second_ms": verdict.second_ms,
                "ratio": verdict.ratio,
                "ratio_ci_low": verdict.low,
                "ratio_ci_high": verdict.high,
                "same_experiment": verdict.is_paired,
            }
            for verdict in comparison.verdicts
        ],
        "missing": dict(comparison.missing),
        "only_first": [_named(row) for row in comparison.only_first],
        "only_second": [_named(row) for row in comparison.only_second],
    }
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def as_markdown(comparison: Comparison) -> str:
    lines = [
        f"**{_escaped(comparison.second)}** against **{_escaped(comparison.first)}**: {summary(comparison)}",
        "",
        "| cell | first, ms | second, ms | ratio | 95 % interval | verdict |",
        "|---|---:|---:|---:|---|---|",
    ]
    for verdict in sorted_verdicts(comparison):
        mark = "**" if verdict.is_regression(comparison.threshold) else ""
        reason = f": {verdict.reason}" if verdict.reason else ""
        fields = (label(verdict.cell), _number(verdict.first_ms, ".4g"),
                  _number(verdict.second_ms, ".4g"), _number(verdict.ratio, ".3f"),
                  interval(verdict), f"{mark}{verdict.verdict}{mark}{reason}")  # fmt: skip
        lines.append(f"| {' | '.join(_escaped(field, '**' in field) for field in fields)} |")
    for side, rows in ((comparison.first, comparison.only_first),
                       (comparison.second, comparison.only_second)):  # fmt: skip
        if rows:
            lines += ["", f"Only in {_escaped(side)}: {len(rows)} cells."]
    lines += [line for text in missing_sentences(comparison) for line in ("", _escaped(text))]
    lines += ["", _METHOD]
    return "\n".join(lines) + "\n"


_METHOD = (
    "The ratio is the second's median warm latency over the first's: round by round where both were "
    "measured in one experiment (Hodges-Lehmann, Wilcoxon), otherwise of the launches' medians through "
    "the calibration load (Welch). Slower and faster: the whole interval is on one side of 1."
)


def summary(comparison: Comparison) -> str:
    """`2 slower, 1 faster, 12 same, 3 not comparable; 1 regression of more than 5 %`."""
    counts = ", ".join(f"{count} {name}" for name, count in comparison.counts.items() if count)
    number = len(comparison.regressions)
    regressions = "no regression" if not number else f"{number} regression{'s' * (number > 1)}"
    limit = f"more than {100 * comparison.threshold:g} %"
    which = f"(broken, or slower by {limit})" if comparison.counts[BROKEN] else f"of {limit}"
    return f"{counts or 'no cell in both'}; {regressions} {which}"


def missing_sentences(comparison: Comparison) -> list[str]:
    """A sentence for each side with cells that were never measured."""
    return [
        f"{name}: {count} of its cells ha{'s' if count == 1 else 've'} no result."
        for name, count in comparison.missing.items()
    ]


def sorted_verdicts(comparison: Comparison) -> list[Verdict]:
    """Broken ones first, then the slower ones, the slowest at the top."""
    return sorted(
        comparison.verdicts,
        key=lambda verdict: (VERDICTS.index(verdict.verdict), -(verdict.ratio or 0)),
    )


def label(cell: Mapping[str, Any]) -> str:
    first, second = cell["versions"]
    version = first if first == second else f"{first} → {second}"
    setting = f"{cell['variant']} {cell['processor']} t{cell['threads']} {cell['device']}"
    return f"{cell['model']} · {cell['library']} {version} · {setting}"


def interval(verdict: Verdict) -> str:
    if verdict.low is None or verdict.high is None:
        return "n/a"
    across = "" if verdict.is_paired else " ⇄"
    return f"{verdict.low:.3f} to {verdict.high:.3f}{across}"


def _named(row: Mapping[str, Any]) -> dict[str, Any]:
    names = ("model", "library", "library_version", "variant", "device", "processor", "threads",
             "protocol", "status")  # fmt: skip
    return {name: row[name] for name in names}


def _number(value: float | None, form: str) -> str:
    return "n/a" if value is None else format(value, form)


def _escaped(text: str, is_bold: bool = False) -> str:
    """Text without markup that stays in its cell of a table."""
    plain = " ".join(text.split())
    for character in "\\|<`[" if is_bold else "\\|<`[*_":
        plain = plain.replace(character, f"\\{character}")
    return plain
