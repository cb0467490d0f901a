"""From a cell's launches to its results, one for each measure. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..measures import Measure, all_columns, all_measures
from ..measures.hosts import Context, Summary, host_of
from ..measures.launches import Launch, Launches, of_mode


@dataclass(frozen=True)
class Result:
    """The result of one measure of a cell."""

    measure: str
    status: str
    reason: str | None
    columns: Mapping[str, Any] = field(default_factory=dict)
    flags: Sequence[str] = ()
    log: str = ""
    launches: Sequence[Launch] = ()
    more: Mapping[str, Any] = field(default_factory=dict)


def first_bad(launches: Launches) -> Launch | None:
    """The first failed launch that makes the whole cell fail: one that is not of an inessential measure."""
    inessential = {
        mode
        for measure in all_measures().values()
        if not measure.essential
        for mode in host_of(measure.name).modes
    }
    bad = (
        launch
        for launch in launches
        if launch["status"] != "ok" and launch["mode"] not in inessential
    )
    return next(bad, None)


def summarise(
    measure: str, launches: Launches, settings: Mapping[str, Any], context: Context
) -> Result:
    """The result of a measure from all launches of the cell.

    Unknown numbers are left out. A cell with a failed launch has no numbers: a median over the launches
    that survived would flatter it. The launches of inessential measures, such as profiles, fail alone: no
    latency depends on them.
    """
    host = host_of(measure)
    kept = host.kept_launches(launches)
    bad = first_bad(launches)
    if bad is not None:
        return _failed(measure, launches, bad, kept)
    summary = host.summarise(launches, host.settings(settings), context)
    if summary.failure:
        return Result(measure, "failed", summary.failure, launches=kept)
    status, reason = _verdict(all_measures()[measure], summary, host.modes, kept)
    columns = summary.columns
    if context.emulated:
        columns = {name: value for name, value in columns.items() if all_columns()[name].emulated}
    flags = () if context.emulated else sorted(summary.flags)
    return Result(measure, status, reason, columns, flags, "", kept, summary.more)


def _failed(measure: str, launches: Launches, bad: Launch, kept: list[Launch]) -> Result:
    position = list(launches).index(bad) + 1
    suffix = f" (launch {position}, after {position - 1} good ones)" if position > 1 else ""
    # The launch that spoilt the cell is stored with every result that it spoilt.
    if not any(launch is bad for launch in kept):
        kept = [*kept, {**bad, "shared_with": "cell"}]
    return Result(
        measure, bad["status"], f"{bad['reason']}{suffix}", log=bad.get("log", ""), launches=kept
    )


def _verdict(
    measure: Measure, summary: Summary, modes: Sequence[str], kept: list[Launch]
) -> tuple[str, str | None]:
    bad = [launch for launch in of_mode(kept, *modes) if launch["status"] != "ok"]
    if bad and not measure.essential:
        return str(bad[0]["status"]), str(bad[0]["reason"])
    if summary.violation:
        return "wrong", summary.violation
    return "ok", None
