"""The list of packages of a Debian release, from the first mirror that answers.

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

_FIELD = re.compile(r"^(Package|Version|Depends|Pre-Depends|Provides|Filename|Size|SHA256): (.*)$")


@dataclass(frozen=True)
class Package:
    """One package of a release.

    Attributes:
        version: Debian's, such as `1:1.24.2-1+deb12u1`.
        depends: its dependencies; each is a list of alternatives by name.
        provides: virtual packages that it provides.
        filename: its path in the archive, `pool/main/...`.
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
        """The version of the packaged program: `1.13.1+dfsg-4` is 1.13.1."""
        version = self.version.partition(":")[2] or self.version
        return re.split(r"[+~]", version.rpartition("-")[0] or version)[0]


class Index:
    """The packages of one release for one architecture."""

    def __init__(self, text: str) -> None:
        packages = map(_package, filter(str.strip, text.split("\n\n")))
        self.packages = {package.name: package for package in packages}

    @cached_property
    def providers(self) -> dict[str, list[str]]:
        """Virtual package -> the packages that provide it."""
        providers: dict[str, list[str]] = {}
        for package in self.packages.values():
            for virtual in package.provides:
                providers.setdefault(virtual, []).append(package.name)
        return providers


@cache
def fetch_moment(release: str) -> str:
    """A moment, `20260711T101637Z`, at which the archive was as the release's lists now say.

    It is a day after the lists were made: the archive's history takes its snapshots some hours later.

    Raises:
        OSError: no mirror answers, or none has that release.
    """
    text = read(f"dists/{release}/Release").decode(errors="replace")
    date = re.search(r"^Date: (.*)$", text, re.M)
    if date is None:
        raise OSError(f"dists/{release}/Release: no date")
    made = parsedate_to_datetime(date[1].replace("UTC", "+0000"))
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
    matches = filter(None, map(_FIELD.match, paragraph.splitlines()))
    fields = {str(match[1]): str(match[2]) for match in matches}
    depends = ", ".join(fields[key] for key in ("Pre-Depends", "Depends") if key in fields)
    return Package(
        name=fields["Package"],
        version=fields["Version"],
        depends=_relations(depends),
        provides=[names[0] for names in _relations(fields.get("Provides", ""))],
        filename=fields["Filename"],
        size=int(fields["Size"]),
        sha256=fields["SHA256"],
    )


def _relations(text: str) -> list[list[str]]:
    """`a (>= 1), b:any | c` -> [["a"], ["b", "c"]].

    Versions are dropped: within one release they fit.
    """
    groups = (group.split("|") for group in text.split(",") if group.strip())
    return [[re.split(r"[\s(:\[]", name.strip())[0] for name in group] for group in groups]
