"""Take over a user's own file: settle its shapes, draw its inputs, run it with its own runtime."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from drawing import CALIBRATION, HELD_OUT, OTHER_INPUTS, draw_inputs, draw_samples
from numpy.typing import NDArray
from protocol import RecipeError, shorten
from user_model import UserModel, complete

Arrays = dict[str, NDArray[Any]]


def build(recipe: Mapping[str, Any], file: Path, out: Path) -> Callable[[NDArray[Any]], Arrays]:
    """Write the file under its format's name, ``model.json``, ``inputs.npz``, ``reference.npz``,
    ``calibration.npz``, ``heldout.npz`` and ``heldout_reference.npz`` into ``out``.

    Args:
        recipe: ``inputs`` (of each ``name``, and what of ``shape``, ``dtype``, ``content`` and
            ``below`` the file does not tell or should be other than it would be), ``task``.

    Returns:
        The file's outputs for an array that takes the place of the only input.

    Raises:
        RecipeError: the file cannot be read or run, or its outputs verify nothing.
    """
    model = open_file(file)
    specs = complete(recipe.get("inputs") or [], model.inputs)
    model.fix(specs)
    names = _output_names(recipe, model)
    inputs = draw_inputs(specs, 0)
    outputs = run(model, specs, names, inputs)
    _check(outputs, run(model, specs, names, draw_inputs(specs, 0, stream=OTHER_INPUTS)))
    held_out = draw_samples(specs, 0, HELD_OUT)
    answers = [
        run(model, specs, names, dict(zip(held_out, sample, strict=True)))
        for sample in zip(*held_out.values(), strict=True)
    ]

    model.write(out)
    np.savez(out / "inputs.npz", **inputs)
    np.savez(out / "reference.npz", **outputs)
    np.savez(out / "calibration.npz", **draw_samples(specs, 0, CALIBRATION))
    np.savez(out / "heldout.npz", **held_out)
    np.savez(out / "heldout_reference.npz", **_stacked(answers))
    facts = model.facts(list(inputs.values()))
    description = {
        "inputs": _describe(inputs),
        "outputs": _describe(outputs),
        "parameters": facts.parameters,
        "flops": facts.flops,
        "task": recipe.get("task", "encoding"),
        "precision": facts.precision,
        **facts.more,
    }
    (out / "model.json").write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
    return lambda array: run(model, specs, names, {next(iter(inputs)): array})


def describe(file: Path, out: Path) -> None:
    """Write ``description.json``: what the file tells of its inputs.

    {"inputs": [{"name", "shape" (null: not told; a null size is free), "dtype" (null: not told)}]}

    Raises:
        RecipeError: the file cannot be read.
    """
    inputs = [
        {"name": one.name, "shape": one.shape, "dtype": one.dtype} for one in open_file(file).inputs
    ]
    text = json.dumps({"inputs": inputs}, indent=2)
    (out / "description.json").write_text(text + "\n", encoding="utf-8")


def open_file(file: Path) -> UserModel:
    """The file, by its suffix. TorchScript holds code: open only files that you trust.

    Raises:
        RecipeError: an unknown suffix, or content that is not what the suffix says.
    """
    suffix = file.suffix.lower()
    try:
        if suffix == ".onnx":
            from user_onnx import OnnxFile

            return OnnxFile(file)
        if suffix == ".tflite":
            from user_tflite import TfliteFile

            return TfliteFile(file)
        if suffix == ".pt2":
            from user_torch import ProgramFile

            return ProgramFile(file)
        if suffix in (".pt", ".pth", ".ts"):
            from user_torch import ScriptFile

            return ScriptFile(file)
    except RecipeError:
        raise
    except Exception as error:  # every parser has errors of its own
        raise RecipeError(f"{file.name} cannot be read: {shorten(error)}") from error
    raise RecipeError(f"{file.name} is of no known format")


def run(
    model: UserModel, specs: Sequence[Mapping[str, Any]], names: Sequence[str], inputs: Arrays
) -> Arrays:
    """The model's outputs by name.

    Raises:
        RecipeError: it does not run on these inputs.
    """
    try:
        results = model.run(list(inputs.values()))
    except Exception as error:
        shapes = ", ".join(f"{spec['name']} {spec['shape']} {spec['dtype']}" for spec in specs)
        raise RecipeError(f"the file does not run on {shapes}: {shorten(error)}") from error
    return dict(zip(names, results, strict=True))


def _output_names(recipe: Mapping[str, Any], model: UserModel) -> list[str]:
    names = list(model.outputs())
    given = recipe.get("outputs")
    if given and list(given) != names:
        raise RecipeError(f"the file's outputs are {', '.join(names)}, not {', '.join(given)}")
    return names


def _check(outputs: Arrays, others: Arrays) -> None:
    """Refuse outputs against which nothing can be verified."""
    for name, array in outputs.items():
        if array.dtype.kind not in "biuf":
            raise RecipeError(f"output {name!r} is of type {array.dtype}, which is no number")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise RecipeError(f"output {name!r} has values that are not finite")
    same = all(
        array.shape == others[name].shape and np.array_equal(array, others[name])
        for name, array in outputs.items()
    )
    if same:
        raise RecipeError(
            "the output does not depend on the input as it is drawn: say in `content` (and `below`) "
            "what the inputs hold"
        )


def _stacked(samples: Sequence[Arrays]) -> Arrays:
    """[samples, *shape] for each name.

    Raises:
        RecipeError: an output's shape depends on the values of the input.
    """
    for name in samples[0]:
        if len({sample[name].shape for sample in samples}) > 1:
            raise RecipeError(f"the shape of output {name!r} depends on the input's values")
    return {name: np.stack([sample[name] for sample in samples]) for name in samples[0]}


def _describe(arrays: Arrays) -> list[dict[str, Any]]:
    return [
        {"name": name, "shape": list(array.shape), "dtype": str(array.dtype)}
        for name, array in arrays.items()
    ]
