"""On what a model spends its time, as a typical library would: the shares by kind of work. Pure.

Latency is taken for the sum of amounts of work, each times a cost of its own, times a factor of the device
and its threads (linear cost models of operators; Zhang et al., nn-Meter, MobiSys 2021, has finer ones). What
a library is better at than others, it is better at in proportion to the share of time that this takes.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

#: Rounds of least squares, in turn over costs and factors.
_ROUNDS = 30


class TypicalCosts:
    """What each kind of work costs, learned from latencies of a typical library."""

    def __init__(
        self, work: np.ndarray, latencies_ms: np.ndarray, places: Sequence[Hashable]
    ) -> None:
        """
        Args:
            work: amounts [examples, kinds], 0 or more.
            latencies_ms: [examples].
            places: of each example the device and its threads, which share a factor.
        """
        from scipy.optimize import nnls

        # Relative errors count, and kinds of which there is much as those of which there is little.
        most = work.max(axis=0)
        self._scale = np.where(most > 0, most, 1.0)
        relative = work / self._scale / latencies_ms[:, None]
        index = {place: [n for n, one in enumerate(places) if one == place] for place in places}
        factors = np.ones(len(latencies_ms))
        for _ in range(_ROUNDS if len(index) > 1 else 1):
            self._costs, _ = nnls(relative * factors[:, None], np.ones(len(factors)))
            told = relative @ self._costs
            for members in index.values():
                factors[members] = told[members].sum() / ((told[members] ** 2).sum() or 1.0)

    def shares(self, work: np.ndarray) -> np.ndarray:
        """Of amounts [examples, kinds] the shares of time [examples, kinds]; all 0 where nothing costs."""
        times = work / self._scale * self._costs
        sums = times.sum(axis=1, keepdims=True)
        shares: np.ndarray = np.divide(times, sums, out=np.zeros_like(times), where=sums > 0)
        return shares
