"""How good choices are: each model, or each device, is left out in turn and chosen for. Pure.

The regret of a choice is how much longer it takes than the best that was measured there. Choosing never
sees what was left out. Where the first choice does not run the model, the next one is taken, as a person
would do, and the refusal is counted.
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
    """What a strategy costs, found by leaving out one of `axis` (models or devices) at a time.

    `mean` and `worst` regret are fractions of the best latency (0.1: it takes 10 % longer); None where
    nothing could be left out. `comparisons` counts the settings chosen for, of `left_out` models or devices;
    in `refused` of them the first choice does not run the model, or not correctly.
    """

    strategy: str
    axis: Axis
    mean: float | None
    worst: float | None
    comparisons: int
    left_out: int
    refused: int


def evaluate(examples: Sequence[Example], axis: Axis) -> list[Score]:
    """Every strategy, and the oracle, which knows the answer; None with fewer than two models or devices."""
    return [
        *(evaluate_strategy(name, examples, axis) for name in STRATEGIES),
        _score(ORACLE, axis, [(0.0, False)] * len(examples), _places(examples, axis)),
    ]


def evaluate_strategy(name: str, examples: Sequence[Example], axis: Axis) -> Score:
    """A strategy of cellfarm.selection.predictor, by its name there."""
    places = _places(examples, axis)
    outcomes: list[tuple[float, bool]] = []
    for place in places if len(places) > 1 else ():
        choose = STRATEGIES[name]([other for other in examples if _place(other, axis) != place])
        for example in examples:
            if _place(example, axis) == place:
                outcome = outcome_of(choose(example.features), example.comparison)
                outcomes += [outcome] if outcome else []
    return _score(name, axis, outcomes, places)


def outcome_of(scores: Scores, comparison: Comparison) -> tuple[float, bool] | None:
    """The regret of the best-scored candidate that ranks there, and whether a better-scored one is refused;
    None if no scored candidate ranks."""
    regrets = comparison.regrets
    tried = [
        name for name in fastest_first(scores) if name in regrets or name in comparison.refused
    ]
    chosen = next((name for name in tried if name in regrets), None)
    return None if chosen is None else (regrets[chosen], tried[0] != chosen)


def fastest_first(scores: Scores) -> list[str]:
    """The candidates by score; the name breaks ties, so that the same data always choose the same."""
    return sorted(scores, key=lambda name: (scores[name], name))


def _score(
    name: str, axis: Axis, outcomes: Sequence[tuple[float, bool]], places: Sequence[str]
) -> Score:
    is_known = len(places) > 1 and bool(outcomes)
    regrets = [regret for regret, _ in outcomes]
    return Score(
        strategy=name,
        axis=axis,
        mean=sum(regrets) / len(regrets) if is_known else None,
        worst=max(regrets) if is_known else None,
        comparisons=len(outcomes) if is_known else 0,
        left_out=len(places),
        refused=sum(refused for _, refused in outcomes) if is_known else 0,
    )


def _places(examples: Sequence[Example], axis: Axis) -> list[str]:
    return sorted({_place(example, axis) for example in examples})


def _place(example: Example, axis: Axis) -> str:
    return str(getattr(example.comparison.ranking, axis))
