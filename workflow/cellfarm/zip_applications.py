"""Zip applications whose bytes depend on names and contents only."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterable
from pathlib import Path

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the same sources make the same bytes


def write_zip_application(path: Path, entries: Iterable[tuple[str, bytes | str]]) -> Path:
    """Write (name, content) of each entry to `path`, whole or not at all, unless it is there already."""
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        for name, content in entries:
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), content)
    os.replace(temporary, path)
    return path
