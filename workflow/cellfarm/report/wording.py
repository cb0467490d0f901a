"""Numbers as people read them. Unknown prints as n/a, never as 0."""

from __future__ import annotations

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
    """How many times as long: 1.42x below ten, 23x above."""
    return f"{ratio:.2f}×" if ratio < 10 else f"{ratio:,.0f}×"


def count(number: int, noun: str) -> str:
    """'1 cell', '30 cells', '2 libraries'."""
    if number == 1:
        return f"1 {noun}"
    if noun.endswith("y"):
        return f"{number:,} {noun[:-1]}ies"
    return f"{number:,} {noun}{'es' if noun.endswith('ch') else 's'}"
