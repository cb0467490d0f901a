"""Quantiles of distributions."""

from __future__ import annotations

from functools import lru_cache


@lru_cache(maxsize=1024)
def student_quantile(freedom: float, share: float) -> float:
    """Below which Student's t with `freedom` degrees lies with the probability `share`."""
    # Half a second, which commands without intervals need not wait.
    from scipy.special import stdtrit

    return float(stdtrit(freedom, share))
