"""The charts as SVG and PNG files: for papers, slides and readers without JavaScript."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import altair as alt

from cellfarm.analysis.ranking import Ranking
from cellfarm.report.axes import AXES, figure_parameters
from cellfarm.report.breakdowns import PHASES
from cellfarm.report.charts import configuration
from cellfarm.report.drawing import draw
from cellfarm.report.palette import (
    LIGHT,
    PHASE_COLOURS,
    library_colours,
    of_theme,
    operator_colours,
)
from cellfarm.report.panels import Arrangement, Panel
from cellfarm.report.wording import count, percent

#: Drawing a figure takes a second or two: only the page shows the settings beyond these.
MAX_SETTINGS = 3
#: The most plots of a figure; its subtitle says what it leaves out.
MAX_PLOTS = 36
#: A plot takes a tenth of a second. A report with more plots has figures of the winners only: the page
#: has the charts, and can save each plot as a file.
MAX_PLOTS_IN_ALL = 300
TITLES = {
    "latency": "Warm latency, median with its 95 % interval",
    "cold-start": "Cold start by phase; below it with the artifact out of the page cache",
    "operators": "Time by type of operator; the line is the latency without a profiler",
    "sustained": "Throughput under continuous load; dashed: the level it settles at",
    "memory": "Peak resident memory",
    "error": "Largest absolute error against the reference",
}
#: The prefixes of the names of figures.
CHARTS = frozenset({*TITLES, "winners", "series", "roofline"})
_PLOT_WIDTH = 300
#: Columns of a cell that no mark shows.
_UNDRAWN = frozenset({"log", "reason", "key", "experiment", "flags", "operators"})


def specifications(
    arrangement: Arrangement, specs: dict[str, dict[str, Any]], rankings: Sequence[Ranking]
) -> dict[str, dict[str, Any]]:
    """Name -> the Vega-Lite specification of a figure, for every chart and setting.

    The name is that of the chart (`latency`), or `latency--host-cpu-fp32` if there are several settings.
    A large report has the winners of its first settings only.

    Args:
        specs: of the charts (see cellfarm.report.charts).
    """
    plots = sum(
        len(panel.threads_of(chart)) for panel in arrangement.panels for chart in panel.extents
    )
    drawn = specs if plots <= MAX_PLOTS_IN_ALL else {}
    specifications = {}
    for setting, title in enumerate(arrangement.settings[:MAX_SETTINGS]):
        suffix = suffixes(arrangement)[setting]
        panels = [panel for panel in arrangement.panels if panel.setting == setting]
        figures = {chart: _figure(chart, arrangement, specs, panels) for chart in drawn}
        setting_rankings = arrangement.rankings_of(setting, rankings)
        figures["winners"] = _winners(setting_rankings, arrangement.labels)
        for chart, figure in figures.items():
            if figure is not None:
                subtitle = f"{title} · {figure.pop('note')}"
                heading = {"text": figure.pop("heading"), "subtitle": subtitle, "offset": 14}
                figure["title"] = heading
                specifications[f"{chart}{suffix}"] = figure
    return specifications


def suffixes(arrangement: Arrangement) -> list[str]:
    """The suffixes of the figures' names, by setting; empty if there is a single setting."""
    if len(arrangement.settings) == 1:
        return [""]
    return [f"--{slug(name)}" for name in arrangement.settings]


def slug(text: str) -> str:
    """A file name from any text: 'host · cpu · fp32' -> 'host-cpu-fp32'."""
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-.") or "unnamed"


def _figure(
    chart: str,
    arrangement: Arrangement,
    specs: dict[str, dict[str, Any]],
    panels: Sequence[Panel],
) -> dict[str, Any] | None:
    plots = []
    cells = 0
    shown = [panel for panel in panels if chart in panel.extents]
    models = len(shown)
    while sum(len(panel.threads_of(chart)) for panel in shown) > MAX_PLOTS and len(shown) > 1:
        shown.pop()
    for panel in shown:
        for threads in panel.threads_of(chart):
            rows = [
                cell
                for cell in arrangement.cells
                if (cell["setting"], cell["model"], cell["threads"])
                == (panel.setting, panel.model, threads)
            ]
            cells += len(rows)
            plots.append(_plot(chart, specs[chart], panel, threads, rows))
    if not plots:
        return None
    left_out = f", the first {len(shown)} of {models} models" if len(shown) < models else ""
    most = max(len(panel.threads_of(chart)) for panel in shown)
    columns = min(most if most > 1 else 2, 4)
    colours = _legend_of(chart, arrangement)
    legend = [_legend(colours)] if colours else []
    body = {"concat": plots, "columns": columns, "spacing": 28}
    return {
        "$schema": specs[chart]["$schema"],
        "params": figure_parameters(_PLOT_WIDTH),
        "vconcat": [*legend, body],
        "heading": TITLES[chart],
        "note": f"{count(cells, 'cell')}{left_out}; hollow or faded: measured, but not ranked",
    }


