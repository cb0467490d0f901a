"""Tables of the measures that have columns in the summary, below the ranking."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..measures import Column, Measure, all_columns, all_measures
from .tables import library_text, plain_table

_CELL = ("model", "library", "library_version", "variant", "processor", "device")
_UNKNOWN = "n/a"

Row = Mapping[str, Any]


def columns() -> list[str]:
    """Columns of the view `cells` that the tables need."""
    return [*_CELL, *all_columns()]


def print_measured(console: Console, rows: Sequence[Row]) -> None:
    """Print for each measure a table per model, the best first; none without values.

    Cells that differ in the number of threads alone share a line if their values are the same.
    """
    for measure in all_measures().values():
        shown = {name: column for name, column in measure.columns.items() if column.summary}
        if not shown:
            continue
        sort_column = measure.ranks or next(iter(shown))
        measured = [row for row in rows if row[sort_column] is not None]
        for model in dict.fromkeys(str(row["model"]) for row in measured):
            model_rows = [row for row in measured if row["model"] == model]
            title = f"{model}, {measure.title}"
            console.print(_table(shown, title, _ordered(model_rows, sort_column)))
            if notes := _notes(measure, model_rows[0]):
                console.print(f"  [dim]{escape('; '.join(notes))}[/]")
        for text in dict.fromkeys(_problems(measure, rows)):
            console.print(f"[yellow]no {measure.title}[/]  {escape(text)}")


def _table(columns: Mapping[str, Column], title: str, rows: Sequence[Row]) -> Table:
    headings = [("library", False), ("setting", False)]
    for column in columns.values():
        unit = "" if column.unit in (None, "1") else f", {column.unit}"
        headings.append((f"{column.summary}{unit}", True))
        if column.interval:
            headings.append(("95 % interval", False))
    table = plain_table(title, headings)
    lines = [(escape(library_text(row)), _setting(row), *_texts(columns, row)) for row in rows]
    for line in dict.fromkeys(lines):
        table.add_row(*line)
    return table


def _ordered(rows: Sequence[Row], column: str) -> list[Row]:
    """The rows with the best value of a column first."""
    sign = -1 if all_columns()[column].better == "higher" else 1
    return sorted(rows, key=lambda row: (sign * row[column], library_text(row)))


def _texts(columns: Mapping[str, Column], row: Row) -> Iterator[str]:
    for name, column in columns.items():
        yield value_text(column, row[name])
        if column.interval:
            low, high = (value_text(column, row[end]) for end in column.interval)
            yield f"{low} to {high}"


def _notes(measure: Measure, row: Row) -> list[str]:
    """What the values were measured on, which is the same for every cell of a model."""
    return [
        column.note.format(value_text(column, row[name]))
        for name, column in measure.columns.items()
        if column.note
    ]


def _problems(measure: Measure, rows: Sequence[Row]) -> Iterator[str]:
    for row in rows:
        if measure.reason and row[measure.reason]:
            yield f"{row['model']} · {library_text(row)} · {_setting(row)}: {row[measure.reason]}"


def _setting(row: Row) -> str:
    return f"{row['variant']} {row['processor']} {row['device']}"


def value_text(column: Column, value: Any) -> str:
    """`71.4 %` for a share; `n/a` for an unknown value."""
    if value is None:
        return _UNKNOWN
    if column.type != "DOUBLE":
        return str(value)
    return f"{100 * value:.1f} %" if column.unit == "1" else f"{value:.4g}"
