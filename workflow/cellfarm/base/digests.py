"""Digests of content: of values, of files, of folders of source code."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

DIGEST_LENGTH = 20  # 80 bits: collisions are out of reach for any farm, and paths stay short


def digest(value: Any) -> str:
    """The digest of a JSON-like value; the order of mappings does not matter, that of lists does."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:DIGEST_LENGTH]


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, whole."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def known_file_digest(path: Path) -> str:
    """The same of a large file that is asked for more than once: it is read again only when it changed."""
    status = path.stat()
    return _digest_of_state(path, status.st_size, status.st_mtime_ns, status.st_ino)


@cache
def _digest_of_state(path: Path, size_bytes: int, mtime_ns: int, inode: int) -> str:
    return file_digest(path)


@cache
def code_digest(*paths: Path) -> str:
    """The digest of source files and of every .py, .yaml, .sql and .j2 file below folders.

    Only names relative to the given paths and contents count: a touched or moved checkout is the
    same code. Cached for the process: a plan describes the code as it stood when it was made.
    """
    return digest([[name, file_digest(path)] for name, path in _sources(paths)])


def _sources(paths: Iterable[Path]) -> list[tuple[str, Path]]:
    sources: list[tuple[str, Path]] = []
    for top in paths:
        if top.is_file():
            sources.append((top.name, top))
            continue
        for path in sorted(top.rglob("*")):
            if path.suffix in _SOURCE_SUFFIXES and "__pycache__" not in path.parts:
                sources.append((f"{top.name}/{path.relative_to(top).as_posix()}", path))
    return sources


_SOURCE_SUFFIXES = frozenset({".py", ".yaml", ".sql", ".j2", ".js", ".css"})
