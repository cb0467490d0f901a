"""Exports of a user's file, whose outputs are checked against the file's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from model_folder import ordered, read_facts, read_samples
from numpy.typing import NDArray
from protocol import Unsupported

#: The opset that onnx2torch knows best, and that tf2onnx writes.
OPSET = 17
#: Held-out samples that an exported model is checked on, beside the inputs of record.
_HELD_OUT = 2
#: The largest error of an exported model, as a share of the largest magnitude.
MAX_RELATIVE_ERROR = 1e-3
#: The same for a file in 8 bits, which another runtime rounds differently in every layer. Smaller errors
#: are left to the cell's verification.
MIN_COSINE_INT8 = 0.99

Arrays = list[NDArray[Any]]
Run = Callable[[Arrays], Arrays]
#: (source, facts of the model, inputs, folder to write into) -> a function that runs the result
Export = Callable[[Path, dict[str, Any], Arrays, Path], Run]


def export_checked(request: Mapping[str, Any], what: str, export: Export) -> None:
    """Export a file, and check the result.

    Args:
        request: ``source``, the file that is exported; ``model``, the folder that `build_file` filled;
            ``out``, the empty folder to fill.
        what: the export's name in messages: ``onnx to pt2``.

    Raises:
        Unsupported: the exporter refuses the file, or its result is wrong.
    """
    model = Path(request["model"])
    facts = read_facts(model)
    samples = list(_samples(model, facts))
    run = export(Path(request["source"]), facts, samples[0][0], Path(request["out"]))
    for inputs, reference in samples:
        check(what, run(inputs), reference, facts)


def _samples(model: Path, facts: dict[str, Any]) -> Iterator[tuple[Arrays, Arrays]]:
    """Inputs with the file's outputs: those of record first."""

    def load(file: str, kind: str) -> Arrays:
        return ordered(read_samples(model / file), facts[kind])

    yield load("inputs.npz", "inputs"), load("reference.npz", "outputs")
    inputs, outputs = load("heldout.npz", "inputs"), load("heldout_reference.npz", "outputs")
    for sample in range(_HELD_OUT):
        yield [array[sample] for array in inputs], [array[sample] for array in outputs]


def check(
    what: str, results: Sequence[NDArray[Any]], reference: Arrays, facts: dict[str, Any]
) -> None:
    """Raise Unsupported on results that are not the reference."""
    in_8_bits = facts["precision"] == "int8"
    for result, expected, spec in zip(results, reference, facts["outputs"], strict=True):
        if result.shape != expected.shape:
            raise Unsupported(
                f"{what}: output {spec['name']!r} comes out as {list(result.shape)}, not"
                f" {list(expected.shape)}"
            )
        scale = float(np.abs(expected.astype(np.float64)).max(initial=0.0)) or 1.0
        error = float(np.abs(result.astype(np.float64) - expected).max(initial=0.0)) / scale
        if in_8_bits and _cosine(result, expected) >= MIN_COSINE_INT8:
            continue
        if not error <= MAX_RELATIVE_ERROR:
            raise Unsupported(
                f"{what}: output {spec['name']!r} comes out wrong by {error:.2g} of its magnitude"
            )


def _cosine(first: NDArray[Any], second: NDArray[Any]) -> float:
    a, b = first.astype(np.float64).ravel(), second.astype(np.float64).ravel()
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / norms if norms else float(np.array_equal(a, b))
