"""What a Debian release offers: its list of packages, from the first mirror that answers.

The format is described in Debian Policy (chapter 5, control files) and in the wiki's page
RepositoryFormat.
"""

from __future__ import annotations

import lzma
import re
from dataclasses import dataclass
from datetime import UTC, timedelta
from email.utils import parsedate_to_datetime
from functools import cache, cached_property

from .mirrors import read

_WANTED = re.compile(r"^(Package|Version|Depends|Pre-Depends|Provides|Filename|Size|SHA256): (.*)$")
_PARAGRAPH = "\n\n"


@dataclass(frozen=True)
class Package:
    """One package of a release.

    Attributes:
        version: Debian's, such as `1:1.24.2-1+deb12u1`.
        depends: what it needs; each a list of alternatives by name.
        provides: virtual packages that it stands for.
        filename: where it is in the archive, `pool/main/...`.
        size: of the file, in bytes.
    """

    name: str
    version: str
    depends: list[list[str]]
    provides: list[str]
    filename: str
    size: int
    sha256: str

    @property
    def upstream(self) -> str:
        """The version of what was packaged: `1.13.1+dfsg-4` is 1.13.1."""
        version = self.version.partition(":")[2] or self.version
        return re.split(r"[+~]", version.rpartition("-")[0] or version)[0]


class Index:
    """The packages of one release for one architecture."""

    def __init__(self, text: str) -> None:
        self._text = text
        self.packages: dict[str, Package] = {}
        for paragraph in text.split(_PARAGRAPH):
            if paragraph.strip():
                package = _package(paragraph)
                self.packages[package.name] = package

    @cached_property
    def providers(self) -> dict[str, list[str]]:
        """Virtual package -> the packages that provide it."""
        found: dict[str, list[str]] = {}
        for package in self.packages.values():
            for virtual in package.provides:
                found.setdefault(virtual, []).append(package.name)
        return found


@cache
def fetch_moment(release: str) -> str:
    """A moment, `20260711T101637Z`, at which the archive was as the release's lists now say.

    A day after they were made: the archive's history takes its pictures some hours later.

    Raises:
        OSError: no mirror answers, or none has that release.
    """
    text = read(f"dists/{release}/Release").decode(errors="replace")
    found = re.search(r"^Date: (.*)$", text, re.M)
    if found is None:
        raise OSError(f"dists/{release}/Release: no date")
    made = parsedate_to_datetime(found[1].replace("UTC", "+0000"))
    return (made.astimezone(UTC) + timedelta(days=1)).strftime("%Y%m%dT%H%M%SZ")


@cache
def fetch_index(release: str, architecture: str) -> Index:
    """The list of packages (section main) of a release such as `bookworm`.

    Raises:
        OSError: no mirror answers, or none has that release.
    """
    path = f"dists/{release}/main/binary-{architecture}/Packages.xz"
    data = read(path)
    try:
        return Index(lzma.decompress(data).decode())
    except (lzma.LZMAError, ValueError, KeyError) as error:  # such as the page of a captive portal
        raise OSError(f"{path}: not a list of packages: {error}") from error


def _package(paragraph: str) -> Package:
    found = [one for one in map(_WANTED.match, paragraph.splitlines()) if one is not None]
    fields = {str(one[1]): str(one[2]) for one in found}
    depends = ", ".join(fields[key] for key in ("Pre-Depends", "Depends") if key in fields)
    return Package(
        name=fields["Package"],
        version=fields["Version"],
        depends=_relations(depends),
        provides=[one[0] for one in _relations(fields.get("Provides", ""))],
        filename=fields["Filename"],
        size=int(fields["Size"]),
        sha256=fields["SHA256"],
    )


def _relations(text: str) -> list[list[str]]:
    """`a (>= 1), b:any | c` -> [["a"], ["b", "c"]].

    Versions are dropped: within one release they fit, which is what makes it a release.
    """
    groups = (group.split("|") for group in text.split(",") if group.strip())
    return [[re.split(r"[\s(:\[]", one.strip())[0] for one in group] for group in groups]
