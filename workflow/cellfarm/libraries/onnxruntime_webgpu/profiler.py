"""Time per operator by the GPU's own clock, from ONNX Runtime's profiler."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import backend  # type: ignore[import-not-found]

_PROGRAM = "Api"  # the category of what ran on the GPU
_SUFFIX = re.compile(r"_token_\d+$")  # what the optimiser adds to a node's name
# The third size of the weights is the number of a filter's channels.
_DEPTHWISE = re.compile(r"inputs\[1\] = \{\d+,\d+,1,\d+\}")
_NAME_TAG = 0x1A  # NodeProto.name in the file: field 3, length-delimited


def profile(
    artifact: str,
    *,
    inputs: list[dict[str, Any]],
    outputs: list[dict[str, Any]],
    arrays: list[Any],
    runs: int,
    scratch: str,
    **settings: Any,
) -> dict[str, Any]:
    """Operators of `runs` inferences (see cellfarm.measures.operators.device).

    An operator is a program on the GPU; a node may be several. Only the total includes the copies of
    inputs and outputs.

    Raises:
        RuntimeError: as `backend.Session`, or the GPU has no clock that can be read.
    """
    session = backend.Session(artifact, inputs=inputs, outputs=outputs, **settings)
    options = session._session.get_session_options()
    options.enable_profiling = True
    options.profile_file_prefix = str(Path(scratch) / "trace")
    session._start(artifact, options, inputs, outputs)
    session.set_inputs(arrays)
    total_ms = []
    for _ in range(runs):
        start_ns = time.monotonic_ns()
        session.invoke()
        total_ms.append((time.monotonic_ns() - start_ns) / 1e6)
    trace = json.loads(Path(session._session.end_profiling()).read_text(encoding="utf-8"))
    operators = programs(trace, (Path(artifact) / "model.onnx").read_bytes())
    if not operators or len(operators) % runs:
        raise RuntimeError(
            f"onnxruntime_webgpu: {len(operators)} programs in the trace of {runs} runs"
        )
    size = len(operators) // runs
    return {
        "runs": [operators[start : start + size] for start in range(0, len(operators), size)],
        "total_ms": total_ms,
        "method": "onnxruntime enable_profiling, WebGPU timestamps",
    }


def programs(trace: list[dict[str, Any]], model: bytes) -> list[dict[str, Any]]:
    """The programs that ran on the GPU, in order; the trace names them ``node&operator&program``."""
    operators = []
    events = [event for event in trace if event["cat"] == _PROGRAM]
    for event in sorted(events, key=lambda event: event["ts"]):
        head, _, program = event["name"].rpartition("&")
        node, _, kind = head.rpartition("&")
        if program == "GroupedConv" and _DEPTHWISE.search(event["args"].get("shapes", "")):
            kind += ", depthwise"
        source = _SUFFIX.sub("", node)
        operators.append(
            {
                "name": event["name"],
                "type": kind,
                "node": source if _is_node(source, model) else None,
                "ms": event["dur"] / 1e3,
            }
        )
    return operators


def _is_node(name: str, model: bytes) -> bool:
    """Whether a node of the file has this name; the optimiser adds nodes."""
    text = name.encode()
    return 0 < len(text) < 128 and bytes([_NAME_TAG, len(text)]) + text in model
