"""Accuracy on the user's labelled pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from ..hosts import Context, Host, Summary
from ..launches import ACCURACY, Launches, of_mode

CONFIDENCE = 0.95


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """There are none: the recipe names the pictures."""


class Accuracy(Host[Settings]):
    """See measure.yaml."""

    schema = Settings
    modes = (ACCURACY,)

    def applies(self, labelled: bool) -> bool:
        return labelled

    def after_rounds(self, settings: Settings, emulated: bool) -> tuple[str, ...]:
        return (ACCURACY,)

    def summarise(self, launches: Launches, settings: Settings, context: Context) -> Summary:
        return Summary(columns(of_mode(launches, ACCURACY)))


def columns(launches: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A cell's columns from its launches of this mode; none without launches.

    Intervals are Wilson's, of 95 % (Wilson, "Probable inference, the law of succession, and
    statistical inference", JASA 1927), over the choice of pictures, not over launches.
    """
    if not launches:
        return {}
    last = launches[-1]
    counts = last.get("accuracy") or {}
    problem = last["reason"] if last["status"] != "ok" else counts.get("problem", "no output")
    if problem:
        return {"accuracy_reason": f"labelled pictures: {problem}"}
    images = counts["images"]
    filled = {"labelled_images": images, "reference_top1_accuracy": counts["reference_top1"]}
    for name in ("top1", "top5"):
        if counts[name] is not None:
            low, high = interval(counts[name], images)
            filled |= {
                f"{name}_accuracy": counts[name] / images,
                f"{name}_accuracy_low": low,
                f"{name}_accuracy_high": high,
            }
    return filled


def interval(hits: int, pictures: int) -> tuple[float, float]:
    """Wilson's interval for a share."""
    from scipy.stats import binomtest  # takes half a second: only when needed

    bounds = binomtest(hits, pictures).proportion_ci(CONFIDENCE, method="wilson")
    return float(bounds.low), float(bounds.high)


HOST = Accuracy()
