"""Tables of the commands, and the consoles that print them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

_WIDTH = 1 << 10
_PIPE_WIDTH = 160


def wide_console() -> Console:
    """A console that neither cuts nor folds rows: a terminal or a pager does that."""
    return Console(highlight=False, soft_wrap=True, width=_WIDTH)


def terminal_console() -> Console:
    """A console as wide as the terminal; in a pipe, wide enough for the tables of devices."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_PIPE_WIDTH)


def plain_table(title: str | None, columns: Iterable[tuple[str, bool]]) -> Table:
    """A table without lines.

    Args:
        columns: (name, whether it holds numbers).
    """
    table = Table(title=title, title_justify="left", title_style="bold", box=None,
                  pad_edge=False, header_style="dim")  # fmt: skip
    for name, is_number in columns:
        table.add_column(name, justify="right" if is_number else "left")
    return table


def library_text(row: Mapping[str, Any]) -> str:
    """`ncnn@1.0` of a row of the view `cells`."""
    return f"{row['library']}@{row['library_version']}"


def status_counts(rows: Iterable[Mapping[str, Any]]) -> str:
    """`3 ok, 1 failed`: how many rows have each status, the most frequent first."""
    counts = Counter(str(row.get("status")) for row in rows)
    return ", ".join(f"{count} {status}" for status, count in counts.most_common()) or "none"
