"""The agent as a zip application: the part of this package that a remote device needs."""

from __future__ import annotations

from pathlib import Path

from ..base.digests import code_digest
from ..base.project import PACKAGE
from ..base.zip_applications import write_zip_application

#: They import only the standard library and each other.
_MODULES = (
    "__init__.py",
    "base/__init__.py",
    "base/digests.py",
    "base/errors.py",
    "base/processes.py",
    "base/files.py",
    "devices/agent.py",
    "devices/control.py",
    "devices/facts.py",
    "devices/framing.py",
    "devices/limits.py",
    "devices/local.py",
    "devices/transport.py",
)
_MAIN = "from cellfarm.devices.agent import main\n\nmain()\n"


def pack_agent(folder: Path) -> Path:
    """The zip application agent-<digest>, made unless `folder` has it already."""
    sources = [PACKAGE / name for name in _MODULES]
    modules = [
        (f"cellfarm/{name}", source.read_bytes())
        for name, source in zip(_MODULES, sources, strict=True)
    ]
    # Without this package's devices/__init__.py, which imports SSH and ADB.
    more = [("cellfarm/devices/__init__.py", ""), ("__main__.py", _MAIN)]
    return write_zip_application(folder, f"agent-{code_digest(*sources)}", [*modules, *more])
