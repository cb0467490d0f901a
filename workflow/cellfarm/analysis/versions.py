"""Versions in the order in which they came out. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from packaging.version import InvalidVersion, Version


@cache
def order(version: str | None) -> tuple[bool, Version | str]:
    """A sort key of versions: 1.9 before 1.31; what is no version sorts by its text, before all others."""
    try:
        return True, Version(version or "")
    except InvalidVersion:
        return False, version or ""


def newest(rows: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The row of each library's newest version; sorted by library."""
    by_version = sorted(rows, key=lambda row: order(row["library_version"]))
    by_library = {row["library"]: row for row in by_version}
    return [by_library[library] for library in sorted(by_library)]
