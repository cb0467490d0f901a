"""A warehouse of invented, seeded results: for tests of whatever reads one, at any size."""

from __future__ import annotations

import hashlib
import json
import random
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb

MODELS = {"mobilenet_v2": 9.0, "resnet50": 58.0, "bert_mini": 21.0}
LIBRARIES = {
    "executorch": (0.95, "1.0.1"),
    "litert": (1.10, "2.1.0"),
    "mnn": (1.00, "3.3.0"),
    "ncnn": (1.25, "1.0.20261020"),
    "onnxruntime": (1.45, "1.24.0"),
}
CELLS_SCHEMA = {
    **dict.fromkeys(
        ("model", "library", "library_version", "variant", "device", "processor"), "VARCHAR"
    ),
    "threads": "INTEGER",
    **dict.fromkeys(("protocol", "status", "reason"), "VARCHAR"),
    **dict.fromkeys(
        ("latency_ms", "latency_ci_low_ms", "latency_ci_high_ms", "latency_p90_ms"), "DOUBLE"
    ),
    **dict.fromkeys(("launches", "samples"), "INTEGER"),
    "steady_state": "VARCHAR",
    **dict.fromkeys(
        ("cold_total_ms", "cold_start_ms", "cold_import_ms", "cold_load_ms", "cold_first_ms"),
        "DOUBLE",
    ),
    **dict.fromkeys(
        ("peak_rss_mb", "cpu_utilisation", "energy_mj", "cosine", "max_abs_error"), "DOUBLE"
    ),
    "top1_match": "BOOLEAN",
    "artifact_bytes": "BIGINT",
    "emulated": "BOOLEAN",
    "flags": "VARCHAR[]",
    "key": "VARCHAR",
    "measured_at": "TIMESTAMP WITH TIME ZONE",
    "experiment": "VARCHAR",
    "log": "VARCHAR",
}
SAMPLES_SCHEMA = {
    "key": "VARCHAR",
    "launch": "INTEGER",
    "iteration": "INTEGER",
    "phase": "VARCHAR",
    "ms": "DOUBLE",
}
#: (model's position, library's position, threads' position) -> what became of that cell.
SPECIAL_CELLS: dict[tuple[int, int, int], dict[str, Any]] = {
    (0, 4, 1): {"flags": ["noisy", "throttled"]},
    (1, 4, 1): {
        "status": "wrong",
        "reason": "cosine 0.41 against the reference, 0.99 wanted",
        "cosine": 0.41,
        "max_abs_error": 7.3,
        "top1_match": False,
        "scale": 0.4,
    },
    (1, 2, 0): {"status": "timeout", "reason": "no answer after 600 s"},
    (2, 3, 0): {"status": "unsupported", "reason": "operator aten::scaled_dot_product_attention"},
    (2, 3, 1): {"status": "unsupported", "reason": "operator aten::scaled_dot_product_attention"},
    (2, 4, 0): {
        "status": "failed",
        "reason": "the runner ended with signal 11",
        "log": "loading bert_mini.onnx\nSegmentation fault (core dumped)\n",
    },
}


def create(
    path: Path,
    *,
    models: int = 3,
    libraries: int = 5,
    threads: Sequence[int] = (1, 2),
    devices: Sequence[str] = ("host",),
    launches: int = 6,
    iterations: int = 30,
    reason: str | None = None,
    seed: int = 7,
) -> Path:
    """Write a warehouse of models x libraries x threads x devices cells and return its path.

    The first device holds a tie, a wrong, a failed, a timed-out, an unsupported and a flagged
    cell. `reason` replaces the reasons and logs: for hostile text. `iterations=0` leaves out the
    raw samples; other devices than the first have none either.
    """
    random_ = random.Random(seed)
    model_costs = _extended(MODELS, models, "model", lambda i: 5.0 + 7.0 * i)
    library_costs = _extended(LIBRARIES, libraries, "library", lambda i: (1 + 0.1 * i, f"{i}.0"))
    cells, samples = [], []
    for d, device in enumerate(devices):
        for m, (model, base_ms) in enumerate(model_costs.items()):
            for position, (library, (factor, version)) in enumerate(library_costs.items()):
                for t, number in enumerate(threads):
                    special = SPECIAL_CELLS.get((m, position, t), {}) if d == 0 else {}
                    tie = d == 0 and m == 0 and t == 0 and position in (0, 2)
                    cell = _cell(random_, model, library, version, device, number, launches)
                    affinity = 0.7 + 0.6 * random_.random()
                    scale = factor * (1.0 if tie else affinity) * special.get("scale", 1.0)
                    ms = base_ms * (0.95 if tie else scale) / number**0.8 * (1 + 0.5 * d)
                    _measure(random_, cell, ms * (1 + 0.002 * position), launches)
                    _apply(cell, special, reason)
                    cells.append(cell)
                    if d == 0 and cell["latency_ms"] is not None:
                        samples += _samples(random_, cell, ms, launches, iterations)
    facts = [
        {
            "device": device,
            "facts": {
                "cpu": "Synthetic CPU @ 2.50GHz",
                "cores": 2,
                "memory_mb": 16041,
                "os": "Debian GNU/Linux 12 (bookworm)",
                "kernel": "6.1.0-amd64",
            },
        }
        for device in devices
    ]
    _write(path, cells, samples, facts)
    return path


