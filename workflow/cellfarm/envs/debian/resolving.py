"""From requirements to a lock: the packages and all their dependencies, for each architecture."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from . import ARCHITECTURES, PREFIX
from .indices import Index, Package, fetch_index, fetch_moment

_REQUIREMENT = re.compile(
    rf"{PREFIX}(?P<release>[a-z]+)/(?P<name>[a-z0-9][a-z0-9+.-]+)(?:==(?P<version>\S+))?"
)
_HEAD = re.compile(r"debian (?P<release>[a-z]+) at (?P<moment>\d{8}T\d{6}Z)")
_ENTRY = re.compile(r"(?P<sha256>[0-9a-f]{64}) +(?P<size>\d+) (?P<filename>pool/[\w./+~%:-]+\.deb)")


class ResolveError(Exception):
    """No such package, version or release; the message says which."""


@dataclass(frozen=True)
class Locked:
    """One package of a lock: its path in the archive, its size in bytes and its digest."""

    filename: str
    size: int
    sha256: str


@dataclass(frozen=True)
class DebianLock:
    """A lock: `packages` by architecture, `moment` for the archive's history."""

    release: str
    moment: str
    packages: dict[str, list[Locked]]


def make_lock(requirements: Sequence[str], exclude: Sequence[str] = ()) -> str:
    """Resolve requirements for every architecture; the text of a lock.

    Args:
        requirements: such as `deb:bookworm/python3-torch==1.13.1`, with the upstream version; all of
            one release.
        exclude: names of packages that are left out, with whatever only they need.

    Raises:
        ResolveError: a package that is required, or a dependency, is not in the release.
        OSError: no mirror answers.
    """
    matches = list(filter(None, map(_REQUIREMENT.fullmatch, requirements)))
    releases = {match["release"] for match in matches}
    if len(matches) < len(requirements) or len(releases) != 1:
        raise ResolveError(
            f"expected {PREFIX}RELEASE/PACKAGE or {PREFIX}RELEASE/PACKAGE==VERSION, of one release; "
            f"found {', '.join(requirements)}"
        )
    (release,) = releases
    names = {match["name"]: match["version"] for match in matches}
    blocks = [f"debian {release} at {fetch_moment(release)}\n"]
    for architecture in ARCHITECTURES.values():
        packages = dependency_closure(fetch_index(release, architecture), names, exclude)
        lines = [f"{package.sha256} {package.size:>9} {package.filename}\n" for package in packages]
        blocks.append(f"[{architecture}]\n" + "".join(lines))
    return "\n".join(blocks)


def dependency_closure(
    index: Index, names: dict[str, str | None], exclude: Sequence[str]
) -> list[Package]:
    """The required packages and all their dependencies, sorted by name.

    Among alternatives, one that is already taken wins, then the first that exists. Recommended
    packages are not taken.

    Args:
        names: package -> upstream version, or None for any.

    Raises:
        ResolveError: a package that is not in the release, or at another version.
    """
    for name, version in names.items():
        package = index.packages.get(name)
        if package is None:
            raise ResolveError(f"there is no package {name}")
        if version not in (None, package.upstream):
            raise ResolveError(f"{name} is there at version {package.upstream} only, not {version}")
    chosen: dict[str, Package] = {}
    provided: set[str] = set(exclude)
    queue = list(names)
    # Required packages decide between alternatives, whenever these are met.
    for name in names:
        provided |= {name, *index.packages[name].provides}
    while queue:
        package = index.packages[queue.pop(0)]
        if package.name in chosen:
            continue
        chosen[package.name] = package
        provided |= {package.name, *package.provides}
        for alternatives in package.depends:
            if not provided.intersection(alternatives):
                queue.append(_choose(index, alternatives, package.name))
    return sorted(chosen.values(), key=lambda package: package.name)


def _choose(index: Index, alternatives: list[str], needed_by: str) -> str:
    for name in alternatives:
        if name in index.packages:
            return name
        if index.providers.get(name):
            return sorted(index.providers[name])[0]
    raise ResolveError(f"{needed_by} needs {' or '.join(alternatives)}, which the release lacks")


def is_lock(text: str) -> bool:
    """Whether a lock is one of Debian packages."""
    return any(_HEAD.fullmatch(line) for line in text.splitlines())


def read_lock(text: str) -> DebianLock:
    """A lock's content.

    Raises:
        ValueError: a line that does not belong in a lock.
    """
    head: re.Match[str] | None = None
    packages: dict[str, list[Locked]] = {}
    architecture = ""
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        entry = _ENTRY.fullmatch(line)
        if line.startswith("[") and line.endswith("]"):
            architecture = line[1:-1]
            packages[architecture] = []
        elif head is None:
            head = _HEAD.fullmatch(line)
            if head is None:
                raise ValueError(f"not a lock of Debian packages: {line}")
        elif entry is None or not architecture or ".." in line:
            raise ValueError(f"not a Debian package of a lock: {line}")
        else:
            locked = Locked(entry["filename"], int(entry["size"]), entry["sha256"])
            packages[architecture].append(locked)
    if head is None:
        raise ValueError("not a lock of Debian packages: it is empty")
    return DebianLock(head["release"], head["moment"], packages)
