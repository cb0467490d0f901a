"""Operations against time: the table, and the roofline of each device and number of threads."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from cellfarm.analysis.roofline import LEAST_MODELS, Roof, Spot, scalings
from cellfarm.report.answers import MOST_ROWS, Table
from cellfarm.report.wording import UNKNOWN, count, percent, significant

_SIZE = 420


def tables(spots: Sequence[Spot]) -> list[Table]:
    """The table for the page (see cellfarm.report.answers); none if it would be empty."""
    rows = []
    for scaling in scalings(spots):
        device, variant, protocol, threads = scaling.setting
        rows.append(
            [scaling.library, f"{variant} cpu t{threads} {device} {protocol}", str(scaling.models),
             _correlation(scaling.by_flops), _correlation(scaling.by_parameters),
             significant(scaling.gflops), percent(scaling.best_share)]
        )  # fmt: skip
    text = (
        "How latency follows a model's operations and its parameters over the models of a library: rank "
        f"correlations (Spearman), of {LEAST_MODELS} models or more. GFLOP/s are the operations of the "
        "model's definition over the latency, the median. The most that is reached is a share of what the "
        "roofline allows; it may be above 100 %: its bounds are what numpy reaches, which is a lower bound "
        "of the hardware, and fast convolutions need fewer operations than the definition has. Charts: "
        "charts/roofline--*.svg."
    )
    table: Table = {
        "id": "compute",
        "heading": "Operations, parameters and speed",
        "text": text,
        "n": count(len(spots), "cell"),
        "columns": [("Library", False), ("Setting", False), ("Models", True), ("Operations", True),
                    ("Parameters", True), ("GFLOP/s", True), ("Most of the roofline", True)],
        "rows": rows[:MOST_ROWS],
    }  # fmt: skip
    return [table] if rows else []


def figures(
    spots: Sequence[Spot], roofs: Mapping[tuple[str, int], Roof], labels: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Name -> figure, for each device and number of threads whose two bounds are known.

    Args:
        labels: of all libraries, in the order of their colours.
    """
    groups: dict[tuple[str, int], list[Spot]] = defaultdict(list)
    for spot in spots:
        key = (spot.cell["device"], spot.cell["threads"])
        if spot.share is not None and key in roofs:
            groups[key].append(spot)
    return {
        f"roofline--{device}-t{threads}": _figure(group, roofs[device, threads], labels, device, threads)
        for (device, threads), group in sorted(groups.items())
    }  # fmt: skip


def _figure(
    group: Sequence[Spot], roof: Roof, labels: Sequence[str], device: str, threads: int
) -> dict[str, Any]:
    rows = [
        {"label": spot.cell["label"], "intensity": spot.intensity, "gflops": spot.gflops}
        for spot in group
        if spot.intensity
    ]
    ridge = roof.gflops / roof.gb_s
    ends = [ridge, *(row["intensity"] for row in rows)]
    line = [
        {"intensity": x, "gflops": roof.attainable_gflops(x)}
        for x in (min(ends) / 2, ridge, max(ends) * 2)
    ]
    bound = alt.Chart(alt.InlineData(values=line)).mark_line(style="whisker", strokeWidth=1.6)
    colour = alt.Color(
        "label:N",
        scale=alt.Scale(domain=list(labels), range="category"),
        legend=alt.Legend(title=None),
    )
    points = alt.Chart(alt.InlineData(values=rows)).mark_point(filled=True, size=55, opacity=0.85)
    x = alt.X("intensity:Q", title="operations per byte of the artifact", scale=_log_scale())
    y = alt.Y("gflops:Q", title="GFLOP/s", scale=_log_scale())
    chart = alt.layer(bound.encode(x=x, y=y), points.encode(x=x, y=y, color=colour))
    spec: dict[str, Any] = chart.properties(width=_SIZE, height=_SIZE * 2 // 3).to_dict()
    spec.pop("config", None)
    spec["title"] = {
        "text": f"Roofline of {device} with {count(threads, 'thread')}, FP32",
        "subtitle": [
            f"n = {count(len(rows), 'cell')}; the line is {significant(roof.gflops)} GFLOP/s (a matrix "
            f"product of numpy's BLAS) and {significant(roof.gb_s)} GB/s (a copy):",
            "measured, and lower bounds of the hardware's. Operations by the models' definitions, each "
            "weight read once.",
        ],
        "offset": 14,
    }
    return spec


def _log_scale() -> alt.Scale:
    return alt.Scale(type="log", nice=False, zero=alt.Undefined)


def _correlation(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.2f}"
