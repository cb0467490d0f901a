"""From a cell's launches to its results, one of each measure. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..measures import Measure, all_columns, all_measures
from ..measures.hosts import Context, Summary, host_of
from ..measures.launches import Launch, Launches


@dataclass(frozen=True)
class Result:
    """What a measure of a cell came to."""

    measure: str
    status: str
    reason: str | None
    columns: Mapping[str, Any] = field(default_factory=dict)
    flags: Sequence[str] = ()
    log: str = ""
    launches: Sequence[Launch] = ()
    more: Mapping[str, Any] = field(default_factory=dict)


def first_bad(launches: Launches) -> Launch | None:
    """The first launch that did not end well and that the cell depends on: not of a measure without
    which the cell is what it is."""
    further = {
        mode
        for measure in all_measures().values()
        if not measure.essential
        for mode in host_of(measure.name).modes
    }
    bad = (x for x in launches if x["status"] != "ok" and x["mode"] not in further)
    return next(bad, None)


def summarise(
    measure: str, launches: Launches, settings: Mapping[str, Any], context: Context
) -> Result:
    """The result of a measure from all launches of the cell.

    Numbers that are not known are left out. A cell with a launch that did not end well has no numbers: a
    median over the launches that happened to survive would flatter it. A profile that failed, and labelled
    pictures that could not all be run, have results of their own: no latency depends on them.
    """
    host = host_of(measure)
    own = host.kept_launches(launches)
    bad = first_bad(launches)
    if bad is not None:
        return _failed(measure, launches, bad, own)
    known = all_measures()[measure]
    parsed = host.settings(settings)
    summary = host.summarise(launches, parsed, context)
    if summary.failure:
        return Result(measure, "failed", summary.failure, launches=own)
    status, reason = _verdict(known, summary, host.modes, own)
    columns = summary.columns
    if context.emulated:
        columns = {name: value for name, value in columns.items() if all_columns()[name].emulated}
    flags = () if context.emulated else sorted(summary.flags)
    return Result(measure, status, reason, columns, flags, "", own, summary.more)


def _failed(measure: str, launches: Launches, bad: Launch, own: list[Launch]) -> Result:
    position = list(launches).index(bad) + 1
    suffix = f" (launch {position}, after {position - 1} good ones)" if position > 1 else ""
    # The launch that spoilt the cell stands with every result that it spoilt.
    kept = own if any(launch is bad for launch in own) else [*own, {**bad, "shared_with": "cell"}]
    return Result(
        measure, bad["status"], f"{bad['reason']}{suffix}", log=bad.get("log", ""), launches=kept
    )


def _verdict(
    measure: Measure, summary: Summary, modes: Sequence[str], own: list[Launch]
) -> tuple[str, str | None]:
    bad = [launch for launch in own if launch["status"] != "ok" and launch["mode"] in modes]
    if bad and not measure.essential:
        return str(bad[0]["status"]), str(bad[0]["reason"])
    if summary.violation:
        return "wrong", summary.violation
    return "ok", None
