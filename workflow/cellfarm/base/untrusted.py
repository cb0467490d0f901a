"""Values from a device, of which nothing is trusted."""

from __future__ import annotations

import math
from typing import Any


def number(value: Any) -> float | None:
    """A finite number, or None for anything else (JSON from a device may hold NaN)."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    converted = float(value)
    return converted if math.isfinite(converted) else None


def text(value: Any, limit: int) -> str:
    """One line that can be written as UTF-8 (JSON from a device may hold half a surrogate pair)."""
    return " ".join(str(value).split())[:limit].encode(errors="replace").decode()
