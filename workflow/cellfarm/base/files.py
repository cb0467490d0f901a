"""Small files that are there whole or not at all. Standard library only: it goes to devices."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any


def read_object(path: Path) -> dict[str, Any] | None:
    """A small JSON object; None if there is none, or something else."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return document if isinstance(document, dict) else None


def write_atomically(path: Path, content: str | bytes, durable: bool = True) -> None:
    """Write, flush to the disk, rename: a reader sees the old file, the new one, or none.

    Args:
        durable: whether it has to outlive a loss of power; flushing takes milliseconds.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    if durable:
        _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
