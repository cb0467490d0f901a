"""The files in the folder of a model, whether it is built, taken over from a user, or derived."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from protocol import RecipeError

Arrays = dict[str, NDArray[Any]]
#: From a model's inputs to its outputs, by name and in order.
Run = Callable[[Arrays], Arrays]


def write_samples(
    out: Path, run: Run, inputs: Arrays, outputs: Arrays, calibration: Arrays, held_out: Arrays
) -> None:
    """Write the model's inputs and the outputs of its own runtime.

    Args:
        inputs, outputs: those of record: ``inputs.npz`` and ``reference.npz``.
        calibration: ``calibration.npz``, [samples, *shape] for each input.
        held_out: the same for ``heldout.npz``; the outputs are in ``heldout_reference.npz``.
    """
    np.savez(out / "inputs.npz", **inputs)
    np.savez(out / "reference.npz", **outputs)
    np.savez(out / "calibration.npz", **calibration)
    np.savez(out / "heldout.npz", **held_out)
    np.savez(out / "heldout_reference.npz", **run_samples(run, held_out))


def run_samples(run: Run, samples: Arrays) -> Arrays:
    """The outputs for samples, run one by one: [samples, *shape] for each output.

    Raises:
        RecipeError: an output's shape depends on the values of the input.
    """
    results = [
        run(dict(zip(samples, sample, strict=True)))
        for sample in zip(*samples.values(), strict=True)
    ]
    for name in results[0]:
        if len({outputs[name].shape for outputs in results}) > 1:
            raise RecipeError(f"the shape of output {name!r} depends on the input's values")
    return {name: np.stack([outputs[name] for outputs in results]) for name in results[0]}


def read_samples(file: Path) -> Arrays:
    """The arrays of an .npz file."""
    with np.load(file) as stored:
        return dict(stored)


def write_facts(out: Path, inputs: Arrays, outputs: Arrays, facts: Mapping[str, Any]) -> None:
    """Write ``model.json``: the inputs and outputs with their shapes and types, and the facts."""
    described = {"inputs": _describe(inputs), "outputs": _describe(outputs), **facts}
    (out / "model.json").write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")


def read_facts(model: Path) -> dict[str, Any]:
    """``model.json``."""
    facts: dict[str, Any] = json.loads((model / "model.json").read_text(encoding="utf-8"))
    return facts


def ordered(arrays: Arrays, specs: Sequence[Mapping[str, Any]]) -> list[NDArray[Any]]:
    """Arrays in the order of the inputs or outputs in ``model.json``."""
    return [arrays[spec["name"]] for spec in specs]


def _describe(arrays: Arrays) -> list[dict[str, Any]]:
    return [
        {"name": name, "shape": list(array.shape), "dtype": str(array.dtype)}
        for name, array in arrays.items()
    ]
