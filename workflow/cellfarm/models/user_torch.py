"""A user's PyTorch files: programs (torch.export) and TorchScript."""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn
from unittest import mock

import numpy as np
import torch
from numpy.typing import NDArray
from protocol import RecipeError, Unsupported, shorten
from torch import nn
from torch.export.pt2_archive import _package
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils import _pytree as pytree
from torch.utils.flop_counter import FlopCounterMode
from user_model import Facts, Tensor

_RESAVE = "save it by torch.export.save with tensors only"
_HALF = (torch.float16, torch.bfloat16)


class Flat(nn.Module):
    """A module behind one interface: tensors in, a tuple of tensors out.

    Args:
        in_spec: how the tensors make up positional and keyword arguments; None for a module that
            takes them one by one.
    """

    def __init__(self, module: nn.Module, in_spec: pytree.TreeSpec | None = None) -> None:
        super().__init__()
        self.module = module
        self._in_spec = in_spec

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        if self._in_spec is None:
            result = self.module(*tensors)
        else:
            positional, named = pytree.tree_unflatten(list(tensors), self._in_spec)
            result = self.module(*positional, **named)
        return tuple(pytree.tree_leaves(result))


class ProgramFile:
    """A program as torch.export saves it. See user_model.UserModel.

    It is exported once more: as one for these very shapes, which takes and gives tensors one by one.

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
        parameters = sum(one.numel() for one in tensors if one.is_floating_point())
        return Facts(parameters, count_flops(module, arrays), precision)

    def write(self, out: Path) -> None:
        torch.export.save(self._program, out / "model.pt2")


def load_program(file: Path) -> torch.export.ExportedProgram:
    """A program of torch.export, read as data.

    torch.export.load restores pickled weights, constants and sample inputs by running what the pickle
    says, and loads compiled code. Here only tensors and plain values are restored.

    Raises:
        RecipeError: the file holds something else.
    """

    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise RecipeError(
            f"{file.name} holds objects that only code in it could restore: {_RESAVE}"
        )

    # Names that a newer torch no longer has make this fail, and not pass.
    with (
        mock.patch.dict(os.environ, TORCH_FORCE_WEIGHTS_ONLY_LOAD="1"),
        mock.patch.object(_package, "_load_aoti", refuse),
        mock.patch.object(_package.pickle, "loads", refuse),
        mock.patch.object(torch._C, "_pickle_load_obj", refuse),
    ):
        try:
            return torch.export.load(file)
        except pickle.UnpicklingError as error:
            raise RecipeError(
                f"{file.name} holds pickled objects that are no tensors: {_RESAVE}"
            ) from error


class ScriptFile:
    """TorchScript. Loading and running it runs the code in it. See user_model.UserModel.

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
        """Run once: TorchScript does not tell how many tensors it gives."""
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
        parameters = sum(one.numel() for one in self._module.parameters())
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


def run_module(module: nn.Module, arrays: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
    """A module's outputs, as arrays."""
    with torch.no_grad():
        results = module(*map(torch.from_numpy, arrays))
    return [tensor.detach().contiguous().numpy() for tensor in pytree.tree_leaves(results)]


def to_program(module: nn.Module, arrays: Sequence[NDArray[Any]]) -> torch.export.ExportedProgram:
    """A module that torch.export cannot look into, as a program for inputs of these shapes.

    It is run once and its operators are recorded, as they are called and not in their parts. What
    depends on a tensor's values cannot be recorded: torch raises then.
    """
    example = tuple(map(torch.from_numpy, arrays))
    with torch.no_grad():
        recorded = make_fx(Flat(module), _AS_CALLED, tracing_mode="real", pre_dispatch=True)(
            *example
        )
        return torch.export.export(recorded, example)


def _convolution(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    transposed: bool,
    output_padding: list[int],
    groups: int,
    *_settings: bool,
) -> torch.Tensor:
    """What a trace calls a convolution, by the name that converters know."""
    dimensions = weight.dim() - 2
    if transposed:
        transpose = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[dimensions - 1]
        return transpose(x, weight, bias, stride, padding, output_padding, groups, dilation)
    plain = (F.conv1d, F.conv2d, F.conv3d)[dimensions - 1]
    return plain(x, weight, bias, stride, padding, dilation, groups)


_AS_CALLED = {torch.ops.aten._convolution.default: _convolution}


def count_flops(module: nn.Module, arrays: Sequence[NDArray[Any]]) -> int | None:
    """Floating-point operations of one run, a multiply-add being two; None where none is counted."""
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        module(*map(torch.from_numpy, arrays))
    return counter.get_total_flops() or None


def _precision(tensors: Any) -> str:
    return "fp16" if any(one.dtype in _HALF for one in tensors if one.dim() > 1) else "fp32"


def _type(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
