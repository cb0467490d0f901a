"""From a cell's launches to its result: status, latency with its interval, cold start, flags. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from ..analysis.plausibility import implausible
from ..analysis.statistics import Estimate, hierarchical_median
from ..analysis.sustained import settle
from . import accuracy
from .flags import OPERATORS_GAP, cell_flags, launch_flags, steady_state
from .operators import operators_match
from .quality import Quality
from .rounds import ACCURACY, COLD, FURTHER, MEASURE, PROFILE, QUALITY
from .verification import Comparison

#: What an emulated cell does not have.
_TIMED = ("latency_ms", "latency_ci_low_ms", "latency_ci_high_ms", "latency_p90_ms")
#: Phases of a cold start, in order: fresh process to first result.
COLD_PHASES = ("start", "import", "read", "load", "first")

Launches = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Terms:
    """What a cell's launches are judged by.

    Args:
        tolerance: when an output is right (see config/README.md).
        fastest_ms: what no inference can be below (see cellfarm.analysis.plausibility).
    """

    protocol: Mapping[str, Any]
    tolerance: Mapping[str, Any]
    fastest_ms: float | None = None


def of_mode(launches: Launches, mode: str) -> list[Mapping[str, Any]]:
    return [launch for launch in launches if launch["mode"] == mode]


def estimate(launches: Launches, key: str) -> Estimate:
    """The warm latency over the measuring launches, in ms."""
    return hierarchical_median([launch["warm_ms"] for launch in launches], seed=key)


def is_finished(launches: Launches, protocol: Mapping[str, Any], key: str) -> bool:
    """Whether a cell needs no further launch: it failed, is precise enough, or spent its budget.

    Precise enough is what is so on two looks in a row: three launches that agree may all be of one
    mode of a device with two (see tests/unit/test_coverage.py).
    """
    if launches and launches[-1]["status"] != "ok":
        return True
    if is_emulated(launches):
        return True  # its time would mean nothing
    measured = of_mode(launches, MEASURE)
    if len(measured) < protocol["launches"]["min"]:
        return False
    if len(of_mode(launches, COLD)) < protocol["cold_cache"]["launches"]:
        return False
    if len(measured) >= protocol["launches"]["max"]:
        return True
    looks = [measured[:-1], measured] if len(measured) > protocol["launches"]["min"] else []
    return bool(looks) and all(_is_precise(estimate(look, key), protocol) for look in looks)


def is_emulated(launches: Launches) -> bool:
    """Whether a software implementation of the processor did the work."""
    return any(launch.get("emulated") for launch in launches)


def closing_modes(
    launches: Launches, protocol: Mapping[str, Any], labelled: bool = False
) -> list[str]:
    """The launches that follow the rounds, one of each: held-out inputs, the profile, and of a model
    that has them the labelled pictures, unless the protocol looks at no outputs but one."""
    wanted = [(QUALITY, protocol["quality"]["samples"])]
    if not is_emulated(launches):
        wanted.append((PROFILE, protocol["profile"]["runs"]))
    if labelled:
        wanted.append((ACCURACY, protocol["quality"]["samples"]))
    return [mode for mode, count in wanted if count]


def first_bad(launches: Launches) -> Mapping[str, Any] | None:
    """The first launch that did not end well and that a cell's numbers depend on."""
    return next((x for x in launches if x["status"] != "ok" and x["mode"] not in FURTHER), None)


