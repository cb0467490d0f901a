"""Inferences at an interval, in a separate process: the pattern spaced of series.run."""

from series import run  # type: ignore[import-not-found]

__all__ = ["run"]
