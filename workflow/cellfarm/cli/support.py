"""What runs: models x libraries x variants, from the results that are there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..base.project import Project

#: Of several cells (threads, devices) the worst stands in the table.
_WORST_FIRST = ("failed", "timeout", "wrong", "unsupported", "ok")
_COLOURS = {"ok": "green", "unsupported": "dim", "wrong": "yellow"}
_COLUMNS = (
    "model", "library", "library_version", "variant", "processor", "status", "reason", "cosine",
    "heldout_cosine", "sqnr_db", "emulated", "device", "measured_at",
)  # fmt: skip
NOT_MEASURED = "-"

Row = Mapping[str, Any]


def print_support(project: Project, markdown: bool) -> None:
    """Print, per variant and processor, models by libraries with the status, and every reason.

    Args:
        markdown: as Markdown, for docs, instead of for a terminal.

    Raises:
        UserError: there is no warehouse yet.
    """
    from ..warehouse import connect, records

    with connect(project.warehouse) as connection:
        rows = records(connection.sql(f"SELECT {', '.join(_COLUMNS)} FROM cells ORDER BY ALL"))
    if markdown:
        print(as_markdown(rows))
        return
    console = Console(highlight=False, soft_wrap=True)
    for title, libraries, lines in tables(rows):
        table = Table(title=title, title_justify="left", title_style="bold", box=None,
                      pad_edge=False, header_style="dim")  # fmt: skip
        table.add_column("model")
        for library in libraries:
            table.add_column(escape(library))
        for model, statuses in lines:
            table.add_row(escape(model), *(_coloured(status) for status in statuses))
        table.add_row("[dim]ok[/]", *(f"[dim]{count}[/]" for count in counts(lines)))
        console.print(table)
    for line in reasons(rows):
        console.print(escape(line))
    console.print(escape(totals(rows)))


def tables(rows: Sequence[Row]) -> list[tuple[str, list[str], list[tuple[str, list[str]]]]]:
    """Per variant and processor: (title, libraries, [(model, a status per library)]). Pure.

    A status is `ok`, `unsupported`, `wrong`, `failed` or `timeout`, followed by a number that leads
    to its reason in `reasons` where it is not ok, and by `emulated` where it is.
    """
    found = []
    numbers = _numbers(rows)
    settings = sorted({(row["variant"], row["processor"]) for row in rows})
    for variant, processor in settings:
        here = [row for row in rows if (row["variant"], row["processor"]) == (variant, processor)]
        libraries = sorted({_library(row) for row in here})
        lines = []
        for model in sorted({str(row["model"]) for row in here}):
            of_model = [row for row in here if row["model"] == model]
            cells = (
                worst([row for row in of_model if _library(row) == library])
                for library in libraries
            )
            lines.append((model, [_status(cell, numbers) for cell in cells]))
        found.append((f"{variant}, {processor}", libraries, lines))
    return found


def counts(lines: Sequence[tuple[str, Sequence[str]]]) -> list[str]:
    """Of each library of a table: `14 of 15`, the models that are ok of those that were measured."""
    columns = list(zip(*(statuses for _, statuses in lines), strict=True))
    return [
        f"{sum(status.startswith('ok') for status in column)}"
        f" of {sum(status != NOT_MEASURED for status in column)}"
        for column in columns
    ]


def worst(rows: Sequence[Row]) -> Row | None:
    """The cell whose status is the worst; None of no cells."""
    return min(rows, key=lambda row: _WORST_FIRST.index(row["status"]), default=None)


def reasons(rows: Sequence[Row]) -> list[str]:
    """Every reason why something is not ok, numbered as in `tables`, with how often it occurs."""
    counts = Counter(_reason(row) for row in rows if row["status"] != "ok")
    return [f"[{number}] {reason} ({counts[reason]})" for reason, number in _numbers(rows).items()]


def totals(rows: Sequence[Row]) -> str:
    counts = Counter(str(row["status"]) for row in rows)
    shown = ", ".join(f"{count} {status}" for status, count in counts.most_common())
    return f"{len(rows)} cells: {shown or 'none'}"


def as_markdown(rows: Sequence[Row]) -> str:
    """The same as Markdown, with where and when it was measured."""
    parts = [_origin(rows), ""] if rows else []
    for title, libraries, lines in tables(rows):
        parts.append(f"## {title}\n")
        parts.append("| model | " + " | ".join(libraries) + " |")
        parts.append("|---|" + "---|" * len(libraries))
        parts += ["| " + " | ".join([model, *statuses]) + " |" for model, statuses in lines]
        parts.append("| **ok** | " + " | ".join(counts(lines)) + " |")
        parts.append("")
    found = [line.replace("[", "\\[", 1) for line in reasons(rows)]
    parts += ["## Reasons\n", *(f"- {line}" for line in found), ""] if found else []
    return "\n".join([*parts, totals(rows), ""])


def _origin(rows: Sequence[Row]) -> str:
    devices = ", ".join(sorted({str(row["device"]) for row in rows}))
    days = sorted({row["measured_at"].date().isoformat() for row in rows})
    when = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    return f"Made by `cellfarm support --markdown` of a run on {devices} ({when})."


def _status(row: Row | None, numbers: Mapping[str, int]) -> str:
    if row is None:
        return NOT_MEASURED
    status = str(row["status"])
    if status == "ok":
        return "ok (emulated)" if row["emulated"] else "ok"
    far = ""
    if status == "wrong":
        known = [row[name] for name in ("cosine", "heldout_cosine") if row[name] is not None]
        far = f" cosine {min(known):.3f}" if known else ""
    return f"{status}{far} [{numbers[_reason(row)]}]"


def _numbers(rows: Sequence[Row]) -> dict[str, int]:
    found = dict.fromkeys(_reason(row) for row in rows if row["status"] != "ok")
    return {reason: number for number, reason in enumerate(found, start=1)}


def _reason(row: Row) -> str:
    return f"{row['library']}, {row['status']}: {row['reason']}"


def _library(row: Row) -> str:
    return f"{row['library']}@{row['library_version']}"


def _coloured(status: str) -> str:
    colour = _COLOURS.get(status.split()[0], "red" if status != NOT_MEASURED else "dim")
    return f"[{colour}]{escape(status)}[/]"
