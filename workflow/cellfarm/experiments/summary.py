"""From a cell's launches to its result: status, latency with its interval, cold start, flags. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

import numpy as np

from ..analysis.statistics import Estimate, hierarchical_median
from .verification import Comparison

#: Cores' worth of work by others, while samples were taken, beyond which a launch is contended.
CONTENDED_CORES = 0.2
#: A cell whose interval is wider than this many times the target, with the budget spent, is noisy.
NOISY_FACTOR = 3.0
#: Phases of a cold start, in order: fresh process to first result.
COLD_PHASES = ("start", "import", "load", "first")


def estimate(launches: Sequence[Mapping[str, Any]], key: str) -> Estimate:
    """The warm latency over the launches, in ms."""
    return hierarchical_median([launch["warm_ms"] for launch in launches], seed=key)


def is_finished(
    launches: Sequence[Mapping[str, Any]], protocol: Mapping[str, Any], key: str
) -> bool:
    """Whether a cell needs no further launch: it failed, is precise enough, or spent its budget."""
    if launches and launches[-1]["status"] != "ok":
        return True
    if len(launches) < protocol["launches"]["min"]:
        return False
    if len(launches) >= protocol["launches"]["max"]:
        return True
    width = estimate(launches, key).half_width
    return width is not None and width <= protocol["target_half_width"]


def summarise(
    launches: Sequence[Mapping[str, Any]],
    protocol: Mapping[str, Any],
    tolerance: Mapping[str, Any],
    key: str,
) -> dict[str, Any]:
    """{"status", "reason", "summary", "flags", "log"} of a cell from all its launches.

    Numbers that are not known are None. A cell with a launch that did not end well has no latency:
    a median over the launches that happened to survive would flatter it.
    """
    bad = next((launch for launch in launches if launch["status"] != "ok"), None)
    if bad is not None:
        position = launches.index(bad) + 1
        suffix = f" (launch {position}, after {position - 1} good ones)" if position > 1 else ""
        return {
            "status": bad["status"],
            "reason": f"{bad['reason']}{suffix}",
            "summary": {},
            "flags": [],
            "log": bad.get("log", ""),
        }
    comparison = worst(launches)
    violation = comparison.violation(tolerance)
    latency = estimate(launches, key)
    summary = {
        "latency_ms": latency.median,
        "latency_ci_low_ms": latency.low,
        "latency_ci_high_ms": latency.high,
        "latency_p90_ms": float(np.quantile(np.concatenate([x["warm_ms"] for x in launches]), 0.9)),
        "launches": len(launches),
        "samples": sum(len(launch["warm_ms"]) for launch in launches),
        "stopped_because": _stopped(latency, protocol),
        **_cold(launches),
        **_resources(launches),
        "cosine": comparison.cosine,
        "max_abs_error": comparison.max_abs_error,
        "top1_match": comparison.top1_match,
    }
    return {
        "status": "wrong" if violation else "ok",
        "reason": violation,
        "summary": summary,
        "flags": flags(launches, latency, protocol),
        "log": "",
    }


def worst(launches: Sequence[Mapping[str, Any]]) -> Comparison:
    """The launch whose output is farthest from the reference: one wrong launch makes a cell wrong."""
    found = [Comparison(**(launch.get("comparison") or {})) for launch in launches]
    for one in found:
        if one.problem or one.cosine is None:
            return one if one.problem else Comparison(problem="the output was not compared")
    top1 = [one.top1_match for one in found if one.top1_match is not None]
    return Comparison(
        cosine=min(one.cosine for one in found if one.cosine is not None),
        max_abs_error=max(one.max_abs_error or 0.0 for one in found),
        max_relative_error=max(one.max_relative_error or 0.0 for one in found),
        top1_match=all(top1) if top1 else None,
    )


def flags(
    launches: Sequence[Mapping[str, Any]], latency: Estimate, protocol: Mapping[str, Any]
) -> list[str]:
    """What makes the numbers doubtful; a flagged cell does not rank."""
    found = []
    others = [launch["resources"].get("other_cpu_utilisation") for launch in launches]
    known = [value for value in others if value is not None]
    if known and median(known) > CONTENDED_CORES:
        found.append("contended")
    width = latency.half_width
    if width is not None and width > NOISY_FACTOR * protocol["target_half_width"]:
        found.append("noisy")
    return found


def _stopped(latency: Estimate, protocol: Mapping[str, Any]) -> str:
    width = latency.half_width
    precise = width is not None and width <= protocol["target_half_width"]
    return "precise" if precise else "budget"


def _cold(launches: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """Medians over the launches of each phase and of their sum, in ms."""
    named = {
        f"cold_{phase}_ms": _median([launch["phases"].get(phase) for launch in launches])
        for phase in COLD_PHASES
    }
    totals = [
        sum(launch["phases"][phase] for phase in COLD_PHASES)
        for launch in launches
        if all(phase in launch["phases"] for phase in COLD_PHASES)
    ]
    return named | {"cold_total_ms": _median(totals)}


def _resources(launches: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    names = ("peak_rss_mb", "load_rss_mb", "cpu_utilisation", "other_cpu_utilisation")
    return {name: _median([launch["resources"].get(name) for launch in launches]) for name in names}


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(median(known)) if known else None
