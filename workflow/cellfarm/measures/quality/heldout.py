"""How far a variant's outputs are from FP32 on inputs that no converter has seen. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..tolerances import Tolerance
from .verification import compare

#: Recorded for outputs that equal the reference bit by bit, as JSON has no infinity.
MAX_SQNR_DB = 300.0


@dataclass(frozen=True)
class Quality:
    """The outputs of the held-out samples against the reference; the worst over all outputs.

    Args:
        cosine: of the outputs of all samples, flattened.
        sqnr_db: signal to quantisation noise: 10 log10 of the reference's energy over that of the
            difference, over all samples.
        top1_agreement: share of the samples with the same top-1 class; None for tasks without classes.
        problem: why nothing could be compared.
    """

    samples: int = 0
    cosine: float | None = None
    sqnr_db: float | None = None
    top1_agreement: float | None = None
    problem: str | None = None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def violation(self, tolerance: Tolerance) -> str | None:
        """Why this is outside the tolerance of the variant, or None."""
        if self.problem:
            return f"held-out inputs: {self.problem}"
        assert self.cosine is not None and self.sqnr_db is not None
        if self.cosine < tolerance.min_cosine:
            return f"held-out inputs: cosine {self.cosine:.5f} is below {tolerance.min_cosine}"
        min_db = tolerance.min_sqnr_db
        if min_db is not None and self.sqnr_db < min_db:
            return f"held-out inputs: SQNR {self.sqnr_db:.1f} dB is below {min_db:g} dB"
        min_share = tolerance.min_top1_agreement
        agreement = self.top1_agreement
        if min_share is not None and agreement is not None and agreement < min_share:
            share = f"{agreement:.0%} of {self.samples}"
            return (
                f"held-out inputs: the top-1 class is the same for {share}, below {min_share:.0%}"
            )
        return None


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
