"""Strategies that score every candidate from measurements. The same results give the same scores.

The target is the logarithm of a candidate's latency over that of its setting (model, device, threads,
protocol), because only ratios decide. An additive model (logarithm = setting + candidate, by least squares)
removes the setting, as not every candidate runs everywhere: a candidate measured on large models only is
not penalised. The setting's part is the latency of a typical candidate.
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

#: Rounds of least squares, alternately over settings and candidates; a few suffice with most measured.
_ROUNDS = 100

#: Candidate -> logarithm of its latency, less an offset that all candidates share. Less is faster.
Scores = dict[str, float]
#: Features (see cellfarm.selection.features) -> scores.
Choose = Callable[[Sequence[float]], Scores]


@dataclass(frozen=True)
class Example:
    """A comparison and the features of its setting."""

    comparison: Comparison
    features: Sequence[float]


def overall_best(examples: Sequence[Example]) -> Choose:
    """The same order everywhere: by the candidates' part of the additive model."""
    table = _Table(examples)
    return lambda _: table.scores(table.effects)


def nearest(examples: Sequence[Example]) -> Choose:
    """As in the setting with the most similar shares of time, on the most similar device."""
    examples = _sorted(examples)
    table = _Table(examples)
    points = _Points(examples, table)

    def choose(features: Sequence[float]) -> Scores:
        distances = ((points.examples - points.point(features)) ** 2).sum(axis=1)
        logs = table.logs[np.argmin(distances)]
        # A candidate that was not measured there is taken as average.
        return table.scores(np.where(np.isnan(logs), table.effects, logs))

    return choose


def learned(examples: Sequence[Example]) -> Choose:
    """Bayesian ridge regression of a candidate's latency on the shares of time and the device.

    With 15 models and some 20 features a penalty must decide how far the features are trusted. Each
    candidate's strength is the most probable one (MacKay, Neural Computation 4(3), 1992; scikit-learn's
    BayesianRidge), which may be so great that only the overall best remains. On synthetic latencies (15
    models, five libraries with different rates for each kind of operator, 10 % unexplained; four draws)
    the mean regret was 2.2 %, the nearest neighbour's 4.1 %, the overall best's 12.8 %
    (`test_libraries_with_rates_of_their_own_are_learned`).
    """
    from sklearn.linear_model import BayesianRidge

    examples = _sorted(examples)
    table = _Table(examples)
    points = _Points(examples, table)
    fitted = {}
    for number, logs in enumerate(table.logs.T):
        measured = ~np.isnan(logs)
        if measured.sum() > 1:
            fitted[number] = BayesianRidge().fit(points.examples[measured], logs[measured])

    def choose(features: Sequence[float]) -> Scores:
        point, logs = points.point(features)[None], table.effects.copy()
        for number, ridge in fitted.items():
            logs[number] = ridge.predict(point)[0]
        return table.scores(logs)

    return choose


STRATEGIES: dict[str, Callable[[Sequence[Example]], Choose]] = {
    LEARNED: learned,
    OVERALL_BEST: overall_best,
    NEAREST: nearest,
}


def _sorted(examples: Sequence[Example]) -> list[Example]:
    """A fixed order, so that iterations end and ties break in the same way."""

    def setting(example: Example) -> tuple[str, ...]:
        return tuple(str(getattr(example.comparison.ranking, name)) for name in COMPARISON_COLUMNS)

    return sorted(examples, key=setting)


class _Points:
    """Points of shares of time and of features of devices and threads, with mean 0 and variance 1; unknown
    features are the mean. `examples` are the points of the examples [examples, ..]."""

    def __init__(self, examples: Sequence[Example], table: _Table) -> None:
        from sklearn.impute import SimpleImputer
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        features = np.array([example.features for example in examples], dtype=float)
        work, setting = np.split(features, [len(WORK)], axis=1)
        rankings = [example.comparison.ranking for example in examples]
        places = [(ranking.device, ranking.threads) for ranking in rankings]
        self._costs = TypicalCosts(work, table.typical_ms, places)
        self._setting = make_pipeline(SimpleImputer(keep_empty_features=True), StandardScaler())
        self._setting.fit(setting)
        self.examples = self._points(features)

    def point(self, features: Sequence[float]) -> np.ndarray:
        point: np.ndarray = self._points(np.array([features], dtype=float))[0]
        return point

    def _points(self, features: np.ndarray) -> np.ndarray:
        work, setting = np.split(features, [len(WORK)], axis=1)
        return np.hstack([self._costs.shares(work), self._setting.transform(setting)])


class _Table:
    """Examples as arrays: `logs` [examples, candidates] of latencies over the typical one of the setting, NaN
    where a candidate was not measured; `effects` [candidates], their means in the additive model; and
    `typical_ms` [examples]."""

    def __init__(self, examples: Sequence[Example]) -> None:
        rankings = [example.comparison.ranking for example in examples]
        rows = [
            {entry.library: entry.ratio_to_best for entry in ranking.entries}
            for ranking in rankings
        ]
        self.candidates = sorted(set().union(*rows))
        logs = np.log([[ratios.get(name, np.nan) for name in self.candidates] for ratios in rows])
        settings, self.effects = _additive(logs)
        self.logs = logs - settings[:, None]
        self.typical_ms = np.exp(settings) * [ranking.best.latency_ms for ranking in rankings]

    def scores(self, logs: np.ndarray) -> Scores:
        """Each candidate's value of `logs` [candidates]."""
        return dict(zip(self.candidates, map(float, logs), strict=True))


def _additive(logs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The settings' parts and the candidates', whose mean is 0; NaN is not measured."""
    effects = np.zeros(logs.shape[1])
    for _ in range(_ROUNDS):
        settings = np.nanmean(logs - effects, axis=1)
        effects = np.nanmean(logs - settings[:, None], axis=0)
        effects -= effects.mean()
    return settings, effects
