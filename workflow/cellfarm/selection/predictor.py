"""Ways of choosing: from what was measured to a score for every candidate. Nothing is drawn: the same
results give the same scores.

What is learned is the logarithm of a candidate's latency over that of its setting (model, device,
threads, protocol), because only ratios decide. The additive model (logarithm = setting + candidate, by
least squares) takes the setting out, as not every candidate runs everywhere: what was measured on large
models only is no worse for it. What is left after that is the candidate's own answer to the model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .comparisons import Comparison

LEARNED, OVERALL_BEST, NEAREST = "predictor", "overall best", "nearest neighbour"

#: Strengths of the penalty that are tried. With the last, features count for nothing.
_ALPHAS = (1.0, 5.0, 20.0, 100.0, 1e6)
_FOLDS = 5
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
    return lambda _: table.scores(np.zeros(len(table.candidates)))


def nearest(examples: Sequence[Example]) -> Choose:
    """As it was in the setting whose standardised features are nearest."""
    from sklearn.neighbors import KNeighborsRegressor

    table = _Table(examples)
    fitted = _standardised(KNeighborsRegressor(n_neighbors=1)).fit(table.points, table.residuals)
    return lambda point: table.scores(fitted.predict([point])[0])


def learned(examples: Sequence[Example]) -> Choose:
    """Ridge regression of what the additive model leaves, on standardised features.

    With 15 models and some 20 features that are related, a penalty must decide how far the features
    are trusted (Hoerl & Kennard, Technometrics 12(1), 1970). Its strength is the one with the least
    squared error on models left out of the fit, and may be so great that the overall best is left: so
    it is no worse than that by much where features tell nothing. On invented latencies (15 models, five
    libraries with rates of their own for each kind of operator, 10 % unexplained; four draws) the mean
    regret was 3.8 %, the nearest neighbour's 6.1 %, the overall best's 12.8 %
    (`test_libraries_with_rates_of_their_own_are_learned`).
    """
    from sklearn.linear_model import RidgeCV
    from sklearn.model_selection import GroupKFold

    models = [one.comparison.ranking.model for one in examples]
    number = len(set(models))
    if number < 2:
        return overall_best(examples)
    table = _Table(examples)
    folds = GroupKFold(n_splits=min(_FOLDS, number)).split(table.points, groups=models)
    ridge = RidgeCV(alphas=_ALPHAS, cv=list(folds), scoring="neg_mean_squared_error")
    fitted = _standardised(ridge).fit(table.points, table.residuals)
    return lambda point: table.scores(fitted.predict([point])[0])


STRATEGIES: dict[str, Callable[[Sequence[Example]], Choose]] = {
    LEARNED: learned,
    OVERALL_BEST: overall_best,
    NEAREST: nearest,
}


def _standardised(regressor: Any) -> Any:
    """With features of mean 0 and variance 1; one that is not known is the mean."""
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(SimpleImputer(keep_empty_features=True), StandardScaler(), regressor)


class _Table:
    """Examples as arrays: `points` [examples, features], `effects` [candidates] of the additive model,
    and its `residuals` [examples, candidates], 0 where a candidate was not measured."""

    def __init__(self, examples: Sequence[Example]) -> None:
        ratios = [
            {entry.library: entry.ratio_to_best for entry in one.comparison.ranking.entries}
            for one in examples
        ]
        self.candidates = sorted({name for one in ratios for name in one})
        self.points = np.array([one.features for one in examples], dtype=float)
        logs = np.log([[one.get(name, np.nan) for name in self.candidates] for one in ratios])
        self.effects, self.residuals = _additive(logs)

    def scores(self, residuals: np.ndarray) -> Scores:
        """The effects with what was predicted of the residuals [candidates]."""
        return dict(zip(self.candidates, map(float, self.effects + residuals), strict=True))


def _additive(logs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The candidates' effects and the residuals, with NaN (not measured) in, 0 out."""
    effects = np.zeros(logs.shape[1])
    for _ in range(_ROUNDS):
        settings = np.nanmean(logs - effects, axis=1, keepdims=True)
        effects = np.nanmean(logs - settings, axis=0)
        effects -= effects.mean()
    return effects, np.nan_to_num(logs - settings - effects)
