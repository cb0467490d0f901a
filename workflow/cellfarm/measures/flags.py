"""Flags: what makes a cell's numbers doubtful. analysis.ranking knows which exclude it. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..analysis.statistics import Estimate

#: A launch is contended if others used more cores than this while samples were taken; for protocols
#: without such a limit.
CONTENDED_CORES = 0.2
#: A cell is contended if more of its launches than this are.
CONTENDED_SHARE = 0.25
#: A clock below this share of the launch's highest is throttled.
THROTTLED_SHARE = 0.9
#: The operators' sum may differ from the latency by this share.
OPERATORS_GAP = 0.15
#: limit of the gate -> flag of a launch that ran outside it
_OF_GATE = {
    "load": "contended",
    "temperature": "hot",
    "battery": "low_battery",
    "speed": "throttled",
}
_UNSTEADY = ("slowdown", "no steady state")


def cell_flags(
    launches: Sequence[Mapping[str, Any]],
    latency: Estimate,
    gates: Mapping[str, Any],
    target_half_width: float,
) -> list[str]:
    """The flags of a cell from its measuring launches.

    `contended`, `hot`, `low_battery`, `throttled`: a launch began outside a limit of its gate, or
    the same was seen while samples were taken. `unpinned`: a launch did not run on the processors
    asked for. `unsteady`: most launches reached no steady state. `noisy`: the budget is spent and
    the interval is wider than its target. `ungated`: the device's state could not be read.
    """
    flags = {flag for launch in launches for flag in launch_flags(launch)}
    others = _known(launch["resources"].get("other_cpu_utilisation") for launch in launches)
    limit = gates.get("other_cpu_cores") or CONTENDED_CORES
    if sum(used > limit for used in others) > CONTENDED_SHARE * len(launches):
        flags.add("contended")
    if is_unsteady(launches):
        flags.add("unsteady")
    width = latency.half_width
    if width is not None and width > target_half_width:
        flags.add("noisy")
    return sorted(flags)


def launch_flags(launch: Mapping[str, Any]) -> set[str]:
    """The flags that a launch gives to its cell."""
    gate = launch.get("gate") or {}
    flags = {_OF_GATE[limit] for limit in gate.get("exceeded", ())}
    if gate.get("problem"):
        flags.add("ungated")
    asked = launch.get("asked_cores")
    if asked and sorted(launch.get("affinity") or ()) != sorted(asked):
        flags.add("unpinned")
    if _throttled(launch):
        flags.add("throttled")
    return flags


def steady_state(launches: Sequence[Mapping[str, Any]]) -> str | None:
    """The most common class of the launches; of equally common ones, the most doubtful."""
    doubt = ("flat", "warm-up", "slowdown", "no steady state")
    counts = Counter(str(launch["steady"]) for launch in launches if launch.get("steady") in doubt)
    if not counts:
        return None
    return max(counts, key=lambda kind: (counts[kind], doubt.index(kind)))


def is_unsteady(launches: Sequence[Mapping[str, Any]]) -> bool:
    """Whether most launches reached no steady state."""
    unsteady = sum(launch.get("steady") in _UNSTEADY for launch in launches)
    return unsteady > len(launches) / 2


def _throttled(launch: Mapping[str, Any]) -> bool:
    """Whether a cluster's clock fell during the launch and stayed low to its end."""
    metrics = (launch.get("conditions") or {}).get("metrics", {})
    for name, values in metrics.items():
        known = _known(values)
        if name.startswith("frequency_") and len(known) >= 4:
            last = median(known[-max(2, len(known) // 4) :])
            if last < THROTTLED_SHARE * max(known) and _is_busy(metrics):
                return True
    return False


def _is_busy(metrics: Mapping[str, Sequence[float | None]]) -> bool:
    """Whether the process kept a core busy: the clock of an idle core falls by itself."""
    used = _known(metrics.get("cpu_utilisation", ()))
    return bool(used) and median(used) > 0.8


def _known(values: Any) -> list[float]:
    return [value for value in values if value is not None]
