"""What comparing outputs came to. Pure, and without numpy: planning imports it, at every start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..tolerances import Tolerance


@dataclass(frozen=True)
class Comparison:
    """How far the outputs are from the reference; the worst over all outputs.

    `max_relative_error` is max_abs_error over the reference's largest magnitude; `top1_match` is
    None for tasks without classes. `problem` says why nothing could be compared.
    """

    cosine: float | None = None
    max_abs_error: float | None = None
    max_relative_error: float | None = None
    top1_match: bool | None = None
    problem: str | None = None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def violation(self, tolerance: Tolerance) -> str | None:
        """Why this is outside the tolerance, or None."""
        if self.problem:
            return self.problem
        assert self.cosine is not None and self.max_relative_error is not None
        if self.cosine < tolerance.min_cosine:
            return f"cosine {self.cosine:.5f} is below {tolerance.min_cosine}"
        if self.max_relative_error > tolerance.max_relative_error:
            return (
                f"largest error {self.max_relative_error:.3g} of the reference's magnitude "
                f"is above {tolerance.max_relative_error}"
            )
        if tolerance.top1 and self.top1_match is False:
            return "the top-1 class differs from the reference's"
        return None


def worst(comparisons: Sequence[Comparison]) -> Comparison:
    """The worst value of each kind, of comparisons without a problem."""
    cosines = [comparison.cosine for comparison in comparisons if comparison.cosine is not None]
    matches = [match for comparison in comparisons if (match := comparison.top1_match) is not None]
    return Comparison(
        cosine=min(cosines, default=None),
        max_abs_error=max(
            (comparison.max_abs_error or 0.0 for comparison in comparisons), default=None
        ),
        max_relative_error=max(
            (comparison.max_relative_error or 0.0 for comparison in comparisons), default=None
        ),
        top1_match=all(matches) if matches else None,
    )


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
