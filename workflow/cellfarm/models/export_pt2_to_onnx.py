"""Export a program to ONNX."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from program_exports import load, root_cause
from protocol import Unsupported, shorten


def handle(request: Mapping[str, Any]) -> None:
    """Write ``model.onnx``.

    Args:
        request: see `program_exports.load`; ``out``, the empty folder to fill.

    Raises:
        Unsupported: the exporter refuses the model.
    """
    program, inputs, facts = load(request)
    try:
        torch.onnx.export(
            program,
            inputs,
            str(Path(request["out"]) / "model.onnx"),
            input_names=[spec["name"] for spec in facts["inputs"]],
            output_names=[spec["name"] for spec in facts["outputs"]],
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    except torch.onnx.errors.OnnxExporterError as error:
        raise Unsupported(f"torch.onnx: {shorten(root_cause(error))}") from error
