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
#: What the optimiser adds to names: to those of nodes, and to those of tensors.
_ADDED = re.compile(r"^InsertedPrecisionFreeCast_|_nchwc$|_token_\d+$")


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
    operators = list(_by_run(trace, _source_nodes(path), _groups(path)))
    if len(operators) != runs:
        raise RuntimeError(f"onnxruntime: {len(operators)} runs in the trace of {runs}")
    return {"runs": operators, "total_ms": total_ms, "method": "onnxruntime enable_profiling"}


def _by_run(
    trace: list[dict[str, Any]], nodes: dict[str, str], groups: dict[str, int] | None = None
) -> Iterator[list[dict[str, Any]]]:
    """The kernels between a run's start and end; a run is reported after its kernels."""
    kernels: list[dict[str, Any]] = []
    for event in trace:
        if event["cat"] == "Node" and event["name"].endswith(_KERNEL):
            kernels.append(_operator(event, nodes, groups or {}))
        elif event["name"] == "model_run":
            yield kernels
            kernels = []


def _operator(
    event: dict[str, Any], nodes: dict[str, str], groups: dict[str, int]
) -> dict[str, Any]:
    name = event["name"].removesuffix(_KERNEL)
    # The optimiser calls a blocked convolution after its output, and a fusion after its first node.
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
    shapes = [next(iter(one.values()), []) for one in arguments.get("input_type_shape", [])]
    if not shapes or len(shapes[0]) < 3:
        return False
    if groups is not None:
        # Quantised convolutions have their channels last, and their weights are gone once packed.
        return groups > 1 and groups in (shapes[0][1], shapes[0][-1])
    if len(shapes) < 2 or len(shapes[1]) < 3:
        return False
    return bool(shapes[0][1] > 1 and shapes[1][1] == 1)  # weights are (outputs, 1, ...)


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


def _groups(path: Path) -> dict[str, int]:
    """The groups of each convolution by its node's name: NodeProto.attribute = 5, AttributeProto.name
    = 1 and .i = 3."""
    found: dict[str, int] = {}
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for graph in _fields(data, 0, len(data), 7):
            for node in _fields(data, *graph, 1):
                for attribute in _fields(data, *node, 5):
                    names = [data[slice(*one)] for one in _fields(data, *attribute, 1)]
                    if names == [b"group"]:
                        for name in _fields(data, *node, 3):
                            found[data[slice(*name)].decode()] = _number(data, *attribute, 3)
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


def _number(data: mmap.mmap, at: int, end: int, wanted: int) -> int:
    """The value of a field that is a whole number, 0 if it is not there, as the format has it."""
    while at < end:
        tag, at = _varint(data, at)
        value, at = _varint(data, at) if tag & 7 in (0, 2) else (0, at + (8 if tag & 7 == 1 else 4))
        if tag & 7 == 2:
            at += value
        elif tag >> 3 == wanted and tag & 7 == 0:
            return value
    return 0


def _varint(data: mmap.mmap, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
