"""What a choice is made from: numbers of a model's graph, a device and a number of threads. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

#: Sizes span orders of magnitude, and so does latency: doubling one counts the same anywhere.
_SIZES = (
    "macs", "parameters", "nodes", "depth", "input_elements", "largest_activation", "activations",
)  # fmt: skip
#: Of the multiply-adds (see cellfarm.selection.graph_worker): each is another kernel in every library.
_KINDS = ("pointwise", "depthwise", "grouped", "convolution", "linear", "attention")
#: Of the operators: what moves data and what normalises costs time that no multiply-add tells of.
_CLASSES = {
    "move": ("Concat", "Expand", "Gather", "Pad", "Reshape", "Slice", "Split", "Squeeze", "Transpose",
             "Unsqueeze"),
    "normalise": ("BatchNormalization", "InstanceNormalization", "LayerNormalization", "ReduceMean",
                  "Softmax"),
    "activate": ("Clip", "Erf", "Gelu", "HardSigmoid", "HardSwish", "PRelu", "Relu", "Sigmoid", "Tanh"),
    "combine": ("Add", "Div", "Mul", "Sub"),
}  # fmt: skip
#: What a processor can do that changes which kernels a library picks -> the ISA extensions that say so.
_ABILITIES = {
    "wide": ("avx512f", "sve", "sve2"),
    "half": ("fphp", "asimdhp", "avx512_bf16", "bf16"),
    "dot": ("avx512_vnni", "avx_vnni", "asimddp"),
    "matrix": ("amx_int8", "amx_bf16", "i8mm", "sme"),
}
_UNKNOWN = math.nan

NAMES = (
    *(f"log2 {name}" for name in _SIZES),
    *(f"{name} share of multiply-adds" for name in _KINDS),
    *(f"{name} share of operators" for name in _CLASSES),
    "log2 cores", "log2 GHz", "log2 memory", "arm", *_ABILITIES, "log2 threads",
)  # fmt: skip


def features(
    graph: Mapping[str, Any], facts: Mapping[str, Any] | None, threads: int
) -> list[float]:
    """The values of NAMES; NaN is not known.

    Args:
        graph: as cellfarm.selection.graph_worker describes it.
        facts: of the device (see cellfarm.devices.facts); None if nothing is known of it.
    """
    return [*_of_graph(graph), *_of_device(facts or {}), math.log2(threads)]


def _of_graph(graph: Mapping[str, Any]) -> list[float]:
    kinds, operators = graph["macs_by_kind"], graph["operators"]
    return [
        # One more: a graph without products, or of a single operator, has a size all the same.
        *(math.log2(1 + graph[name]) for name in _SIZES),
        *(_share(kinds, (name,)) for name in _KINDS),
        *(_share(operators, names) for names in _CLASSES.values()),
    ]


def _share(counts: Mapping[str, int], names: Sequence[str]) -> float:
    total = sum(counts.values())
    return sum(counts.get(name, 0) for name in names) / total if total else 0.0


def _of_device(facts: Mapping[str, Any]) -> list[float]:
    clusters = facts.get("clusters") or []
    fastest_khz = max((cluster.get("max_khz") or 0 for cluster in clusters), default=0)
    architecture, isa = facts.get("architecture"), facts.get("isa")
    return [
        _log2(facts.get("cores")),
        _log2(fastest_khz / 1e6),
        _log2(facts.get("memory_gb")),
        _UNKNOWN if architecture is None else float(architecture.startswith(("aarch", "arm"))),
        *(_UNKNOWN if not isa else float(any(one in isa for one in names))
          for names in _ABILITIES.values()),
    ]  # fmt: skip


def _log2(value: float | None) -> float:
    return math.log2(value) if value else _UNKNOWN
