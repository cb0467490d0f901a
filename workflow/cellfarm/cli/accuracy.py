"""What a user's labelled pictures say, as the table below the ranking."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

#: Columns of the view `cells` that the table needs.
COLUMNS = (
    "model", "library", "library_version", "variant", "processor", "device", "labelled_images",
    "top1_accuracy", "top1_accuracy_low", "top1_accuracy_high", "top5_accuracy",
    "reference_top1_accuracy", "accuracy_reason",
)  # fmt: skip

Row = Mapping[str, Any]


def print_accuracy(console: Console, rows: Sequence[Row]) -> None:
    """A table per model that has labelled pictures, the most accurate first; nothing without any.

    Cells that differ in their number of threads alone have one line, unless their accuracies differ.
    """
    for model in dict.fromkeys(str(row["model"]) for row in rows if row["labelled_images"]):
        mine = [row for row in rows if row["model"] == model and row["labelled_images"]]
        console.print(_table(model, mine))
        console.print(f"  [dim]{escape(_note(mine[0]))}[/]")
    for text in dict.fromkeys(_problems(rows)):
        console.print(f"[yellow]no accuracy[/]  {escape(text)}")


def _table(model: str, rows: Sequence[Row]) -> Table:
    table = Table(
        title=f"{model}, accuracy", title_justify="left", title_style="bold", box=None,
        pad_edge=False, header_style="dim",
    )  # fmt: skip
    for name, side in (("library", "left"), ("setting", "left"), ("top-1", "right"),
                       ("95 % interval", "left"), ("top-5", "right")):  # fmt: skip
        table.add_column(name, justify=side)  # type: ignore[arg-type]
    ordered = sorted(rows, key=lambda row: (-row["top1_accuracy"], _name(row)))
    lines = [
        (
            escape(_name(row)),
            f"{row['variant']} {row['processor']} {row['device']}",
            percent(row["top1_accuracy"]),
            f"{percent(row['top1_accuracy_low'])} to {percent(row['top1_accuracy_high'])}",
            percent(row["top5_accuracy"]),
        )
        for row in ordered
    ]
    for line in dict.fromkeys(lines):
        table.add_row(*line)
    return table


def _note(row: Row) -> str:
    """What the table was made from; the pictures are the same for every cell of a model."""
    number = row["labelled_images"]
    pictures = "1 labelled picture" if number == 1 else f"{number} labelled pictures"
    return f"{pictures}; FP32 in the model's own runtime: {percent(row['reference_top1_accuracy'])}"


def _problems(rows: Sequence[Row]) -> Iterator[str]:
    for row in rows:
        if row["accuracy_reason"]:
            setting = f"{row['variant']} {row['processor']} {row['device']}"
            yield f"{row['model']} · {_name(row)} · {setting}: {row['accuracy_reason']}"


def _name(row: Row) -> str:
    return f"{row['library']}@{row['library_version']}"


def percent(share: float | None) -> str:
    """`71.4 %`; `n/a` where it is not known or says nothing."""
    return "n/a" if share is None else f"{100 * share:.1f} %"
