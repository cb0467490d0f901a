"""The features of a choice: of a model's graph, a device and a number of threads. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

#: Kinds of multiply-adds (see cellfarm.selection.graph_worker): libraries have a kernel for each.
_KINDS = ("pointwise", "depthwise", "grouped", "convolution", "linear", "attention")
#: Abilities of a processor that change which kernels a library picks -> the ISA extensions that give them.
_ABILITIES = {
    "wide": ("avx512f", "sve", "sve2"),
    "half": ("fphp", "asimdhp", "avx512_bf16", "bf16"),
    "dot": ("avx512_vnni", "avx_vnni", "asimddp"),
    "matrix": ("amx_int8", "amx_bf16", "i8mm", "sme"),
}
_UNKNOWN = math.nan

#: Amounts of work that take time: multiply-adds, memory traffic, and the fixed cost of every operator.
WORK = (*(f"{name} multiply-adds" for name in _KINDS), "activations", "parameters", "operators")
SETTING = (
    "log2 cores", "log2 GHz", "log2 memory", "arm", *_ABILITIES, "log2 threads",
)  # fmt: skip
NAMES = (*WORK, *SETTING)


def features(
    graph: Mapping[str, Any], facts: Mapping[str, Any] | None, threads: int
) -> list[float]:
    """The values of NAMES; NaN is not known.

    Args:
        graph: as cellfarm.selection.graph_worker describes it.
        facts: of the device (see cellfarm.devices.facts); None if unknown.
    """
    return [*_of_graph(graph), *_of_device(facts or {}), math.log2(threads)]


def _of_graph(graph: Mapping[str, Any]) -> list[float]:
    macs = [graph["macs_by_kind"].get(kind, 0) for kind in _KINDS]
    return [*map(float, (*macs, graph["activations"], graph["parameters"], graph["nodes"]))]


def _of_device(facts: Mapping[str, Any]) -> list[float]:
    clusters = facts.get("clusters") or []
    fastest_khz = max((cluster.get("max_khz") or 0 for cluster in clusters), default=0)
    architecture, isa = facts.get("architecture"), facts.get("isa")
    return [
        _log2(facts.get("cores")),
        _log2(fastest_khz / 1e6),
        _log2(facts.get("memory_gb")),
        _UNKNOWN if architecture is None else float(architecture.startswith(("aarch", "arm"))),
        *(_UNKNOWN if not isa else float(any(name in isa for name in names))
          for names in _ABILITIES.values()),
    ]  # fmt: skip


def _log2(value: float | None) -> float:
    return math.log2(value) if value else _UNKNOWN
