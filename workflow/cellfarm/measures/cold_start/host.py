"""Cold start: from a fresh process to its first output, by phases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from msgspec import Meta, Struct

from ..flags import launch_flags
from ..hosts import Context, Host, Summary, verified
from ..launches import COLD, MEASURE, START, Launch, Launches, is_emulated, median_of, of_mode

#: Phases of a cold start, in order.
PHASES = ("start", "import", "read", "load", "first")
#: Fields that the result keeps of launches that another measure's result holds completely.
_SHARED_FIELDS = (
    "round", "session", "mode", "status", "reason", "phases", "started_at", "steady",
    "page_cache_share", "library_version", "actual", "affinity", "comparison",
)  # fmt: skip
_Launches = Annotated[int, Meta(ge=0, le=1000, description="a whole number from 0")]


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """The number of starts.

    Args:
        launches: with the artifact out of the page cache.
        warm: with the artifact in it, including the launches of other measures.
    """

    launches: _Launches
    warm: _Launches = 3


class ColdStart(Host[Settings]):
    """See measure.yaml."""

    schema = Settings
    modes = (START, COLD)
    shared = (MEASURE,)

    def due(self, taken: Mapping[str, int], round: int, settings: Settings) -> tuple[str, ...]:
        warm = taken.get(START, 0) + taken.get(MEASURE, 0) < min(round + 1, settings.warm)
        cold = taken.get(COLD, 0) < min(round + 1, settings.launches)
        return (START,) * warm + (COLD,) * cold

    def is_finished(self, launches: Launches, settings: Settings, key: str) -> bool:
        if is_emulated(launches):
            return True
        warm = len(of_mode(launches, START, MEASURE)) >= settings.warm
        return warm and len(of_mode(launches, COLD)) >= settings.launches

    def min_launches(self, settings: Settings) -> int:
        return settings.launches

    def kept_launches(self, launches: Launches) -> list[Launch]:
        kept: list[Launch] = []
        for launch in launches:
            if launch["mode"] == MEASURE:
                fields = {name: launch[name] for name in _SHARED_FIELDS if name in launch}
                warmup_ms = sum(launch.get("warmup_ms") or ())
                kept.append(
                    fields | {"resources": {}, "warmup_total_ms": warmup_ms, "shared_with": MEASURE}
                )
            elif launch["mode"] in self.modes:
                kept.append(launch)
        return kept

    def summarise(self, launches: Launches, settings: Settings, context: Context) -> Summary:
        warm, cold = of_mode(launches, START, MEASURE), of_mode(launches, COLD)
        columns, violation = verified([*warm, *cold], context)
        if context.emulated:
            return Summary(columns, violation)
        columns |= {
            **_medians(warm, "cold", context.key),
            "steady_after_ms": median_of([_steady_after_ms(launch) for launch in warm]),
            **_medians(cold, "cold_cache", context.key),
            "page_cache_share": median_of([launch.get("page_cache_share") for launch in cold]),
        }
        flags = ["cold_disturbed"] if any(launch_flags(launch) for launch in cold) else []
        phases = _phases(warm, cold, context.key)
        return Summary(columns, violation, flags=flags, more={"cold_phases": phases})


def _medians(launches: Launches, prefix: str, key: str) -> dict[str, float | None]:
    """Medians over launches of each phase and of the sum with its interval, in ms."""
    from ...analysis.statistics import hierarchical_median  # imports numpy: not for planning

    columns = {
        f"{prefix}_{phase}_ms": median_of([launch["phases"].get(phase) for launch in launches])
        for phase in PHASES
    }
    totals = [ms for launch in launches if (ms := _total_ms(launch)) is not None]
    total = hierarchical_median([[ms] for ms in totals], seed=key) if totals else None
    return columns | {
        f"{prefix}_total_ms": total.median if total else None,
        f"{prefix}_total_ci_low_ms": total.low if total else None,
        f"{prefix}_total_ci_high_ms": total.high if total else None,
    }


def _phases(warm: Launches, cold: Launches, key: str) -> list[dict[str, Any]]:
    """Every phase of the start with its interval, by page cache, then `total` and `steady`."""
    from ...analysis.statistics import hierarchical_median  # imports numpy: not for planning

    rows = []
    for page_cache, launches in (("warm", warm), ("cold", cold)):
        values = {phase: [launch["phases"].get(phase) for launch in launches] for phase in PHASES}
        values["total"] = [_total_ms(launch) for launch in launches]
        if page_cache == "warm":
            values["steady"] = [_steady_after_ms(launch) for launch in launches]
        for phase, times_ms in values.items():
            known = [[ms] for ms in times_ms if ms is not None]
            if known:
                estimate = hierarchical_median(known, seed=key)
                rows.append({"page_cache": page_cache, "phase": phase, "ms": estimate.median,
                             "low_ms": estimate.low, "high_ms": estimate.high,
                             "launches": len(known)})  # fmt: skip
    return rows


def _total_ms(launch: Launch) -> float | None:
    phases = launch["phases"]
    if not all(phase in phases for phase in PHASES):
        return None
    return float(sum(phases[phase] for phase in PHASES))


def _steady_after_ms(launch: Launch) -> float | None:
    """From the start of the process until latency is steady; None if it never is, or is unknown."""
    total = _total_ms(launch)
    if total is None or launch.get("steady") not in ("flat", "warm-up"):
        return None
    return total + float(sum(launch["warmup_ms"]))


HOST = ColdStart()
