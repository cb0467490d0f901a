"""Latency of calls at an interval."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from ..timing import TimingHost, TimingSettings


class Settings(TimingSettings, frozen=True, forbid_unknown_fields=True):
    """An inference begins every `interval_ms`; the process sleeps between."""

    interval_ms: Annotated[
        float, Meta(ge=1, le=3_600_000, description="a number of milliseconds from 1")
    ]


class Spaced(TimingHost[Settings]):
    """See measure.yaml."""

    schema = Settings

    def pattern(self, settings: Settings) -> dict[str, Any]:
        return {"kind": "spaced", "interval_ms": settings.interval_ms}

    def interval_ms(self, settings: Settings) -> float:
        return settings.interval_ms


HOST = Spaced()
