"""Time per operator in ONNX Runtime, by its own profiler: kernel times in whole microseconds."""

from __future__ import annotations

import json
import mmap
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import backend  # type: ignore[import-not-found]

_KERNEL = "_kernel_time"
#: What the optimiser adds to the names of nodes and tensors.
_ADDED = re.compile(r"^InsertedPrecisionFreeCast_|_nchwc$|_token_\d+$")


def profile(
    artifact: str,
    *,
    outputs: list[dict[str, Any]],
    arrays: list[Any],
    runs: int,
    scratch: str,
    **settings: Any,
) -> dict[str, Any]:
    """Operators of `runs` inferences (see cellfarm.measures.operators.device).

    A second session has the options of the first, read back from it, and profiling, so that the same
    kernels run. The profiler reports after each kernel, outside of the time that it reports, so the
    total is a little more than the sum.

    Raises:
        RuntimeError: as `backend.Session`, or the trace does not hold `runs` runs.
    """
    import onnxruntime

    session = backend.Session(artifact, outputs=outputs, **settings)
    options = session._session.get_session_options()
    options.enable_profiling = True
    options.profile_file_prefix = str(Path(scratch) / "trace")
    path = Path(artifact) / "model.onnx"
    profiled = onnxruntime.InferenceSession(
        str(path), options, providers=session._session.get_providers()
    )
    session._session = profiled  # the first session ends, and its threads with it
    session._binding = profiled.io_binding()
    for spec in outputs:
        session._binding.bind_output(spec["name"], "cpu")
    session.set_inputs(arrays)
    total_ms = []
    for _ in range(runs):
        start_ns = time.monotonic_ns()
        session.invoke()
        total_ms.append((time.monotonic_ns() - start_ns) / 1e6)
    trace = json.loads(Path(profiled.end_profiling()).read_text(encoding="utf-8"))
    operators = list(_by_run(trace, *_read_nodes(path)))
    if len(operators) != runs:
        raise RuntimeError(f"onnxruntime: {len(operators)} runs in the trace of {runs}")
    return {"runs": operators, "total_ms": total_ms, "method": "onnxruntime enable_profiling"}


def _by_run(
    trace: list[dict[str, Any]], nodes: dict[str, str], groups: dict[str, int]
) -> Iterator[list[dict[str, Any]]]:
    """The kernels between a run's start and end; a run is reported after its kernels."""
    kernels: list[dict[str, Any]] = []
    for event in trace:
        if event["cat"] == "Node" and event["name"].endswith(_KERNEL):
            kernels.append(_operator(event, nodes, groups))
        elif event["name"] == "model_run":
            yield kernels
            kernels = []


def _operator(
    event: dict[str, Any], nodes: dict[str, str], groups: dict[str, int]
) -> dict[str, Any]:
    name = event["name"].removesuffix(_KERNEL)
    # The optimiser names a blocked convolution after its output, and a fusion after its first node.
    source = nodes.get(_ADDED.sub("", name).partition("/")[0])
    kind = event["args"]["op_name"]
    if (kind.endswith("Conv") or kind == "ConvInteger") and _is_depthwise(
        event["args"], groups.get(source) if source else None
    ):
        kind += ", depthwise"
    return {"name": name, "type": kind, "node": source, "ms": event["dur"] / 1e3}


def _is_depthwise(arguments: dict[str, Any], groups: int | None) -> bool:
    """Whether each filter sees one of several channels.

    Args:
        groups: the convolution's groups in the file, if its node is known.
    """
    shapes = [next(iter(shape.values()), []) for shape in arguments.get("input_type_shape", [])]
    if not shapes or len(shapes[0]) < 3:
        return False
    if groups is not None:
        # Quantised convolutions have their channels last, and their weights are gone once packed.
        return groups > 1 and groups in (shapes[0][1], shapes[0][-1])
    if len(shapes) < 2 or len(shapes[1]) < 3:
        return False
    return bool(shapes[0][1] > 1 and shapes[1][1] == 1)  # weights are (outputs, 1, ...)


def _read_nodes(path: Path) -> tuple[dict[str, str], dict[str, int]]:
    """Names of nodes, by themselves and by the tensors that they compute; groups of convolutions.

    Read from the fields of the file (ModelProto.graph = 7, GraphProto.node = 1, NodeProto.output = 2,
    .name = 3 and .attribute = 5, AttributeProto.name = 1 and .i = 3), because the package onnx is not
    on the device. Weights are skipped, not read.
    """
    nodes: dict[str, str] = {}
    groups: dict[str, int] = {}
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for graph in _values(data, slice(0, len(data)), 7):
            for node in _values(data, graph, 1):
                for name in _texts(data, node, 3)[:1]:
                    nodes |= dict.fromkeys([name, *_texts(data, node, 2)], name)
                    for attribute in _values(data, node, 5):
                        if _texts(data, attribute, 1) == ["group"]:
                            groups[name] = next(_values(data, attribute, 3), 0)
    return nodes, groups


def _texts(data: mmap.mmap, message: slice, field: int) -> list[str]:
    return [data[text].decode() for text in _values(data, message, field)]


def _values(data: mmap.mmap, message: slice, field: int) -> Iterator[Any]:
    """The values of a field of a protobuf message: whole numbers, or slices of `data`."""
    position = message.start
    while position < message.stop:
        tag, position = _varint(data, position)
        number, kind = tag >> 3, tag & 7
        value: Any = None
        if kind == 0:
            value, position = _varint(data, position)
        elif kind == 2:
            size, position = _varint(data, position)
            value = slice(position, position + size)
            position = value.stop
        else:
            position += 8 if kind == 1 else 4
        if number == field and value is not None:
            yield value


def _varint(data: mmap.mmap, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return value, position
