"""The time of each operator, compared with the latency of the whole model."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

from ..flags import OPERATORS_GAP
from ..hosts import Context, Host, Summary
from ..launches import PROFILE, Launches, of_mode
from .profile import operators_match


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """The number of profiled inferences."""

    runs: Annotated[
        int,
        Meta(
            ge=1,
            le=1000,
            description="a whole number from 1: inferences whose operators are timed",
        ),
    ]


class Operators(Host[Settings]):
    """See measure.yaml."""

    schema = Settings
    modes = (PROFILE,)

    def after_rounds(self, settings: Settings, emulated: bool) -> tuple[str, ...]:
        return () if emulated else (PROFILE,)

    def request(self, settings: Settings, launch_timeout_s: float) -> dict[str, Any]:
        return {"profile": {"runs": settings.runs}}

    def summarise(self, launches: Launches, settings: Settings, context: Context) -> Summary:
        profiles = of_mode(launches, PROFILE)
        successful = [launch["profile"] for launch in profiles if launch["status"] == "ok"]
        if not successful:
            reason = profiles[-1]["reason"] if profiles else None
            return Summary({"operators_reason": reason})
        sum_ms = float(successful[-1]["sum_ms"])
        gap = operators_match(sum_ms, context.latency_ms) if context.latency_ms else None
        flags = ["operators_gap"] if gap is not None and abs(gap) > OPERATORS_GAP else []
        return Summary({"operators_sum_ms": sum_ms, "operators_gap": gap}, flags=flags)


HOST = Operators()
