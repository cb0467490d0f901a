"""Versions in the order in which they came out. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from packaging.version import InvalidVersion, Version


@cache
def order(version: str | None) -> tuple[bool, Version | str]:
    """What versions sort by: 1.9 before 1.31; what is no version by its text, before all others."""
    try:
        return True, Version(version or "")
    except InvalidVersion:
        return False, version or ""


def newest(rows: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Of each library's rows the one with the newest version; sorted by library."""
    by_version = sorted(rows, key=lambda row: order(row["library_version"]))
    found = {row["library"]: row for row in by_version}
    return [found[library] for library in sorted(found)]
