"""A copy of the package whose modules a test may change: plans use the copy's code."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from cellfarm.base import code
from cellfarm.base.project import PACKAGE
from cellfarm.planning import causes
from cellfarm.wanted import variants

#: The folders whose modules are shipped, or run in another environment.
_APART = ("models", "passes", "runner", "measures", "conversion", "libraries")


def forget() -> None:
    """Clear the cached digests of code, so that the next plan sees the present code."""
    for cached in (
        code._closure_digest,
        code.sha256_of,
        code._imported,
        code._resolve,
        code._names,
    ):
        cached.cache_clear()


def copy_package(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Copy the folders that keys cover; from now on configurations and plans read code there."""
    package = root / "cellfarm"
    for name in _APART:
        if (PACKAGE / name).is_dir():
            ignore = shutil.ignore_patterns("__pycache__")
            shutil.copytree(PACKAGE / name, package / name, ignore=ignore)
        else:
            (package / name).mkdir()
    for module in (code, causes, variants):
        monkeypatch.setattr(module, "PACKAGE", package)
    forget()
    return package
