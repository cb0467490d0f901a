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
from .tables import wide_console

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
        UserError: a side that stands for nothing, or a file that cannot be written.
    """
    sides = [open_side(project, name) for name in (first, second)]
    found = compare_sides(sides[0], sides[1], threshold, flagged)
    if not found.verdicts:
        raise UserError(
            f"{first} and {second} have no cell in common: the same model, library, variant, device, "
            "processor, threads and protocol"
        )
    if form == "table" and output is None:
        _print_table(found)
    else:
        _put(as_json(found) if form == "json" else as_markdown(found), output)
    return len(found.regressions)


def _put(text: str, output: Path | None) -> None:
    if output is None:
        print(text, end="")
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{output} cannot be written: {error.strerror}") from error


def _print_table(found: Comparison) -> None:
    console = wide_console()
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("cell", "first, ms", "second, ms", "ratio", "95 % interval", "verdict"):
        table.add_column(name, justify="left" if name in ("cell", "verdict") else "right")
    for one in sorted_verdicts(found):
        verdict = f"{one.verdict}{f': {one.reason}' if one.reason else ''}"
        colour = _COLOURS.get(one.verdict)
        table.add_row(
            escape(label(one.cell)),
            *("n/a" if ms is None else f"{ms:.2f}" for ms in (one.first_ms, one.second_ms)),
            "n/a" if one.ratio is None else f"{one.ratio:.3f}",
            interval(one),
            f"[{colour}]{escape(verdict)}[/]" if colour else escape(verdict),
        )
    console.print(table)
    if any(one.is_paired is False for one in found.verdicts):
        console.print(
            "⇄ not measured together: the ratio goes through the calibration load, which the times in ms "
            "do not; so it can say another thing than they do"
        )
    for side, rows in ((found.first, found.only_first), (found.second, found.only_second)):
        if rows:
            console.print(escape(f"Only in {side}: {len(rows)} cells."))
    for text in missing_sentences(found):
        console.print(escape(text))
    console.print(escape(f"{found.second} against {found.first}: {summary(found)}"))


def print_runs(project: Project) -> None:
    """
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
