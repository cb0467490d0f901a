"""Invented results for tests of the selection: two kinds of models and libraries, known answers."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cellfarm.selection.comparisons import Results

from tests.support.synthetic_warehouse import row

#: Half of the models have depthwise convolutions, on which `light` is twice as fast as `heavy`; on the
#: others it takes three times as long. `even` is never first.
DEPTHWISE = tuple(f"deep{number}" for number in range(4))
DENSE = tuple(f"wide{number}" for number in range(4))
TIMES = {"deep": {"light": 1.0, "heavy": 2.0, "even": 1.5},
         "wide": {"light": 3.0, "heavy": 1.0, "even": 1.5}}  # fmt: skip
FACTS = {"cores": 4, "architecture": "aarch64", "isa": ["asimd"], "memory_gb": 8}


def graph(model: str) -> dict[str, Any]:
    """The graph of a model that is named after its kind, with its own sizes."""
    size = 1 + int(model[-1])
    kind = "depthwise" if model.startswith("deep") else "convolution"
    return {
        "parameters": 1000 * size, "nodes": 10 * size, "activations": 50_000 * size,
        "macs_by_kind": {"pointwise": 10**5 * size, kind: 9 * 10**5 * size},
    }  # fmt: skip


def cell(
    model: str, library: str, ms: float | None, half_ms: float = 0.01, **fields: Any
) -> dict[str, Any]:
    """A row of the view `history`, as cellfarm.selection.comparisons reads it."""
    key = f"{model}/{library}/{sorted(fields.items())}"
    facts = {"artifact_bytes": 4_000_000, "cosine": 0.999, "heldout_cosine": None,
             "measured_at": 1_795_000_000_000, "device_facts": None}  # fmt: skip
    return row(library, ms, half_ms, model=model, key=key, **facts) | fields


def cells(models: tuple[str, ...] = (*DEPTHWISE, *DENSE), **fields: Any) -> list[dict[str, Any]]:
    """Every library on every model, as TIMES has it."""
    return [
        cell(model, library, times * (2 + number), **fields)
        for number, model in enumerate(models)
        for library, times in TIMES[model[:4]].items()
    ]


def results(rows: list[dict[str, Any]], devices: Mapping[str, Any] | None = None) -> Results:
    return Results(rows, [], {"host": FACTS} if devices is None else devices)


def measured() -> tuple[Results, dict[str, Any]]:
    """Measured results and graphs by model: the paper's 15 models and three more on six libraries, 1
    thread and 2, FP32 and INT8, protocol `quick`, on a virtual machine with two processors and noisy
    neighbours (2026-11-29): almost all are flagged."""
    file = Path(__file__).parents[1] / "data/selection/matrix.json.gz"
    document = json.loads(gzip.decompress(file.read_bytes()))
    return Results(document["rows"], document["ratios"], document["devices"]), document["graphs"]
