"""From a result's document to rows of the warehouse's tables. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_SUMMARY = (
    "latency_ms", "latency_ci_low_ms", "latency_ci_high_ms", "latency_p90_ms", "launches", "samples",
    "stopped_because", "steady_state", "cold_total_ms", "cold_start_ms", "cold_import_ms",
    "cold_load_ms", "cold_first_ms", "peak_rss_mb", "load_rss_mb", "cpu_utilisation",
    "other_cpu_utilisation", "energy_mj", "cosine", "max_abs_error", "top1_match",
)  # fmt: skip


def result_row(path: str, state: tuple[int, int], document: Mapping[str, Any]) -> dict[str, Any]:
    """One row of `results`.

    Args:
        state: (size in bytes, modification time in ns) of the file.

    Raises:
        KeyError: the document is not a result.
    """
    summary = document["summary"]
    return {
        "path": path,
        "size_bytes": state[0],
        "mtime_ns": state[1],
        "superseded": ".superseded-" in path,
        **document["cell"],
        "protocol": document["protocol"],
        "status": document["status"],
        "reason": document["reason"],
        **{name: summary.get(name) for name in _SUMMARY},
        "artifact_bytes": document["artifact_bytes"],
        "emulated": document["emulated"],
        "flags": document["flags"],
        "key": document["key"],
        "measured_at": document["measured_at"],
        "experiment": document["experiment"],
        "device_facts": document["device_facts"],
        "causes": document["causes"],
        "log": document["log"] or None,
    }


def series_rows(path: str, document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Rows of `series`: the phases of the cold start (one sample each), warm-up and warm samples."""
    for number, launch in enumerate(document["launches"]):
        series = {phase: [ms] for phase, ms in launch["phases"].items()}
        series |= {"warmup": launch["warmup_ms"], "warm": launch["warm_ms"]}
        for phase, values in series.items():
            if values:
                yield {"path": path, "key": document["key"], "launch": number, "phase": phase,
                       "ms": values}  # fmt: skip


def operator_rows(path: str, document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Rows of `operator_times`, of results that were profiled."""
    for position, operator in enumerate(document.get("operators", ())):
        yield {"path": path, "key": document["key"], "position": position, **operator}


def condition_rows(path: str, document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Rows of `condition_values`: t is in seconds since the first launch began."""
    launches = document["launches"]
    starts = [launch["started_at"] for launch in launches]
    for launch in launches:
        for metric, unit in _CONDITIONS.items():
            value = launch["resources"].get(metric)
            if value is not None:
                yield {"path": path, "key": document["key"], "t": launch["started_at"] - min(starts),
                       "metric": metric, "value": value, "unit": unit}  # fmt: skip


_CONDITIONS = {
    "cpu_utilisation": "cores",
    "other_cpu_utilisation": "cores",
    "steal": "cores",
    "load_rss_mb": "MB",
    "peak_rss_mb": "MB",
}
