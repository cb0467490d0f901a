"""Keys: a digest of everything that a result depends on, and of nothing else. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from ..base.digests import DIGEST_LENGTH

#: The causes of a result, in the order in which a change is reported, with how it is worded.
CAUSES = {
    "labelled": "the labelled pictures changed",
    "model": "the model changed",
    "passes": "the passes changed",
    "exporter": "the exporter's code changed",
    "converter": "the converter (its code, its lock or the precision) changed",
    "library": "the library (its back end or its lock) changed",
    "measure": "the measure (its code or its settings) changed",
    "device": "the device (its description or its fingerprint) changed",
    "protocol": "the protocol changed",
    "verification": "the tolerances changed",
}


def result_key(cell: str, measure: str, causes: str) -> str:
    """The key of a cell's result of a measure.

    Args:
        cell: what tells the cell from others (see Cell.folder).
        causes: digests of all that the result depends on.
    """
    return hashlib.sha256(f"{cell}\n{measure}\n{causes}".encode()).hexdigest()[:DIGEST_LENGTH]


def cell_key(results: Mapping[str, str]) -> str:
    """The key of a cell from those of its results, by measure."""
    text = "\n".join(f"{measure} {key}" for measure, key in sorted(results.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:DIGEST_LENGTH]


def changes(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """What differs between the causes of two results, in words; empty if nothing does."""
    return "; ".join(text for name, text in CAUSES.items() if before.get(name) != now.get(name))
