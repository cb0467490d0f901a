"""A start up to the first inference, with the artifact in the page cache or out of it."""

from collections.abc import Callable
from typing import Any

import phases  # type: ignore[import-not-found]


def run(request: dict[str, Any], emit: Callable[..., None]) -> None:
    """Start, load and infer once.

    Request: that of `phases`, and mode: `start` has the artifact in the page cache, `cold` out of it.
    """
    phases.start(request, emit, cold=request["mode"] == "cold")
    session = phases.load(request, emit)
    phases.first(request, session, emit)
    phases.end(emit)
