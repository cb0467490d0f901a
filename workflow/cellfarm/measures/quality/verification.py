"""Verification before speed: does a library's output match the reference within the tolerance?"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Mapping

import numpy as np

from .comparison import Comparison, worst

MAX_OUTPUT_BYTES = 1 << 30
#: Recorded for larger errors: JSON has no infinity.
MAX_ERROR = 1e300
_NUMERIC = frozenset("biuf")


def read_arrays(data: bytes) -> dict[str, np.ndarray]:
    """The arrays of an .npz from a device; nothing in it is trusted.

    Raises:
        ValueError: not an .npz of plain arrays, or too large when unpacked.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > MAX_OUTPUT_BYTES:
                raise ValueError("the outputs are too large")
        with np.load(io.BytesIO(data), allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except Exception as error:  # bytes from a device make zipfile and numpy raise almost anything
        raise ValueError(f"the outputs cannot be read: {error}") from error
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray) or array.dtype.kind not in _NUMERIC:
            raise ValueError(f"the output '{name}' is no array of real numbers")
    return arrays


def compare(
    outputs: Mapping[str, np.ndarray],
    reference: Mapping[str, np.ndarray],
    classes: bool,
    inputs: Mapping[str, np.ndarray] | None = None,
) -> Comparison:
    """Compare outputs with the reference, by name.

    Args:
        classes: whether the last axis is over classes, so that top-1 makes sense.
        inputs: the model's; an output that equals an input was not computed.
    """
    comparisons: list[Comparison] = []
    for name, expected in reference.items():
        if name not in outputs:
            return Comparison(problem=f"the output '{name}' is missing")
        for input_name, array in (inputs or {}).items():
            if _same(outputs[name], array) and not _same(expected, array):
                return Comparison(problem=f"the output '{name}' equals the input '{input_name}'")
        comparison = _compare_output(name, outputs[name], expected, classes)
        if comparison.problem:
            return comparison
        comparisons.append(comparison)
    if not comparisons:
        return Comparison(problem="the reference has no outputs")
    return worst(comparisons)


def _compare_output(
    name: str, actual: np.ndarray, expected: np.ndarray, classes: bool
) -> Comparison:
    if actual.shape != expected.shape:
        return Comparison(
            problem=f"the output '{name}' has shape {list(actual.shape)}, "
            f"the reference {list(expected.shape)}"
        )
    output, reference = actual.astype(np.float64).ravel(), expected.astype(np.float64).ravel()
    if not np.isfinite(output).all():
        return Comparison(problem=f"the output '{name}' has values that are not finite")
    if output.size > 1 and output.min() == output.max() and reference.min() < reference.max():
        return Comparison(problem=f"the output '{name}' is constant")
    cosine = 1.0 if np.array_equal(output, reference) else _cosine(output, reference)
    with np.errstate(over="ignore"):
        error = float(np.abs(output - reference).max(initial=0.0))
    scale = _magnitude(reference)
    relative = error / scale if scale > 0 else (0.0 if error == 0 else math.inf)
    match = None
    if classes:
        match = bool((actual.argmax(axis=-1) == expected.argmax(axis=-1)).all())
    return Comparison(cosine, min(error, MAX_ERROR), min(relative, MAX_ERROR), match)


def _same(array: np.ndarray, other: np.ndarray) -> bool:
    return array.size == other.size and np.array_equal(array.ravel(), other.ravel())


def _cosine(first: np.ndarray, second: np.ndarray) -> float:
    """The cosine of the angle between two vectors; 0 if either is zero."""
    if _magnitude(first) == 0 or _magnitude(second) == 0:
        return 0.0
    # Scaled to 1 first: the squares of absurd values would overflow to infinity / infinity.
    first, second = first / _magnitude(first), second / _magnitude(second)
    cosine = float(first @ second) / float(np.linalg.norm(first) * np.linalg.norm(second))
    return max(-1.0, min(1.0, cosine))


def _magnitude(array: np.ndarray) -> float:
    return float(np.abs(array).max(initial=0.0))
