"""Quality: how far the outputs on inputs that no converter has seen are from FP32's."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

from ..hosts import Context, Host, Summary
from ..launches import QUALITY, Launches, of_mode
from .comparison import Quality


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """How many held-out inputs are run."""

    samples: Annotated[
        int,
        Meta(
            ge=1,
            le=1000,
            description="a whole number from 1: held-out inputs that are compared with the reference",
        ),
    ]


class QualityHost(Host[Settings]):
    """See measure.yaml."""

    schema = Settings
    modes = (QUALITY,)

    def after_rounds(self, settings: Settings, emulated: bool) -> tuple[str, ...]:
        return (QUALITY,)

    def request(self, settings: Settings, launch_timeout_s: float) -> dict[str, Any]:
        # Stopping early beats a time-out: a slow device still gives a result.
        return {"quality": {"samples": settings.samples, "seconds": launch_timeout_s / 2}}

    def summarise(self, launches: Launches, settings: Settings, context: Context) -> Summary:
        last = of_mode(launches, QUALITY)[-1]
        quality = Quality(**(last.get("quality") or {"problem": "no output"}))
        compression = Quality(**(last.get("compression") or {}))
        columns = {
            "heldout_samples": quality.samples or None,
            "heldout_cosine": quality.cosine,
            "sqnr_db": quality.sqnr_db,
            "top1_agreement": quality.top1_agreement,
            "compression_cosine": compression.cosine,
            "compression_sqnr_db": compression.sqnr_db,
            "compression_top1_agreement": compression.top1_agreement,
        }
        return Summary(columns, quality.violation(context.tolerance))


HOST = QualityHost()
