"""Where the commands print their tables."""

from __future__ import annotations

from rich.console import Console

_WIDTH = 1 << 10


def wide_console() -> Console:
    """One whose rows are neither cut nor folded, here or in a pipe: a terminal or a pager does that."""
    return Console(highlight=False, soft_wrap=True, width=_WIDTH)
