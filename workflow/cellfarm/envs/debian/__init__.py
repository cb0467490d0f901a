"""Environments from Debian packages, for libraries that no package index has for every machine.

A requirement `deb:bookworm/python3-torch==1.13.1` names a package of a Debian release. The lock
lists that package and all it depends on, the C library included, with sizes and SHA-256, for each
architecture; the packages are unpacked into a folder of their own and run from there. That needs
neither Debian nor root nor apt, and nothing of the host's own libraries is used, so the same lock
is the same programs on every Linux.

    mirrors.py    where the archive is, and how a file of it is fetched
    indices.py    what a release offers: its list of packages
    resolving.py  requirements -> lock
    fetching.py   packages of a lock from the first mirror that has them, checked
    unpacking.py  a package's files into a folder
    trees.py      lock -> a folder with all packages, and its Python
"""

from __future__ import annotations

import platform

PREFIX = "deb:"

#: What `uname -m` says -> what Debian calls it. Locks hold all of them.
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def is_asked_for(requirements: list[str]) -> bool:
    """Whether an environment is made of Debian packages.

    Raises:
        ValueError: of those and of others: they could not see each other.
    """
    found = {line.startswith(PREFIX) for line in requirements}
    if len(found) > 1:
        raise ValueError(
            f"Debian packages and others in one environment: {', '.join(requirements)}"
        )
    return found == {True}


def architecture() -> str | None:
    """This machine's architecture in Debian's words; None if locks do not hold it."""
    return ARCHITECTURES.get(platform.machine())
