"""Student's t distribution, for intervals on the logarithmic scale."""

from __future__ import annotations

from functools import lru_cache

CONFIDENCE = 0.95
#: Largest half-width: keeps the bounds of absurd data finite.
_WIDEST = 50.0


@lru_cache(maxsize=1024)
def student_quantile(freedom: float) -> float:
    """The half-width of the 95 % interval with `freedom` degrees, in standard errors."""
    # Half a second, which commands without intervals need not wait.
    from scipy.special import stdtrit

    return float(stdtrit(freedom, (1 + CONFIDENCE) / 2))


def half_width(error: float, freedom: float) -> float:
    """The half-width of the 95 % interval of a logarithm with this standard error."""
    return min(error * student_quantile(freedom), _WIDEST)
