"""Protocols for tests: few launches, few samples, no waiting."""

from __future__ import annotations

from typing import Any

from cellfarm.base import documents
from cellfarm.wanted.protocols import Protocol

#: The smallest latency: two launches of three samples.
LATENCY: dict[str, Any] = {
    "launches": {"min": 2, "max": 2},
    "target_half_width": 0.05,
    "samples": {"min": 3, "max": 3, "seconds": 0},
}
#: What all measures have in common: no sampling, no gate to wait at.
COMMON: dict[str, Any] = {
    "conditions": {"interval_ms": 0},
    "gates": {"wait_s": 0, "budget_s": 0},
    "affinity": "none",
    "governor": "keep",
    "launch_timeout_s": 60,
    "seed": 0,
}
#: Two launches of three samples; no cold page cache, no profile, no gate to wait at.
SMALLEST: dict[str, Any] = COMMON | {
    "measures": {
        "latency": LATENCY,
        "cold_start": {"launches": 0, "warm": 2},
        "quality": {"samples": 2},
        "accuracy": {},
    },
}


def protocol_of(document: dict[str, Any]) -> Protocol:
    """A protocol from what its file says."""
    return documents.parse(document, Protocol, "test")
