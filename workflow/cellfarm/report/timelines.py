"""Charts over time: throughput under continuous load, and the device's calibration load."""

from __future__ import annotations

import altair as alt

from cellfarm.report.marks import Chart, by_library, faded

#: Height of a plot, in pixels.
HEIGHT = 190
#: The least range of the calibration load's axis, so that a quiet device looks quiet.
CALIBRATION_RANGE = (0.9, 1.25)


def sustained(labels: list[str]) -> Chart:
    """Throughput over time by library, with the level at which it settles."""
    cells = alt.Chart()
    y = alt.Y(
        "rate_per_s:Q",
        title="inferences per second",
        scale=alt.Scale(zero=True),
        axis=alt.Axis(tickCount=4, format=",~r"),
    )
    points = (
        cells.transform_filter("isValid(datum.rate_s)")
        .transform_flatten(["rate_s", "rate_per_s"])
        .encode(x="rate_s:Q", y=y, color=by_library(labels))
    )
    line = points.mark_line(strokeWidth=1.8).encode(opacity=faded())
    dots = points.mark_point(size=60, opacity=0).encode(
        tooltip=[
            alt.Tooltip("label:N", title="library"),
            alt.Tooltip("rate_s:Q", title="s", format=",.0f"),
            alt.Tooltip("rate_per_s:Q", title="inferences per second", format=",.3~r"),
            alt.Tooltip("sustained_text:N", title="settles at"),
            alt.Tooltip("flags_text:N", title="flags"),
        ]
    )
    level = (
        cells.transform_filter("isValid(datum.throughput_settled_per_s)")
        .transform_calculate(end="datum.rate_s[length(datum.rate_s) - 1]")
        .mark_rule(strokeDash=[4, 3], strokeWidth=1.3)
        .encode(
            x="settled_after_s:Q",
            x2="end:Q",
            y="throughput_settled_per_s:Q",
            color=by_library(labels),
        )
    )
    return alt.layer(line, level, dots)


def calibration() -> Chart:
    """The calibration load before each launch, as a factor of its median: a slow episode stands out.

    Its data set has the columns number, moment, threads, factor, most, ms, launches, session.
    """
    rows = alt.Chart()
    points = rows.encode(x="number:Q")
    low, high = CALIBRATION_RANGE  # with room for the texts above the points
    y = alt.Y(
        "factor:Q",
        title="× its median",
        scale=alt.Scale(
            zero=False,
            domainMin=alt.ExprRef(f"min(lowest, {low})"),
            domainMax=alt.ExprRef(f"max(highest + 0.05, {high})"),
        ),
        axis=alt.Axis(tickCount=4, format=".2~f"),
    )
    threads = alt.Color(
        "threads:O",
        scale=alt.Scale(range="ordinal"),
        legend=alt.Legend(title="threads", orient="top", direction="horizontal"),
    )
    unit = rows.transform_filter("datum.number === 0").mark_rule(style="faint")
    sessions = points.transform_filter("isValid(datum.session)")
    return alt.layer(
        unit.encode(y=alt.datum(1)),
        sessions.mark_rule(style="faint", strokeDash=[2, 3]),
        sessions.mark_text(style="absent", align="left", dx=4, fontStyle="normal").encode(
            text="session:N", y=alt.value(8)
        ),
        points.mark_rule().encode(y=y, y2="most:Q", color=threads),
        points.mark_point(filled=True, size=20, opacity=1).encode(
            y=y,
            color=threads,
            tooltip=[
                alt.Tooltip("moment:N", title="time"),
                alt.Tooltip("launches:Q", title="launches"),
                alt.Tooltip("threads:N", title="threads"),
                alt.Tooltip("ms:Q", title="calibration load, ms", format=",.4~r"),
                alt.Tooltip("factor:Q", title="× its median", format=".3f"),
                alt.Tooltip("most:Q", title="slowest, × its median", format=".3f"),
            ],
        ),
    )
