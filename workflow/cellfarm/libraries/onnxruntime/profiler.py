"""Time per operator in ONNX Runtime, by its own profiler: kernel times in whole microseconds."""

from __future__ import annotations

import json
import mmap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import backend  # type: ignore[import-not-found]

_KERNEL = "_kernel_time"


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

    The session is made once more with the first one's own options, read back from it, so that the
    same kernels run: only profiling is switched on. The profiler reports after each kernel, outside
    of the time that it reports for it, so the total is a little more than the sum.

    Raises:
        RuntimeError: as `backend.Session`, or a trace without one set of operators per run.
    """
    import onnxruntime

    session = backend.Session(
        artifact, processor=processor, threads=threads, inputs=inputs, outputs=outputs
    )
    options = session._session.get_session_options()
    options.enable_profiling = True
    options.profile_file_prefix = str(Path(scratch) / "trace")
    path = Path(artifact)
    path = path / "model.onnx" if path.is_dir() else path
    profiled = onnxruntime.InferenceSession(
        str(path), options, providers=session._session.get_providers()
    )
    session._session = profiled  # the first one goes, and its threads with it
    session._binding = profiled.io_binding()
    for spec in outputs:
        session._binding.bind_output(spec["name"], "cpu")
    session.set_inputs(arrays)
    total_ms = []
    for _ in range(runs):
        began = time.monotonic_ns()
        session.invoke()
        total_ms.append((time.monotonic_ns() - began) / 1e6)
    trace = json.loads(Path(profiled.end_profiling()).read_text(encoding="utf-8"))
    operators = list(_by_run(trace, _source_nodes(path)))
    if len(operators) != runs:
        raise RuntimeError(f"onnxruntime: {len(operators)} runs in the trace of {runs}")
    return {"runs": operators, "total_ms": total_ms, "method": "onnxruntime enable_profiling"}


def _by_run(trace: list[dict[str, Any]], nodes: dict[str, str]) -> Iterator[list[dict[str, Any]]]:
    """The kernels between a run's start and end; a run is reported after its kernels."""
    kernels: list[dict[str, Any]] = []
    for event in trace:
        if event["cat"] == "Node" and event["name"].endswith(_KERNEL):
            kernels.append(_operator(event, nodes))
        elif event["name"] == "model_run":
            yield kernels
            kernels = []


def _operator(event: dict[str, Any], nodes: dict[str, str]) -> dict[str, Any]:
    name = event["name"].removesuffix(_KERNEL)
    # The optimiser calls a blocked convolution after its output, and a fusion after its first node.
    source = name.removesuffix("_nchwc").partition("/")[0]
    kind = event["args"]["op_name"]
    if kind.endswith("Conv") and _is_depthwise(event["args"].get("input_type_shape", [])):
        kind += ", depthwise"
    return {"name": name, "type": kind, "node": nodes.get(source), "ms": event["dur"] / 1e3}


def _is_depthwise(shapes: list[dict[str, list[int]]]) -> bool:
    """Whether each filter sees one of several channels: weights are (outputs, 1, ...)."""
    if len(shapes) < 2:
        return False
    data, weights = (next(iter(shape.values()), []) for shape in shapes[:2])
    return len(data) > 2 and len(weights) > 2 and data[1] > 1 and weights[1] == 1


def _source_nodes(path: Path) -> dict[str, str]:
    """Each node's name by its own name and by the tensors that it computes.

    Read from the fields of the file that say so (ModelProto.graph = 7, GraphProto.node = 1,
    NodeProto.output = 2 and .name = 3): the package onnx is not where models run. Weights are
    skipped, not read.
    """
    found: dict[str, str] = {}
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for graph in _fields(data, 0, len(data), 7):
            for node in _fields(data, *graph, 1):
                names = [data[slice(*one)].decode() for one in _fields(data, *node, 3)]
                results = [data[slice(*one)].decode() for one in _fields(data, *node, 2)]
                for name in names[:1]:
                    found |= dict.fromkeys([name, *results], name)
    return found


def _fields(data: mmap.mmap, at: int, end: int, wanted: int) -> Iterator[tuple[int, int]]:
    """Where the values of a length-delimited field of a protobuf message lie."""
    while at < end:
        tag, at = _varint(data, at)
        kind = tag & 7
        if kind == 2:
            size, at = _varint(data, at)
            if tag >> 3 == wanted:
                yield at, at + size
            at += size
        elif kind == 0:
            _, at = _varint(data, at)
        else:
            at += 8 if kind == 1 else 4


def _varint(data: mmap.mmap, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
