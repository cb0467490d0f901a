"""The host half that measures of latency over many launches share. Pure.

Each launch is a fresh process, whose warm-up is separated from its steady part. Launches follow until the
latency's interval is narrow enough, or the budget is spent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from msgspec import Meta, Struct, to_builtins

from ..analysis.plausibility import implausible
from .flags import cell_flags, steady_state
from .hosts import Context, Host, Summary, verified
from .launches import MEASURE, Launches, is_emulated, median_of, of_mode

if TYPE_CHECKING:
    from ..analysis.statistics import Estimate

_Count = Annotated[int, Meta(ge=1, description="a whole number from 1")]
_LaunchCount = Annotated[int, Meta(ge=2, le=1000, description="a whole number from 2")]
_Seconds = Annotated[float, Meta(ge=0, le=3600, description="a number of seconds from 0 to 3600")]
_LongestSeconds = Annotated[
    float,
    Meta(
        ge=0,
        le=3600,
        description="a number of seconds from 0: how long a launch may go on while its latency is not "
        "settled",
    ),
]


class LaunchBudget(Struct, frozen=True, forbid_unknown_fields=True):
    """The smallest and largest number of fresh processes per cell."""

    min: _LaunchCount
    max: _LaunchCount


class Samples(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Inferences of a launch after the first: at least `min`, for at least `seconds`, then until settled
    or `longest_s`; at most `max`."""

    min: _Count
    max: Annotated[int, Meta(ge=1, le=1_000_000, description="a whole number from 1 to 1000000")]
    seconds: _Seconds
    longest_s: _LongestSeconds | None = None


class TimingSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """The settings of a measure that takes a latency."""

    launches: LaunchBudget
    target_half_width: Annotated[
        float,
        Meta(
            gt=0,
            le=1,
            description="a number above 0, at most 1: stop when half the width of the 95 % interval "
            "is at most this share of the median",
        ),
    ]
    samples: Samples


T = TypeVar("T", bound=TimingSettings)


class TimingHost(Host[T]):
    """Rounds of launches with a series of inferences each."""

    modes = (MEASURE,)

    def pattern(self, settings: T) -> dict[str, Any]:
        """The pattern of inferences for the runner's series."""
        return {"kind": "back_to_back"}

    def check(self, settings: T, launch_timeout_s: float) -> None:
        samples = settings.samples
        for part, values in (("launches", settings.launches), ("samples", samples)):
            if values.max < values.min:
                raise ValueError(f"key '{part}': max is smaller than min")
        longest_s = samples.seconds if samples.longest_s is None else samples.longest_s
        if longest_s < samples.seconds:
            raise ValueError("key 'samples': longest_s is smaller than seconds")
        min_s = max(longest_s, samples.min * self.interval_ms(settings) / 1e3)
        if min_s >= launch_timeout_s:
            raise ValueError(
                f"key 'samples': they take {min_s:g} s at least, and a launch is killed after "
                f"launch_timeout_s: {launch_timeout_s:g}"
            )

    def interval_ms(self, settings: T) -> float:
        """The shortest time between the starts of two inferences."""
        return 0.0

    def due(self, taken: Mapping[str, int], round: int, settings: T) -> tuple[str, ...]:
        return (MEASURE,) if taken.get(MEASURE, 0) < round + 1 else ()

    def is_finished(self, launches: Launches, settings: T, key: str) -> bool:
        """Whether the latency is precise enough, or the budget is spent.

        It has to be precise twice in a row: on a device with two modes, three launches that agree may
        all be of the same mode (see tests/unit/test_coverage.py).
        """
        measured = of_mode(launches, MEASURE)
        if is_emulated(measured):
            return True  # its times mean nothing
        if len(measured) >= settings.launches.max:
            return True
        if len(measured) <= settings.launches.min:
            return False
        return all(is_precise(estimate(part, key), settings) for part in (measured[:-1], measured))

    def min_launches(self, settings: T) -> int:
        return settings.launches.min

    def request(self, settings: T, launch_timeout_s: float) -> dict[str, Any]:
        return {
            "pattern": self.pattern(settings),
            "samples": to_builtins(settings.samples),
            "target_half_width": settings.target_half_width,
        }

    def summarise(self, launches: Launches, settings: T, context: Context) -> Summary:
        import numpy as np  # here, as planning imports this module at every start

        measured = of_mode(launches, MEASURE)
        columns, violation = verified(measured, context)
        columns["launches"] = len(measured)
        if context.emulated:
            return Summary(columns, violation)
        latency = estimate(measured, context.key)
        warm = [launch["warm_ms"] for launch in measured]
        failure = implausible(warm, latency.median, context.fastest_ms)
        if failure:
            return Summary(failure=failure)
        columns |= {
            "latency_ms": latency.median,
            "latency_ci_low_ms": latency.low,
            "latency_ci_high_ms": latency.high,
            "latency_p90_ms": float(np.quantile(np.concatenate(warm), 0.9)),
            "samples": sum(len(samples) for samples in warm),
            "stopped_because": "precise" if is_precise(latency, settings) else "budget",
            "steady_state": steady_state(measured),
            **_resources(measured),
            **self.further_columns(measured, settings),
        }
        flags = cell_flags(measured, latency, context.gates, settings.target_half_width)
        return Summary(columns, violation, flags=self.kept_flags(flags))

    def further_columns(self, launches: Launches, settings: T) -> dict[str, Any]:
        """Columns that only this measure fills."""
        return {}

    def kept_flags(self, flags: list[str]) -> list[str]:
        """The flags that are meaningful for this measure."""
        return flags


def estimate(launches: Launches, key: str) -> Estimate:
    """The warm latency over measuring launches, in ms."""
    from ..analysis.statistics import hierarchical_median  # imports numpy

    return hierarchical_median([launch["warm_ms"] for launch in launches], seed=key)


def is_precise(latency: Estimate, settings: TimingSettings) -> bool:
    """Whether the interval is narrow enough."""
    width = latency.half_width
    return width is not None and width <= settings.target_half_width


def _resources(launches: Launches) -> dict[str, float | None]:
    """Medians over launches; `peak_rss_mb` is the larger peak of loading and inference."""

    def median_resource(name: str) -> float | None:
        return median_of([launch["resources"].get(name) for launch in launches])

    names = ("load_rss_mb", "peak_load_rss_mb", "cpu_utilisation", "other_cpu_utilisation",
             "energy_mj", "sampler_cpu_share")  # fmt: skip
    columns = {name: median_resource(name) for name in names}
    peak = median_resource("peak_inference_rss_mb")
    reset = all(launch["resources"].get("peak_was_reset") for launch in launches)
    # Where the peak cannot be reset, the value after inference is the peak of both.
    columns["peak_inference_rss_mb"] = peak if reset else None
    peaks = [value for value in (columns["peak_load_rss_mb"], peak) if value is not None]
    return columns | {"peak_rss_mb": max(peaks) if peaks else None}
