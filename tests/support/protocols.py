"""Protocols for tests: few launches, few samples, no waiting."""

from __future__ import annotations

from typing import Any

#: Two launches of three samples; no cold page cache, no profile, no gate to wait at.
SMALLEST: dict[str, Any] = {
    "pattern": {"kind": "back_to_back"},
    "launches": {"min": 2, "max": 2},
    "target_half_width": 0.05,
    "samples": {"min": 3, "max": 3, "seconds": 0},
    "cold_cache": {"launches": 0},
    "quality": {"samples": 2},
    "profile": {"runs": 0},
    "conditions": {"interval_ms": 0},
    "gates": {"wait_s": 0, "budget_s": 0},
    "affinity": "none",
    "governor": "keep",
    "launch_timeout_s": 60,
    "seed": 0,
}
