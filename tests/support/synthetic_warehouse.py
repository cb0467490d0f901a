"""A warehouse of invented, seeded results of any size, for tests of its readers."""

from __future__ import annotations

import hashlib
import json
import random
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
from cellfarm.warehouse.schema import current_schema, schema

from tests.support import synthetic_rows as rows

MODELS = {"mobilenet_v2": 9.0, "resnet50": 58.0, "bert_mini": 21.0}
LIBRARIES = {
    "executorch": (0.95, "1.0.1"),
    "litert": (1.10, "2.1.0"),
    "mnn": (1.00, "3.3.0"),
    "ncnn": (1.25, "1.0.20261020"),
    "onnxruntime": (1.45, "1.24.0"),
}
#: The unknown numbers of a cell without measurements.
NUMBERS = (
    *("latency_ms", "latency_ci_low_ms", "latency_ci_high_ms", "latency_p90_ms", "samples"),
    *("steady_state", "cold_total_ms", "cold_start_ms", "cold_import_ms", "cold_load_ms"),
    *("cold_first_ms", "peak_rss_mb", "cpu_utilisation", "cosine", "max_abs_error", "top1_match"),
)
#: (model's position, library's position, threads' position) -> what became of that cell.
SPECIAL_CELLS: dict[tuple[int, int, int], dict[str, Any]] = {
    (0, 4, 1): {"flags": ["noisy", "throttled"]},
    (0, 3, 0): {"flags": ["operators_gap"], "operators_scale": 0.7},
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
    sustained: bool = False,
    seed: int = 7,
) -> Path:
    """Write a warehouse of models x libraries x threads x devices cells and return its path.

    It has the present schema. The first device holds a tie, a wrong, a failed, a timed-out, an
    unsupported and a flagged cell, one whose operators do not add up, and a library that was
    measured in another experiment than the rest of its model (the last model's first).
    `reason` replaces the reasons and logs: for hostile text. `iterations=0` leaves out the raw
    samples; other devices than the first have none either. `sustained` adds a cell under
    continuous load for each library of the first model.
    """
    random_ = random.Random(seed)
    # Columns added later draw from their own generator, so that the others keep their values.
    later_random = random.Random(seed + 1)
    model_costs = _extended(MODELS, models, "model", lambda i: 5.0 + 7.0 * i)
    library_costs = _extended(LIBRARIES, libraries, "library", lambda i: (1 + 0.1 * i, f"{i}.0"))
    cells: list[dict[str, Any]] = []
    samples: list[dict[str, Any]] = []
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
                    if d == 0 and m == len(model_costs) - 1 and position == 0:
                        cell["experiment"] = f"{model}@{device} of another day"
                    cells.append(cell)
                    if d == 0 and cell["latency_ms"] is not None:
                        samples += _samples(random_, cell, ms, launches, iterations)
    operators = []
    for cell in cells:
        if cell["latency_ms"] is not None:
            rows.measure_more(later_random, cell)
            if cell["threads"] == min(threads):
                special = cell["special"]
                operators += rows.operators(later_random, cell, special.get("operators_scale", 1.0))
    if sustained:
        for cell in [c for c in cells if c["model"] == next(iter(model_costs))]:
            if cell["device"] == devices[0] and cell["threads"] == min(threads):
                cells.append(rows.sustained(cell))
                samples += rows.slowing(later_random, cells[-1])
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
    launch_facts = rows.launches(later_random, cells, launches)
    tables = {
        "results": cells,
        "result_keys": [
            {name: cell[name] for name in ("path", "key")}
            | {"is_current": True, "first_launch": 0, "begins_s": 0}
            for cell in cells
        ],
        "devices_now": facts,
        "series": samples,
        "launch_facts": launch_facts,
        "operator_times": operators,
        "condition_series": rows.conditions(later_random, launch_facts, devices[0], cells),
        "cell_ratios": rows.ratios(cells),
    }
    _write(path, tables)
    return path


def row(
    library: str, latency_ms: float | None, half_ms: float | None = 0.1, **fields: Any
) -> dict[str, Any]:
    """One hand-made cell; `half_ms` is half of its interval, None: it has no interval."""
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
    } | fields


def _extended(entries: dict[str, Any], number: int, word: str, make: Any) -> dict[str, Any]:
    names = dict(list(entries.items())[:number])
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
    identity = f"{model} {library} {version} {device} {threads}"
    exact = random_.random() < 0.1
    cell: dict[str, Any] = {
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
        "device_facts": {"cpu": "Synthetic CPU @ 2.50GHz", "cores": 2, "load_1min": 0.25},
        "causes": {"model": f"model of {model}", "library": f"{library} {version}"},
    }
    # One result stands for those of all measures; its key is the cell's.
    cell |= {"path": f"{cell['key']}.json", "result": cell["key"], "measure": "latency"}
    cell["superseded"] = False
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
    cell |= {name: value for name, value in special.items() if "scale" not in name}
    cell["special"] = special
    if cell["status"] in ("failed", "timeout", "unsupported"):
        cell |= dict.fromkeys(NUMBERS)
    if reason is not None and cell["status"] != "ok":
        cell |= {"reason": reason, "log": reason}


def _samples(
    random_: random.Random, cell: dict[str, Any], ms: float, launches: int, iterations: int
) -> list[dict[str, Any]]:
    """Rows of `series`: one per launch and phase."""
    samples = []
    for launch in range(launches):
        centre = ms * random_.gauss(1.0, 0.012)
        phases: dict[str, list[float]] = {}
        for iteration in range(iterations):
            phase = "first" if iteration == 0 else "warmup" if iteration < 6 else "warm"
            slow = {"first": 2.2, "warmup": 1.0 + 0.4 / (iteration + 1), "warm": 1.0}[phase]
            value = centre * slow * random_.lognormvariate(0, 0.02)
            phases.setdefault(phase, []).append(value)
        for phase, values in ({"load": [300.0]} | phases if phases else {}).items():
            samples.append({"path": cell["path"], "launch": launch,
                          "phase": phase, "ms": values})  # fmt: skip
    return samples


def _write(path: Path, tables: dict[str, list[dict[str, Any]]]) -> None:
    path.unlink(missing_ok=True)
    with duckdb.connect(str(path)) as connection, tempfile.TemporaryDirectory() as folder:
        connection.execute(schema())
        connection.execute("INSERT INTO meta VALUES ('schema', ?)", [current_schema()])
        for table, content in tables.items():
            if not content:
                continue
            types = dict(
                connection.execute(
                    "SELECT column_name, data_type FROM duckdb_columns() WHERE table_name = ?"
                    " ORDER BY column_index",
                    [table],
                ).fetchall()
            )
            lines = Path(folder) / f"{table}.ndjson"
            lines.write_text("".join(json.dumps(row) + "\n" for row in content))
            columns = ", ".join(f"{name}: '{kind}'" for name, kind in types.items())
            connection.execute(
                f"INSERT INTO {table} SELECT * FROM read_json('{lines}', columns={{{columns}}},"
                " maximum_object_size=100000000)"
            )
