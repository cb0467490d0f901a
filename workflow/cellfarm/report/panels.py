"""What each chart draws: the cells arranged by setting, model and threads, with shared axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cellfarm.analysis.ranking import Ranking, library_labels, ranks
from cellfarm.report.data import Cell
from cellfarm.report.wording import UNKNOWN, count, milliseconds, scientific, significant

SETTING_COLUMNS = ("device", "processor", "variant", "protocol")
COLD_PHASES = ("cold_start_ms", "cold_import_ms", "cold_load_ms", "cold_first_ms", "cold_other_ms")
#: Chart -> the column that it orders by and whose greatest value sets the axis.
CHART_VALUES = {
    "latency": "latency_ms",
    "cold-start": "cold_total_ms",
    "memory": "peak_rss_mb",
    "error": "max_abs_error",
}
_ERROR_FLOOR = 1e-9


@dataclass(frozen=True, slots=True)
class Panel:
    """One model in one setting: for each number of threads a small plot, all on one axis.

    `extents` maps a chart to the (least positive, greatest) value it has to show; a chart for
    which the panel has no value at all is absent.
    """

    setting: int
    model: str
    threads: tuple[int, ...]
    extents: dict[str, tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Arrangement:
    """The cells with what the charts need beside them, their settings and their panels."""

    cells: list[Cell]
    settings: list[str]
    panels: list[Panel]
    labels: list[str]

    def rankings_of(self, setting: int, rankings: Sequence[Ranking]) -> list[Ranking]:
        """The comparisons that took place in a setting."""
        columns = {self._columns_of(cell) for cell in self.cells if cell["setting"] == setting}
        return [r for r in rankings if tuple(getattr(r, c) for c in SETTING_COLUMNS) in columns]

    @staticmethod
    def _columns_of(cell: Cell) -> tuple[Any, ...]:
        return tuple(cell[column] for column in SETTING_COLUMNS)


def arrange(cells: Sequence[Cell], rankings: Sequence[Ranking]) -> Arrangement:
    """Add to copies of the cells what the charts draw, and group them into panels.

    Added: label, ranks, winner, setting (index), latency_text, cold_text, memory_text, error_text,
    error_plot, cold_other_ms, cell_text (why there is no number), order_<chart>.
    """
    labels = library_labels(cells)
    settings = sorted({_setting(cell) for cell in cells})
    names = [_setting_name(setting, settings) for setting in settings]
    won = {
        (*(getattr(r, c) for c in (*SETTING_COLUMNS, "model", "threads")), winner)
        for r in rankings
        if r.is_comparison and r.decided
        for winner in r.winners
    }
    floor = error_floor(cells)
    rows = []
    for cell in cells:
        label = labels[(str(cell["library"]), cell["library_version"])]
        place = tuple(cell[c] for c in (*SETTING_COLUMNS, "model", "threads"))
        row = dict(cell) | {
            "label": label,
            "ranks": ranks(cell),
            "winner": ranks(cell) and (*place, label) in won,
            "setting": settings.index(_setting(cell)),
        }
        rows.append(row | _texts(row, floor))
    panels = []
    groups: dict[tuple[int, str], list[Cell]] = {}
    for row in rows:
        groups.setdefault((row["setting"], row["model"]), []).append(row)
    for (setting, model), group in sorted(groups.items(), key=lambda item: item[0]):
        threads = tuple(sorted({row["threads"] for row in group}))
        for number in threads:
            _order([row for row in group if row["threads"] == number])
        panels.append(Panel(setting, model, threads, _extents(group)))
    return Arrangement(rows, names, panels, sorted(set(labels.values())))


def error_floor(cells: Sequence[Cell]) -> float:
    """Where a log axis puts an error of exactly zero: a decade below the least one measured."""
    found = [c["max_abs_error"] for c in cells if (c["max_abs_error"] or 0) > 0]
    return 10.0 ** (math.floor(math.log10(min(found))) - 1) if found else _ERROR_FLOOR


def _setting(cell: Cell) -> tuple[str, ...]:
    return tuple(str(cell[column] or UNKNOWN) for column in SETTING_COLUMNS)


def _setting_name(setting: tuple[str, ...], settings: Sequence[tuple[str, ...]]) -> str:
    """The device, processor and variant always; the protocol where it tells settings apart."""
    several = len({other[3] for other in settings}) > 1
    return " · ".join(setting if several else setting[:3])


def _texts(cell: Cell, floor: float) -> dict[str, Any]:
    error = cell["max_abs_error"]
    total = cell["cold_total_ms"]
    other = None
    if total is not None:
        rest = total - sum(cell[phase] or 0 for phase in COLD_PHASES[:-1])
        # Medians of phases do not add up to the median of the whole: a small rest is no phase.
        other = rest if rest > 0.05 * total else None
    reason = cell["status"] if cell["status"] != "ok" else UNKNOWN
    return {
        "latency_text": None if cell["latency_ms"] is None else milliseconds(cell["latency_ms"]),
        "cold_text": None if total is None else milliseconds(total),
        "cold_other_ms": other,
        "memory_text": None if cell["peak_rss_mb"] is None else _megabytes(cell["peak_rss_mb"]),
        "error_plot": None if error is None else max(error, floor),
        "error_text": None if error is None else scientific(error),
        "cell_text": reason,
        "flags_text": ", ".join(cell["flags"]) or "none",
        "interval_text": _interval(cell),
        "samples_text": f"{_number(cell['samples'])} in {_launches(cell['launches'])}",
    }


def _interval(cell: Cell) -> str:
    low, high = cell["latency_ci_low_ms"], cell["latency_ci_high_ms"]
    if low is None or high is None:
        return UNKNOWN
    return f"{significant(low)} to {significant(high)} ms"


def _number(value: int | None) -> str:
    return UNKNOWN if value is None else f"{value:,}"


def _launches(value: int | None) -> str:
    return UNKNOWN if value is None else count(value, "launch")


def _megabytes(value: float) -> str:
    return f"{significant(value)} MB"


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
        "cold-start": ("cold_total_ms",),
        "memory": ("peak_rss_mb",),
        "error": ("error_plot",),
    }
    extents = {}
    for chart, names in columns.items():
        # A cell with an interval but no number is not drawn: it must not stretch the axis.
        shown = [row for row in rows if row[names[len(names) // 2]] is not None]
        values = [row[name] for row in shown for name in names if (row[name] or 0) > 0]
        if values:
            extents[chart] = (min(values), max(values))
    return extents
