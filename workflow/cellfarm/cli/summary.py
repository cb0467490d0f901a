"""The table that a run ends with."""

from __future__ import annotations

from collections import Counter
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..analysis.ranking import Ranking, rank
from ..project import Project

MOST_TABLES = 40  # what a person may still read in a terminal
_COLUMNS = (
    "model", "library", "library_version", "variant", "device", "processor", "threads", "protocol",
    "status", "reason", "latency_ms", "latency_ci_low_ms", "latency_ci_high_ms", "emulated", "flags",
)  # fmt: skip


def print_summary(project: Project) -> None:
    """Per model the libraries ranked with their intervals; what did not rank; where the report is.

    Raises:
        UserError: there is no warehouse yet.
    """
    from ..warehouse import connect  # DuckDB is not for the start of every snakemake

    with connect(project.warehouse) as connection:
        relation = connection.sql(f"SELECT {', '.join(_COLUMNS)} FROM cells ORDER BY ALL")
        rows = [dict(zip(_COLUMNS, row, strict=True)) for row in relation.fetchall()]
    console = Console(highlight=False, soft_wrap=True)
    rankings = rank(rows)
    for ranking in rankings[:MOST_TABLES]:
        console.print(_table(ranking))
    if len(rankings) > MOST_TABLES:
        console.print(f"... and {len(rankings) - MOST_TABLES} more tables: see the report")
    _print_unranked(console, rows)
    if any(row["flags"] for row in rows):
        console.print("Flagged cells do not rank: docs/troubleshooting.md says what to do.")
    counts = Counter(str(row["status"]) for row in rows)
    shown = ", ".join(f"{count} {status}" for status, count in counts.most_common())
    console.print(f"{len(rows)} cells: {shown or 'none'}")
    page = project.reports / "index.html"
    if page.is_file():
        console.print(f"Report: {escape(project.relative(page))}")


def _table(ranking: Ranking) -> Table:
    threads = "1 thread" if ranking.threads == 1 else f"{ranking.threads} threads"
    setting = f"{ranking.variant}, {ranking.processor}, {threads}, {ranking.device}"
    table = Table(
        title=f"{ranking.model} ({setting}), median latency",
        title_justify="left",
        title_style="bold",
        box=None,
        pad_edge=False,
        header_style="dim",
    )
    for name, side in (("", "right"), ("library", "left"), ("ms", "right"), ("95 % interval", "left"),
                       ("× best", "right")):  # fmt: skip
        table.add_column(name, justify=side)  # type: ignore[arg-type]
    for place, entry in enumerate(ranking.entries, start=1):
        tied = ranking.is_tie and entry.library in ranking.winners
        interval = (
            f"{entry.low_ms:.2f} to {entry.high_ms:.2f}" if entry.has_interval else "not available"
        )
        table.add_row(
            f"{place}" if not tied else "1=",
            escape(entry.library),
            f"{entry.latency_ms:.2f}",
            interval,
            f"{entry.ratio_to_best:.2f}",
        )
    return table


def _print_unranked(console: Console, rows: list[dict[str, Any]]) -> None:
    """Everything that has no place in the ranking, with its reason."""
    for row in rows:
        what = str(row["status"])
        why = row["reason"]
        if what == "ok":
            if not row["flags"] and not row["emulated"]:
                continue
            what = ", ".join([*row["flags"], *(["emulated"] if row["emulated"] else [])])
            why = f"{row['latency_ms']:.2f} ms, not ranked" if row["latency_ms"] else "not ranked"
        cell = f"{row['model']} · {row['library']}@{row['library_version']}"
        setting = f"{row['variant']} {row['processor']} t{row['threads']} {row['device']}"
        console.print(
            f"[yellow]{escape(what)}[/]  {escape(cell)} · {escape(setting)}: {escape(str(why))}"
        )
