"""Export a built model to the formats that converters read beside PyTorch's own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from protocol import RecipeError, Unsupported, shorten
from torch import Tensor


def export(form: str, model: Path, out: Path, source: Path | None = None) -> None:
    """Export the model in folder ``model`` (written by ``build``) into folder ``out``.

    Args:
        form: ``onnx`` writes ``model.onnx``, ``torchscript`` writes ``model.torchscript.pt``.
        source: the program, where it is not the model's own: of a user's file in another format.

    Raises:
        RecipeError: an unknown format.
        Unsupported: the exporter refuses the model.
    """
    if form not in FORMATS:
        raise RecipeError(f"unknown format {form!r}; known: {', '.join(FORMATS)}")
    program = torch.export.load(source or model / "model.pt2")
    facts = json.loads((model / "model.json").read_text(encoding="utf-8"))
    with np.load(model / "inputs.npz") as arrays:
        inputs = tuple(torch.from_numpy(arrays[spec["name"]]) for spec in facts["inputs"])
    FORMATS[form](program, inputs, facts, out)


def _onnx(
    program: torch.export.ExportedProgram,
    inputs: tuple[Tensor, ...],
    facts: dict[str, Any],
    out: Path,
) -> None:
    try:
        torch.onnx.export(
            program,
            inputs,
            str(out / "model.onnx"),
            input_names=[spec["name"] for spec in facts["inputs"]],
            output_names=[spec["name"] for spec in facts["outputs"]],
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    except torch.onnx.errors.OnnxExporterError as error:
        raise Unsupported(f"torch.onnx: {shorten(_root(error))}") from error


def _torchscript(
    program: torch.export.ExportedProgram,
    inputs: tuple[Tensor, ...],
    facts: dict[str, Any],
    out: Path,
) -> None:
    module = _single_output(_short_pads(program.module()), len(facts["outputs"]))
    try:
        with torch.no_grad():
            # Traced again inside trace, the check would only compare a program with itself.
            traced = torch.jit.trace(module, inputs, check_trace=False)
    except (RuntimeError, TypeError) as error:
        raise Unsupported(f"torch.jit.trace: {shorten(_root(error))}") from error
    torch.jit.save(traced, str(out / "model.torchscript.pt"))


def _short_pads(module: torch.fx.GraphModule) -> torch.fx.GraphModule:
    """The program without pads of nothing on its leading axes.

    pnnx takes their number for that of axes: MobileBERT's [0, 0, 0, 1, 0, 0] makes a matrix a volume,
    and ncnn then reads past the ends of what it concatenates.
    """
    pads = (torch.ops.aten.pad.default, torch.ops.aten.constant_pad_nd.default)
    for node in module.graph.nodes:
        if node.target in pads:
            edges = list(node.args[1])
            while len(edges) > 2 and edges[-2:] == [0, 0]:
                del edges[-2:]
            node.update_arg(1, edges)
    module.recompile()
    return module


def _single_output(module: torch.nn.Module, outputs: int) -> torch.nn.Module:
    """A tuple of one is legal TorchScript, but converters name its one output after the tuple."""
    if outputs != 1:
        return module

    class First(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.program = module

        def forward(self, *tensors: Tensor) -> Tensor:
            first: Tensor = self.program(*tensors)[0]
            return first

    return First()


def _root(error: BaseException) -> BaseException:
    """The first cause: exporters wrap it in pages of advice."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


FORMATS: dict[
    str, Callable[[torch.export.ExportedProgram, tuple[Tensor, ...], dict[str, Any], Path], None]
] = {"onnx": _onnx, "torchscript": _torchscript}
