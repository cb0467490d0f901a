"""Time per operator in PyTorch Mobile, by the profiler of its autograd."""

from __future__ import annotations

import time
from functools import cache
from itertools import dropwhile
from typing import Any

import backend  # type: ignore[import-not-found]

_RUN = "cellfarm run"
#: What marking a run does itself.
_OWN = ("aten::zeros", "aten::empty", "aten::zero_", "profiler::_record_function_enter")


def profile(
    artifact: str,
    *,
    processor: str,
    threads: int,
    inputs: list[dict[str, Any]],
    outputs: list[dict[str, Any]],
    arrays: list[Any],
    runs: int,
    scratch: str,
) -> dict[str, Any]:
    """Operators of `runs` inferences; see `profiling` for what is taken and returned.

    What the interpreter calls counts; what such an operator calls in turn is part of it. The lite
    interpreter keeps no names of modules, so an operator is named by its inputs' shapes.

    Raises:
        RuntimeError: as `backend.Session`, or a profile without one set of operators per run.
    """
    import torch
    from torch.autograd import profiler_legacy

    session = backend.Session(
        artifact, processor=processor, threads=threads, inputs=inputs, outputs=outputs
    )
    session.set_inputs(arrays)
    session.invoke()  # what is prepared on first use would be in the first run's operators
    total_ms = []
    # The newer torch.profiler has microseconds, in which an operator and one that it calls may begin
    # and end together: then it takes them for two.
    with profiler_legacy.profile(record_shapes=True) as profiled:
        for _ in range(runs):
            with torch.autograd.profiler.record_function(_RUN):
                began = time.monotonic_ns()
                session.invoke()
                total_ms.append((time.monotonic_ns() - began) / 1e6)
    found = _by_run(profiled.function_events)
    if len(found) != runs:
        raise RuntimeError(f"pytorch_mobile: {len(found)} runs in the profile of {runs}")
    return {"runs": found, "total_ms": total_ms, "method": "torch.autograd.profiler_legacy"}


def _by_run(events: Any) -> list[list[dict[str, Any]]]:
    """The operators directly below each run, in their order."""
    runs = [event for event in sorted(events, key=_start) if event.name == _RUN]
    return [
        [_operator(event) for event in dropwhile(_is_own, sorted(run.cpu_children, key=_start))]
        for run in runs
    ]


def _start(event: Any) -> float:
    return float(event.time_range.start)


def _is_own(event: Any) -> bool:
    return event.name in _OWN


def _operator(event: Any) -> dict[str, Any]:
    # The interpreter passes its whole stack: what waits there for a later operator comes first.
    mine = event.input_shapes[-_arity(event.name) :]
    shapes = ["x".join(map(str, shape)) for shape in mine if shape]
    return {
        "name": " ".join([event.name, *shapes]),
        "type": event.name.partition("::")[2] or event.name,
        "node": None,
        "ms": event.time_range.elapsed_us() / 1e3,
    }


@cache
def _arity(name: str) -> int:
    """How many arguments an operator takes, the longest form counting; 0 (all) if it is not known."""
    import torch

    schemas = torch._C._jit_get_schemas_for_operator(name)
    counts = [len(one.arguments) for one in schemas if "out" not in one.overload_name]
    return max(counts, default=0)
