"""What makes a cell's numbers doubtful. Which flags keep it from ranking, analysis.ranking says. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from ..analysis.statistics import Estimate

#: Cores' worth of work by others, while samples were taken, beyond which a launch is contended,
#: where the protocol has no limit of its own.
CONTENDED_CORES = 0.2
#: More of the launches than this make a cell contended.
CONTENDED_SHARE = 0.25
#: Clocks below this share of the highest seen in the launch are throttled.
THROTTLED_SHARE = 0.9
#: The operators' sum may be this share off the latency.
OPERATORS_GAP = 0.15
#: flag of a launch that ran outside a limit of its gate
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
    the same was seen while samples were taken. `unpinned`: a launch was not on the processors that
    it was to run on. `unsteady`: most launches reached no steady state. `noisy`: the budget is spent
    and the interval is wider than wanted. `ungated`: the device's state could not be read.
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
    """The flags that one launch gives to its cell."""
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
    """The class that most launches share; of classes equally common, the more doubtful one."""
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
    """Whether a cluster's clock fell, while the launch ran, and stayed low to the end of it."""
    metrics = (launch.get("conditions") or {}).get("metrics", {})
    for name, values in metrics.items():
        known = _known(values)
        if name.startswith("frequency_") and len(known) >= 4:
            last = median(known[-max(2, len(known) // 4) :])
            if last < THROTTLED_SHARE * max(known) and _is_busy(metrics):
                return True
    return False


def _is_busy(metrics: Mapping[str, Sequence[float | None]]) -> bool:
    """Whether the process kept a core busy: the clock of an idle one falls by itself."""
    used = _known(metrics.get("cpu_utilisation", ()))
    return bool(used) and median(used) > 0.8


def _known(values: Any) -> list[float]:
    return [value for value in values if value is not None]
