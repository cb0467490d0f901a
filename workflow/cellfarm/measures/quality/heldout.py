"""How far a variant's outputs are from FP32 on inputs that no converter has seen. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..tolerances import Tolerance
from .verification import compare

#: Outputs that equal the reference bit by bit have no noise: recorded as this, as JSON has no infinity.
MOST_SQNR_DB = 300.0


@dataclass(frozen=True)
class Quality:
    """Outputs against the reference over the held-out samples; over several outputs the worst.

    Args:
        cosine: of the outputs of all samples, flattened.
        sqnr_db: signal to quantisation noise: 10 log10 of the reference's energy over that of the
            difference, over all samples.
        top1_agreement: share of the samples with the same top-1 class; None for tasks without.
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
        least_db = tolerance.min_sqnr_db
        if least_db is not None and self.sqnr_db < least_db:
            return f"held-out inputs: SQNR {self.sqnr_db:.1f} dB is below {least_db:g} dB"
        least = tolerance.min_top1_agreement
        if least is not None and self.top1_agreement is not None and self.top1_agreement < least:
            share = f"{self.top1_agreement:.0%} of {self.samples}"
            return f"held-out inputs: the top-1 class is the same for {share}, below {least:.0%}"
        return None


def assess(
    outputs: Mapping[str, np.ndarray], reference: Mapping[str, np.ndarray], classes: bool
) -> Quality:
    """Compare the outputs of held-out samples with the reference's.

    Args:
        outputs: [samples, *shape] for each output; the first samples of the reference's, at least one.
        reference: the same, of all samples.
        classes: whether the last axis is over classes.
    """
    count = min((len(array) for array in outputs.values() if array.ndim), default=0)
    if count == 0:
        return Quality(problem="no output")
    expected = {name: array[:count] for name, array in reference.items()}
    compared = compare(outputs, expected, classes=False)
    if compared.problem:
        return Quality(count, problem=compared.problem)
    agreements = [_agreement(outputs[name], array) for name, array in expected.items() if classes]
    return Quality(
        samples=count,
        cosine=compared.cosine,
        sqnr_db=min(_sqnr_db(outputs[name], array) for name, array in expected.items()),
        top1_agreement=min(agreements, default=None),
    )


def _agreement(got: np.ndarray, wanted: np.ndarray) -> float:
    same = got.argmax(axis=-1) == wanted.argmax(axis=-1)
    return float(same.reshape(len(same), -1).all(axis=1).mean())


def _sqnr_db(got: np.ndarray, wanted: np.ndarray) -> float:
    signal, noisy = wanted.astype(np.float64), got.astype(np.float64)
    scale = max(float(np.abs(signal).max()), float(np.abs(noisy).max()), 1e-300)
    energy = float(np.square(signal / scale).sum())
    noise = float(np.square((noisy - signal) / scale).sum())
    if noise == 0:
        return MOST_SQNR_DB
    if energy == 0:
        return -MOST_SQNR_DB
    return max(-MOST_SQNR_DB, min(MOST_SQNR_DB, 10 * math.log10(energy / noise)))
