"""`cellfarm compare` and `cellfarm runs`."""

from __future__ import annotations

from pathlib import Path

from rich.markup import escape
from rich.table import Table

from ..base.errors import UserError
from ..base.project import Project
from ..comparison import Comparison, compare_sides, open_side
from ..comparison.verdicts import BROKEN, FASTER, SLOWER
from ..comparison.writing import (
    as_json,
    as_markdown,
    interval,
    label,
    missing_sentences,
    sorted_verdicts,
    summary,
)
from ..warehouse import connect
from .tables import plain_table, wide_console

_COLOURS = {BROKEN: "red", SLOWER: "red", FASTER: "green"}
_RUNS = """
SELECT split_part(experiment, '/', 1) AS run,
       strftime(min(measured_at), '%Y-%m-%d %H:%M') AS began,
       strftime(max(measured_at), '%Y-%m-%d %H:%M') AS ended,
       count(DISTINCT (model, library, library_version, variant, device, processor, threads, protocol))
           AS cells,
       string_agg(DISTINCT device, ', ' ORDER BY device) AS devices,
       string_agg(DISTINCT library || '@' || library_version, ', '
                  ORDER BY library || '@' || library_version) AS libraries
FROM history WHERE NOT superseded AND experiment IS NOT NULL
GROUP BY split_part(experiment, '/', 1) ORDER BY began
"""


def print_comparison(
    project: Project,
    first: str,
    second: str,
    threshold: float,
    form: str,
    output: Path | None,
    flagged: bool,
) -> int:
    """Compare two sides; returns the number of regressions.

    Raises:
        UserError: a side is unknown, or the file cannot be written.
    """
    sides = [open_side(project, name) for name in (first, second)]
    comparison = compare_sides(sides[0], sides[1], threshold, flagged)
    if not comparison.verdicts:
        raise UserError(
            f"{first} and {second} have no cell in common: the same model, library, variant, device, "
            "processor, threads and protocol"
        )
    if form == "table" and output is None:
        _print_table(comparison)
    else:
        _write(as_json(comparison) if form == "json" else as_markdown(comparison), output)
    return len(comparison.regressions)


def _write(text: str, output: Path | None) -> None:
    if output is None:
        print(text, end="")
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{output} cannot be written: {error.strerror}") from error


def _print_table(comparison: Comparison) -> None:
    console = wide_console()
    columns = [("cell", False), ("first, ms", True), ("second, ms", True), ("ratio", True),
               ("95 % interval", True), ("verdict", False)]  # fmt: skip
    table = plain_table(None, columns)
    for verdict in sorted_verdicts(comparison):
        text = f"{verdict.verdict}{f': {verdict.reason}' if verdict.reason else ''}"
        colour = _COLOURS.get(verdict.verdict)
        table.add_row(
            escape(label(verdict.cell)),
            *("n/a" if ms is None else f"{ms:.2f}" for ms in (verdict.first_ms, verdict.second_ms)),
            "n/a" if verdict.ratio is None else f"{verdict.ratio:.3f}",
            interval(verdict),
            f"[{colour}]{escape(text)}[/]" if colour else escape(text),
        )
    console.print(table)
    if any(verdict.is_paired is False for verdict in comparison.verdicts):
        console.print(
            "⇄ not measured together: the ratio goes through the calibration load, which the times in ms "
            "do not; so it can say another thing than they do"
        )
    for side, cells in (
        (comparison.first, comparison.only_first),
        (comparison.second, comparison.only_second),
    ):
        if cells:
            console.print(escape(f"Only in {side}: {len(cells)} cells."))
    for text in missing_sentences(comparison):
        console.print(escape(text))
    console.print(escape(f"{comparison.second} against {comparison.first}: {summary(comparison)}"))


def print_runs(project: Project) -> None:
    """Print the runs in the warehouse.

    Raises:
        UserError: there is no warehouse yet.
    """
    with connect(project.warehouse) as connection:
        rows = connection.execute(_RUNS).fetchall()
    table = Table(
        "run", "began", "ended", "cells", "devices", "libraries", box=None, pad_edge=False
    )
    for run, began, ended, cells, devices, libraries in rows:
        table.add_row(run[:12], began, ended, str(cells), escape(devices), escape(libraries))
    wide_console().print(table)
