"""What each chart draws: the cells arranged by setting, model and threads, with shared axes."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cellfarm.analysis.ranking import Ranking, library_labels, ranks
from cellfarm.report.data import Cell
from cellfarm.report.wording import UNKNOWN, cell_texts

SETTING_COLUMNS = ("device", "processor", "variant", "protocol")
#: Chart -> the column that it orders by and whose greatest value sets the axis.
CHART_VALUES = {
    "latency": "latency_ms",
    "cold-start": "cold_total_ms",
    "operators": "operators_sum_ms",
    "sustained": "throughput_settled_per_s",
    "memory": "peak_rss_mb",
    "error": "max_abs_error",
}
#: More types of operators than this, the last of them "other types", are not told apart.
MAX_OPERATOR_TYPES = 10
OTHER_TYPES = "other types"
_ERROR_FLOOR = 1e-9


@dataclass(frozen=True, slots=True)
class Panel:
    """One model in one setting: for each number of threads a small plot, all on one axis.

    `extents` maps a chart to the (least positive, greatest) value it has to show; a chart for
    which the panel has no value at all is absent. `profiled_threads` is the number of threads at
    which operators were timed, the lowest; empty where they were not.
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
    """The cells with what the charts need beside them, their settings and their panels.

    `operator_types` are the types that `op_ms` of a cell has times for, in its order.
    """

    cells: list[Cell]
    settings: list[str]
    panels: list[Panel]
    labels: list[str]
    operator_types: list[str]

    def rankings_of(self, setting: int, rankings: Sequence[Ranking]) -> list[Ranking]:
        """The comparisons that took place in a setting."""
        columns = {self._columns_of(cell) for cell in self.cells if cell["setting"] == setting}
        return [r for r in rankings if tuple(getattr(r, c) for c in SETTING_COLUMNS) in columns]

    @staticmethod
    def _columns_of(cell: Cell) -> tuple[Any, ...]:
        return tuple(cell[column] for column in SETTING_COLUMNS)


def arrange(
    cells: Sequence[Cell], rankings: Sequence[Ranking], flagged: Sequence[Ranking] = ()
) -> Arrangement:
    """Add to copies of the cells what the charts draw, and group them into panels.

    Added: label, ranks, winner, setting (index), latency_text, cold_text, memory_text, error_text,
    error_plot, cold_other_ms, cell_text (why there is no number), order_<chart>, op_ms and others
    of the kind; ranks_flagged and winner_flagged as if flagged cells ranked.

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
        place = tuple(cell[c] for c in (*SETTING_COLUMNS, "model", "threads"))
        row = dict(cell) | {
            "label": label,
            "ranks": ranks(cell),
            "winner": ranks(cell) and (*place, label) in won,
            "ranks_flagged": ranks(cell, flagged=True),
            "winner_flagged": ranks(cell, flagged=True) and (*place, label) in won_flagged,
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
    """The types that take the largest shares of the cells' time, the largest first, then the rest."""
    shares: dict[str, float] = defaultdict(float)
    for cell in cells:
        whole = sum((cell["operators"] or {}).values())
        for kind, ms in (cell["operators"] or {}).items():
            shares[kind] += ms / whole if whole else 0.0
    shares.pop("Other", None)  # the vocabulary's word for a type that it has no name for
    kinds = [kind for kind, _ in sorted(shares.items(), key=lambda item: (-item[1], item[0]))]
    return [*kinds[: MAX_OPERATOR_TYPES - 1], OTHER_TYPES]


def _by_type(operators: Mapping[str, float] | None, types: Sequence[str]) -> list[float] | None:
    """Times in ms in the order of `types`."""
    if not operators:
        return None
    known = [operators.get(kind, 0.0) for kind in types[:-1]]
    return [*known, max(0.0, sum(operators.values()) - sum(known))]


def _winners(rankings: Sequence[Ranking]) -> set[tuple[Any, ...]]:
    return {
        (*(getattr(r, c) for c in (*SETTING_COLUMNS, "model", "threads")), winner)
        for r in rankings
        if r.is_comparison and r.decided
        for winner in r.winners
    }


def error_floor(cells: Sequence[Cell]) -> float:
    """Where a log axis puts an error of exactly zero: a decade below the least one measured."""
    errors = [c["max_abs_error"] for c in cells if (c["max_abs_error"] or 0) > 0]
    return 10.0 ** (math.floor(math.log10(min(errors))) - 1) if errors else _ERROR_FLOOR


def _setting(cell: Cell) -> tuple[str, ...]:
    return tuple(str(cell[column] or UNKNOWN) for column in SETTING_COLUMNS)


def _setting_name(setting: tuple[str, ...], settings: Sequence[tuple[str, ...]]) -> str:
    """The device, processor and variant always; the protocol where it tells settings apart."""
    several = len({other[3] for other in settings}) > 1
    return " · ".join(setting if several else setting[:3])


def _order(rows: Sequence[Cell]) -> None:
    """Number the rows of one plot, the least value first, those without one last."""
    for chart, column in CHART_VALUES.items():
        keys = [(row[column] is None, row[column] or 0, row["label"]) for row in rows]
        for position, (_, row) in enumerate(sorted(zip(keys, rows, strict=True), key=_first)):
            row[f"order_{chart.replace('-', '_')}"] = position


def _first(pair: tuple[Any, Any]) -> Any:
    return pair[0]


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
        # A cell with an interval but no number is not drawn: it must not stretch the axis.
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
