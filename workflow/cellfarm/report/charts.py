"""The charts as Altair specifications without data: the page and the figures fill them in.

Each is one small plot of the libraries that ran one model at one number of threads. Its rows come
as the data set `cells`, its axis as the parameters `x_min` and `x_max`, its colours from the
configuration of a theme: so one specification serves every panel, light and dark.
"""

from __future__ import annotations

from typing import Any

import altair as alt

from cellfarm.report.palette import PHASE_COLOURS, Theme, library_colours, of_theme
from cellfarm.report.panels import COLD_PHASES

#: Altair's own types change class with every method: of no help to a checker.
Chart = Any
ROW_HEIGHT = 25
PHASE_NAMES = {
    "cold_start_ms": "process start",
    "cold_import_ms": "import",
    "cold_load_ms": "load",
    "cold_first_ms": "first inference",
    "cold_other_ms": "not split",
}
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
_FADED = 0.42
_DATA = "cells"
_TOOLTIP = {
    "label": "library",
    "library_version": "version",
    "threads": "threads",
    "status": "status",
    "latency_text": "latency",
    "interval_text": "95 % interval",
    "samples_text": "samples",
    "flags_text": "flags",
}


def specifications(labels: list[str]) -> dict[str, dict[str, Any]]:
    """Chart name -> Vega-Lite specification (a plain dict) with `width` left to the container."""
    charts = {
        "latency": _latency(labels),
        "cold-start": _cold_start(),
        "memory": _memory(labels),
        "error": _error(labels),
    }
    return {name: _finished(chart) for name, chart in charts.items()}


def configuration(theme: Theme, labels: list[str]) -> dict[str, Any]:
    """The Vega-Lite configuration of a theme: its colours, and the libraries' and phases'."""
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
            "category": of_theme(list(library_colours(labels).values()), theme),
            "ordinal": of_theme(PHASE_COLOURS, theme),
        },
        "style": {
            "value": {"color": theme.ink, "fontSize": 11},
            "absent": {"color": theme.muted, "fontSize": 11, "fontStyle": "italic"},
        },
    }


def _latency(labels: list[str]) -> Chart:
    x = _x("latency_ms", "latency, ms")
    base = _base("latency")
    colour = {"color": _library(labels), "opacity": _faded()}
    low, upper = _x("latency_ci_low_ms", "latency, ms"), _x("latency_ci_high_ms", "latency, ms")
    interval = base.mark_rule(strokeWidth=2).encode(x=low, x2="latency_ci_high_ms:Q", **colour)
    # Taller than the point: an interval narrower than it still shows where it ends.
    ends = base.mark_tick(thickness=1.5, height=15)
    point = base.mark_point(filled=True, size=58, strokeWidth=1.8, opacity=1).encode(
        x=x,
        stroke=_library(labels, alt.Stroke),
        fill=_library(labels, alt.Fill),
        fillOpacity=_hollow(),
        strokeOpacity=alt.condition("datum.ranks", alt.value(1), alt.value(0.6)),
        tooltip=_tooltip(latency_p90_ms="p90, ms"),
    )
    text = _value(base, x="high", value="latency_text")
    high = "max(datum.latency_ms, datum.latency_ci_high_ms)"
    return alt.layer(
        interval,
        ends.encode(x=low, **colour),
        ends.encode(x=upper, **colour),
        point,
        text,
        _absent(base, "latency_ms"),
    ).transform_calculate(high=f"isValid(datum.latency_ms) ? {high} : null")


def _cold_start() -> Chart:
    names = list(PHASE_NAMES.values())
    base = _base("cold-start")
    bars = (
        base.transform_fold(list(COLD_PHASES), as_=["column", "phase_ms"])
        .transform_filter("isValid(datum.phase_ms)")
        .transform_calculate(
            phase=f"{PHASE_NAMES}[datum.column]",
            place=f"indexof({list(PHASE_NAMES)}, datum.column)",
        )
        .mark_bar(height=13)
        .encode(
            x=_x("phase_ms", "cold start, ms", stack="zero"),
            color=alt.Color("phase:N", scale=alt.Scale(domain=names, range="ordinal"), legend=None),
            order=alt.Order("place:Q"),
            opacity=_faded(),
            tooltip=[
                alt.Tooltip("label:N", title="library"),
                alt.Tooltip("phase:N", title="phase"),
                alt.Tooltip("phase_ms:Q", title="ms", format=",.3~r"),
                alt.Tooltip("cold_text:N", title="total"),
                alt.Tooltip("status:N", title="status"),
            ],
        )
    )
    return alt.layer(
        bars, _value(base, x="cold_total_ms", value="cold_text"), _absent(base, "cold_total_ms")
    )


