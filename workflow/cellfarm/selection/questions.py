"""Questions and their answers."""

from __future__ import annotations

from dataclasses import dataclass

from ..analysis.ranking import Row
from .evaluation import Score

#: The sources of an answer.
MEASURED, PREDICTED, OVERALL = "measured", "predicted", "overall best"


@dataclass(frozen=True)
class Question:
    """Which candidate to take for a model on a device.

    Args:
        variant: None chooses among all variants.
        threads: None takes the largest measured number.
        size_limit_mb: of the artifact, in MB of 10^6 bytes.
        error_limit: of 1 less the cosine with FP32, on held-out inputs where there are any.
        flagged: use flagged results too.
    """

    model: str
    device: str
    variant: str | None = None
    processor: str = "cpu"
    threads: int | None = None
    size_limit_mb: float | None = None
    error_limit: float | None = None
    flagged: bool = False

    def allows(self, size_mb: float | None, error: float | None) -> bool | None:
        """Whether a size and an error are within the limits; None where a limited one is unknown."""
        limits = ((size_mb, self.size_limit_mb), (error, self.error_limit))
        limited = [(value, limit) for value, limit in limits if limit is not None]
        if any(value is not None and value > limit for value, limit in limited):
            return False
        return None if any(value is None for value, _ in limited) else True


@dataclass(frozen=True)
class Choice:
    """A candidate; None is unknown.

    `times_best` is its latency over that of the first choice, measured (`low` and `high` bound its 95 %
    interval) or predicted. `ran` and `tried` count models of the warehouse, for a prediction.
    """

    candidate: str
    library: str
    library_version: str | None
    variant: str
    times_best: float
    low: float | None = None
    high: float | None = None
    latency_ms: float | None = None
    size_mb: float | None = None
    error: float | None = None
    ran: int | None = None
    tried: int | None = None


@dataclass(frozen=True)
class Recommendation:
    """The answer: the choices, the best first, and their source.

    `ties` are the candidates that the measurement cannot distinguish from the first. `regret` is the cost of
    such predictions, found by leaving out; None for a measurement.
    """

    question: Question
    source: str
    threads: int
    choices: tuple[Choice, ...]
    ties: tuple[str, ...] = ()
    regret: Score | None = None
    notes: tuple[str, ...] = ()


def size_mb(row: Row) -> float | None:
    """The artifact's size in MB of 10^6 bytes."""
    size_bytes = row.get("artifact_bytes")
    return None if size_bytes is None else float(size_bytes) / 1e6
