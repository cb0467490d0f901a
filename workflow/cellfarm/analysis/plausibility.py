"""Latencies that no processor can reach: results that must be wrong, whatever their output is. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

#: Most FP32 operations (an addition or a multiplication is one) per core and cycle, by the widest
#: instruction set: vector units x lanes x 2 for a fused multiply-add. Upper bounds over all
#: processors with that instruction set, from the vendors' optimisation manuals.
_FLOP_PER_CYCLE = {
    "sme": 2048, "amx_bf16": 1024, "amx_int8": 1024, "avx512f": 64, "sve2": 64, "sve": 64,
    "avx2": 32, "asimd": 32, "avx": 16, "sse4_2": 8,
}  # fmt: skip
_UNKNOWN_FLOP_PER_CYCLE = 2048
#: No core that runs these libraries is clocked higher, in Hz.
_HIGHEST_HZ = 6.5e9
#: Narrower types pack more operations into a cycle.
_NARROWER = {"fp32": 1, "fp16": 2, "int8": 8}
#: Fewest multiplications that a fast algorithm needs, of those that the definition counts: Winograd's
#: F(6x6, 3x3) saves a factor of 5.06 (Lavin & Gray, "Fast Algorithms for Convolutional Neural
#: Networks", CVPR 2016).
_FAST_ALGORITHM = 5.1
#: Least identical samples that show a broken clock or library.
_LEAST_IDENTICAL = 10


def fastest_possible_ms(
    flops: float | None, facts: Mapping[str, Any], threads: int, variant: str, processor: str
) -> float | None:
    """A lower bound of an inference on a CPU, in ms; None without known operations or on another processor.

    Generous on purpose: with the widest instruction set, the highest clock and the cheapest algorithm
    only what was not computed falls below it.

    Args:
        flops: the operations of one inference by the model's definition.
        facts: the device's (see cellfarm.devices.facts): `isa`, `cores`.
    """
    if not flops or processor != "cpu":
        return None
    known = [_FLOP_PER_CYCLE[name] for name in facts.get("isa") or () if name in _FLOP_PER_CYCLE]
    per_cycle = max(known, default=_UNKNOWN_FLOP_PER_CYCLE) * _NARROWER.get(variant, 8)
    cores = min(threads, int(facts.get("cores") or threads))
    return flops / _FAST_ALGORITHM / (per_cycle * _HIGHEST_HZ * max(1, cores)) * 1e3


def implausible(
    launches: Sequence[Sequence[float]], latency_ms: float, fastest_ms: float | None
) -> str | None:
    """Why the samples of a cell cannot be latencies, or None.

    Args:
        launches: the warm samples of each launch, in ms.
        fastest_ms: see `fastest_possible_ms`.
    """
    if fastest_ms is not None and latency_ms < fastest_ms:
        return (
            f"implausible: {latency_ms:.4g} ms is less than the {fastest_ms:.4g} ms that the "
            "model's operations need at the processor's peak"
        )
    pooled = [value for samples in launches for value in samples]
    if len(pooled) >= _LEAST_IDENTICAL and min(pooled) == max(pooled):
        return f"implausible: all {len(pooled)} samples are the same to the last digit"
    return None
