"""The payload: the runner with one library's modules, as a zip application named by its content."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..core.digests import code_digest
from ..project import PACKAGE
from ..zip_applications import write_zip_application

RUNNER = PACKAGE / "runner"


def pack(modules: Sequence[Path], folder: Path) -> Path:
    """The zip application of a library's modules, made unless `folder` has it already.

    Args:
        modules: backend.py and whatever else of the library goes to the device.

    Returns:
        folder/<digest>.pyz
    """
    path = folder / f"{code_digest(RUNNER, *modules)}.pyz"
    sources = [*sorted(RUNNER.glob("*.py")), *sorted(modules)]
    return write_zip_application(path, ((one.name, one.read_bytes()) for one in sources))
