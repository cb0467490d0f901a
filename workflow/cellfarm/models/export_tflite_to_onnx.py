"""Export a user's TFLite file to ONNX with tf2onnx, in an environment with TensorFlow and without torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import tf2onnx
from checked_exports import OPSET, Arrays, Run, export_checked
from protocol import Unsupported, shorten


def handle(request: Mapping[str, Any]) -> None:
    """Write ``model.onnx``; see `checked_exports.export_checked`."""
    export_checked(request, "tflite to onnx", _export)


def _export(source: Path, facts: dict[str, Any], _inputs: Arrays, out: Path) -> Run:
    try:
        model, _ = tf2onnx.convert.from_tflite(str(source), opset=OPSET)
        _rename(model, facts)
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), providers=["CPUExecutionProvider"]
        )
    except Exception as error:
        raise Unsupported(f"tf2onnx: {shorten(error)}") from error
    onnx.save(model, out / "model.onnx")
    names = [spec["name"] for spec in facts["inputs"]]
    return lambda arrays: list(session.run(None, dict(zip(names, arrays, strict=True))))


def _rename(model: Any, facts: dict[str, Any]) -> None:
    """Name inputs and outputs as in model.json, which has them in the same order."""
    graph = model.graph
    new_names = {}
    for kind, values in (("inputs", graph.input), ("outputs", graph.output)):
        for value, spec in zip(values, facts[kind], strict=True):
            new_names[value.name] = spec["name"]
            value.name = spec["name"]
    for node in graph.node:
        for names in (node.input, node.output):
            for position, name in enumerate(names):
                names[position] = new_names.get(name, name)
