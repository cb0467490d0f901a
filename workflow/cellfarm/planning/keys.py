"""Keys: a digest of everything that a result depends on, and of nothing else. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from ..base.cells import Cell
from ..base.digests import digest

#: The causes of a result, in the order in which a change is reported, with how it is worded.
CAUSES = {
    "labelled": "the labelled pictures changed",
    "model": "the model changed",
    "passes": "the passes changed",
    "exporter": "the exporter's code changed",
    "converter": "the converter (its code, its lock or the precision) changed",
    "library": "the library (its back end or its lock) changed",
    "runner": "the runner's code changed",
    "device": "the device (its description or its fingerprint) changed",
    "protocol": "the protocol changed",
    "verification": "the tolerances changed",
}


def cell_key(cell: Cell, causes: Mapping[str, str]) -> str:
    """The key of a cell under causes, each of them a digest."""
    return digest(["cell", cell.as_dict(), dict(causes)])


def changes(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """What differs between the causes of two results, in words; empty if nothing does."""
    return "; ".join(text for name, text in CAUSES.items() if before.get(name) != now.get(name))
