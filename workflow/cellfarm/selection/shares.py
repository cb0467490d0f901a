"""The shares of a typical library's time that a model spends on each kind of work. Pure.

Latency is modelled as the sum of amounts of work, each times its cost, times a factor of the device and its
threads (a linear cost model of operators; Zhang et al., nn-Meter, MobiSys 2021, has finer ones). A library
that is better at a kind of work gains in proportion to this kind's share of the time.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

#: Rounds of least squares, alternately over costs and factors.
_ROUNDS = 30


class TypicalCosts:
    """The cost of each kind of work, learned from latencies of a typical library."""

    def __init__(
        self, work: np.ndarray, latencies_ms: np.ndarray, places: Sequence[Hashable]
    ) -> None:
        """
        Args:
            work: amounts [examples, kinds], 0 or more.
            latencies_ms: [examples].
            places: each example's device and threads, which share a factor.
        """
        from scipy.optimize import nnls

        # Relative errors count, and all kinds have the same scale.
        most = work.max(axis=0)
        self._scale = np.where(most > 0, most, 1.0)
        relative = work / self._scale / latencies_ms[:, None]
        members = [[other == place for other in places] for place in dict.fromkeys(places)]
        factors = np.ones(len(latencies_ms))
        for _ in range(_ROUNDS if len(members) > 1 else 1):
            self._costs, _ = nnls(relative * factors[:, None], np.ones(len(factors)))
            predicted = relative @ self._costs
            for group in members:
                factors[group] = predicted[group].sum() / ((predicted[group] ** 2).sum() or 1.0)

    def shares(self, work: np.ndarray) -> np.ndarray:
        """Shares of time [examples, kinds] from amounts [examples, kinds]; all 0 where nothing costs."""
        times = work / self._scale * self._costs
        sums = times.sum(axis=1, keepdims=True)
        shares: np.ndarray = np.divide(times, sums, out=np.zeros_like(times), where=sums > 0)
        return shares
