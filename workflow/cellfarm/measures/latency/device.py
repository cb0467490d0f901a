"""Inferences back to back, in a separate process: the pattern back_to_back of series.run."""

from series import run  # type: ignore[import-not-found]

__all__ = ["run"]
