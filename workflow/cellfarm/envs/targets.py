"""What an environment is built for: this machine, or a device of another architecture or Python.

A target stands in an environment's name after the lock's: `ncnn@1.0.run+cp311-aarch64-glibc2.36`. Without
one it is for this machine.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_NAME = re.compile(
    r"cp(?P<major>\d)(?P<minor>\d{1,2})-(?P<architecture>x86_64|aarch64)-glibc(?P<glibc>\d+\.\d+)"
)
#: The Python that cellfarm brings where a device has none of its own: Debian 12's, see envs/device.txt.
BROUGHT = "device"
_BROUGHT_PYTHON, _BROUGHT_GLIBC = "3.11", "2.36"
LEAST_PYTHON = (3, 11)


@dataclass(frozen=True)
class Target:
    """A Python on an architecture, with its C library.

    Args:
        python: such as 3.11.
        glibc: the version of the C library that wheels have to fit.
        brought: whether cellfarm brings this Python, with its C library.
    """

    python: str
    architecture: str
    glibc: str
    brought: bool = False

    def __str__(self) -> str:
        return f"cp{self.python.replace('.', '')}-{self.architecture}-glibc{self.glibc}"

    @property
    def platform(self) -> str:
        """In uv's words."""
        return f"{self.architecture}-manylinux_{self.glibc.replace('.', '_')}"


def target_of(facts: Mapping[str, Any]) -> Target | None:
    """What a remote device's environments are built for; None if there is nothing that would run.

    Its own Python is taken where it is new enough and its C library is known (a board); else
    cellfarm brings one (a phone, which has neither).
    """
    architecture = facts.get("architecture")
    if architecture not in ("x86_64", "aarch64"):
        return None
    own, glibc = facts.get("python"), facts.get("glibc")
    if own and glibc and tuple(int(part) for part in own.split(".")) >= LEAST_PYTHON:
        return Target(own, architecture, glibc)
    return Target(_BROUGHT_PYTHON, architecture, _BROUGHT_GLIBC, brought=True)


def parse(name: str) -> tuple[str, Target | None]:
    """(the lock's name, target) of an environment's name.

    Raises:
        ValueError: what follows the + is no target.
    """
    lock, plus, written = name.partition("+")
    if not plus:
        return lock, None
    found = _NAME.fullmatch(written)
    if found is None:
        raise ValueError(f"{name}: no target of an environment")
    return lock, Target(f"{found['major']}.{found['minor']}", found["architecture"], found["glibc"])
