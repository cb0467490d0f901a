"""The payload: the runner with one library's modules, as a zip application named by its content."""

from __future__ import annotations

from pathlib import Path

from ..base.code import PlannedCode
from ..base.zip_applications import write_zip_application


def pack(planned: PlannedCode, folder: Path) -> Path:
    """Make the zip application of the runner, a library's modules and the device halves of measures, unless
    `folder` has it.

    Returns:
        A file in `folder` whose name begins with the digest of the code.

    Raises:
        InternalMismatch: the code changed since the run was planned.
    """
    code = planned.read()
    entries = ((_packed(name), data) for name, data in code.files.items())
    return write_zip_application(folder, code.digest, entries)


def _packed(name: str) -> str:
    """`latency/device.py` -> `measure_latency.py`: the application has no packages."""
    measure, slash, _ = name.partition("/")
    return f"measure_{measure}.py" if slash else name