def summarise(launches: Launches, terms: Terms, key: str) -> dict[str, Any]:
    """{"status", "reason", "summary", "flags", "log"} of a cell from all its launches.

    Numbers that are not known are None. A cell with a launch that did not end well has no latency:
    a median over the launches that happened to survive would flatter it. A profile that failed, and
    labelled pictures that could not all be run, are told apart: no latency depends on them.
    """
    counted = [launch for launch in launches if launch["mode"] not in FURTHER]
    bad = first_bad(launches)
    if bad is not None:
        position = counted.index(bad) + 1
        suffix = f" (launch {position}, after {position - 1} good ones)" if position > 1 else ""
        return _without_numbers(bad["status"], f"{bad['reason']}{suffix}", bad.get("log", ""))
    measured = of_mode(launches, MEASURE)
    comparison = worst([launch for launch in counted if launch["mode"] != QUALITY])
    quality = [Quality(**launch["quality"]) for launch in of_mode(launches, QUALITY)]
    violations = [comparison.violation(terms.tolerance)]
    violations += [one.violation(terms.tolerance) for one in quality]
    violation = next(filter(None, violations), None)
    status = "wrong" if violation else "ok"
    verified = {
        "cosine": comparison.cosine,
        "max_abs_error": comparison.max_abs_error,
        "top1_match": comparison.top1_match,
        **_quality(quality),
        **accuracy.columns(of_mode(launches, ACCURACY)),
    }
    if is_emulated(launches):
        summary = {**dict.fromkeys(_TIMED), "launches": len(measured), **verified}
        return {"status": status, "reason": violation, "summary": summary, "flags": [], "log": ""}
    latency = estimate(measured, key)
    warm = [launch["warm_ms"] for launch in measured]
    why = implausible(warm, latency.median, terms.fastest_ms)
    if why:
        return _without_numbers("failed", why, "")
    operators = _operators(launches, latency.median)
    gap = operators["operators_gap"]
    flags = cell_flags(measured, latency, terms.protocol)
    if any(launch_flags(launch) for launch in of_mode(launches, COLD)):
        flags.append("cold_disturbed")
    if gap is not None and abs(gap) > OPERATORS_GAP:
        flags.append("operators_gap")
    summary = {
        "latency_ms": latency.median,
        "latency_ci_low_ms": latency.low,
        "latency_ci_high_ms": latency.high,
        "latency_p90_ms": float(np.quantile(np.concatenate(warm), 0.9)),
        "launches": len(measured),
        "samples": sum(len(samples) for samples in warm),
        "stopped_because": "precise" if _is_precise(latency, terms.protocol) else "budget",
        "steady_state": steady_state(measured),
        **_cold(measured, "cold", key),
        "steady_after_ms": _median([_steady_after_ms(launch) for launch in measured]),
        **_cold(of_mode(launches, COLD), "cold_cache", key),
        "cold_phases": _cold_phases(measured, of_mode(launches, COLD), key),
        "page_cache_share": _median([x.get("page_cache_share") for x in of_mode(launches, COLD)]),
        **_resources(measured),
        **_throughput(measured, terms.protocol),
        **operators,
        **verified,
    }
    return {"status": status, "reason": violation, "summary": summary, "flags": flags, "log": ""}


def worst(launches: Launches) -> Comparison:
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


def _quality(found: Sequence[Quality]) -> dict[str, Any]:
    one = found[-1] if found else Quality()
    return {
        "heldout_samples": one.samples or None,
        "heldout_cosine": one.cosine,
        "sqnr_db": one.sqnr_db,
        "top1_agreement": one.top1_agreement,
    }


def _without_numbers(status: str, reason: str, log: str) -> dict[str, Any]:
    return {"status": status, "reason": reason, "summary": {}, "flags": [], "log": log}


def _is_precise(latency: Estimate, protocol: Mapping[str, Any]) -> bool:
    width = latency.half_width
    return width is not None and width <= protocol["target_half_width"]


def _cold(launches: Launches, prefix: str, key: str) -> dict[str, float | None]:
    """Medians over launches of each phase and of their sum, in ms; the sum with its interval."""
    named = {
        f"{prefix}_{phase}_ms": _median([launch["phases"].get(phase) for launch in launches])
        for phase in COLD_PHASES
    }
    totals = [total for launch in launches if (total := _cold_total_ms(launch)) is not None]
    whole = hierarchical_median([[total] for total in totals], seed=key) if totals else None
    return named | {
        f"{prefix}_total_ms": whole.median if whole else None,
        f"{prefix}_total_ci_low_ms": whole.low if whole else None,
        f"{prefix}_total_ci_high_ms": whole.high if whole else None,
    }


