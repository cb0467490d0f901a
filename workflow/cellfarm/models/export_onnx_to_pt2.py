"""Export a user's ONNX file to a program, with onnx2torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
import torch
from checked_exports import OPSET, Arrays, Run, export_checked
from onnx import numpy_helper, version_converter
from programs import save_and_run, to_program
from protocol import Unsupported, shorten
from torchvision_import import import_torchvision


def handle(request: Mapping[str, Any]) -> None:
    """Write ``model.pt2``; see `checked_exports.export_checked`."""
    export_checked(request, "onnx to pt2", _export)


def _export(source: Path, _facts: dict[str, Any], inputs: Arrays, out: Path) -> Run:
    import_torchvision()  # onnx2torch imports it, and would fail on its missing operators
    import onnx2torch

    model = onnx.load(source)
    try:
        opsets = [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
        if max(opsets) > OPSET:
            model = version_converter.convert_version(model, OPSET)
        _plain_reshapes(model)
        module = onnx2torch.convert(model).eval().requires_grad_(False)
        # Its modules read axes and shapes from constant tensors, which only a frozen trace treats as
        # constants; if they depend on the input, the check on other samples fails.
        traced = torch.jit.trace(module, [*map(torch.from_numpy, inputs)], check_trace=False)
        program = to_program(torch.jit.freeze(traced.eval()), inputs)
    except Exception as error:
        raise Unsupported(f"onnx2torch: {shorten(error)}") from error
    return save_and_run(program, out)


def _plain_reshapes(model: Any) -> None:
    """Remove `allowzero`, which onnx2torch does not know, from reshapes to shapes without a zero."""
    shapes = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type != "Reshape" or 0 in shapes.get(node.input[1], (0,)):
            continue
        for attribute in [entry for entry in node.attribute if entry.name == "allowzero"]:
            node.attribute.remove(attribute)
