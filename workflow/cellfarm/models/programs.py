"""Programs of torch.export: how they are read, run, recorded and counted."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn
from unittest import mock

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

_RESAVE = "save it by torch.export.save with tensors only"


class Flat(nn.Module):
    """A module that takes tensors and returns a tuple of tensors.

    Args:
        in_spec: how the tensors make up positional and keyword arguments; None if each tensor is an
            argument.
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


def load_program(file: Path) -> torch.export.ExportedProgram:
    """A program of torch.export, read as data.

    torch.export.load runs the pickles of weights, constants and sample inputs, and loads compiled code.
    Here only tensors and plain values are restored.

    Raises:
        RecipeError: the file holds other objects.
    """

    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise RecipeError(
            f"{file.name} holds objects that only code in it could restore: {_RESAVE}"
        )

    # If a newer torch lacks one of these names, this fails, and does not load.
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


def run_module(module: nn.Module, arrays: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
    """A module's outputs, as arrays."""
    with torch.no_grad():
        results = module(*map(torch.from_numpy, arrays))
    return [tensor.detach().contiguous().numpy() for tensor in pytree.tree_leaves(results)]


def export_module(
    module: nn.Module, arrays: Sequence[NDArray[Any]]
) -> torch.export.ExportedProgram:
    """A module as a program for inputs of these shapes.

    Raises:
        Unsupported: torch.export refuses it.
    """
    try:
        with torch.no_grad():
            return torch.export.export(module, tuple(map(torch.from_numpy, arrays)))
    except Exception as error:
        raise Unsupported(f"torch.export: {shorten(error)}") from error


def save_and_run(
    program: torch.export.ExportedProgram, out: Path
) -> Callable[[Sequence[NDArray[Any]]], list[NDArray[Any]]]:
    """Write ``model.pt2`` into the folder `out`; returns what runs it."""
    torch.export.save(program, out / "model.pt2")
    module = program.module()
    return lambda arrays: run_module(module, arrays)


def to_program(module: nn.Module, arrays: Sequence[NDArray[Any]]) -> torch.export.ExportedProgram:
    """A module that torch.export cannot read, as a program for inputs of these shapes.

    It is run once, and its operators are recorded without decomposing them. If it depends on a
    tensor's values, torch raises.
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
    """A trace's convolution, as the operator that converters know."""
    dimensions = weight.dim() - 2
    if transposed:
        transpose = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[dimensions - 1]
        return transpose(x, weight, bias, stride, padding, output_padding, groups, dilation)
    plain = (F.conv1d, F.conv2d, F.conv3d)[dimensions - 1]
    return plain(x, weight, bias, stride, padding, dilation, groups)


_AS_CALLED = {torch.ops.aten._convolution.default: _convolution}


def count_flops(module: nn.Module, arrays: Sequence[NDArray[Any]]) -> int | None:
    """Floating-point operations of a run; a multiply-add counts as two. None if none is counted.

    Attention is counted by its matrix products: the fused CPU kernel has no formula.
    """
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        module(*map(torch.from_numpy, arrays))
    return counter.get_total_flops() or None
