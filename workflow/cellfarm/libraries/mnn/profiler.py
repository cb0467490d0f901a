"""Time per operator in MNN, by the callbacks that its own profiler uses."""

from __future__ import annotations

import re
import time
from typing import Any

import backend  # type: ignore[import-not-found]

#: What the converter appends to the name of a node that it replaces.
_ADDED = re.compile(r"(__matmul_converted)?(_raster_\d+)?$")
#: The type of an operator on 8-bit numbers is followed by theirs: "Convolution [ DT_INT8 ] ".
_PRECISION = re.compile(r" \[ \w+ \]\s*$")
#: Operators that the converter made itself: their type and a number.
_OWN = re.compile(r"[A-Z][A-Za-z]*\d+$")


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

    The session is the measured one. An operator's time lies between the end of the call before it
    and the start of the call after it; Python's time for a call, a few microseconds, is in the total
    only, and so is the filling of the inputs.

    Raises:
        Unsupported: on the GPU, where the calls come when work is handed on, not when it is done.
        RuntimeError: as `backend.Session`, or a run that fails.
    """
    if processor != "cpu":
        from refusal import Unsupported  # type: ignore[import-not-found]

        raise Unsupported(f"mnn has no times of operators on the {processor}")
    session = backend.Session(
        artifact, processor=processor, threads=threads, inputs=inputs, outputs=outputs
    )
    session.set_inputs(arrays)
    clock = time.monotonic_ns
    seen: list[tuple[str, str, int, int]] = []
    name = kind = ""
    began = 0

    def before(tensors: list[Any], info: Any) -> bool:
        nonlocal name, kind, began
        name, kind = info.getName(), info.getType()
        began = clock()
        return True

    def after(tensors: list[Any], info: Any) -> bool:
        seen.append((name, kind, began, clock()))
        return True

    operators, total_ms = [], []
    for _ in range(runs):
        seen = []
        started = clock()
        for target, tensor in zip(session._targets, session._tensors, strict=True):
            if not target.copyFrom(tensor):
                raise RuntimeError("mnn: an input does not fit")
        status = session._interpreter.runSessionWithCallBackInfo(session._session, before, after)
        total_ms.append((clock() - started) / 1e6)
        if status != 0:
            raise RuntimeError(f"mnn: runSessionWithCallBackInfo failed with {status}")
        operators.append([_operator(*one) for one in seen])
    return {"runs": operators, "total_ms": total_ms, "method": "MNN runSessionWithCallBackInfo"}


def _operator(name: str, kind: str, began: int, ended: int) -> dict[str, Any]:
    source = _ADDED.sub("", name)
    return {
        "name": name,
        "type": _PRECISION.sub("", kind),
        # The converter names an operator after the tensor that its node computes.
        "node": None if _OWN.match(source) else source,
        "ms": (ended - began) / 1e6,
    }
