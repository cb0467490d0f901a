"""The charts as Altair specifications without data, which the page and the figures add.

A chart is a small plot of the libraries that ran a model at a number of threads. Its rows are the data
set `cells`, the extent of its axis comes as parameters (see cellfarm.report.axes), and its colours from
the configuration of a theme. So a specification serves all panels, light and dark.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt

from cellfarm.report import breakdowns, timelines
from cellfarm.report.axes import AXES, LOG_AXES, Axis, parameters
from cellfarm.report.marks import (
    ROW_HEIGHT,
    Chart,
    absent,
    by_library,
    faded,
    hollow,
    libraries_down,
    number,
    tooltip,
)
from cellfarm.report.palette import (
    PHASE_COLOURS,
    Theme,
    library_colours,
    of_theme,
    operator_colours,
)
from cellfarm.report.panels import Arrangement

DATA = "cells"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


def specifications(arrangement: Arrangement) -> dict[str, dict[str, Any]]:
    """Name of a chart -> its Vega-Lite specification, whose width is that of its container.

    The chart `sustained` is left out if no cell has a throughput.
    """
    labels = arrangement.labels
    both_caches = any(cell["cold_cache_total_ms"] is not None for cell in arrangement.cells)
    charts: dict[str, tuple[Chart, alt.Step | int]] = {
        "latency": (_latency(labels), alt.Step(ROW_HEIGHT)),
        "cold-start": (breakdowns.cold_start(both_caches), breakdowns.cold_start_step(both_caches)),
        "operators": (breakdowns.operators(arrangement.operator_types), alt.Step(ROW_HEIGHT)),
        "sustained": (timelines.sustained(labels), timelines.HEIGHT),
        "memory": (_memory(labels), alt.Step(ROW_HEIGHT)),
        "error": (_error(labels), alt.Step(ROW_HEIGHT)),
    }
    if not any(cell["rate_s"] for cell in arrangement.cells):
        del charts["sustained"]
    return {
        name: _specification(chart, AXES[name], height, parameters(labels))
        for name, (chart, height) in charts.items()
    }


def logarithmic(arrangement: Arrangement) -> dict[str, dict[str, Any]]:
    """Name of a chart -> its specification with a logarithmic axis, which a reader may choose."""
    labels = arrangement.labels
    charts = {"latency": _latency(labels)}
    return {
        name: _specification(charts[name], axis, alt.Step(ROW_HEIGHT), parameters(labels))
        for name, axis in LOG_AXES.items()
    }


def calibration(labels: Sequence[str]) -> dict[str, Any]:
    """The specification of the chart of the calibration load over time; its data set is `cells`."""
    low, high = timelines.CALIBRATION_RANGE
    extent = [{"name": "lowest", "value": low}, {"name": "highest", "value": high}]
    return _specification(
        timelines.calibration(),
        AXES["calibration"],
        timelines.HEIGHT,
        [*parameters(labels), *extent],
    )


def configuration(theme: Theme, arrangement: Arrangement) -> dict[str, Any]:
    """The Vega-Lite configuration of a theme: the colours of texts, libraries, phases and operators."""
    libraries = library_colours(arrangement.labels).values()
    operators = operator_colours(arrangement.operator_types).values()
    axis = {"labelColor": theme.muted, "titleColor": theme.muted, "tickColor": theme.line}
    return {
        "background": "transparent",
        "font": FONT,
        "view": {"stroke": None},
        "axis": {
            **axis,
            "gridColor": theme.line,
            "domain": False,
            "labelFontSize": 11,
            "titleFontSize": 11,
            "titleFontWeight": "normal",
        },
        "axisY": {"labelColor": theme.ink, "labelFontSize": 12, "ticks": False},
        "legend": {"labelColor": theme.muted, "titleColor": theme.muted},
        "header": {"labelColor": theme.ink, "titleColor": theme.ink},
        "title": {"color": theme.ink, "subtitleColor": theme.muted, "anchor": "start"},
        "range": {
            "category": of_theme(list(libraries), theme),
            "ordinal": of_theme(PHASE_COLOURS, theme),
            # For operators: Vega-Lite has no other name for a third range.
            "diverging": of_theme(list(operators), theme),
        },
        "style": {
            "value": {"color": theme.ink, "fontSize": 11},
            "whisker": {"stroke": theme.ink, "fill": theme.ink, "color": theme.ink},
            "faint": {"stroke": theme.muted, "opacity": 0.5},
            "absent": {"color": theme.muted, "fontSize": 11, "fontStyle": "italic"},
        },
    }


def _latency(labels: list[str]) -> Chart:
    base = libraries_down("latency")
    colour = {"color": by_library(labels), "opacity": faded()}
    low, upper = "latency_ci_low_ms:Q", "latency_ci_high_ms:Q"
    interval = base.mark_rule(strokeWidth=2).encode(x=low, x2=upper, **colour)
    # Taller than the point, which would hide the ends of a narrow interval.
    ends = base.mark_tick(thickness=1.5, height=15)
    point = base.mark_point(filled=True, size=58, strokeWidth=1.8, opacity=1).encode(
        x="latency_ms:Q",
        stroke=by_library(labels, alt.Stroke),
        fill=by_library(labels, alt.Fill),
        fillOpacity=hollow(),
        strokeOpacity=alt.condition("datum.ranks", alt.value(1), alt.value(0.6)),
        tooltip=tooltip(latency_p90_ms="p90, ms"),
    )
    text = number(base, at="high", text="latency_text")
    high = "max(datum.latency_ms, datum.latency_ci_high_ms)"
    return alt.layer(
        interval,
        ends.encode(x=low, **colour),
        ends.encode(x=upper, **colour),
        point,
        text,
        absent(base, "latency_ms"),
    ).transform_calculate(high=f"isValid(datum.latency_ms) ? {high} : null")


def _memory(labels: list[str]) -> Chart:
    base = libraries_down("memory")
    bars = base.mark_bar(height=13, strokeWidth=1.5).encode(
        x=alt.X("peak_rss_mb:Q", stack=None),
        fill=by_library(labels, alt.Fill),
        stroke=by_library(labels, alt.Stroke),
        fillOpacity=alt.condition("datum.ranks", alt.value(0.9), alt.value(0)),
        strokeOpacity=alt.condition("datum.ranks", alt.value(0), alt.value(0.6)),
        tooltip=tooltip(memory_text="peak memory"),
    )
    value = number(base, at="peak_rss_mb", text="memory_text")
    return alt.layer(bars, value, absent(base, "peak_rss_mb"))


def _error(labels: list[str]) -> Chart:
    base = libraries_down("error")
    point = base.mark_point(filled=True, size=80, strokeWidth=1.8, opacity=1).encode(
        x="error_plot:Q",
        stroke=by_library(labels, alt.Stroke),
        fill=by_library(labels, alt.Fill),
        fillOpacity=hollow(),
        shape=alt.condition("datum.max_abs_error === 0", alt.value("diamond"), alt.value("circle")),
        tooltip=tooltip(error_text="largest absolute error", cosine="cosine"),
    )
    value = number(base, at="error_plot", text="error_text")
    return alt.layer(point, value, absent(base, "error_plot"))


def _specification(
    chart: Chart, axis: Axis, height: alt.Step | int, params: list[dict[str, Any]]
) -> dict[str, Any]:
    chart = chart.encode(x=axis.encoding()).properties(
        data=alt.NamedData(DATA),
        width="container",
        height=height,
        autosize=alt.AutoSizeParams(type="fit-x", contains="padding"),
    )
    # A test validates it, which takes a second; the theme's configuration replaces `config`.
    spec: dict[str, Any] = chart.to_dict(validate=False)
    del spec["config"]
    return spec | {"params": params}
