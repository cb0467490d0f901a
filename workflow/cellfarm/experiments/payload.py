"""The payload: the runner with one library's modules, as a zip application named by its content."""

from __future__ import annotations

from pathlib import Path

from ..base.code import PlannedCode
from ..base.zip_applications import write_zip_application


def pack(planned: PlannedCode, folder: Path) -> Path:
    """The zip application of the runner with a library's modules, made unless `folder` has it already.

    Returns:
        a file in `folder` whose name begins with the digest of the code.

    Raises:
        InternalMismatch: the code changed since the run was planned.
    """
    code = planned.read()
    return write_zip_application(folder, code.digest, code.files.items())