def _plot(
    chart: str, spec: dict[str, Any], panel: Panel, threads: int, rows: list[dict[str, Any]]
) -> dict[str, Any]:
    """A panel's plot for a figure. The plots share the figure's parameters, but not the axis's extent."""
    least, most = panel.extents[chart]
    axis = AXES[chart].encoding(str(least), str(most))
    top_level = {"$schema", "params", "autosize"}
    return {name: value for name, value in spec.items() if name not in top_level} | {
        "encoding": {"x": axis.to_dict()},
        "data": {
            "values": [{name: row[name] for name in row if name not in _UNDRAWN} for row in rows]
        },
        "width": _PLOT_WIDTH,
        "title": {"text": panel.model, "subtitle": count(threads, "thread"), "fontSize": 12},
    }


def _legend_of(chart: str, arrangement: Arrangement) -> list[tuple[str, str]]:
    """(name, colour) of what a chart distinguishes by colour alone."""
    if chart == "cold-start":
        return list(zip(PHASES.values(), of_theme(PHASE_COLOURS, LIGHT), strict=True))
    if chart == "operators":
        colours = operator_colours(arrangement.operator_types)
        return [(kind, light) for kind, (light, _) in colours.items()]
    if chart == "sustained":
        return [(label, pair[0]) for label, pair in library_colours(arrangement.labels).items()]
    return []


def _legend(colours: Sequence[tuple[str, str]]) -> dict[str, Any]:
    columns = 5
    rows = [
        {"name": name, "colour": colour, "at": position % columns * 130,
         "line": -(position // columns)}
        for position, (name, colour) in enumerate(colours)
    ]  # fmt: skip
    lines = (len(rows) - 1) // columns + 1
    x = {"field": "at", "type": "quantitative", "axis": None, "scale": {"domain": [0, 650]}}
    y = {"field": "line", "type": "ordinal", "axis": None, "sort": "descending"}
    colour = {"field": "colour", "type": "nominal", "scale": None}
    return {
        "data": {"values": rows},
        "width": 650,
        "height": 18 * lines,
        "encoding": {"x": x, "y": y},
        "layer": [
            {"mark": {"type": "square", "size": 110, "opacity": 1}, "encoding": {"color": colour}},
            {
                "mark": {"type": "text", "align": "left", "dx": 10, "style": "value"},
                "encoding": {"text": {"field": "name"}},
            },
        ],
    }


def _winners(rankings: Sequence[Ranking], labels: list[str]) -> dict[str, Any] | None:
    """The winners by model and number of threads; the page has them as a table."""
    rows = [
        {
            "model": ranking.model,
            "threads": count(ranking.threads, "thread"),
            "label": ranking.winners[0],
            "tie": ranking.is_tie,
            "who": " = ".join(ranking.winners) if ranking.is_tie else ranking.winners[0],
            "margin": _margin(ranking),
        }
        for ranking in rankings
    ]
    if not rows:
        return None
    order = [count(n, "thread") for n in sorted({ranking.threads for ranking in rankings})]
    widest = max(len(str(row["who"])) for row in rows)
    base = alt.Chart(alt.InlineData(values=rows)).encode(
        x=alt.X("threads:N", sort=order, axis=alt.Axis(title=None, orient="top", labelAngle=0)),
        y=alt.Y("model:N", axis=alt.Axis(title=None)),
    )
    colour = alt.Color("label:N", scale=alt.Scale(domain=labels, range="category"), legend=None)
    box = base.mark_rect(opacity=0.24, stroke="white", strokeWidth=4).encode(color=colour)
    who = base.mark_text(style="value", fontWeight=600, dy=-8).encode(text="who:N")
    margin = base.mark_text(style="absent", fontStyle="normal", dy=8).encode(text="margin:N")
    spec: dict[str, Any] = alt.layer(box, who, margin).to_dict()
    spec.pop("config", None)
    spec |= {"width": {"step": max(120, 7 * widest + 24)}, "height": {"step": 48}}
    spec["heading"] = "Who wins where, by median warm latency"
    spec["note"] = f"{count(len(rows), 'comparison')}; +%: how much longer the second takes"
    return spec


def _margin(ranking: Ranking) -> str:
    if ranking.is_tie:
        return "TIE"
    return "alone" if ranking.margin is None else f"+{percent(ranking.margin)}"


def write(figures: Mapping[str, dict[str, Any]], folder: Path, arrangement: Arrangement) -> None:
    """Write specifications as `<name>.svg` and `<name>.png` in the light theme, and remove older figures.

    Raises:
        subprocess.CalledProcessError: a figure cannot be drawn.
        OSError: `folder` cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    theme = {
        "config": configuration(LIGHT, arrangement) | {"background": LIGHT.ground, "aria": False},
        "padding": 20,
    }
    draw({name: spec | theme for name, spec in figures.items()}, folder, vega_lite_version())
    _remove_stale(folder, figures)


def vega_lite_version() -> str:
    """The Vega-Lite that Altair writes for: '6.1'."""
    return ".".join(str(alt.SCHEMA_VERSION).lstrip("v").split(".")[:2])


def _remove_stale(folder: Path, written: Collection[str]) -> None:
    """Remove the figures (`<chart>` or `<chart>--...`) that only an earlier report had."""
    for path in folder.iterdir():
        is_figure = path.stem.split("--")[0] in CHARTS and path.suffix in (".svg", ".png")
        if is_figure and path.stem not in written:
            path.unlink()
