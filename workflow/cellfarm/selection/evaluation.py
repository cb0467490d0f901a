"""How good choices are: each model, or each device, is left out in turn and chosen for. Pure.

The regret of a choice is how much longer it takes than the best that was measured there. Choosing never
sees what was left out; only the library that turns out not to run the model is passed over for the next,
as a person would do, and counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from .comparisons import Comparison
from .predictor import STRATEGIES, Example, Scores

Axis = Literal["model", "device"]
ORACLE = "oracle"


@dataclass(frozen=True)
class Score:
    """What a way of choosing costs, found by leaving out one of `axis` (models or devices) at a time.

    `mean` and `worst` regret are fractions of the best latency (0.1: it takes 10 % longer); None where
    nothing could be left out. `comparisons` are settings chosen for, of `left_out` models or devices;
    in `refused` of them the first choice does not run the model, or not rightly.
    """

    strategy: str
    axis: Axis
    mean: float | None
    worst: float | None
    comparisons: int
    left_out: int
    refused: int


def evaluate(examples: Sequence[Example], axis: Axis) -> list[Score]:
    """Every way of choosing, and the oracle, which knows the answer.

    All have nothing to tell (None) where there are fewer than two models or devices.
    """
    return [
        *(evaluate_one(name, examples, axis) for name in STRATEGIES),
        _score(ORACLE, axis, [(0.0, False)] * len(examples), _places(examples, axis)),
    ]


def evaluate_one(name: str, examples: Sequence[Example], axis: Axis) -> Score:
    """One of the strategies of cellfarm.selection.predictor, by its name there."""
    places = _places(examples, axis)
    outcomes: list[tuple[float, bool]] = []
    for place in places if len(places) > 1 else ():
        choose = STRATEGIES[name]([one for one in examples if _place(one, axis) != place])
        for one in examples:
            if _place(one, axis) == place:
                outcome = outcome_of(choose(one.features), one.comparison)
                outcomes += [outcome] if outcome else []
    return _score(name, axis, outcomes, places)


def outcome_of(scores: Scores, comparison: Comparison) -> tuple[float, bool] | None:
    """The regret of the best-scored candidate that ranks there, and whether the best-scored of those
    that were tried is refused; None if none of the scored ranks."""
    regrets = comparison.regrets
    order = [name for name in in_order(scores) if name in regrets or name in comparison.refused]
    chosen = next((name for name in order if name in regrets), None)
    return None if chosen is None else (regrets[chosen], order[0] != chosen)


def in_order(scores: Scores) -> list[str]:
    """The candidates, the fastest first; the name breaks ties, so that the same data choose the same."""
    return sorted(scores, key=lambda name: (scores[name], name))


def _score(
    name: str, axis: Axis, outcomes: Sequence[tuple[float, bool]], places: Sequence[str]
) -> Score:
    told = len(places) > 1 and bool(outcomes)
    regrets = [regret for regret, _ in outcomes]
    return Score(
        strategy=name,
        axis=axis,
        mean=sum(regrets) / len(regrets) if told else None,
        worst=max(regrets) if told else None,
        comparisons=len(outcomes) if told else 0,
        left_out=len(places),
        refused=sum(refused for _, refused in outcomes) if told else 0,
    )


def _places(examples: Sequence[Example], axis: Axis) -> list[str]:
    return sorted({_place(one, axis) for one in examples})


def _place(example: Example, axis: Axis) -> str:
    return str(getattr(example.comparison.ranking, axis))
