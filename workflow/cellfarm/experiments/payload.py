"""The payload: the runner with one library's modules, as a zip application named by its content."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Sequence
from pathlib import Path

from ..core.digests import code_digest
from ..project import PACKAGE

RUNNER = PACKAGE / "runner"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the same sources make the same bytes


def pack(modules: Sequence[Path], folder: Path) -> Path:
    """The zip application of a library's modules, made unless `folder` has it already.

    Args:
        modules: backend.py and whatever else of the library goes to the device.

    Returns:
        folder/<digest>.pyz
    """
    path = folder / f"{code_digest(RUNNER, *modules)}.pyz"
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        for source in [*sorted(RUNNER.glob("*.py")), *sorted(modules)]:
            archive.writestr(zipfile.ZipInfo(source.name, _EPOCH), source.read_bytes())
    os.replace(temporary, path)
    return path
