"""What stands at the head of a page: how many cells, of which libraries, devices and days."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from cellfarm.report.data import Cell, Measurements
from cellfarm.report.panels import Arrangement
from cellfarm.report.wording import significant

STATUSES = ("ok", "wrong", "failed", "timeout", "unsupported")


def statuses(cells: Sequence[Cell]) -> list[tuple[str, int]]:
    """(status, how many cells have it), the known ones first."""
    counts = Counter(str(cell["status"]) for cell in cells)
    known = [(status, counts.pop(status)) for status in STATUSES if status in counts]
    return known + sorted(counts.items())


def libraries(arrangement: Arrangement) -> list[tuple[str, list[str]]]:
    """(label, the versions that it does not name)."""
    versions: dict[str, set[str]] = {label: set() for label in arrangement.labels}
    for cell in arrangement.cells:
        if cell["library_version"]:
            versions[cell["label"]].add(cell["library_version"])
    # Where several versions were measured a label ends with its own.
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
    """'2026-11-20 to 2026-11-21'; None where no cell has a date."""
    moments = sorted(cell["measured_at"][:10] for cell in cells if cell["measured_at"])
    if not moments:
        return None
    return moments[0] if moments[0] == moments[-1] else f"{moments[0]} to {moments[-1]}"
