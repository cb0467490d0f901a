"""Reading small files of /proc and /sys that may be missing, unreadable or nonsense."""

import os

_MAX_BYTES = 1 << 16


def read(root: str, name: str) -> str | None:
    """The text of a small file below `root`; None if it cannot be read or is empty."""
    try:
        with open(os.path.join(root, name), "rb", buffering=0) as file:
            return file.read(_MAX_BYTES).decode("ascii", "replace").strip() or None
    except OSError:  # ENODEV, EIO and EPERM are as usual in /sys as ENOENT
        return None


def number(text: str | None) -> float | None:
    """A finite number, or None."""
    try:
        value = float(text)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return value if abs(value) < 1e18 else None  # false for nan, too


def listed(root: str, folder: str) -> list[str]:
    """The names in a folder below `root`, sorted; none if it cannot be read."""
    try:
        # Not pathlib: its import would be part of every launch.
        return sorted(os.listdir(os.path.join(root, folder)))  # noqa: PTH208
    except OSError:
        return []
