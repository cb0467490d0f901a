"""Ways of choosing: from what was measured to a score for every candidate. Nothing is drawn: the same
results give the same scores.

What is learned is the logarithm of a candidate's latency over that of its setting (model, device,
threads, protocol), because only ratios decide. The additive model (logarithm = setting + candidate, by
least squares) takes the setting out, as not every candidate runs everywhere: what was measured on large
models only is no worse for it. The setting's part is the latency of a typical candidate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..analysis.ranking import COMPARISON_COLUMNS
from .comparisons import Comparison
from .features import WORK
from .shares import TypicalCosts

LEARNED, OVERALL_BEST, NEAREST = "predictor", "overall best", "nearest neighbour"

#: Rounds of least squares, in turn over settings and candidates; a few suffice where most are measured.
_ROUNDS = 100

#: Candidate -> logarithm of its latency, less something that all candidates share. Less is faster.
Scores = dict[str, float]
#: Features (see cellfarm.selection.features) -> scores.
Choose = Callable[[Sequence[float]], Scores]


@dataclass(frozen=True)
class Example:
    """A comparison and the features of its setting."""

    comparison: Comparison
    features: Sequence[float]


def overall_best(examples: Sequence[Example]) -> Choose:
    """One order everywhere: by the candidates' part of the additive model."""
    table = _Table(examples)
    return lambda _: table.scores(table.effects)


def nearest(examples: Sequence[Example]) -> Choose:
    """As it was in the setting that spends its time most alike, on the device that is most alike."""
    examples = _in_order(examples)
    table = _Table(examples)
    points = _Points(examples, table)

    def choose(features: Sequence[float]) -> Scores:
        distances = ((points.known - points.of(features)) ** 2).sum(axis=1)
        logs = table.logs[np.argmin(distances)]
        # What was not measured there is as good as it is on average.
        return table.scores(np.where(np.isnan(logs), table.effects, logs))

    return choose


def learned(examples: Sequence[Example]) -> Choose:
    """Bayesian ridge regression of a candidate's answer on the shares of time and the device.

    With 15 models and some 20 features a penalty must decide how far the features are trusted. Its
    strength, of each candidate its own, is the most probable one (MacKay, Neural Computation 4(3), 1992;
    scikit-learn's BayesianRidge), and may be so great that the overall best is left. On invented latencies
    (15 models, five libraries with rates of their own for each kind of operator, 10 % unexplained; four
    draws) the mean regret was 2.2 %, the nearest neighbour's 4.1 %, the overall best's 12.8 %
    (`test_libraries_with_rates_of_their_own_are_learned`).
    """
    from sklearn.linear_model import BayesianRidge

    examples = _in_order(examples)
    table = _Table(examples)
    points = _Points(examples, table)
    fitted = {}
    for number, logs in enumerate(table.logs.T):
        here = ~np.isnan(logs)
        if here.sum() > 1:
            fitted[number] = BayesianRidge().fit(points.known[here], logs[here])

    def choose(features: Sequence[float]) -> Scores:
        point, logs = points.of(features)[None], table.effects.copy()
        for number, ridge in fitted.items():
            logs[number] = ridge.predict(point)[0]
        return table.scores(logs)

    return choose


STRATEGIES: dict[str, Callable[[Sequence[Example]], Choose]] = {
    LEARNED: learned,
    OVERALL_BEST: overall_best,
    NEAREST: nearest,
}


def _in_order(examples: Sequence[Example]) -> list[Example]:
    """One order, whatever the given one: an iteration ends, and a tie is broken, the same way."""

    def place(one: Example) -> tuple[str, ...]:
        return tuple(str(getattr(one.comparison.ranking, name)) for name in COMPARISON_COLUMNS)

    return sorted(examples, key=place)


class _Points:
    """Examples as points: the shares of time, and what tells devices and threads apart, with mean 0 and
    variance 1; what is not known of a device is the mean. `known` are the examples' own [examples, ..]."""

    def __init__(self, examples: Sequence[Example], table: _Table) -> None:
        from sklearn.impute import SimpleImputer
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        features = np.array([one.features for one in examples], dtype=float)
        work, setting = np.split(features, [len(WORK)], axis=1)
        at = [one.comparison.ranking for one in examples]
        places = [(one.device, one.threads) for one in at]
        self._costs = TypicalCosts(work, table.typical_ms, places)
        self._setting = make_pipeline(SimpleImputer(keep_empty_features=True), StandardScaler())
        self._setting.fit(setting)
        self.known = self._placed(features)

    def of(self, features: Sequence[float]) -> np.ndarray:
        point: np.ndarray = self._placed(np.array([features], dtype=float))[0]
        return point

    def _placed(self, features: np.ndarray) -> np.ndarray:
        work, setting = np.split(features, [len(WORK)], axis=1)
        return np.hstack([self._costs.shares(work), self._setting.transform(setting)])


class _Table:
    """Examples as arrays: `logs` [examples, candidates] of a latency over the typical one of its setting,
    NaN where a candidate was not measured; `effects` [candidates], their means in the additive model; and
    `typical_ms` [examples]."""

    def __init__(self, examples: Sequence[Example]) -> None:
        rankings = [one.comparison.ranking for one in examples]
        ratios = [{entry.library: entry.ratio_to_best for entry in one.entries} for one in rankings]
        self.candidates = sorted({name for one in ratios for name in one})
        logs = np.log([[one.get(name, np.nan) for name in self.candidates] for one in ratios])
        settings, self.effects = _additive(logs)
        self.logs = logs - settings[:, None]
        self.typical_ms = np.exp(settings) * [one.best.latency_ms for one in rankings]

    def scores(self, logs: np.ndarray) -> Scores:
        """Of each candidate its value of `logs` [candidates]."""
        return dict(zip(self.candidates, map(float, logs), strict=True))


def _additive(logs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The settings' parts and the candidates', whose mean is 0; NaN is not measured."""
    effects = np.zeros(logs.shape[1])
    for _ in range(_ROUNDS):
        settings = np.nanmean(logs - effects, axis=1)
        effects = np.nanmean(logs - settings[:, None], axis=0)
        effects -= effects.mean()
    return settings, effects
