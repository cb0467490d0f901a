"""Build a model from its recipe: the program, its inputs, PyTorch's answer, and the facts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from architectures import Network, build_network, deploy, write_original
from calibration import (
    CALIBRATION_BATCH_SIZE,
    CALIBRATION_BATCHES,
    balance_classes,
    calibrate_batch_norm,
    check_outputs,
    normalise_layers,
)
from drawing import CALIBRATION, HELD_OUT, OTHER_INPUTS, STATISTICS, draw_inputs, draw_samples
from numpy.typing import NDArray
from protocol import RecipeError, Unsupported, shorten
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from weights import load_weights

_FIELDS = ("task", "source", "architecture", "weights", "inputs", "outputs")

Arrays = dict[str, NDArray[Any]]


def build(
    recipe: Mapping[str, Any], out: Path, weights: Path | None = None
) -> Callable[[NDArray[Any]], Arrays]:
    """Write the model into the folder ``out``.

    ``model.pt2`` is the program, ``inputs.npz`` and ``reference.npz`` the inputs of record and
    PyTorch's outputs for them, ``calibration.npz`` and ``heldout.npz`` [samples, *shape] other
    inputs for each input, ``heldout_reference.npz`` the outputs for the latter, ``model.json`` the
    facts. A source may leave the model in its own format too.

    Args:
        weights: the file of trained weights; None for random ones.

    Returns:
        PyTorch's outputs for an array that takes the place of the only input.

    Raises:
        RecipeError: the recipe describes no model that can be built.
        Unsupported: torch.export refuses the model.
    """
    seed = _check_recipe(recipe)
    # Models are built side by side: a thread that waits for a busy core costs more than it gives.
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    network = build_network(recipe).eval()
    inputs = _tensors(recipe, seed)
    _run(network, recipe, inputs)  # a shape that does not fit must fail here, and clearly
    if weights is not None:
        load_weights(network.trained, weights, recipe["weights"])
    else:
        _settle(network, recipe, seed)
    deploy(network, recipe["source"])
    outputs = _run(network, recipe, inputs)
    other = _tensors(recipe, seed, OTHER_INPUTS)
    output_std = check_outputs(
        outputs, lambda: _run(network, recipe, other), trained=weights is not None
    )

    torch.export.save(_export(network, inputs), out / "model.pt2")
    write_original(network, out)
    held_out = draw_samples(recipe["inputs"], seed, HELD_OUT)
    np.savez(out / "inputs.npz", **_arrays(inputs))
    np.savez(out / "reference.npz", **_arrays(outputs))
    np.savez(out / "calibration.npz", **draw_samples(recipe["inputs"], seed, CALIBRATION))
    np.savez(out / "heldout.npz", **held_out)
    np.savez(out / "heldout_reference.npz", **_answer(network, recipe, held_out))
    facts = {
        "task": recipe["task"],
        "inputs": _describe(inputs),
        "outputs": _describe(outputs),
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "flops": _count_flops(network, inputs),
        "torch": torch.__version__.partition("+")[0],
        "output_std": output_std,
    }
    (out / "model.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")

    def predict(array: NDArray[Any]) -> Arrays:
        return _arrays(_run(network, recipe, {next(iter(inputs)): torch.from_numpy(array)}))

    return predict


def _settle(network: Network, recipe: Mapping[str, Any], seed: int) -> None:
    """Give random weights the statistics of trained ones."""

    def batches() -> Iterator[list[Tensor]]:
        for number in range(CALIBRATION_BATCHES):
            drawn = _tensors(recipe, seed, STATISTICS + number, CALIBRATION_BATCH_SIZE)
            yield list(drawn.values())

    if not calibrate_batch_norm(network, batches):
        normalise_layers(network, next(batches()))
    if recipe["task"] == "classification":
        balance_classes(network, batches())


def _answer(network: Network, recipe: Mapping[str, Any], samples: Arrays) -> Arrays:
    """The network's outputs for samples, one by one: [samples, *shape] for each output."""
    answers = []
    for sample in zip(*samples.values(), strict=True):
        tensors = dict(zip(samples, map(torch.from_numpy, sample), strict=True))
        answers.append(_arrays(_run(network, recipe, tensors)))
    return {name: np.stack([one[name] for one in answers]) for name in answers[0]}


def _check_recipe(recipe: Mapping[str, Any]) -> int:
    for field in _FIELDS:
        if not recipe.get(field):
            raise RecipeError(f"the recipe has no {field!r}")
    weights = recipe["weights"]
    if weights.get("kind") not in ("random", "pretrained"):
        raise RecipeError(
            f"unknown kind of weights {weights.get('kind')!r}; known: random, pretrained"
        )
    # Trained weights leave only the inputs to chance.
    seed = weights.get("seed", 0 if weights["kind"] == "pretrained" else None)
    if not isinstance(seed, int) or seed < 0:
        raise RecipeError(f"weights: the seed must be an integer from 0, not {seed!r}")
    return seed


def _tensors(
    recipe: Mapping[str, Any], seed: int, stream: int = 0, batch: int = 1
) -> dict[str, Tensor]:
    arrays = draw_inputs(recipe["inputs"], seed, stream=stream, batch=batch)
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def _arrays(tensors: dict[str, Tensor]) -> Arrays:
    return {name: tensor.numpy() for name, tensor in tensors.items()}


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
