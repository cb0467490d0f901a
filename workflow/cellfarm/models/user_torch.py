"""A user's PyTorch files: programs (torch.export) and TorchScript."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from programs import Flat, count_flops, load_program, run_module
from protocol import RecipeError, Unsupported, shorten
from torch.utils import _pytree as pytree
from user_model import Facts, Tensor, UserModel

_HALF = (torch.float16, torch.bfloat16)


def open_file(file: Path) -> UserModel:
    """A file of either kind, by its suffix."""
    return ProgramFile(file) if file.suffix.lower() == ".pt2" else ScriptFile(file)


class ProgramFile:
    """A program as torch.export saves it. See user_model.UserModel.

    It is exported again for exactly these shapes, so that its inputs and outputs are plain tensors.

    Raises:
        RecipeError: an input that is no tensor.
    """

    def __init__(self, file: Path) -> None:
        program = load_program(file)
        nodes = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
        self.inputs = []
        for name in program.graph_signature.user_inputs:
            value = nodes[name].meta["val"] if isinstance(name, str) and name in nodes else None
            if not isinstance(value, torch.Tensor):
                raise RecipeError(f"its input {name!r} is no tensor")
            sizes = tuple(size if isinstance(size, int) else None for size in value.shape)
            self.inputs.append(Tensor(name, sizes, _type(value)))
        self._flat = Flat(program.module(), program.call_spec.in_spec)

    def fix(self, specs: Sequence[Mapping[str, Any]]) -> None:
        example = tuple(
            torch.zeros(spec["shape"], dtype=getattr(torch, spec["dtype"])) for spec in specs
        )
        try:
            with torch.no_grad():
                self._program = torch.export.export(self._flat, example)
        except Exception as error:
            raise RecipeError(
                f"torch.export refuses it for these shapes: {shorten(error)}"
            ) from error

    def outputs(self) -> list[str]:
        return [f"output_{i}" for i in range(len(self._program.graph_signature.user_outputs))]

    def run(self, arrays: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        return run_module(self._program.module(), arrays)

    def facts(self, arrays: Sequence[NDArray[Any]]) -> Facts:
        module = self._program.module()
        precision = _precision(self._program.state_dict.values())
        if any("quantize" in str(node.target) for node in self._program.graph.nodes):
            precision = "int8"
        constants = {**self._program.state_dict, **self._program.constants}
        tensors = [value for value in constants.values() if isinstance(value, torch.Tensor)]
        parameters = sum(tensor.numel() for tensor in tensors if tensor.is_floating_point())
        return Facts(parameters, count_flops(module, arrays), precision)

    def write(self, out: Path) -> None:
        torch.export.save(self._program, out / "model.pt2")


class ScriptFile:
    """TorchScript. Loading and running it runs its code. See user_model.UserModel.

    Raises:
        RecipeError: an argument that is no tensor and has no default.
    """

    def __init__(self, file: Path) -> None:
        self._module = load_script(file)
        self.inputs = []
        for argument in self._module.forward.schema.arguments[1:]:
            if argument.has_default_value():
                continue
            if str(argument.type) != "Tensor":
                raise RecipeError(f"its argument {argument.name!r} is no tensor: {argument.type}")
            self.inputs.append(Tensor(argument.name, None, None))

    def fix(self, specs: Sequence[Mapping[str, Any]]) -> None:
        """Run it once: TorchScript does not say how many tensors it returns."""
        arrays = [np.zeros(spec["shape"], spec["dtype"]) for spec in specs]
        try:
            with torch.no_grad():
                results = self._module(*map(torch.from_numpy, arrays))
        except Exception as error:
            raise RecipeError(f"it does not run on these shapes: {shorten(error)}") from error
        if isinstance(results, dict):
            raise Unsupported("it returns a dict: let it return a tensor, or a tuple of tensors")
        self._count = len(pytree.tree_leaves(results))

    def outputs(self) -> list[str]:
        return [f"output_{i}" for i in range(self._count)]

    def run(self, arrays: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        return run_module(Flat(self._module), arrays)

    def facts(self, arrays: Sequence[NDArray[Any]]) -> Facts:
        tensors = [*self._module.parameters(), *self._module.buffers()]
        precision = (
            "int8" if "quantized::" in str(self._module.inlined_graph) else _precision(tensors)
        )
        parameters = sum(parameter.numel() for parameter in self._module.parameters())
        return Facts(parameters, count_flops(Flat(self._module), arrays), precision)

    def write(self, out: Path) -> None:
        torch.jit.save(self._module, str(out / "model.script.pt"))


def load_script(file: Path) -> torch.jit.ScriptModule:
    """TorchScript, ready for inference.

    Raises:
        RecipeError: the file holds no program.
    """
    try:
        module = torch.jit.load(file, map_location="cpu").eval()
    except RuntimeError as error:
        raise RecipeError(
            f"{file.name} cannot be read as TorchScript: {shorten(error)} (weights alone, as torch.save"
            " writes them, are no model: save the network by torch.jit.save or torch.export.save)"
        ) from error
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    return module


def _precision(tensors: Any) -> str:
    matrices = [tensor for tensor in tensors if tensor.dim() > 1]
    return "fp16" if any(tensor.dtype in _HALF for tensor in matrices) else "fp32"


def _type(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
