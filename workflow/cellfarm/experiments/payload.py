"""The payload: the runner with one library's modules, as a zip application named by its content."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..base.digests import code_digest
from ..base.project import PACKAGE
from ..base.zip_applications import write_zip_application

RUNNER = PACKAGE / "runner"


def pack(modules: Sequence[Path], folder: Path) -> Path:
    """The zip application of a library's modules, made unless `folder` has it already.

    Args:
        modules: backend.py and whatever else of the library goes to the device.

    Returns:
        a file in `folder` whose name begins with the digest of the modules.
    """
    sources = [*sorted(RUNNER.glob("*.py")), *sorted(modules)]
    entries = ((one.name, one.read_bytes()) for one in sources)
    return write_zip_application(folder, code_digest(RUNNER, *modules), entries)
