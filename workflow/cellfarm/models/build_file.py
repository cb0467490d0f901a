"""Take over a user's file: settle its shapes, draw its inputs, run it with its format's runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from drawing import CALIBRATION, HELD_OUT, OTHER_INPUTS, draw_inputs, draw_samples
from model_folder import Arrays, Run, write_facts, write_samples
from protocol import RecipeError, import_named, shorten
from user_files import open_file
from user_model import UserModel, complete


def handle(request: Mapping[str, Any]) -> None:
    """Take over a file.

    Args:
        request: ``recipe``; ``out``, the empty folder to fill; ``files``, the paths of the recipe's
            ``file`` and ``labelled``.
    """
    recipe, out, files = request["recipe"], Path(request["out"]), request["files"]
    run = build(recipe, Path(files["file"]), out)
    if "labelled" in files:
        labelled = import_named("labelled", "module 'labelled'")
        labelled.add(out, Path(files["labelled"]), recipe["labelled"], run)


def build(recipe: Mapping[str, Any], file: Path, out: Path) -> Run:
    """Write the file under its format's name and the files of `model_folder` into the folder ``out``.

    Args:
        recipe: ``task`` and ``inputs``: the ``name`` of an input, and those of ``shape``, ``dtype``,
            ``content`` and ``below`` that the file lacks or whose defaults do not fit.

    Returns:
        Runs inputs with the file's runtime.

    Raises:
        RecipeError: the file cannot be read or run, or its outputs are useless for verification.
    """
    model = open_file(file)
    specs = complete(recipe.get("inputs") or [], model.inputs)
    model.fix(specs)
    names = _output_names(recipe, model)

    def run(arrays: Arrays) -> Arrays:
        return _run(model, specs, names, arrays)

    inputs = draw_inputs(specs, 0)
    outputs = run(inputs)
    _check(outputs, run(draw_inputs(specs, 0, stream=OTHER_INPUTS)))
    model.write(out)
    calibration, held_out = (draw_samples(specs, 0, first) for first in (CALIBRATION, HELD_OUT))
    write_samples(out, run, inputs, outputs, calibration, held_out)
    facts = model.facts(list(inputs.values()))
    described = {
        "parameters": facts.parameters,
        "flops": facts.flops,
        "task": recipe.get("task", "encoding"),
        "precision": facts.precision,
        **facts.more,
    }
    write_facts(out, inputs, outputs, described)
    return run


def _run(
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
    listed = recipe.get("outputs")
    if listed and list(listed) != names:
        raise RecipeError(f"the file's outputs are {', '.join(names)}, not {', '.join(listed)}")
    return names


def _check(outputs: Arrays, others: Arrays) -> None:
    """Refuse outputs that are useless for verification."""
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
