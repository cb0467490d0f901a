"""Zip applications whose bytes depend on names and contents only, with their modules compiled.

A process would otherwise compile the modules of a zip file each time it starts: the runner's take 36 ms of
a desktop's processor. The sources stay beside them for another version of Python than this
one, which ignores what this one compiled.
"""

from __future__ import annotations

import contextlib
import os
import py_compile
import sys
import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the same sources make the same bytes


def write_zip_application(
    folder: Path, stem: str, entries: Iterable[tuple[str, bytes | str]]
) -> Path:
    """Write (name, content) of each entry, whole or not at all, unless it is there already.

    Returns:
        folder/<stem>.<version of Python>.pyz
    """
    path = folder / f"{stem}.{sys.implementation.cache_tag}.pyz"
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        for name, content in entries:
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), content)
            # What is no Python stays as it is: the process that imports it says what is wrong.
            with contextlib.suppress(py_compile.PyCompileError):
                if name.endswith(".py"):
                    archive.writestr(zipfile.ZipInfo(f"{name}c", _EPOCH), _compiled(name, content))
    os.replace(temporary, path)
    return path


def _compiled(name: str, content: bytes | str) -> bytes:
    """Of no date: it is never held against its source, which stands in the same archive."""
    unchecked = py_compile.PycInvalidationMode.UNCHECKED_HASH
    with tempfile.TemporaryDirectory(prefix="cellfarm-compile-") as scratch:
        source, compiled = Path(scratch, "module.py"), Path(scratch, "module.pyc")
        source.write_bytes(content.encode() if isinstance(content, str) else content)
        py_compile.compile(
            str(source), str(compiled), dfile=name, doraise=True, invalidation_mode=unchecked
        )
        return compiled.read_bytes()
