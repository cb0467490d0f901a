"""The tables that a run ends with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..analysis.ranking import FLAG_MEANINGS, Entry, Ranking, doubts, rank, ranks
from ..base.cells import threads_text
from ..base.files import read_object
from ..base.project import Project
from . import measured
from .tables import library_text, plain_table, status_counts, wide_console

MOST_TABLES = 40  # what a person may still read in a terminal
_COLUMNS = (
    "model", "library", "library_version", "variant", "device", "processor", "threads", "protocol",
    "status", "reason", "latency_ms", "latency_ci_low_ms", "latency_ci_high_ms", "emulated", "flags",
    "key",
)  # fmt: skip
ACROSS = "measured in different experiments; compared through the calibration load"
_UNKNOWN = "not available"


def print_converted(project: Project, records: list[str]) -> None:
    """Print the outcome of a run that prepares only.

    Args:
        records: paths of the records of environments and artifacts.
    """
    for kind, below_results in (("environment", False), ("artifact", True)):
        outcomes = [
            read_object(project.root / record) or {}
            for record in records
            if (Path(record).parts[0] == "results") == below_results
        ]
        plural = "" if len(outcomes) == 1 else "s"
        print(f"{len(outcomes)} {kind}{plural}: {status_counts(outcomes)}")
    print("Nothing was measured: `snakemake measured` goes on from here.")


def print_summary(project: Project, flagged: bool = False) -> None:
    """Print the ranking of the libraries per model, the other measures (accuracy), the cells
    that do not rank, and the report's path.

    Args:
        flagged: rank flagged cells too, with a mark.

    Raises:
        UserError: there is no warehouse yet, or it is being written.
    """
    # Imported here: loading DuckDB would delay the start of every snakemake.
    from ..warehouse import connect, reading, records

    with connect(project.warehouse) as connection:
        rows = records(connection.sql(f"SELECT {', '.join(_COLUMNS)} FROM cells ORDER BY ALL"))
        values = records(
            connection.sql(f"SELECT {', '.join(measured.columns())} FROM cells ORDER BY ALL")
        )
        ratios = reading.ratios(connection)
    console = wide_console()
    rankings = rank(rows, ratios, flagged)
    for ranking in rankings[:MOST_TABLES]:
        console.print(_table(ranking))
        for note in _notes(ranking):
            console.print(f"  [dim]{escape(note)}[/]")
    if len(rankings) > MOST_TABLES:
        console.print(f"... and {len(rankings) - MOST_TABLES} more tables: see the report")
    measured.print_measured(console, values)
    _print_unranked(console, rows, flagged)
    _print_flags(console, rows, flagged)
    console.print(f"{len(rows)} cells: {status_counts(rows)}")
    page = project.reports / "index.html"
    if page.is_file():
        # `snakemake measured` loads new results, but does not write the page.
        is_older = page.stat().st_mtime < project.warehouse.stat().st_mtime
        age = ", older than these results: `snakemake` makes it anew" if is_older else ""
        console.print(f"Report: {escape(project.relative(page))}{age}")


def _table(ranking: Ranking) -> Table:
    threads = threads_text(ranking.threads)
    setting = f"{ranking.variant}, {ranking.processor}, {threads}, {ranking.device}"
    columns = [("", True), ("library", False), ("ms", True), ("95 % interval", False),
               ("× best", True), ("its 95 % interval", False)]  # fmt: skip
    table = plain_table(f"{ranking.model} ({setting}), median latency", columns)
    marked = any(entry.flags for entry in ranking.entries)
    if marked:
        table.add_column("flags", style="yellow")
    for place, entry in enumerate(ranking.entries, start=1):
        tied = ranking.is_tie and entry.library in ranking.winners
        table.add_row(
            "1=" if tied else str(place),
            escape(entry.library) + ("*" if entry.crosses_experiments else ""),
            f"{entry.latency_ms:.2f}",
            f"{entry.low_ms:.2f} to {entry.high_ms:.2f}" if entry.has_interval else _UNKNOWN,
            f"{entry.ratio_to_best:.2f}",
            _ratio_interval(entry, ranking),
            *([", ".join(entry.flags)] if marked else []),
        )
    return table


def _ratio_interval(entry: Entry, ranking: Ranking) -> str:
    if entry is ranking.best:
        return ""
    if not entry.has_ratio_interval:
        return _UNKNOWN
    return f"{entry.ratio_low:.2f} to {entry.ratio_high:.2f}"


def _notes(ranking: Ranking) -> Iterator[str]:
    if ranking.crosses_experiments:
        yield f"* and {ranking.best.library}: {ACROSS}"
    if ranking.faster_flagged:
        yield f"no winner: flagged, with a lower latency: {', '.join(ranking.faster_flagged)}"


def _print_unranked(console: Console, rows: list[dict[str, Any]], flagged: bool) -> None:
    """Print the cells that do not rank, with their reasons."""
    for row in rows:
        if ranks(row, flagged):
            continue
        status, reason = str(row["status"]), row["reason"]
        if status == "ok":
            status = ", ".join([*doubts(row), *(["emulated"] if row["emulated"] else [])])
            latency = f"{row['latency_ms']:.2f} ms, " if row["latency_ms"] else ""
            reason = f"{latency}not ranked"
        cell = f"{row['model']} · {library_text(row)}"
        setting = f"{row['variant']} {row['processor']} t{row['threads']} {row['device']}"
        console.print(
            f"[yellow]{escape(status or 'ok')}[/]  {escape(cell)} · {escape(setting)}: "
            f"{escape(str(reason))}"
        )


def _print_flags(console: Console, rows: list[dict[str, Any]], flagged: bool) -> None:
    """Print what the flags that occur mean, and what to do about them."""
    counts = Counter(flag for row in rows for flag in row["flags"] or ())
    if counts:
        console.print("Flags:")
    width = max(map(len, counts), default=0)
    for flag, number in sorted(counts.items()):
        meaning = FLAG_MEANINGS.get(flag, "see docs/troubleshooting.md")
        cells = "1 cell" if number == 1 else f"{number} cells"
        console.print(f"  [yellow]{escape(flag):<{width}}[/]  {cells}: {escape(meaning)}")
    if any(doubts(row) for row in rows):
        outcome = (
            "rank here, as asked"
            if flagged
            else "do not rank (cellfarm summary --flagged ranks them)"
        )
        console.print(f"Flagged cells {outcome}; see docs/troubleshooting.md.")
