"""Environments from Debian packages, for libraries that no package index has for every machine.

A requirement `deb:bookworm/python3-torch==1.13.1` names a package of a Debian release. The lock
lists that package and all its dependencies, the C library included, with sizes and SHA-256, for each
architecture. The packages are unpacked into one folder and run from there. That needs neither
Debian nor root nor apt, and uses none of the host's libraries, so a lock gives the same programs on
every Linux.

    mirrors.py    the addresses of the archive, and how a file of it is fetched
    indices.py    a release's list of packages
    resolving.py  requirements -> lock
    fetching.py   fetches and checks a lock's packages, from the first mirror that has them
    unpacking.py  unpacks a package's files into a folder
    trees.py      lock -> a folder with all packages, and its Python
"""

from __future__ import annotations

import platform

PREFIX = "deb:"

#: `uname -m` -> Debian's name of the architecture. Locks hold all of them.
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def are_debian(requirements: list[str]) -> bool:
    """Whether requirements are Debian packages.

    Raises:
        ValueError: only some are: the two kinds could not see each other.
    """
    kinds = {line.startswith(PREFIX) for line in requirements}
    if len(kinds) > 1:
        raise ValueError(
            f"Debian packages and others in one environment: {', '.join(requirements)}"
        )
    return kinds == {True}


def architecture() -> str | None:
    """Debian's name of this machine's architecture; None if locks do not hold it."""
    return ARCHITECTURES.get(platform.machine())
