"""Numbers as texts. An unknown number is n/a, never 0."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cellfarm.measures.flags import OPERATORS_GAP

UNKNOWN = "n/a"


def significant(value: float | None, digits: int = 3) -> str:
    """Three significant digits without an exponent: 0.0512, 4.20, 35.1, 1,240."""
    if value is None:
        return UNKNOWN
    value = float(f"{value:.{digits}g}") if abs(value) < 10**digits else value
    magnitude = abs(value)
    if magnitude >= 10 ** (digits - 1):
        return f"{value:,.0f}"
    if magnitude == 0:
        return "0"
    decimals = digits - 1
    while magnitude < 1 and decimals < 12:
        magnitude *= 10
        decimals += 1
    if magnitude >= 10:
        decimals -= 1
    return f"{value:.{decimals}f}"


def milliseconds(value: float | None) -> str:
    return UNKNOWN if value is None else f"{significant(value)} ms"


def scientific(value: float | None) -> str:
    """An error: 'exact' for zero, 1.2e-7, 0.035, 7.3."""
    if value is None:
        return UNKNOWN
    if value == 0:
        return "exact"
    if 0.01 <= value < 10_000:
        return significant(value, 2)
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def percent(fraction: float | None) -> str:
    """0.034 -> '3.4 %', 0.34 -> '34 %'."""
    if fraction is None:
        return UNKNOWN
    value = fraction * 100
    return f"{value:.1f} %" if abs(value) < 10 else f"{value:,.0f} %"


def times(ratio: float) -> str:
    """1.42× below ten, 23× above."""
    return f"{ratio:.2f}×" if ratio < 10 else f"{ratio:,.0f}×"


def count(number: int, noun: str) -> str:
    """'1 cell', '30 cells', '2 libraries'."""
    if number == 1:
        return f"1 {noun}"
    if noun.endswith("y"):
        return f"{number:,} {noun[:-1]}ies"
    return f"{number:,} {noun}{'es' if noun.endswith('ch') else 's'}"


def signed_percent(fraction: float | None) -> str:
    """-0.034 -> '−3.4 %', 0.34 -> '+34 %'."""
    if fraction is None:
        return UNKNOWN
    sign = "−" if fraction < 0 else "+"
    return f"{sign}{percent(abs(fraction))}"


def interval(low: float | None, high: float | None, unit: str = "ms") -> str:
    """'8.66 to 9.14 ms'."""
    if low is None or high is None:
        return UNKNOWN
    return f"{significant(low)} to {significant(high)} {unit}"


def cell_texts(cell: Mapping[str, Any], error_floor: float) -> dict[str, Any]:
    """A cell's numbers as the charts write them; None if unknown.

    Args:
        error_floor: the place of an error of zero on a logarithmic axis.
    """
    error = cell["max_abs_error"]
    ok = cell["status"] == "ok"
    return {
        "latency_text": _known(cell["latency_ms"], "ms"),
        "cold_text": _known(cell["cold_total_ms"], "ms"),
        "cold_other_ms": _not_split(cell, "cold_"),
        "cold_cache_text": _known(cell["cold_cache_total_ms"], "ms"),
        "cold_cache_other_ms": _not_split(cell, "cold_cache_"),
        "memory_text": _known(cell["peak_rss_mb"], "MB"),
        "error_plot": None if error is None else max(error, error_floor),
        "error_text": None if error is None else scientific(error),
        "operators_text": _known(cell["operators_sum_ms"], "ms"),
        "operators_label": _operators_label(cell),
        "gap_text": signed_percent(cell["operators_gap"]),
        "sustained_text": _known(cell["throughput_settled_per_s"], "/s"),
        "cell_text": UNKNOWN if ok else cell["status"],
        "flags_text": ", ".join(cell["flags"]) or "none",
        "interval_text": interval(cell["latency_ci_low_ms"], cell["latency_ci_high_ms"]),
        "samples_text": f"{_number(cell['samples'])} in {_launches(cell['launches'])}",
    }


def _known(value: float | None, unit: str) -> str | None:
    return None if value is None else f"{significant(value)} {unit}"


def _not_split(cell: Mapping[str, Any], prefix: str) -> float | None:
    """The part of a cold start that no phase accounts for, in ms; None if it is small.

    Medians of phases do not add up exactly to the median of the total.
    """
    total = cell[f"{prefix}total_ms"]
    if total is None:
        return None
    phases = ("start", "import", "read", "load", "first")
    rest = float(total - sum(cell[f"{prefix}{phase}_ms"] or 0 for phase in phases))
    return rest if rest > 0.05 * total else None


def _operators_label(cell: Mapping[str, Any]) -> str | None:
    """The operators' sum, and its deviation from the latency."""
    total, gap = cell["operators_sum_ms"], cell["operators_gap"]
    if total is None:
        return None
    off = " off" if gap is not None and abs(gap) > OPERATORS_GAP else ""
    return f"{milliseconds(total)}, {signed_percent(gap)}{off}"


def _number(value: int | None) -> str:
    return UNKNOWN if value is None else f"{value:,}"


def _launches(value: int | None) -> str:
    return UNKNOWN if value is None else count(value, "launch")
