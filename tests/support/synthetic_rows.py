"""Invented rows of the warehouse's tables other than the cells: see synthetic_warehouse."""

from __future__ import annotations

import hashlib
import itertools
import random
from typing import Any

from cellfarm.analysis.ranking import COMPARISON_COLUMNS

OPERATORS = {"Conv": 0.55, "DepthwiseConv": 0.2, "MatMul": 0.12, "Relu": 0.06, "Softmax": 0.03}


def measure_more(random_: random.Random, cell: dict[str, Any]) -> None:
    """Add the later columns: the time to read the file, a cold page cache, memory by phase, the rest."""
    read_ms = cell["cold_load_ms"] * 0.2
    half = cell["cold_total_ms"] * random_.uniform(0.02, 0.06)
    slow = cell["cold_total_ms"] + 6 * read_ms
    cell |= {
        "stopped_because": "precise",
        "cold_read_ms": read_ms,
        "cold_load_ms": cell["cold_load_ms"] - read_ms,
        "cold_total_ci_low_ms": cell["cold_total_ms"] - half,
        "cold_total_ci_high_ms": cell["cold_total_ms"] + half,
        "steady_after_ms": cell["cold_total_ms"] + 12 * cell["latency_ms"],
        **{f"cold_cache_{p}_ms": cell[f"cold_{p}_ms"] for p in ("start", "import", "first")},
        "cold_cache_load_ms": cell["cold_load_ms"] - read_ms,
        "cold_cache_read_ms": 7 * read_ms,
        "cold_cache_total_ms": slow,
        "cold_cache_total_ci_low_ms": slow - 2 * half,
        "cold_cache_total_ci_high_ms": slow + 2 * half,
        "page_cache_share": random_.choice([0.0, 0.0, 0.04]),
        "peak_load_rss_mb": cell["peak_rss_mb"],
        "peak_inference_rss_mb": cell["peak_rss_mb"] * 0.8,
        "other_cpu_utilisation": random_.uniform(0.0, 0.12),
        "sampler_cpu_share": random_.uniform(0.001, 0.008),
        "drift_ratio": random_.gauss(1.0, 0.02),
        "payload_bytes": random_.randrange(1_000_000, 30_000_000),
    }


def operators(random_: random.Random, cell: dict[str, Any], scale: float) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for position, (kind, share) in enumerate(OPERATORS.items()):
        ms = cell["latency_ms"] * scale * share * random_.uniform(0.9, 1.1)
        rows.append({"path": cell["path"], "position": position, "ms": ms,
                     "name": f"{kind}_{position}", "type": kind, "library_type": kind.lower()})  # fmt: skip
    total = sum(row["ms"] for row in rows)
    cell["operators_sum_ms"] = total
    cell["operators_gap"] = (total - cell["latency_ms"]) / cell["latency_ms"]
    return rows


def launches(
    random_: random.Random, cells: list[dict[str, Any]], launches: int
) -> list[dict[str, Any]]:
    """Launches in rounds, with a slow episode of the device in the middle."""
    rows: list[dict[str, Any]] = []
    measured = [cell for cell in cells if cell["latency_ms"] is not None]
    for number in range(launches):
        for position, cell in enumerate(measured):
            at_s = number * len(measured) + position
            slow = 0.45 < at_s / (launches * len(measured)) < 0.5
            rows.append({
                "path": cell["path"], "launch": number, "mode": "measure",
                "round": number, "status": "ok", "started_at": 1_795_000_000.0 + 2.0 * at_s,
                "median_ms": cell["latency_ms"], "outliers": random_.randrange(3),
                "steady_state": cell["steady_state"], "warmup_iterations": 5, "affinity": [0],
                "calibration_compute_ms": 4.0 * random_.gauss(1.4 if slow else 1.0, 0.01),
                "calibration_memory_ms": 2.0, "waited_s": 3.0 if slow else 0.0, "flags": [],
            })  # fmt: skip
    return rows


def conditions(
    random_: random.Random,
    launches: list[dict[str, Any]],
    device: str,
    cells: list[dict[str, Any]],
) -> list[dict[str, Any]]:
    """Temperatures of the first device; the others have no readable sensor."""
    paths = {cell["path"] for cell in cells if cell["device"] == device}
    rows: list[dict[str, Any]] = []
    for launch in launches:
        if launch["path"] in paths:
            row = {"path": launch["path"], "launch": launch["launch"]}
            warm = [40 + random_.random() * 4 for _ in range(3)]
            rows += [
                row | {"metric": "temperature_cpu_c", "unit": "°C", "t": [0, 1, 2], "value": warm},
                row | {"metric": "before_temperature_board_c", "unit": "°C", "t": [0], "value": [31.5]},
            ]  # fmt: skip
    return rows


def ratios(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The ratio of every comparable pair; its interval is narrower than the latencies'."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for cell in cells:
        if cell["status"] == "ok":
            comparison_key = tuple(cell[column] for column in COMPARISON_COLUMNS)
            groups.setdefault(comparison_key, []).append(cell)
    rows: list[dict[str, Any]] = []
    for group in groups.values():
        for cell, other in itertools.combinations(group, 2):
            ratio = other["latency_ms"] / cell["latency_ms"]
            half_width = (
                sum(
                    1 - result["latency_ci_low_ms"] / result["latency_ms"]
                    for result in (cell, other)
                )
                / 2
            )
            across = cell["experiment"] != other["experiment"]
            rows.append({"result": cell["key"], "other_result": other["key"], "ratio": ratio,
                         "ratio_ci_low": ratio * (1 - half_width), "ratio_ci_high": ratio * (1 + half_width),
                         "rounds": None if across else cell["launches"],
                         "crosses_experiments": across})  # fmt: skip
    return rows


def sustained(cell: dict[str, Any]) -> dict[str, Any]:
    """The same cell under continuous load: after a minute it settles at three quarters."""
    key = hashlib.sha256(f"sustained {cell['key']}".encode()).hexdigest()
    none = {name: None for name in cell if name.startswith(("cold_", "operators_"))}
    burst = 1000 / cell["latency_ms"]
    return cell | none | {
        "key": key, "result": key, "path": f"{key}.json", "protocol": "sustained", "launches": 2,
        "flags": [], "throughput_burst_per_s": burst, "throughput_settled_per_s": 0.75 * burst,
        "throughput_ratio": 0.75, "settled_after_s": 60.0,
    }  # fmt: skip


def slowing(random_: random.Random, cell: dict[str, Any]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for launch in range(2):
        warm: list[float] = []
        at_ms = 0.0
        while at_ms < 120_000:
            share = 1 - 0.25 * min(1.0, at_ms / 60_000)
            warm.append(cell["latency_ms"] / share * random_.lognormvariate(0, 0.02))
            at_ms += warm[-1]
        for phase, ms in (("warmup", warm[:20]), ("warm", warm[20:])):
            rows.append({"path": cell["path"], "launch": launch,
                         "phase": phase, "ms": ms})  # fmt: skip
    return rows
