"""What the charts draw: the cells by setting, model and threads, with shared axes."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter, itemgetter
from typing import Any

from cellfarm.analysis.ranking import Ranking, library_labels, ranks
from cellfarm.report.data import Cell
from cellfarm.report.wording import UNKNOWN, cell_texts

SETTING_COLUMNS = ("device", "processor", "variant", "protocol")
setting_of_cell = itemgetter(*SETTING_COLUMNS)
setting_of_ranking = attrgetter(*SETTING_COLUMNS)
#: Chart -> the column that orders it and whose greatest value sets its axis.
CHART_VALUES = {
    "latency": "latency_ms",
    "cold-start": "cold_total_ms",
    "operators": "operators_sum_ms",
    "sustained": "throughput_settled_per_s",
    "memory": "peak_rss_mb",
    "error": "max_abs_error",
}
#: The most types of operators that a chart distinguishes; the last is "other types".
MAX_OPERATOR_TYPES = 10
OTHER_TYPES = "other types"
_ERROR_FLOOR = 1e-9


@dataclass(frozen=True, slots=True)
class Panel:
    """A model in a setting: a small plot for each number of threads, all with the same axis.

    `extents` maps a chart to the (least positive, greatest) value that it shows; charts without any
    value are absent. `profiled_threads` has the lowest number of threads at which operators were timed;
    it is empty if there is none.
    """

    setting: int
    model: str
    threads: tuple[int, ...]
    extents: dict[str, tuple[float, float]]
    profiled_threads: tuple[int, ...] = ()

    def threads_of(self, chart: str) -> tuple[int, ...]:
        """The numbers of threads that a chart has plots for."""
        return self.profiled_threads if chart == "operators" else self.threads


@dataclass(frozen=True, slots=True)
class Arrangement:
    """The cells with the values that charts need, their settings and their panels.

    `operator_types` are the types of the times in `op_ms` of a cell, in the same order.
    """

    cells: list[Cell]
    settings: list[str]
    panels: list[Panel]
    labels: list[str]
    operator_types: list[str]

    def rankings_of(self, setting: int, rankings: Sequence[Ranking]) -> list[Ranking]:
        """The comparisons that took place in a setting."""
        settings = {setting_of_cell(cell) for cell in self.cells if cell["setting"] == setting}
        return [ranking for ranking in rankings if setting_of_ranking(ranking) in settings]


def arrange(
    cells: Sequence[Cell], rankings: Sequence[Ranking], flagged: Sequence[Ranking] = ()
) -> Arrangement:
    """Copy the cells, add what the charts draw, and group them into panels.

    Added: label, ranks, winner, setting (index), latency_text, cold_text, memory_text, error_text,
    error_plot, cold_other_ms, cell_text (why there is no number), order_<chart>, op_ms and similar
    columns; ranks_flagged and winner_flagged, as if flagged cells ranked.

    Args:
        flagged: the rankings with flagged cells.
    """
    labels = library_labels(cells)
    settings = sorted({_setting(cell) for cell in cells})
    names = [_setting_name(setting, settings) for setting in settings]
    won, won_flagged = _winners(rankings), _winners(flagged)
    floor = error_floor(cells)
    types = operator_types(cells)
    rows = []
    for cell in cells:
        label = labels[(str(cell["library"]), cell["library_version"])]
        candidate = (*setting_of_cell(cell), cell["model"], cell["threads"], label)
        row = dict(cell) | {
            "label": label,
            "ranks": ranks(cell),
            "winner": ranks(cell) and candidate in won,
            "ranks_flagged": ranks(cell, flagged=True),
            "winner_flagged": ranks(cell, flagged=True) and candidate in won_flagged,
            "setting": settings.index(_setting(cell)),
            "op_ms": _by_type(cell["operators"], types),
        }
        rows.append(row | cell_texts(row, floor))
    panels = []
    groups: dict[tuple[int, str], list[Cell]] = {}
    for row in rows:
        groups.setdefault((row["setting"], row["model"]), []).append(row)
    for (setting, model), group in sorted(groups.items(), key=lambda item: item[0]):
        threads = tuple(sorted({row["threads"] for row in group}))
        for number in threads:
            _order([row for row in group if row["threads"] == number])
        profiled = tuple(sorted({row["threads"] for row in group if row["op_ms"]}))[:1]
        panels.append(Panel(setting, model, threads, _extents(group), profiled))
    return Arrangement(rows, names, panels, sorted(set(labels.values())), types)


def operator_types(cells: Sequence[Cell]) -> list[str]:
    """The types with the largest shares of the cells' time, the largest first, and OTHER_TYPES."""
    shares: dict[str, float] = defaultdict(float)
    for cell in cells:
        operators = cell["operators"] or {}
        total_ms = sum(operators.values())
        for kind, ms in operators.items():
            shares[kind] += ms / total_ms if total_ms else 0.0
    shares.pop("Other", None)  # the common vocabulary's name for unknown types
    kinds = [kind for kind, _ in sorted(shares.items(), key=lambda item: (-item[1], item[0]))]
    return [*kinds[: MAX_OPERATOR_TYPES - 1], OTHER_TYPES]


