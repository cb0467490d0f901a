"""Time per operator in MNN, by callbacks, as in its own profiler."""

from __future__ import annotations

import re
import time
from typing import Any

import backend  # type: ignore[import-not-found]

#: What the converter appends to the name of a node that it replaces.
_ADDED = re.compile(r"(__matmul_converted)?(_raster_\d+)?$")
#: What follows the type of an 8-bit operator: "Convolution [ DT_INT8 ] ".
_PRECISION = re.compile(r" \[ \w+ \]\s*$")
#: Names of operators that the converter made: their type and a number.
_MADE = re.compile(r"[A-Z][A-Za-z]*\d+$")


def profile(
    artifact: str,
    *,
    processor: str,
    arrays: list[Any],
    runs: int,
    scratch: str,
    **settings: Any,
) -> dict[str, Any]:
    """Operators of `runs` inferences (see cellfarm.measures.operators.device).

    The session is that of a measurement. An operator's time is from the end of the callback before it to
    the start of the callback after it. Only the total includes Python's time for a callback, a few
    microseconds, and the filling of the inputs.

    Raises:
        Unsupported: on the GPU, where MNN calls back when work is queued, not when it is done.
        RuntimeError: as `backend.Session`, or a run fails.
    """
    if processor != "cpu":
        from refusal import Unsupported  # type: ignore[import-not-found]

        raise Unsupported(f"mnn has no times of operators on the {processor}")
    session = backend.Session(artifact, processor=processor, **settings)
    session.set_inputs(arrays)
    clock = time.monotonic_ns
    times: list[tuple[str, str, int, int]] = []
    name = kind = ""
    start_ns = 0

    def before(tensors: list[Any], info: Any) -> bool:
        nonlocal name, kind, start_ns
        name, kind = info.getName(), info.getType()
        start_ns = clock()
        return True

    def after(tensors: list[Any], info: Any) -> bool:
        times.append((name, kind, start_ns, clock()))
        return True

    operators, total_ms = [], []
    for _ in range(runs):
        times = []
        run_start_ns = clock()
        for target, tensor in zip(session._targets, session._tensors, strict=True):
            if not target.copyFrom(tensor):
                raise RuntimeError("mnn: an input does not fit")
        status = session._interpreter.runSessionWithCallBackInfo(session._session, before, after)
        total_ms.append((clock() - run_start_ns) / 1e6)
        if status != 0:
            raise RuntimeError(f"mnn: runSessionWithCallBackInfo failed with {status}")
        operators.append([_operator(*values) for values in times])
    return {"runs": operators, "total_ms": total_ms, "method": "MNN runSessionWithCallBackInfo"}


def _operator(name: str, kind: str, start_ns: int, end_ns: int) -> dict[str, Any]:
    source = _ADDED.sub("", name)
    return {
        "name": name,
        "type": _PRECISION.sub("", kind),
        # The converter names an operator after its node's tensor.
        "node": None if _MADE.match(source) else source,
        "ms": (end_ns - start_ns) / 1e6,
    }
