"""The target of an environment: this machine, or a device of another architecture or Python.

An environment's name has its target after its lock's name: `ncnn@1.0.run+cp311-aarch64-glibc2.36`. An
environment without a target is for this machine.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_NAME = re.compile(
    r"cp(?P<major>\d)(?P<minor>\d{1,2})-(?P<architecture>x86_64|aarch64)-glibc(?P<glibc>\d+\.\d+)"
)
#: The environment of the Python that cellfarm puts on a device without Python: Debian 12's, see
#: envs/device.txt.
BUNDLED_PYTHON = "device"
_BUNDLED_VERSION, _BUNDLED_GLIBC = "3.11", "2.36"
LEAST_PYTHON = (3, 11)


@dataclass(frozen=True)
class Target:
    """A Python on an architecture, with its C library.

    Args:
        python: such as 3.11.
        glibc: the version of the C library that wheels have to fit.
        bundled: whether cellfarm puts this Python on the device, with its C library.
    """

    python: str
    architecture: str
    glibc: str
    bundled: bool = False

    def __str__(self) -> str:
        return f"cp{self.python.replace('.', '')}-{self.architecture}-glibc{self.glibc}"

    @property
    def platform(self) -> str:
        """uv's name of the target's platform."""
        return f"{self.architecture}-manylinux_{self.glibc.replace('.', '_')}"


def target_of(facts: Mapping[str, Any]) -> Target | None:
    """The target of a remote device's environments; None if cellfarm has nothing that would run.

    The device's Python is used if it is new enough and the C library is known (a board); else
    cellfarm puts one there (a phone, which has neither).
    """
    architecture = facts.get("architecture")
    if architecture not in ("x86_64", "aarch64"):
        return None
    python, glibc = facts.get("python"), facts.get("glibc")
    if python and glibc and tuple(map(int, python.split("."))) >= LEAST_PYTHON:
        return Target(python, architecture, glibc)
    return Target(_BUNDLED_VERSION, architecture, _BUNDLED_GLIBC, bundled=True)


def parse(name: str) -> tuple[str, Target | None]:
    """Split an environment's name into its lock's name and its target.

    Raises:
        ValueError: what follows the + is no target.
    """
    lock, plus, target = name.partition("+")
    if not plus:
        return lock, None
    match = _NAME.fullmatch(target)
    if match is None:
        raise ValueError(f"{name}: no target of an environment")
    return lock, Target(f"{match['major']}.{match['minor']}", match["architecture"], match["glibc"])
