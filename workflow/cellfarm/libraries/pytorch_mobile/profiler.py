"""Time per operator in PyTorch Mobile, by autograd's profiler."""

from __future__ import annotations

import time
from functools import cache
from itertools import dropwhile
from typing import Any

import backend  # type: ignore[import-not-found]

_RUN = "cellfarm run"
#: Operators that marking a run adds.
_MARKING = ("aten::zeros", "aten::empty", "aten::zero_", "profiler::_record_function_enter")


def profile(
    artifact: str,
    *,
    arrays: list[Any],
    runs: int,
    scratch: str,
    **settings: Any,
) -> dict[str, Any]:
    """Operators of `runs` inferences (see cellfarm.measures.operators.device).

    An operator that the interpreter calls includes the operators that it calls in turn. The lite
    interpreter keeps no names of modules, so an operator is named by its inputs' shapes.

    Raises:
        RuntimeError: as `backend.Session`, or the profile does not hold `runs` runs.
    """
    import torch
    from torch.autograd import profiler_legacy

    session = backend.Session(artifact, **settings)
    session.set_inputs(arrays)
    session.invoke()  # else the first run has operators that prepare
    total_ms = []
    # The newer torch.profiler counts microseconds: an operator and one that it calls may begin and end
    # in the same ones, and then it does not know that one calls the other.
    with profiler_legacy.profile(record_shapes=True) as profiled:
        for _ in range(runs):
            with torch.autograd.profiler.record_function(_RUN):
                start_ns = time.monotonic_ns()
                session.invoke()
                total_ms.append((time.monotonic_ns() - start_ns) / 1e6)
    operators = _by_run(profiled.function_events)
    if len(operators) != runs:
        raise RuntimeError(f"pytorch_mobile: {len(operators)} runs in the profile of {runs}")
    return {"runs": operators, "total_ms": total_ms, "method": "torch.autograd.profiler_legacy"}


def _by_run(events: Any) -> list[list[dict[str, Any]]]:
    """The operators directly below each run, in their order."""
    runs = [event for event in sorted(events, key=_start) if event.name == _RUN]
    return [
        [_operator(event) for event in dropwhile(_is_marking, sorted(run.cpu_children, key=_start))]
        for run in runs
    ]


def _start(event: Any) -> float:
    return float(event.time_range.start)


def _is_marking(event: Any) -> bool:
    return event.name in _MARKING


def _operator(event: Any) -> dict[str, Any]:
    # The interpreter passes its whole stack; the operator's arguments are its last elements.
    arguments = event.input_shapes[-_arity(event.name) :]
    shapes = ["x".join(map(str, shape)) for shape in arguments if shape]
    return {
        "name": " ".join([event.name, *shapes]),
        "type": event.name.partition("::")[2] or event.name,
        "node": None,
        "ms": event.time_range.elapsed_us() / 1e3,
    }


@cache
def _arity(name: str) -> int:
    """How many arguments the longest form of an operator takes; 0 (all) if it is unknown."""
    import torch

    schemas = torch._C._jit_get_schemas_for_operator(name)
    counts = [len(schema.arguments) for schema in schemas if "out" not in schema.overload_name]
    return max(counts, default=0)
