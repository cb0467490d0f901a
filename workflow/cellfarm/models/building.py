"""Build a model from its recipe: the program, its inputs, PyTorch's answer, and the facts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from architectures import Network, build_network
from calibration import (
    CALIBRATION_BATCH_SIZE,
    CALIBRATION_BATCHES,
    calibrate_batch_norm,
    check_outputs,
    normalise_layers,
)
from drawing import draw_inputs
from protocol import RecipeError, Unsupported, shorten
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

_FIELDS = ("source", "architecture", "weights", "inputs", "outputs")
_OTHER_INPUTS = 1  # the stream of inputs that the output must differ for
_CALIBRATION = 2  # the first stream of calibration inputs


def build(recipe: Mapping[str, Any], out: Path) -> None:
    """Write ``model.pt2``, ``inputs.npz``, ``reference.npz`` and ``model.json`` into ``out``.

    Raises:
        RecipeError: the recipe describes no model that can be built.
        Unsupported: torch.export refuses the model.
    """
    seed = _check_recipe(recipe)
    torch.manual_seed(seed)
    network = build_network(recipe).eval()
    inputs = _tensors(recipe, seed)
    outputs = _run(network, recipe, inputs)  # a shape that does not fit must fail here, and clearly
    calibration = (
        list(_tensors(recipe, seed, _CALIBRATION + i, CALIBRATION_BATCH_SIZE).values())
        for i in range(CALIBRATION_BATCHES)
    )
    if not calibrate_batch_norm(network, calibration):
        batch = _tensors(recipe, seed, _CALIBRATION, CALIBRATION_BATCH_SIZE)
        normalise_layers(network, list(batch.values()))
    outputs = _run(network, recipe, inputs)
    other = _tensors(recipe, seed, _OTHER_INPUTS)
    output_std = check_outputs(outputs, lambda: _run(network, recipe, other))

    torch.export.save(_export(network, inputs), out / "model.pt2")
    np.savez(out / "inputs.npz", **{name: t.numpy() for name, t in inputs.items()})
    np.savez(out / "reference.npz", **{name: t.numpy() for name, t in outputs.items()})
    facts = {
        "inputs": _describe(inputs),
        "outputs": _describe(outputs),
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "flops": _count_flops(network, inputs),
        "torch": torch.__version__.partition("+")[0],
        "output_std": output_std,
    }
    (out / "model.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def _check_recipe(recipe: Mapping[str, Any]) -> int:
    for field in _FIELDS:
        if not recipe.get(field):
            raise RecipeError(f"the recipe has no {field!r}")
    weights = recipe["weights"]
    if weights.get("kind") != "random":
        raise RecipeError(f"unknown kind of weights {weights.get('kind')!r}; known: random")
    seed = weights.get("seed")
    if not isinstance(seed, int) or seed < 0:
        raise RecipeError(f"weights: the seed must be an integer from 0, not {seed!r}")
    return seed


def _tensors(
    recipe: Mapping[str, Any], seed: int, stream: int = 0, batch: int = 1
) -> dict[str, Tensor]:
    arrays = draw_inputs(recipe["inputs"], seed, stream=stream, batch=batch)
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def _run(
    network: Network, recipe: Mapping[str, Any], inputs: dict[str, Tensor]
) -> dict[str, Tensor]:
    try:
        with torch.no_grad():
            results = network(*inputs.values())
    except RecipeError:
        raise
    except Exception as error:
        shapes = ", ".join(f"{name} {list(t.shape)}" for name, t in inputs.items())
        message = f"{recipe['architecture']} does not run on {shapes}: {shorten(error)}"
        raise RecipeError(message) from error
    return {
        name: result.detach().contiguous()
        for name, result in zip(recipe["outputs"], results, strict=True)
    }


def _export(network: Network, inputs: dict[str, Tensor]) -> torch.export.ExportedProgram:
    try:
        with torch.no_grad():
            return torch.export.export(network, tuple(inputs.values()))
    except Exception as error:
        raise Unsupported(f"torch.export: {shorten(error)}") from error


def _count_flops(network: Network, inputs: dict[str, Tensor]) -> int | None:
    """Floating-point operations of one run, a multiply-add being two; None where none is counted.

    Attention is counted by its matrix products: the fused CPU kernel has no formula.
    """
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        network(*inputs.values())
    return counter.get_total_flops() or None


def _describe(tensors: dict[str, Tensor]) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "shape": list(tensor.shape),
            "dtype": str(tensor.dtype).removeprefix("torch."),
        }
        for name, tensor in tensors.items()
    ]
