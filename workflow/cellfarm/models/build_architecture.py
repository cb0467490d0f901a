"""Build a model from its recipe: the program, its inputs, PyTorch's outputs, and the facts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from calibration import (
    CALIBRATION_BATCH_SIZE,
    CALIBRATION_BATCHES,
    balance_classes,
    calibrate_batch_norm,
    check_outputs,
    normalise_layers,
)
from drawing import CALIBRATION, HELD_OUT, OTHER_INPUTS, STATISTICS, draw_inputs, draw_samples
from model_folder import Arrays, Run, write_facts, write_samples
from network import Network
from programs import count_flops, export_module
from protocol import RecipeError, import_named, shorten
from torch import Tensor
from weights import load_weights

_FIELDS = ("task", "source", "architecture", "weights", "inputs", "outputs")


def handle(request: Mapping[str, Any]) -> None:
    """Build a model.

    Args:
        request: ``recipe``; ``out``, the empty folder to fill; ``files``, the paths of the recipe's
            ``weights`` and ``labelled``.
    """
    recipe, out, files = request["recipe"], Path(request["out"]), request.get("files", {})
    run = build(recipe, out, Path(files["weights"]) if "weights" in files else None)
    if "labelled" in files:
        labelled = import_named("labelled", "module 'labelled'")
        labelled.add(out, Path(files["labelled"]), recipe["labelled"], run)


def build(recipe: Mapping[str, Any], out: Path, weights: Path | None = None) -> Run:
    """Write the model into the folder ``out``: the program ``model.pt2`` and the files of
    `model_folder`. A source may also write the model in its format.

    Args:
        weights: the file of trained weights; None for random weights.

    Returns:
        Runs inputs with PyTorch.

    Raises:
        RecipeError: the recipe does not describe a model that can be built.
        Unsupported: torch.export refuses the model.
    """
    seed = _check_recipe(recipe)
    name = recipe["source"]
    source = import_named(f"source_{name}", f"source {name!r}")
    # Models are built side by side: threads that wait for busy cores cost more than they gain.
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    network: Network = source.build(recipe).eval()
    specs = recipe["inputs"]
    inputs = draw_inputs(specs, seed)
    _run(network, recipe, inputs)  # a wrong shape must fail here, with a clear message
    if weights is not None:
        load_weights(network.trained, weights, recipe["weights"])
    else:
        _settle(network, recipe, seed)
    _call(source, "deploy", network)
    outputs = _run(network, recipe, inputs)
    other = draw_inputs(specs, seed, stream=OTHER_INPUTS)
    output_std = check_outputs(
        outputs, lambda: _run(network, recipe, other), trained=weights is not None
    )

    torch.export.save(export_module(network, [*inputs.values()]), out / "model.pt2")
    _call(source, "write_original", network, out)

    def run(arrays: Arrays) -> Arrays:
        return _arrays(_run(network, recipe, arrays))

    calibration = draw_samples(specs, seed, CALIBRATION)
    held_out = draw_samples(specs, seed, HELD_OUT)
    write_samples(out, run, inputs, _arrays(outputs), calibration, held_out)
    facts = {
        "task": recipe["task"],
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "flops": count_flops(network, [*inputs.values()]),
        "torch": torch.__version__.partition("+")[0],
        "output_std": output_std,
    }
    write_facts(out, inputs, _arrays(outputs), facts)
    return run


def _call(source: ModuleType, hook: str, *arguments: object) -> None:
    """Call a hook if the source has it.

    ``deploy(network)`` gives the network its deployed form, once its statistics are settled;
    ``write_original(network, out)`` writes it in the source's format.
    """
    if hasattr(source, hook):
        getattr(source, hook)(*arguments)


def _settle(network: Network, recipe: Mapping[str, Any], seed: int) -> None:
    """Give random weights the statistics of trained ones."""

    def batches() -> Iterator[list[Tensor]]:
        for number in range(CALIBRATION_BATCHES):
            inputs = draw_inputs(
                recipe["inputs"], seed, stream=STATISTICS + number, batch=CALIBRATION_BATCH_SIZE
            )
            yield [*map(torch.from_numpy, inputs.values())]

    if not calibrate_batch_norm(network, batches):
        normalise_layers(network, next(batches()))
    if recipe["task"] == "classification":
        balance_classes(network, batches())


def _check_recipe(recipe: Mapping[str, Any]) -> int:
    for field in _FIELDS:
        if not recipe.get(field):
            raise RecipeError(f"the recipe has no {field!r}")
    weights = recipe["weights"]
    if weights.get("kind") not in ("random", "pretrained"):
        raise RecipeError(
            f"unknown kind of weights {weights.get('kind')!r}; known: random, pretrained"
        )
    # With trained weights, only the inputs are random.
    seed = weights.get("seed", 0 if weights["kind"] == "pretrained" else None)
    if not isinstance(seed, int) or seed < 0:
        raise RecipeError(f"weights: the seed must be an integer from 0, not {seed!r}")
    return seed


def _run(network: Network, recipe: Mapping[str, Any], inputs: Arrays) -> dict[str, Tensor]:
    try:
        with torch.no_grad():
            results = network(*map(torch.from_numpy, inputs.values()))
    except RecipeError:
        raise
    except Exception as error:
        shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in inputs.items())
        message = f"{recipe['architecture']} does not run on {shapes}: {shorten(error)}"
        raise RecipeError(message) from error
    return {
        name: result.detach().contiguous()
        for name, result in zip(recipe["outputs"], results, strict=True)
    }


def _arrays(tensors: dict[str, Tensor]) -> Arrays:
    return {name: tensor.numpy() for name, tensor in tensors.items()}