def row(
    library: str, latency_ms: float | None, half_ms: float | None = 0.1, **more: Any
) -> dict[str, Any]:
    """One hand-made cell; `half_ms` is half of its interval, None for none."""
    interval: tuple[float | None, float | None] = (None, None)
    if latency_ms is not None and half_ms is not None:
        interval = (latency_ms - half_ms, latency_ms + half_ms)
    return {
        "model": "resnet50",
        "library": library,
        "library_version": "1.0",
        "variant": "fp32",
        "device": "host",
        "processor": "cpu",
        "threads": 1,
        "protocol": "standard",
        "status": "ok",
        "latency_ms": latency_ms,
        "latency_ci_low_ms": interval[0],
        "latency_ci_high_ms": interval[1],
        "emulated": False,
        "flags": [],
    } | more


def _extended(known: dict[str, Any], number: int, word: str, make: Any) -> dict[str, Any]:
    names = dict(list(known.items())[:number])
    return names | {f"{word}_{i:02d}": make(i) for i in range(len(names), number)}


def _cell(
    random_: random.Random,
    model: str,
    library: str,
    version: str,
    device: str,
    threads: int,
    launches: int,
) -> dict[str, Any]:
    cell: dict[str, Any] = dict.fromkeys(CELLS_SCHEMA)
    identity = f"{model} {library} {version} {device} {threads}"
    exact = random_.random() < 0.1
    cell |= {
        "model": model,
        "library": library,
        "library_version": version,
        "variant": "fp32",
        "device": device,
        "processor": "cpu",
        "threads": threads,
        "protocol": "standard",
        "status": "ok",
        "emulated": device.startswith("emulated"),
        "flags": [],
        "key": hashlib.sha256(identity.encode()).hexdigest(),
        "measured_at": f"2026-11-2{random_.randrange(2)}T1{random_.randrange(10)}:30:00Z",
        "experiment": f"{model}@{device}",
        "launches": launches,
        "artifact_bytes": random_.randrange(4_000_000, 100_000_000),
        "cosine": 1.0 if exact else 1 - 10 ** random_.uniform(-9, -5),
        "max_abs_error": 0.0 if exact else 10 ** random_.uniform(-7, -3.5),
        "top1_match": True,
    }
    return cell


def _measure(random_: random.Random, cell: dict[str, Any], ms: float, launches: int) -> None:
    half = ms * random_.uniform(0.008, 0.03)
    start, load = random_.uniform(18, 30), random_.uniform(2, 6) * ms
    imports, first = random_.uniform(40, 420), ms * random_.uniform(1.5, 4)
    cell |= {
        "latency_ms": ms,
        "latency_ci_low_ms": ms - half,
        "latency_ci_high_ms": ms + half,
        "latency_p90_ms": ms * 1.07,
        "samples": launches * 30,
        "steady_state": random_.choice(["flat", "warm-up"]),
        "cold_total_ms": start + imports + load + first,
        "cold_start_ms": start,
        "cold_import_ms": imports,
        "cold_load_ms": load,
        "cold_first_ms": first,
        "peak_rss_mb": random_.uniform(60, 420),
        "cpu_utilisation": random_.uniform(0.8, 1.0),
    }


def _apply(cell: dict[str, Any], special: dict[str, Any], reason: str | None) -> None:
    cell |= {name: value for name, value in special.items() if name in CELLS_SCHEMA}
    if cell["status"] in ("failed", "timeout", "unsupported"):
        for name, type_ in CELLS_SCHEMA.items():
            if type_ == "DOUBLE" or name in ("samples", "steady_state", "top1_match"):
                cell[name] = None
    if reason is not None and cell["status"] != "ok":
        cell |= {"reason": reason, "log": reason}


def _samples(
    random_: random.Random, cell: dict[str, Any], ms: float, launches: int, iterations: int
) -> list[dict[str, Any]]:
    rows = []
    for launch in range(launches):
        centre = ms * random_.gauss(1.0, 0.012)
        for iteration in range(iterations):
            phase = "first" if iteration == 0 else "warmup" if iteration < 6 else "warm"
            slow = {"first": 2.2, "warmup": 1.0 + 0.4 / (iteration + 1), "warm": 1.0}[phase]
            value = centre * slow * random_.lognormvariate(0, 0.02)
            row = {"launch": launch, "iteration": iteration, "phase": phase, "ms": value}
            rows.append({"key": cell["key"], **row})
    return rows


def _write(
    path: Path,
    cells: list[dict[str, Any]],
    samples: list[dict[str, Any]],
    facts: list[dict[str, Any]],
) -> None:
    path.unlink(missing_ok=True)
    with duckdb.connect(str(path)) as connection, tempfile.TemporaryDirectory() as folder:
        for name, schema, rows in (
            ("cells", CELLS_SCHEMA, cells),
            ("samples", SAMPLES_SCHEMA, samples),
            ("devices", {"device": "VARCHAR", "facts": "JSON"}, facts),
        ):
            columns = ", ".join(f"{column} {type_}" for column, type_ in schema.items())
            connection.execute(f"CREATE TABLE {name} ({columns})")
            if not rows:
                continue
            lines = Path(folder) / f"{name}.ndjson"
            lines.write_text("".join(json.dumps(row) + "\n" for row in rows))
            types = ", ".join(f"{column}: '{type_}'" for column, type_ in schema.items())
            connection.execute(
                f"INSERT INTO {name} SELECT * FROM read_json('{lines}', columns={{{types}}})"
            )
        connection.execute("CREATE VIEW history AS SELECT * FROM cells")
