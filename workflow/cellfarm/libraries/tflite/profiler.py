"""TensorFlow Lite's interpreter has a profiler in C++ only."""

from __future__ import annotations

from typing import Any

import refusal  # type: ignore[import-not-found]


def profile(artifact: str, **settings: Any) -> dict[str, Any]:
    """
    Raises:
        Unsupported: always.
    """
    raise refusal.Unsupported("the interpreter's Python interface has no times of its operators")
