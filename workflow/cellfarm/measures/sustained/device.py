"""Inferences back to back for minutes, in a separate process: the pattern sustained of series.run."""

from series import run  # type: ignore[import-not-found]

__all__ = ["run"]
