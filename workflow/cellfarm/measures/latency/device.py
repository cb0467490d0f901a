"""Inferences one after the other, in a process of their own."""

from collections.abc import Callable
from typing import Any

import series  # type: ignore[import-not-found]


def run(request: dict[str, Any], emit: Callable[..., None]) -> None:
    """Request: see series.run; the pattern is back_to_back."""
    series.run(request, emit)
