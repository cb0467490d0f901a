"""Export a program to TorchScript, as a trace."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from program_exports import load, root_cause
from protocol import Unsupported, shorten
from torch import Tensor


def handle(request: Mapping[str, Any]) -> None:
    """Write ``model.torchscript.pt``.

    Args:
        request: see `program_exports.load`; ``out``, the empty folder to fill.

    Raises:
        Unsupported: the program cannot be traced.
    """
    program, inputs, facts = load(request)
    module = _single_output(_short_pads(program.module()), len(facts["outputs"]))
    try:
        with torch.no_grad():
            # The check would trace again, and only compare the program with itself.
            traced = torch.jit.trace(module, inputs, check_trace=False)
    except (RuntimeError, TypeError) as error:
        raise Unsupported(f"torch.jit.trace: {shorten(root_cause(error))}") from error
    torch.jit.save(traced, str(Path(request["out"]) / "model.torchscript.pt"))


def _short_pads(module: torch.fx.GraphModule) -> torch.fx.GraphModule:
    """The program without zero padding of its leading axes.

    pnnx derives the number of axes from the padding: MobileBERT's [0, 0, 0, 1, 0, 0] turns a matrix into
    a volume, and ncnn then reads past the ends of what it concatenates.
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
    """The module without a tuple around a single output: converters name the output after the tuple."""
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
