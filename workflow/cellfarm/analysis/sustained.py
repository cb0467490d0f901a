"""Throughput under continuous load: the burst, the level it settles at, and the ratio. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .changepoints import changepoints

#: Least windows for a level.
LEAST_WINDOWS = 4


@dataclass(frozen=True)
class Sustained:
    """Inferences per second: in the first window, and at the level at the end; `settled_after_s`
    is when that level began."""

    burst_per_s: float
    settled_per_s: float
    settled_after_s: float

    @property
    def ratio(self) -> float:
        """The settled throughput as a share of the burst's: 1 is a device that never slows."""
        return self.settled_per_s / self.burst_per_s


def throughput(samples_ms: Sequence[float], window_s: float) -> np.ndarray:
    """Inferences per second in each whole window of back-to-back samples: shape (windows,)."""
    ends_s = np.cumsum(np.asarray(samples_ms, dtype=float)) / 1e3
    if not len(ends_s):
        return np.empty(0)
    windows = int(ends_s[-1] / window_s + 1e-9)
    edges = np.arange(windows + 1) * window_s
    # Fractions of an inference count: with few inferences in a window, whole ones would jump.
    done = np.interp(edges, np.concatenate([[0.0], ends_s]), np.arange(len(ends_s) + 1))
    return np.asarray(np.diff(done) / window_s)


def settle(samples_ms: Sequence[float], window_s: float) -> Sustained | None:
    """Where throughput settles: the last segment of a piecewise-constant fit.

    Changepoints at a penalty of 3 log(n) variances; the variance is taken from differences of
    neighbouring windows, which a step does not widen.

    Returns:
        None for fewer than LEAST_WINDOWS windows.
    """
    rates = throughput(samples_ms, window_s)
    if len(rates) < LEAST_WINDOWS:
        return None
    noise = float(np.median(np.abs(np.diff(rates)))) / 0.6745 / np.sqrt(2)
    # Shifts below half a percent do not count.
    scaled = rates / max(noise, 0.005 * float(np.median(rates)))
    ends = changepoints(scaled, 3 * float(np.log(len(rates))), shortest=2)
    start = ends[-2] if len(ends) > 1 else 0
    return Sustained(float(rates[0]), float(np.mean(rates[start:])), float(start * window_s))
