"""The axes of the charts: how their ends follow from the values and the width of a plot.

The rules are Vega expressions, which the page and the figures share. Their parameters are the least and
the greatest value that a plot shows, and the widths of the panel and of the names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

_PLOT_WIDTH_PX = "max(120, panel_width - label_width)"
#: The share of a plot's width that the numbers at the ends of marks may take.
_MAX_TEXT_SHARE = 0.45


@dataclass(frozen=True, slots=True)
class Axis:
    """A horizontal axis with room for the number that stands at the end of the longest mark.

    A linear axis begins at zero. A logarithmic one begins at the least value times `margin` and is at
    least a factor of `span` long; with `powers` its labels are powers of ten.
    """

    title: str
    text_width_px: int = 66
    log: bool = False
    margin: float = 1.0
    span: float = 1.0
    powers: bool = False

    def encoding(self, least: str = "least", most: str = "most") -> alt.X:
        """The encoding that all layers of a chart share.

        Args:
            least: the least value that a plot shows, as a Vega expression.
            most: the greatest value.
        """
        low, high = self._ends(least, most)
        scale = alt.Scale(
            type="log" if self.log else "linear",
            domainMin=alt.ExprRef(low),
            domainMax=alt.ExprRef(high),
            nice=False,
            zero=alt.Undefined if self.log else False,  # Vega warns of it on a logarithmic axis
        )
        axis = alt.Axis(
            title=self.title,
            tickCount=4,
            format=".0e" if self.powers else ",~r",
            labelOverlap=True,
            labelFlush=False,
            labelSeparation=6,
        )
        if self.powers:
            axis.labelExpr = "datum.value === 1 ? '1' : replace(datum.label, 'e+', 'e')"
        return alt.X(type="quantitative", scale=scale, axis=axis)

    def _ends(self, least: str, most: str) -> tuple[str, str]:
        plot = _PLOT_WIDTH_PX
        room = f"{plot} / ({plot} - min({self.text_width_px}, {_MAX_TEXT_SHARE} * {plot}))"
        if not self.log:
            return "0", f"({most}) * {room}"
        low = f"(({least}) * {self.margin})"
        return low, f"{low} * pow(max({most}, {low} * {self.span}) / {low}, {room})"


#: Chart -> its axis.
AXES = {
    "latency": Axis("latency, ms"),
    "cold-start": Axis("cold start, ms"),
    "operators": Axis("time by type of operator, ms", text_width_px=116),
    "sustained": Axis("time under load, s", text_width_px=0),
    "memory": Axis("peak resident memory, MB"),
    "error": Axis("largest absolute error", log=True, margin=1 / 3, span=100, powers=True),
    "calibration": Axis("launch, in the order of time", text_width_px=0),
}
#: Chart -> the logarithmic axis that a reader may choose instead.
LOG_AXES = {"latency": Axis("latency, ms", log=True, margin=0.85, span=2)}


def parameters(labels: Sequence[str]) -> list[dict[str, Any]]:
    """The parameters of a specification for the page, which sets all but the width of the labels."""
    # Long names are cut: on a phone they take half of the width at most.
    label_width = min(130, 10 + 6.8 * max(map(len, labels), default=0))
    values = {"least": 0, "most": 1, "panel_width": 400, "label_width": round(label_width, 1)}
    return [{"name": name, "value": value} for name, value in values.items()]


def figure_parameters(plot_width_px: int) -> list[dict[str, Any]]:
    """The parameters of a figure, in which the width of a plot does not depend on its names."""
    values = {"panel_width": plot_width_px, "label_width": 0}
    return [{"name": name, "value": value} for name, value in values.items()]