def _by_type(operators: Mapping[str, float] | None, types: Sequence[str]) -> list[float] | None:
    """Times in ms in the order of `types`."""
    if not operators:
        return None
    known = [operators.get(kind, 0.0) for kind in types[:-1]]
    return [*known, max(0.0, sum(operators.values()) - sum(known))]


def _winners(rankings: Sequence[Ranking]) -> set[tuple[Any, ...]]:
    """(setting columns, model, threads, library) of the winners."""
    return {
        (*setting_of_ranking(ranking), ranking.model, ranking.threads, winner)
        for ranking in rankings
        if ranking.is_comparison and ranking.decided
        for winner in ranking.winners
    }


def error_floor(cells: Sequence[Cell]) -> float:
    """The place of an error of zero on a logarithmic axis: a decade below the least error."""
    errors = [cell["max_abs_error"] for cell in cells if (cell["max_abs_error"] or 0) > 0]
    return 10.0 ** (math.floor(math.log10(min(errors))) - 1) if errors else _ERROR_FLOOR


def _setting(cell: Cell) -> tuple[str, ...]:
    return tuple(str(cell[column] or UNKNOWN) for column in SETTING_COLUMNS)


def _setting_name(setting: tuple[str, ...], settings: Sequence[tuple[str, ...]]) -> str:
    """Device, processor and variant; also the protocol if there are several."""
    several_protocols = len({protocol for *_, protocol in settings}) > 1
    return " · ".join(setting if several_protocols else setting[:3])


def _order(rows: Sequence[Cell]) -> None:
    """Number the rows of a plot, the least value first; rows without a value come last."""
    for chart, column in CHART_VALUES.items():
        ordered = sorted(
            rows, key=lambda row: (row[column] is None, row[column] or 0, row["label"])
        )
        for position, row in enumerate(ordered):
            row[f"order_{chart.replace('-', '_')}"] = position


def _extents(rows: Sequence[Cell]) -> dict[str, tuple[float, float]]:
    columns = {
        "latency": ("latency_ci_low_ms", "latency_ms", "latency_ci_high_ms"),
        "cold-start": (
            "cold_total_ci_high_ms",
            "cold_total_ms",
            "cold_cache_total_ms",
            "cold_cache_total_ci_high_ms",
        ),
        "operators": ("operators_sum_ms", "latency_ms"),
        "memory": ("peak_rss_mb",),
        "error": ("error_plot",),
    }
    extents = {}
    for chart, names in columns.items():
        # A cell with an interval but no number is not drawn, and must not stretch the axis.
        drawn = "error_plot" if chart == "error" else CHART_VALUES[chart]
        shown = [row for row in rows if row[drawn] is not None]
        if chart == "operators":
            shown = [row for row in shown if row["op_ms"]]
        values = [row[name] for row in shown for name in names if (row[name] or 0) > 0]
        if values:
            extents[chart] = (min(values), max(values))
    ends_s = [row["rate_s"][-1] for row in rows if row["rate_s"]]
    if ends_s:
        extents["sustained"] = (0.0, max(ends_s))
    return extents
