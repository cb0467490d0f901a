"""Libraries over their versions: the tables of steps and slowdowns, and a figure for each library."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from cellfarm.analysis.longitudinal import Point, Rerun, Series, Slowdown, Step, slowdowns
from cellfarm.analysis.operators import Operators, differences
from cellfarm.report.answers import MOST_ROWS, Table, truncation_note
from cellfarm.report.marks import Chart
from cellfarm.report.wording import UNKNOWN, count, signed_percent, significant, times

#: The most types of operators that a step names.
_MAX_TYPES = 3
#: The most plots of a figure.
MOST_PLOTS = 24
_PLOT_WIDTH, _PLOT_HEIGHT = 330, 150
#: The mark after a step's size in a figure.
_MARKS = {Rerun.CONFIRMED: "", Rerun.CONTRADICTED: " ✗", Rerun.OPEN: " ?"}


def tables(all_series: Sequence[Series], operators: Mapping[str, Operators]) -> list[Table]:
    """The tables for the page (see cellfarm.report.answers); empty ones are left out.

    Args:
        operators: key of a cell -> its operators.
    """
    all_tables = [steps_table(all_series, operators), slowdowns_table(all_series)]
    return [table for table in all_tables if table["rows"]]


def steps_table(all_series: Sequence[Series], operators: Mapping[str, Operators]) -> Table:
    rows = [
        [series.setting["library"], series.setting["model"], setting(series), _versions(step),
         times(step.ratio), f"{times(step.low)} to {times(step.high)}", step.rerun.value,
         _changed_operators(step, operators)]
        for series in all_series
        for step in series.steps
    ]  # fmt: skip
    return {
        "id": "steps",
        "heading": "Steps between versions",
        "text": "Where the latency of a library changes its level from one measured version to the next, "
        "found by changepoints that weigh each version by its interval: the new level over the old one, "
        "above 1 slower. Confirmed: another experiment with both versions shows it too; contradicted: one "
        "shows less, or nothing. The operators are those whose time changed most, from one profile on either "
        "side. "
        f"Charts: charts/series--*.svg.{truncation_note(rows)}",
        "n": f"{len(all_series)} series",
        "columns": [("Library", False), ("Model", False), ("Setting", False), ("Versions", False),
                    ("Ratio", True), ("95 % interval", True), ("Rerun", False),
                    ("Operators", False)],
        "rows": rows[:MOST_ROWS],
    }  # fmt: skip


def slowdowns_table(all_series: Sequence[Series]) -> Table:
    rows = [
        [series.setting["library"], series.setting["model"], setting(series), slow.step.after.version,
         signed_percent(slow.step.ratio - 1), *_duration(slow), slow.step.rerun.value]
        for series in all_series
        for slow in slowdowns(series)
    ]  # fmt: skip
    return {
        "id": "slowdowns",
        "heading": "Slowdowns, and how long they lasted",
        "text": "Every step up that no rerun contradicts. It is taken back by the first later level that is "
        "not above the one before it; counted are the measured versions that have it, and the days from the "
        f"release that brought it to the one that took it back.{truncation_note(rows)}",
        "n": count(len(rows), "slowdown"),
        "columns": [("Library", False), ("Model", False), ("Setting", False), ("Since", False),
                    ("Slower by", True), ("Taken back in", False), ("Versions", True),
                    ("Days", True), ("Rerun", False)],
        "rows": rows[:MOST_ROWS],
    }  # fmt: skip


def setting(series: Series) -> str:
    """`fp32 cpu t1 host quick`."""
    columns = series.setting
    return (
        f"{columns['variant']} {columns['processor']} t{columns['threads']} {columns['device']} "
        f"{columns['protocol']}"
    )


def _versions(step: Step) -> str:
    """The versions on either side; `⇄` if they were measured in different experiments."""
    across = " ⇄" if step.crosses_experiments else ""
    return f"{step.before.version} → {step.after.version}{across}"


def _duration(slow: Slowdown) -> list[str]:
    """The version that took a slowdown back, the number of measured versions with it, and the days."""
    return [
        slow.fixed.after.version if slow.fixed else "not yet",
        str(len(slow.versions)),
        UNKNOWN if slow.days is None else str(slow.days),
    ]


def _changed_operators(step: Step, operators: Mapping[str, Operators]) -> str:
    """The types of operators whose time changed most: `Conv +1.20 ms, Add −0.10 ms`."""
    before, after = operators.get(step.before.key), operators.get(step.after.key)
    if not before or not after:
        return UNKNOWN
    changes = [change for change in differences(before, after)[:_MAX_TYPES] if change.ms]
    return ", ".join(f"{change.type} {_signed(change.ms)} ms" for change in changes) or UNKNOWN


def figures(all_series: Sequence[Series]) -> dict[str, dict[str, Any]]:
    """Name -> the figure of a library: for every model and setting a plot of the latencies with their
    intervals, the levels, and the steps, by version."""
    specifications = {}
    ordered = sorted(all_series, key=lambda series: str(series.setting["library"]))
    for library, group in itertools.groupby(ordered, key=lambda series: series.setting["library"]):
        library_series = list(group)
        plots = [_plot(series) for series in library_series[:MOST_PLOTS]]
        chart = alt.concat(*plots, columns=2, spacing=24)
        spec: dict[str, Any] = chart.to_dict()
        spec.pop("config", None)
        left_out = f", the first {MOST_PLOTS}" if len(library_series) > MOST_PLOTS else ""
        spec["title"] = {
            "text": f"{library}: warm latency over its versions, median with its 95 % interval",
            "subtitle": f"{len(library_series)} series{left_out}; grey: levels; dashed: a step; "
            "?: not confirmed by a rerun, ✗: contradicted",
            "offset": 14,
        }
        specifications[f"series--{library}"] = spec
    return specifications


def _plot(series: Series) -> Chart:
    steps = {step.position: step for step in series.steps}
    rows = [
        _row(point, level_ms, steps.get(position))
        for position, (point, level_ms) in enumerate(
            zip(series.points, series.levels_ms, strict=True)
        )
    ]
    versions = [point.version for point in series.points]
    base = alt.Chart(alt.InlineData(values=rows)).encode(
        x=alt.X("version:N", sort=versions, axis=alt.Axis(title=None, labelAngle=-50))
    )
    marked = base.transform_filter("isValid(datum.step)")
    layers = alt.layer(
        base.mark_line(style="faint", interpolate="step", strokeWidth=2).encode(y=_y("level_ms")),
        base.mark_rule(strokeWidth=2).encode(y=_y("low_ms"), y2="high_ms:Q"),
        base.mark_point(filled=True, size=45, opacity=1).encode(y=_y("latency_ms")),
        marked.mark_rule(strokeDash=[4, 3]),
        marked.mark_text(style="value", align="left", dx=3).encode(
            text="step:N", y=alt.value(6)
        ),
    )  # fmt: skip
    title = {"text": str(series.setting["model"]), "subtitle": setting(series), "fontSize": 12}
    return layers.properties(width=_PLOT_WIDTH, height=_PLOT_HEIGHT, title=title)


def _row(point: Point, level_ms: float, step: Step | None) -> dict[str, Any]:
    return {
        "version": point.version,
        "latency_ms": point.latency_ms,
        "low_ms": point.low_ms,
        "high_ms": point.high_ms,
        "level_ms": level_ms,
        "step": signed_percent(step.ratio - 1) + _MARKS[step.rerun] if step else None,
    }


def _y(field: str) -> alt.Y:
    return alt.Y(f"{field}:Q", title="latency, ms", scale=alt.Scale(zero=False))


def _signed(ms: float) -> str:
    return f"{'−' if ms < 0 else '+'}{significant(abs(ms))}"