def _cold_phases(measured: Launches, cold: Launches, key: str) -> list[dict[str, Any]]:
    """Every phase of the start with its interval, by page cache; `total` and `steady` after them."""
    rows = []
    for page_cache, launches in (("warm", measured), ("cold", cold)):
        values = {phase: [x["phases"].get(phase) for x in launches] for phase in COLD_PHASES}
        values["total"] = [_cold_total_ms(launch) for launch in launches]
        if page_cache == "warm":
            values["steady"] = [_steady_after_ms(launch) for launch in launches]
        for phase, found in values.items():
            known = [[value] for value in found if value is not None]
            if known:
                one = hierarchical_median(known, seed=key)
                rows.append({"page_cache": page_cache, "phase": phase, "ms": one.median,
                             "low_ms": one.low, "high_ms": one.high, "launches": len(known)})  # fmt: skip
    return rows


def _cold_total_ms(launch: Mapping[str, Any]) -> float | None:
    phases = launch["phases"]
    if not all(phase in phases for phase in COLD_PHASES):
        return None
    return float(sum(phases[phase] for phase in COLD_PHASES))


def _steady_after_ms(launch: Mapping[str, Any]) -> float | None:
    """From the start of the process until latency is steady; None if it never is."""
    total = _cold_total_ms(launch)
    if total is None or launch.get("steady") not in ("flat", "warm-up"):
        return None
    return total + float(sum(launch["warmup_ms"]))


def _resources(launches: Launches) -> dict[str, float | None]:
    """Medians over launches; `peak_rss_mb` is the larger of loading's and inference's."""

    def middle(name: str) -> float | None:
        return _median([launch["resources"].get(name) for launch in launches])

    names = ("load_rss_mb", "peak_load_rss_mb", "cpu_utilisation", "other_cpu_utilisation",
             "energy_mj", "sampler_cpu_share")  # fmt: skip
    found = {name: middle(name) for name in names}
    peak = middle("peak_inference_rss_mb")
    reset = all(launch["resources"].get("peak_was_reset") for launch in launches)
    # Where the mark cannot be put back, what is read after inference is the peak of both.
    found["peak_inference_rss_mb"] = peak if reset else None
    peaks = [value for value in (found["peak_load_rss_mb"], peak) if value is not None]
    return found | {"peak_rss_mb": max(peaks) if peaks else None}


def _throughput(launches: Launches, protocol: Mapping[str, Any]) -> dict[str, float | None]:
    """Under continuous load: medians over launches of burst, settled level and their ratio."""
    pattern = protocol["pattern"]
    found = []
    if pattern["kind"] == "sustained":
        everything = [[*launch["warmup_ms"], *launch["warm_ms"]] for launch in launches]
        found = [one for ms in everything if (one := settle(ms, pattern["window_s"]))]
    return {
        "throughput_burst_per_s": _median([one.burst_per_s for one in found]),
        "throughput_settled_per_s": _median([one.settled_per_s for one in found]),
        "throughput_ratio": _median([one.ratio for one in found]),
        "settled_after_s": _median([one.settled_after_s for one in found]),
    }


def _operators(launches: Launches, latency_ms: float) -> dict[str, Any]:
    """The operators' sum against the unprofiled latency; why there is none."""
    profiles = of_mode(launches, PROFILE)
    good = [launch["profile"] for launch in profiles if launch["status"] == "ok"]
    if not good:
        reason = profiles[-1]["reason"] if profiles else None
        return {"operators_sum_ms": None, "operators_gap": None, "operators_reason": reason}
    total = float(good[-1]["sum_ms"])
    gap = operators_match(total, latency_ms)
    return {"operators_sum_ms": total, "operators_gap": gap, "operators_reason": None}


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(median(known)) if known else None