def _memory(labels: list[str]) -> Chart:
    base = _base("memory")
    bars = base.mark_bar(height=13, strokeWidth=1.5).encode(
        x=_x("peak_rss_mb", "peak resident memory, MB", stack=None),
        fill=_library(labels, alt.Fill),
        stroke=_library(labels, alt.Stroke),
        fillOpacity=alt.condition("datum.ranks", alt.value(0.9), alt.value(0)),
        strokeOpacity=alt.condition("datum.ranks", alt.value(0), alt.value(0.6)),
        tooltip=_tooltip(memory_text="peak memory"),
    )
    value = _value(base, x="peak_rss_mb", value="memory_text")
    return alt.layer(bars, value, _absent(base, "peak_rss_mb"))


def _error(labels: list[str]) -> Chart:
    base = _base("error")
    x = _x("error_plot", "largest absolute error", log=True)
    point = base.mark_point(filled=True, size=80, strokeWidth=1.8, opacity=1).encode(
        x=x,
        stroke=_library(labels, alt.Stroke),
        fill=_library(labels, alt.Fill),
        fillOpacity=_hollow(),
        shape=alt.condition("datum.max_abs_error === 0", alt.value("diamond"), alt.value("circle")),
        tooltip=_tooltip(error_text="largest absolute error", cosine="cosine"),
    )
    value = _value(base, x="error_plot", value="error_text", log=True)
    return alt.layer(point, value, _absent(base, "error_plot"))


def _base(chart: str) -> Chart:
    order = f"order_{chart.replace('-', '_')}"
    # By a minimum: the one order that Vega-Lite accepts across layers with different data.
    sort = alt.EncodingSortField(field=order, op="min", order="ascending")
    axis = alt.Axis(title=None, labelLimit=130, minExtent=alt.ExprRef("label_width"))
    return alt.Chart(alt.NamedData(_DATA)).encode(y=alt.Y("label:N", sort=sort, axis=axis))


def _x(field: str, title: str, *, log: bool = False, **channel: Any) -> alt.X:
    scale = alt.Scale(
        type="log" if log else "linear",
        domainMin=alt.ExprRef("x_min"),
        domainMax=alt.ExprRef("x_max"),
        nice=False,
        zero=alt.Undefined if log else False,  # a logarithmic axis has none, and says so
    )
    axis = alt.Axis(
        title=title,
        tickCount=4,
        format=".0e",
        labelOverlap=True,
        labelFlush=False,
        labelSeparation=6,
    )
    if log:
        axis.labelExpr = "datum.value === 1 ? '1' : replace(datum.label, 'e+', 'e')"
    else:
        axis.format = ",~r"
    return alt.X(f"{field}:Q", scale=scale, axis=axis, **channel)


def _library(labels: list[str], channel: Any = alt.Color) -> Any:
    return channel("label:N", scale=alt.Scale(domain=labels, range="category"), legend=None)


def _hollow() -> Any:
    return alt.condition("datum.ranks", alt.value(1), alt.value(0))


def _faded() -> Any:
    return alt.condition("datum.ranks", alt.value(1), alt.value(_FADED))


def _value(base: Chart, *, x: str, value: str, log: bool = False) -> Chart:
    """The number itself, written at the end of its mark; bold where the library wins."""
    weight = {"expr": "datum.winner ? 650 : 400"} if x == "high" else "normal"
    mark = base.mark_text(align="left", dx=9 if x in ("high", "error_plot") else 5, style="value")
    mark.mark.fontWeight = weight
    return mark.encode(x=_x(x, "", log=log), text=f"{value}:N", opacity=_text_opacity(value))


def _text_opacity(value: str) -> Any:
    return alt.condition(f"isValid(datum.{value})", alt.value(1), alt.value(0))


def _absent(base: Chart, field: str) -> Chart:
    """Why there is no number, where the number would stand."""
    text = f"isValid(datum.{field}) ? '' : datum.cell_text"
    return (
        base.transform_calculate(absent=text)
        .mark_text(align="left", dx=4, style="absent")
        .encode(x=alt.value(0), text="absent:N")
    )


def _tooltip(**more: str) -> list[alt.Tooltip]:
    return [
        alt.Tooltip(f"{field}:N", title=title)
        if not field.endswith("_ms")
        else alt.Tooltip(f"{field}:Q", title=title, format=",.3~r")
        for field, title in (_TOOLTIP | more).items()
    ]


def _finished(chart: Chart) -> dict[str, Any]:
    """The specification as a dict, with the parameters that a panel sets."""
    spec: dict[str, Any] = chart.to_dict(validate=True)
    spec.pop("config", None)  # the theme's takes its place
    spec.pop("datasets", None)
    spec["params"] = [
        {"name": "x_min", "value": 0},
        {"name": "x_max", "value": 1},
        {"name": "label_width", "value": 80},
    ]
    spec["data"] = {"name": _DATA}
    for layer in spec["layer"]:
        layer.pop("data", None)
    spec["width"] = "container"
    spec["height"] = {"step": ROW_HEIGHT}
    spec["autosize"] = {"type": "fit-x", "contains": "padding"}
    return spec
