"""The charts as Altair specifications without data: the page and the figures fill them in.

Each is one small plot of the libraries that ran one model at one number of threads. Its rows come
as the data set `cells`, its axis as the parameters `x_min` and `x_max`, its colours from the
configuration of a theme: so one specification serves every panel, light and dark.
"""

from __future__ import annotations

from typing import Any

import altair as alt

from cellfarm.report import breakdowns, timelines
from cellfarm.report.marks import (
    DATA,
    ROW_HEIGHT,
    Chart,
    absent,
    across,
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

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


def specifications(arrangement: Arrangement) -> dict[str, dict[str, Any]]:
    """Chart name -> Vega-Lite specification (a plain dict) with `width` left to the container.

    Charts that no cell has anything for are left out.
    """
    labels = arrangement.labels
    both_caches = any(cell["cold_cache_total_ms"] is not None for cell in arrangement.cells)
    charts: dict[str, tuple[Chart, dict[str, Any] | int]] = {
        "latency": (_latency(labels), {"step": ROW_HEIGHT}),
        "cold-start": (
            breakdowns.cold_start(both_caches),
            {"step": breakdowns.cold_start_step(both_caches), "for": "position"},
        ),
        "operators": (breakdowns.operators(arrangement.operator_types), {"step": ROW_HEIGHT}),
        "sustained": (timelines.sustained(labels), timelines.HEIGHT),
        "memory": (_memory(labels), {"step": ROW_HEIGHT}),
        "error": (_error(labels), {"step": ROW_HEIGHT}),
    }
    if not any(cell["rate_s"] for cell in arrangement.cells):
        del charts["sustained"]
    return {name: _finished(chart, height) for name, (chart, height) in charts.items()}


def calibration() -> dict[str, Any]:
    """The specification of the device's own speed over time; its data come as the set `cells`."""
    spec = _finished(timelines.calibration(), timelines.HEIGHT)
    low, high = timelines.CALIBRATION_RANGE
    spec["params"] += [{"name": "y_min", "value": low}, {"name": "y_max", "value": high}]
    return spec


def configuration(theme: Theme, arrangement: Arrangement) -> dict[str, Any]:
    """The Vega-Lite configuration of a theme: its colours, the libraries', phases' and operators'."""
    libraries = library_colours(arrangement.labels).values()
    # The one range with a name that is left for operators.
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
    x = across("latency_ms", "latency, ms")
    base = libraries_down("latency")
    colour = {"color": by_library(labels), "opacity": faded()}
    low, upper = (
        across("latency_ci_low_ms", "latency, ms"),
        across("latency_ci_high_ms", "latency, ms"),
    )
    interval = base.mark_rule(strokeWidth=2).encode(x=low, x2="latency_ci_high_ms:Q", **colour)
    # Taller than the point: an interval narrower than it still shows where it ends.
    ends = base.mark_tick(thickness=1.5, height=15)
    point = base.mark_point(filled=True, size=58, strokeWidth=1.8, opacity=1).encode(
        x=x,
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
        x=across("peak_rss_mb", "peak resident memory, MB", stack=None),
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
    x = across("error_plot", "largest absolute error", log=True)
    point = base.mark_point(filled=True, size=80, strokeWidth=1.8, opacity=1).encode(
        x=x,
        stroke=by_library(labels, alt.Stroke),
        fill=by_library(labels, alt.Fill),
        fillOpacity=hollow(),
        shape=alt.condition("datum.max_abs_error === 0", alt.value("diamond"), alt.value("circle")),
        tooltip=tooltip(error_text="largest absolute error", cosine="cosine"),
    )
    value = number(base, at="error_plot", text="error_text", log=True)
    return alt.layer(point, value, absent(base, "error_plot"))


def _finished(chart: Chart, height: dict[str, Any] | int) -> dict[str, Any]:
    """The specification as a dict, with the parameters that a panel sets."""
    spec: dict[str, Any] = chart.to_dict(validate=False)  # a second; a test does
    spec.pop("config", None)  # the theme's takes its place
    spec.pop("datasets", None)
    spec["params"] = [
        {"name": "x_min", "value": 0},
        {"name": "x_max", "value": 1},
        {"name": "label_width", "value": 80},
    ]
    spec["data"] = {"name": DATA}
    for layer in spec["layer"]:
        layer.pop("data", None)
    spec["width"] = "container"
    spec["height"] = height
    spec["autosize"] = {"type": "fit-x", "contains": "padding"}
    return spec
