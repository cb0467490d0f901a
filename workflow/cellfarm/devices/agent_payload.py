"""The agent as a zip application: what of this package a device needs to be driven from afar."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

from ..core.digests import code_digest
from ..project import PACKAGE

#: All of them import the standard library and one another only.
_MODULES = (
    "__init__.py",
    "errors.py",
    "processes.py",
    "files.py",
    "devices/agent.py",
    "devices/control.py",
    "devices/facts.py",
    "devices/framing.py",
    "devices/limits.py",
    "devices/local.py",
    "devices/transport.py",
)
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the same sources make the same bytes
_MAIN = "from cellfarm.devices.agent import main\n\nmain()\n"


def pack_agent(folder: Path) -> Path:
    """The zip application, made unless `folder` has it already: folder/agent-<digest>.pyz"""
    sources = [PACKAGE / name for name in _MODULES]
    path = folder / f"agent-{code_digest(*sources)}.pyz"
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, source in zip(_MODULES, sources, strict=True):
            archive.writestr(zipfile.ZipInfo(f"cellfarm/{name}", _EPOCH), source.read_bytes())
        # Not this package's own, which knows of SSH and ADB.
        archive.writestr(zipfile.ZipInfo("cellfarm/devices/__init__.py", _EPOCH), "")
        archive.writestr(zipfile.ZipInfo("__main__.py", _EPOCH), _MAIN)
    os.replace(temporary, path)
    return path
