"""An inference every so often, in a process of their own."""

from collections.abc import Callable
from typing import Any

import series  # type: ignore[import-not-found]


def run(request: dict[str, Any], emit: Callable[..., None]) -> None:
    """Request: see series.run; the pattern is spaced."""
    series.run(request, emit)
