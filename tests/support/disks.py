"""A disk that is really full: a tiny tmpfs, if this process may mount one."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def tiny_disk(folder: Path, size_kb: int = 64) -> Iterator[Path]:
    """A mounted file system of `size_kb`; skips the test if it cannot be mounted."""
    folder.mkdir(parents=True, exist_ok=True)
    argv = ["mount", "-t", "tmpfs", "-o", f"size={size_kb}k", "tmpfs", str(folder)]
    try:
        completed = subprocess.run(argv, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("no mount command: a full disk cannot be made")
    if completed.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {completed.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Fill the space that is left below `folder`; returns the file that fills it."""
    path = folder / "ballast"
    with path.open("ab", buffering=0) as file:
        for size in (4096, 512, 64, 8, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue
    return path
