"""Protocols for tests: few launches, few samples, no waiting."""

from __future__ import annotations

from typing import Any

import msgspec
from cellfarm.measures import all_measures
from cellfarm.measures.hosts import host_of
from cellfarm.wanted.protocols import Protocol

#: Two launches of three samples; no cold page cache, no profile, no gate to wait at.
SMALLEST: dict[str, Any] = {
    "measures": {
        "latency": {
            "launches": {"min": 2, "max": 2},
            "target_half_width": 0.05,
            "samples": {"min": 3, "max": 3, "seconds": 0},
        },
        "cold_start": {"launches": 0, "warm": 2},
        "quality": {"samples": 2},
        "accuracy": {},
    },
    "conditions": {"interval_ms": 0},
    "gates": {"wait_s": 0, "budget_s": 0},
    "affinity": "none",
    "governor": "keep",
    "launch_timeout_s": 60,
    "seed": 0,
}


def with_measures(document: dict[str, Any] = SMALLEST, **changes: Any) -> dict[str, Any]:
    """A protocol's document with other settings of measures; None removes a measure."""
    measures = dict(document["measures"])
    for measure, settings in changes.items():
        if settings is None:
            measures.pop(measure, None)
        else:
            measures[measure] = measures.get(measure, {}) | settings
    return document | {"measures": measures}


def protocol_of(document: dict[str, Any] = SMALLEST, **changes: Any) -> Protocol:
    """A protocol from its document, with some fields replaced."""
    return msgspec.convert(document | changes, Protocol)


def asked(document: dict[str, Any], mode: str) -> dict[str, Any]:
    """The options of `launch` for a mode under a protocol: those of the mode's own measure.

    A measure that is not in the protocol has its default settings.
    """
    names = [*document["measures"], *all_measures()]
    measure = next(name for name in names if mode in host_of(name).modes)
    host = host_of(measure)
    settings = all_measures()[measure].defaults | document["measures"].get(measure, {})
    request = host.request(host.settings(settings), document["launch_timeout_s"])
    return {"mode": mode, "measure": measure, "measure_request": request}
