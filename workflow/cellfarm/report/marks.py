"""The parts of the charts: axes, colours, numbers at the ends of marks."""

from __future__ import annotations

from typing import Any

import altair as alt

#: Altair's types change with every method, which defeats a type checker.
Chart = Any
ROW_HEIGHT = 25
_FADED = 0.42
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


def libraries_down(chart: str) -> Chart:
    """A chart without marks yet, a row for each library, in the order that `chart` has."""
    order = f"order_{chart.replace('-', '_')}"
    # By a minimum: Vega-Lite accepts no other order across layers with different data.
    sort = alt.EncodingSortField(field=order, op="min", order="ascending")
    # Half a mark of padding: a mark at the beginning of the axis must not touch the name.
    axis = alt.Axis(
        title=None, labelLimit=124, labelPadding=6, minExtent=alt.ExprRef("label_width")
    )
    return alt.Chart().encode(y=alt.Y("label:N", sort=sort, axis=axis))


def by_library(labels: list[str], channel: Any = alt.Color) -> Any:
    """The colour of each library."""
    return channel("label:N", scale=alt.Scale(domain=labels, range="category"), legend=None)


def hollow() -> Any:
    """Filled for a cell that ranks."""
    return alt.condition("datum.ranks", alt.value(1), alt.value(0))


def faded() -> Any:
    """Paler for a cell that does not rank."""
    return alt.condition("datum.ranks", alt.value(1), alt.value(_FADED))


def number(chart: Chart, *, at: str, text: str) -> Chart:
    """The number at the end of a mark; at a latency it is bold if the library wins."""
    weight = {"expr": "datum.winner ? 650 : 400"} if at == "high" else "normal"
    mark = chart.mark_text(align="left", dx=9 if at in ("high", "error_plot") else 5, style="value")
    mark.mark.fontWeight = weight
    return mark.encode(x=f"{at}:Q", text=f"{text}:N", opacity=where_known(text))


def where_known(field: str) -> Any:
    """Invisible if a field has no value."""
    return alt.condition(f"isValid(datum.{field})", alt.value(1), alt.value(0))


def absent(chart: Chart, field: str, why: str = "cell_text") -> Chart:
    """The reason for a missing number, in its place."""
    text = f"isValid(datum.{field}) ? '' : datum.{why}"
    return (
        chart.transform_calculate(absent=text)
        .mark_text(align="left", dx=4, style="absent")
        .encode(x=alt.value(0), text="absent:N")
    )


def tooltip(**more: str) -> list[alt.Tooltip]:
    """The fields of every tooltip, and `more`: field -> title."""
    return [
        alt.Tooltip(f"{field}:N", title=title)
        if not field.endswith("_ms")
        else alt.Tooltip(f"{field}:Q", title=title, format=",.3~r")
        for field, title in (_TOOLTIP | more).items()
    ]
