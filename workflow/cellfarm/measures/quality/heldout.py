"""How far a variant's outputs are from FP32 on inputs that no converter has seen. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from .comparison import Quality
from .verification import compare

#: Recorded for outputs that equal the reference bit by bit, as JSON has no infinity.
MAX_SQNR_DB = 300.0


def assess(
    outputs: Mapping[str, np.ndarray], reference: Mapping[str, np.ndarray], classes: bool
) -> Quality:
    """Compare the outputs of held-out samples with the reference's.

    Args:
        outputs: [samples, *shape] for each output; may hold only the first samples, at least one.
        reference: the same for all samples.
        classes: whether the last axis is over classes.
    """
    count = min((len(array) for array in outputs.values() if array.ndim), default=0)
    if count == 0:
        return Quality(problem="no output")
    expected = {name: array[:count] for name, array in reference.items()}
    comparison = compare(outputs, expected, classes=False)
    if comparison.problem:
        return Quality(count, problem=comparison.problem)
    agreements = [_agreement(outputs[name], array) for name, array in expected.items() if classes]
    return Quality(
        samples=count,
        cosine=comparison.cosine,
        sqnr_db=min(_sqnr_db(outputs[name], array) for name, array in expected.items()),
        top1_agreement=min(agreements, default=None),
    )


def _agreement(output: np.ndarray, reference: np.ndarray) -> float:
    same = output.argmax(axis=-1) == reference.argmax(axis=-1)
    return float(same.reshape(len(same), -1).all(axis=1).mean())


def _sqnr_db(output: np.ndarray, reference: np.ndarray) -> float:
    signal, noisy = reference.astype(np.float64), output.astype(np.float64)
    scale = max(float(np.abs(signal).max()), float(np.abs(noisy).max()), 1e-300)
    energy = float(np.square(signal / scale).sum())
    noise = float(np.square((noisy - signal) / scale).sum())
    if noise == 0:
        return MAX_SQNR_DB
    if energy == 0:
        return -MAX_SQNR_DB
    return max(-MAX_SQNR_DB, min(MAX_SQNR_DB, 10 * math.log10(energy / noise)))
