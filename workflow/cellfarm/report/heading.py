"""The head of a page: the number of cells, the libraries, devices and dates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from cellfarm.report.data import Cell, Measurements
from cellfarm.report.panels import Arrangement
from cellfarm.report.wording import significant

STATUSES = ("ok", "wrong", "failed", "timeout", "unsupported")


def statuses(cells: Sequence[Cell]) -> list[tuple[str, int]]:
    """(status, number of cells), the known statuses first."""
    counts = Counter(str(cell["status"]) for cell in cells)
    known = [(status, counts.pop(status)) for status in STATUSES if status in counts]
    return known + sorted(counts.items())


def libraries(arrangement: Arrangement) -> list[tuple[str, list[str]]]:
    """(label, the versions that the label does not name)."""
    versions: dict[str, set[str]] = {label: set() for label in arrangement.labels}
    for cell in arrangement.cells:
        if cell["library_version"]:
            versions[cell["label"]].add(cell["library_version"])
    # If several versions were measured, the label ends with the version.
    return [
        (label, sorted(version for version in measured if not label.endswith(f" {version}")))
        for label, measured in versions.items()
    ]


def devices(measured: Measurements) -> list[tuple[str, bool, list[tuple[str, str]]]]:
    """(device, whether it has cells, its facts as text), those with cells first."""
    used = {cell["device"] for cell in measured.cells}
    names = sorted(used | set(measured.devices), key=lambda name: (name not in used, name))
    return [(name, name in used, flat(measured.devices.get(name, {}))) for name in names]


def flat(facts: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Facts as (name, text); nested ones as `a.b`, unknown ones left out."""
    pairs: list[tuple[str, str]] = []
    for name, value in facts.items():
        if isinstance(value, dict):
            pairs += flat(value, f"{prefix}{name}.")
        elif isinstance(value, list):
            pairs.append((f"{prefix}{name}", ", ".join(map(str, value)) or "none"))
        elif isinstance(value, float):
            pairs.append((f"{prefix}{name}", significant(value)))
        elif value is not None:
            pairs.append((f"{prefix}{name}", str(value)))
    return pairs


def dates(cells: Sequence[Cell]) -> str | None:
    """'2026-11-20 to 2026-11-21'; None if no cell has a date."""
    days = sorted(cell["measured_at"][:10] for cell in cells if cell["measured_at"])
    if not days:
        return None
    return days[0] if days[0] == days[-1] else f"{days[0]} to {days[-1]}"
