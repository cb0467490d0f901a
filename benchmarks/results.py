"""Reading the results that a lab measured. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any

from cellfarm.analysis.ranking import ranks
from cellfarm.analysis.ratios import Ratio, paired_ratio
from cellfarm.base.cells import Cell

from .figures import NotMeasurable

Result = Mapping[str, Any]


def cell_of(result: Result) -> Cell:
    return Cell(**result["cell"])


def name_of(result: Result) -> str:
    """`squeezenet1_1 ncnn t1`."""
    cell = cell_of(result)
    return f"{cell.model} {cell.library} t{cell.threads}"


def launches_of(result: Result) -> list[Mapping[str, Any]]:
    """The measuring launches that ended well."""
    return [
        launch
        for launch in result["launches"]
        if launch["mode"] == "measure" and launch["status"] == "ok"
    ]


def warm_by_round(result: Result) -> dict[int, list[float]]:
    """Warm samples in ms by number of the round, as the product pairs them."""
    return {int(launch["round"]): launch["warm_ms"] for launch in launches_of(result)}


def launch_medians(result: Result) -> list[float]:
    return [float(median(launch["warm_ms"])) for launch in launches_of(result)]


def interval(result: Result) -> tuple[float, float] | None:
    """The 95 % interval of the latency in ms, None if it is not known."""
    summary = result["columns"]
    low, high = summary.get("latency_ci_low_ms"), summary.get("latency_ci_high_ms")
    return None if low is None or high is None else (float(low), float(high))


def half_width(result: Result) -> float | None:
    """Half the interval's width as a share of the median."""
    bounds = interval(result)
    return None if bounds is None else (bounds[1] - bounds[0]) / 2 / latency_ms(result)


def latency_ms(result: Result) -> float:
    """The latency of a result that has one (see `good`)."""
    return float(result["columns"]["latency_ms"])


def good(results: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The results as a list, all of which have a latency.

    Raises:
        NotMeasurable: a cell failed.
    """
    checked = list(results)
    for result in checked:
        if result["status"] not in ("ok", "wrong"):
            raise NotMeasurable(f"{name_of(result)}: {result['status']}: {result['reason']}")
    return checked


def ratio(baseline: Result, result: Result) -> Ratio:
    """`result` over `baseline` from their common rounds, as the product compares cells."""
    return paired_ratio(warm_by_round(baseline), warm_by_round(result))


def ranks_unflagged(result: Result) -> bool:
    """Whether the product ranks the result without a flag."""
    row = {
        "status": result["status"],
        "emulated": result["emulated"],
        "flags": result["flags"],
        "latency_ms": result["columns"].get("latency_ms"),
    }
    return ranks(row)


def brief(result: Result) -> dict[str, Any]:
    """The data of a figure: every launch's median instead of its samples."""
    launches = launches_of(result)
    summary = result["columns"]
    names = ("latency_ms", "latency_ci_low_ms", "latency_ci_high_ms", "stopped_because",
            "steady_state", "other_cpu_utilisation", "sampler_cpu_share")  # fmt: skip
    return {
        "cell": result["cell"],
        "experiment": result["experiment"],
        "status": result["status"],
        "reason": result["reason"],
        "flags": result["flags"],
        **{name: summary.get(name) for name in names},
        "drift": result.get("drift"),
        "rounds": [launch["round"] for launch in launches],
        "launch_medians_ms": launch_medians(result),
        "calibration_ms": [_calibration(launch) for launch in launches],
        "waited_s": sum((launch.get("gate") or {}).get("waited_s") or 0.0 for launch in launches),
        "exceeded": [(launch.get("gate") or {}).get("exceeded") for launch in launches],
    }


def flag_counts(results: Sequence[Result]) -> str:
    """`contended 12, noisy 3`, or `none`."""
    counts: dict[str, int] = {}
    for result in results:
        for flag in result["flags"]:
            counts[flag] = counts.get(flag, 0) + 1
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{flag} {count}" for flag, count in ordered) or "none"


def _calibration(launch: Mapping[str, Any]) -> float | None:
    value = ((launch.get("gate") or {}).get("calibration") or {}).get("compute_ms")
    return None if value is None else float(value)
