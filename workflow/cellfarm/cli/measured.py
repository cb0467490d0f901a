"""What measures say beside the ranking: a table below it for each that has columns there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..measures import Column, Measure, all_columns, all_measures

_CELL = ("model", "library", "library_version", "variant", "processor", "device")
_UNKNOWN = "n/a"

Row = Mapping[str, Any]


def columns() -> list[str]:
    """Columns of the view `cells` that the tables need."""
    return [*_CELL, *all_columns()]


def print_measured(console: Console, rows: Sequence[Row]) -> None:
    """For each measure a table per model, the best first; nothing where no cell has an answer.

    Cells that differ in their number of threads alone have one line, unless their answers differ.
    """
    for measure in all_measures().values():
        headings = {name: one for name, one in measure.columns.items() if one.summary}
        if not headings:
            continue
        first = measure.ranks or next(iter(headings))
        answered = [row for row in rows if row[first] is not None]
        for model in dict.fromkeys(str(row["model"]) for row in answered):
            mine = [row for row in answered if row["model"] == model]
            console.print(_table(headings, f"{model}, {measure.title}", mine, first))
            if notes := _notes(measure, mine[0]):
                console.print(f"  [dim]{escape('; '.join(notes))}[/]")
        for text in dict.fromkeys(_problems(measure, rows)):
            console.print(f"[yellow]no {measure.title}[/]  {escape(text)}")


def _table(headings: Mapping[str, Column], title: str, rows: Sequence[Row], first: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None,
                  pad_edge=False, header_style="dim")  # fmt: skip
    for name in ("library", "setting"):
        table.add_column(name)
    for column in headings.values():
        unit = "" if column.unit in (None, "1") else f", {column.unit}"
        table.add_column(f"{column.summary}{unit}", justify="right")
        if column.interval:
            table.add_column("95 % interval")
    lines = [
        (escape(_name(row)), _setting(row), *_texts(headings, row)) for row in _ordered(rows, first)
    ]
    for line in dict.fromkeys(lines):
        table.add_row(*line)
    return table


def _ordered(rows: Sequence[Row], by: str) -> list[Row]:
    """The best first."""
    sign = -1 if all_columns()[by].better == "higher" else 1
    return sorted(rows, key=lambda row: (sign * row[by], _name(row)))


def _texts(headings: Mapping[str, Column], row: Row) -> Iterator[str]:
    for name, column in headings.items():
        yield written(column, row[name])
        if column.interval:
            low, high = (written(column, row[end]) for end in column.interval)
            yield f"{low} to {high}"


def _notes(measure: Measure, row: Row) -> list[str]:
    """What the table was made from, which is the same for every cell of a model."""
    return [
        column.note.format(written(column, row[name]))
        for name, column in measure.columns.items()
        if column.note
    ]


def _problems(measure: Measure, rows: Sequence[Row]) -> Iterator[str]:
    for row in rows:
        if measure.reason and row[measure.reason]:
            yield f"{row['model']} · {_name(row)} · {_setting(row)}: {row[measure.reason]}"


def _name(row: Row) -> str:
    return f"{row['library']}@{row['library_version']}"


def _setting(row: Row) -> str:
    return f"{row['variant']} {row['processor']} {row['device']}"


def written(column: Column, value: Any) -> str:
    """`71.4 %` of a share; `n/a` where it is not known or says nothing."""
    if value is None:
        return _UNKNOWN
    if column.type != "DOUBLE":
        return str(value)
    return f"{100 * value:.1f} %" if column.unit == "1" else f"{value:.4g}"
