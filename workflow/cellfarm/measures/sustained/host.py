"""Throughput under continuous load."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from ...analysis.sustained import LEAST_WINDOWS, settle
from ..launches import Launches, median_of
from ..timing import TimingHost, TimingSettings


class Settings(TimingSettings, frozen=True, forbid_unknown_fields=True):
    """Throughput is counted in windows of `window_s`."""

    window_s: Annotated[
        float, Meta(ge=0.1, le=600, description="a number of seconds from 0.1 to 600")
    ]


class Sustained(TimingHost[Settings]):
    """See measure.yaml."""

    schema = Settings

    def pattern(self, settings: Settings) -> dict[str, Any]:
        return {"kind": "sustained", "window_s": settings.window_s}

    def check(self, settings: Settings, launch_timeout_s: float) -> None:
        super().check(settings, launch_timeout_s)
        if settings.samples.seconds < LEAST_WINDOWS * settings.window_s:
            raise ValueError(f"key 'window_s': samples.seconds must hold {LEAST_WINDOWS} windows")

    def further_columns(self, launches: Launches, settings: Settings) -> dict[str, Any]:
        """Medians over launches of burst, settled level and their ratio."""
        series = [[*launch["warmup_ms"], *launch["warm_ms"]] for launch in launches]
        settled = [level for ms in series if (level := settle(ms, settings.window_s))]
        return {
            "throughput_burst_per_s": median_of([level.burst_per_s for level in settled]),
            "throughput_settled_per_s": median_of([level.settled_per_s for level in settled]),
            "throughput_ratio": median_of([level.ratio for level in settled]),
            "settled_after_s": median_of([level.settled_after_s for level in settled]),
        }

    def kept_flags(self, flags: list[str]) -> list[str]:
        """All but `unsteady`: slowing down is what this measure observes."""
        return [flag for flag in flags if flag != "unsteady"]


HOST = Sustained()
