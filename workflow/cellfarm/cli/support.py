"""`cellfarm support`: which models run in which library and variant, by the results."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape

from ..base.project import Project
from .tables import library_text, plain_table, status_counts

#: The table shows the worst of several cells (threads, devices).
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
        columns = [("model", False), *((escape(library), False) for library in libraries)]
        table = plain_table(title, columns)
        for model, statuses in lines:
            table.add_row(escape(model), *(_coloured(status) for status in statuses))
        table.add_row("[dim]ok[/]", *(f"[dim]{count}[/]" for count in counts(lines)))
        console.print(table)
    for line in reasons(rows):
        console.print(escape(line))
    console.print(escape(totals(rows)))


def tables(rows: Sequence[Row]) -> list[tuple[str, list[str], list[tuple[str, list[str]]]]]:
    """Per variant and processor: (title, libraries, [(model, a status per library)]). Pure.

    The text of a status other than `ok` ends with the number of its reason in `reasons`; `ok` may
    be followed by `emulated`.
    """
    result = []
    numbers = _numbers(rows)
    settings = sorted({(row["variant"], row["processor"]) for row in rows})
    for variant, processor in settings:
        cells: dict[str, dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
        for row in rows:
            if (row["variant"], row["processor"]) == (variant, processor):
                cells[str(row["model"])][library_text(row)].append(row)
        libraries = sorted({library for by_library in cells.values() for library in by_library})
        lines = [
            (model, [_status(worst(by_library[library]), numbers) for library in libraries])
            for model, by_library in sorted(cells.items())
        ]
        result.append((f"{variant}, {processor}", libraries, lines))
    return result


def counts(lines: Sequence[tuple[str, Sequence[str]]]) -> list[str]:
    """For each library of a table: `14 of 15` measured models are ok."""
    columns = list(zip(*(statuses for _, statuses in lines), strict=True))
    return [
        f"{sum(status.startswith('ok') for status in column)}"
        f" of {sum(status != NOT_MEASURED for status in column)}"
        for column in columns
    ]


def worst(rows: Sequence[Row]) -> Row | None:
    """The cell with the worst status; None without cells."""
    return min(rows, key=lambda row: _WORST_FIRST.index(row["status"]), default=None)


def reasons(rows: Sequence[Row]) -> list[str]:
    """The reasons of all statuses but ok, numbered as in `tables`, with how often they occur."""
    counts = Counter(_reason(row) for row in rows if row["status"] != "ok")
    return [f"[{number}] {reason} ({counts[reason]})" for reason, number in _numbers(rows).items()]


def totals(rows: Sequence[Row]) -> str:
    return f"{len(rows)} cells: {status_counts(rows)}"


def as_markdown(rows: Sequence[Row]) -> str:
    """All tables as Markdown, with the devices and days of the measurement."""
    parts = [_origin(rows), ""] if rows else []
    for title, libraries, lines in tables(rows):
        parts.append(f"## {title}\n")
        parts.append("| model | " + " | ".join(libraries) + " |")
        parts.append("|---|" + "---|" * len(libraries))
        parts += ["| " + " | ".join([model, *statuses]) + " |" for model, statuses in lines]
        parts.append("| **ok** | " + " | ".join(counts(lines)) + " |")
        parts.append("")
    escaped = [line.replace("[", "\\[", 1) for line in reasons(rows)]
    parts += ["## Reasons\n", *(f"- {line}" for line in escaped), ""] if escaped else []
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
    cosine = ""
    if status == "wrong":
        known = [row[name] for name in ("cosine", "heldout_cosine") if row[name] is not None]
        cosine = f" cosine {min(known):.3f}" if known else ""
    return f"{status}{cosine} [{numbers[_reason(row)]}]"


def _numbers(rows: Sequence[Row]) -> dict[str, int]:
    distinct = dict.fromkeys(_reason(row) for row in rows if row["status"] != "ok")
    return {reason: number for number, reason in enumerate(distinct, start=1)}


def _reason(row: Row) -> str:
    return f"{row['library']}, {row['status']}: {row['reason']}"


def _coloured(status: str) -> str:
    colour = _COLOURS.get(status.split()[0], "red" if status != NOT_MEASURED else "dim")
    return f"[{colour}]{escape(status)}[/]"
