"""From a result's document to rows of the warehouse's tables. Pure.

Only rows of `results` have the column `path`; the rows of a result share it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from statistics import median
from typing import Any

from ..analysis.steady import outliers
from ..base.digests import digest
from ..measures import all_columns
from ..measures.flags import launch_flags
from ..measures.launches import ACCURACY, COLD, MEASURE, PROFILE, QUALITY

#: Causes that differ between the measures of a cell.
_OF_A_MEASURE = ("measure", "verification", "labelled")


def result_row(path: str, state: tuple[int, int], document: Mapping[str, Any]) -> dict[str, Any]:
    """One row of `results`.

    Args:
        path: of its file, below the store's folder.
        state: (size in bytes, modification time in ns) of the file.

    Raises:
        KeyError: the document is not a result.
    """
    measure = document.get("measure")
    # Earlier versions wrote a single result per cell, with all columns.
    columns = document["summary"] if measure is None else document["columns"]
    known = all_columns()
    return {
        "path": path,
        "size_bytes": state[0],
        "mtime_ns": state[1],
        "superseded": ".superseded-" in path,
        "result": document["key"],
        "measure": measure,
        "state": _state(document),
        **document["cell"],
        "protocol": document["protocol"],
        "status": document["status"],
        "reason": document["reason"],
        **{name: value for name, value in columns.items() if name in known},
        "artifact_bytes": document["artifact_bytes"],
        "payload_bytes": document.get("payload_bytes"),
        "emulated": document["emulated"],
        "flags": document["flags"],
        "measured_at": document["measured_at"],
        "experiment": document["experiment"],
        "drift_ratio": (document.get("drift") or {}).get("ratio"),
        "device_facts": document["device_facts"],
        "causes": document["causes"],
        "log": document["log"] or None,
    }


def _state(document: Mapping[str, Any]) -> str:
    """Digest of what the results of a cell have in common: all causes but those of a measure."""
    causes = {
        name: cause for name, cause in document["causes"].items() if name not in _OF_A_MEASURE
    }
    return digest([document["cell"], document["protocol"], causes])


def _launches(document: Mapping[str, Any]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """The numbered launches of a result, without those that another measure's result has, too."""
    return enumerate(launch for launch in document["launches"] if not launch.get("shared_with"))


def launch_rows(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Rows of `launch_facts`: one per launch, with its flags and the readings of its gate."""
    for number, launch in _launches(document):
        gate = launch.get("gate") or {}
        calibration = gate.get("calibration") or {}
        conditions = launch.get("conditions") or {}
        warm = launch.get("warm_ms") or []
        yield {
            "launch": number,
            "mode": _mode(launch),
            "round": launch["round"],
            "session": launch.get("session"),
            "status": launch["status"],
            "started_at": launch["started_at"],
            "median_ms": median(warm) if warm else None,
            "outliers": sum(outliers(warm)) if warm else None,
            "steady_state": launch.get("steady"),
            "warmup_iterations": len(launch["warmup_ms"]) if warm else None,
            "affinity": launch.get("affinity"),
            "page_cache_share": launch.get("page_cache_share"),
            "calibration_compute_ms": calibration.get("compute_ms"),
            "calibration_memory_ms": calibration.get("memory_ms"),
            "waited_s": gate.get("waited_s"),
            "governor": gate.get("governor"),
            "sampling_interval_s": conditions.get("interval_s"),
            "power_meter": conditions.get("power_meter"),
            "flags": sorted(launch_flags(launch)),
        }


def _mode(launch: Mapping[str, Any]) -> str:
    """The mode of a launch; results of the first schema have measuring launches only."""
    return str(launch.get("mode", MEASURE))


def cold_phase_rows(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Rows of `cold_phases`: each phase of the start by page cache, with its interval."""
    # Earlier versions wrote them into the summary.
    for row in document.get("cold_phases") or document.get("summary", {}).get("cold_phases", ()):
        yield {**row}


def series_rows(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Rows of `series`: the phases of the start (one sample each), warm-up and warm samples.

    The phases of launches with a cold page cache are named `cold-cache load` and so on.
    """
    for number, launch in _launches(document):
        mode = _mode(launch)
        if mode in (PROFILE, QUALITY, ACCURACY):
            continue
        prefix = "cold-cache " if mode == COLD else ""
        series = {f"{prefix}{phase}": [ms] for phase, ms in launch["phases"].items()}
        if mode == MEASURE:
            series |= {"warmup": launch["warmup_ms"], "warm": launch["warm_ms"]}
        for phase, values in series.items():
            if values:
                labels = outliers(values) if phase == "warm" else []
                yield {"launch": number, "phase": phase, "ms": values,
                       "outliers": [n for n, label in enumerate(labels) if label]}  # fmt: skip


def operator_rows(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Rows of `operator_times`, for results with a profile."""
    for _, launch in _launches(document):
        for operator in (launch.get("profile") or {}).get("operators", ()):
            yield {**operator}


def condition_rows(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Rows of `condition_series`: t is in seconds since the first launch began.

    These are the sampler's series, per launch and metric, and the values that were read once per
    launch: by the gate before it, over its samples, and after it.
    """
    launches = list(_launches(document))
    origin = min((launch["started_at"] for _, launch in launches), default=0.0)
    for number, launch in launches:
        start_s = launch["started_at"] - origin
        conditions = launch.get("conditions") or {"t_s": [], "metrics": {}}
        times_s = [start_s + t for t in conditions["t_s"]]
        series = {name: (times_s, values) for name, values in conditions["metrics"].items()}
        series |= {name: ([start_s], [value]) for name, value in _single_readings(launch)}
        for metric, (times, values) in series.items():
            yield {"launch": number, "metric": metric, "unit": _unit(metric), "t": times,
                   "value": values}  # fmt: skip


def _single_readings(launch: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    gate, after = launch.get("gate") or {}, launch.get("after") or {}
    calibration = gate.get("calibration") or {}
    resources = launch["resources"]
    readings = {f"mean_{name}": resources.get(name) for name in _MEANS}
    readings |= {name: resources.get(name) for name in _COUNTS}
    readings |= {f"before_{name}": gate.get(name) for name in _BEFORE}
    readings |= {f"calibration_{name}": value for name, value in calibration.items()}
    readings["after_load_1min"] = after.get("load_1min")
    for when, state in (("before", gate), ("after", after)):
        for zone, value in (state.get("temperatures_c") or {}).items():
            readings[f"{when}_temperature_{zone}_c"] = value
    for name, value in readings.items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            yield name, float(value)


_MEANS = ("cpu_utilisation", "other_cpu_utilisation", "steal", "cpu_pressure", "sampler_cpu_share")
_COUNTS = ("load_rss_mb", "peak_load_rss_mb", "peak_inference_rss_mb", "voluntary_switches",
           "involuntary_switches", "migrations")  # fmt: skip
_BEFORE = ("other_cpu_cores", "load_1min", "battery_percent", "idle_w", "waited_s")
#: End of a metric's name -> its unit.
_UNITS = {"_ms": "ms", "_mb": "MB", "_mhz": "MHz", "_c": "°C", "_w": "W", "_percent": "%", "_s": "s",
          "_a": "A", "_v": "V", "utilisation": "cores", "steal": "cores", "_cores": "cores",
          "switches": "switches", "migrations": "migrations", "pressure": "share",
          "share": "share", "load_1min": "tasks"}  # fmt: skip


@cache
def _unit(metric: str) -> str | None:
    return next((unit for end, unit in _UNITS.items() if metric.endswith(end)), None)
