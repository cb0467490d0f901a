"""The mirrors of Debian's archive: the user's choice, the host's mirrors, Debian's, its history."""

from __future__ import annotations

import contextlib
import os
import re
import time
import urllib.request
from collections.abc import Iterator
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError

from ...base.digests import file_digest

#: The variable that names a mirror (the address above `dists` and `pool`) to use before all others.
VARIABLE = "CELLFARM_DEBIAN_MIRROR"
DEFAULT = "https://deb.debian.org/debian"
#: Releases move there when their support has ended.
ARCHIVE = "https://archive.debian.org/debian"
#: Every state that the archive ever had, for packages that an update has replaced since.
SNAPSHOT = "https://snapshot.debian.org/archive/debian/{moment}"

TIMEOUT_S = 30  # without any data
ATTEMPTS = 3
_PAUSE_S = 1.0
_CHUNK = 1 << 20

_APT = Path("/etc/apt")
#: `deb [options] <address> <release> main ...`, and the fields of a .sources file.
_LIST_LINE = re.compile(
    r"^deb\s+(?:\[[^\]]*\]\s+)?(?P<address>https?://\S+)\s+\S+\s.*\bmain\b", re.M
)
_FIELD = re.compile(r"^(?P<name>URIs|Components):\s*(?P<value>.*)$", re.M)


class Missing(OSError):
    """The mirror answers, and does not have the file, or has another file."""


def mirrors(moment: str | None = None, apt: Path = _APT) -> list[str]:
    """Addresses of mirrors, in the order in which they are tried.

    Args:
        moment: `20260711T101637Z`: adds the archive as it was then.
        apt: the folder of the host's own apt, if it has one.
    """
    addresses = [os.environ.get(VARIABLE, ""), *_apt_mirrors(apt), DEFAULT, ARCHIVE]
    if moment:
        addresses.append(SNAPSHOT.format(moment=moment))
    return list(dict.fromkeys(address.rstrip("/") for address in addresses if address))


def _apt_mirrors(folder: Path) -> Iterator[str]:
    """Mirrors of Debian in apt's configuration; other repositories have other names at the end."""
    paths = [folder / "sources.list", *sorted((folder / "sources.list.d").glob("*"))]
    for path in paths:
        if path.suffix not in (".list", ".sources"):
            continue
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        addresses = [match["address"] for match in _LIST_LINE.finditer(text)]
        for paragraph in text.split("\n\n"):
            fields = {field["name"]: field["value"].split() for field in _FIELD.finditer(paragraph)}
            if "main" in fields.get("Components", []):
                addresses += fields.get("URIs", [])
        yield from filter(re.compile(r"^https?://.*/debian/?$").search, addresses)


def read(path: str) -> bytes:
    """A file of the archive whose content is not known before, such as a list of packages.

    It comes from the mirror that the user chose, else over HTTPS from Debian's: nothing else vouches for it.

    Raises:
        OSError: no mirror answers, or none has it.
    """
    chosen = os.environ.get(VARIABLE, "").rstrip("/")
    problem: OSError | None = None
    for mirror in [chosen] if chosen else [DEFAULT, ARCHIVE]:
        try:
            with _open(f"{mirror}/{path}") as answer:
                return bytes(answer.read())
        except OSError as error:
            problem = worse(problem, error)
    assert problem is not None
    raise problem


def download(address: str, destination: Path, size: int, sha256: str) -> None:
    """Fetch a file of known content in `ATTEMPTS` attempts; it appears whole or not at all.

    Raises:
        Missing: the mirror has no such file, or another file under that name.
        OSError: it does not answer, or breaks off.
    """
    for attempt in range(ATTEMPTS):
        try:
            _download(address, destination, size, sha256)
            return
        except Missing:
            raise
        except OSError:
            if attempt == ATTEMPTS - 1:
                raise
            time.sleep(_PAUSE_S * 2**attempt)


def _download(address: str, destination: Path, size: int, sha256: str) -> None:
    temporary = destination.with_name(f"{destination.name}.{os.getpid()}.part")
    try:
        with _open(address) as answer, temporary.open("wb") as file:
            # One byte too many is enough to see that it is another file.
            for _ in range(0, size + _CHUNK, _CHUNK):
                file.write(answer.read(_CHUNK))
        received_sha256 = file_digest(temporary)
        received = temporary.stat().st_size
        if received < size:
            raise OSError(f"{address}: ended after {received} of {size} bytes")
        if received_sha256 != sha256:
            raise Missing(f"{address}: has the SHA-256 {received_sha256}, expected {sha256}")
        temporary.replace(destination)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def _open(address: str) -> Iterator[HTTPResponse]:
    """The answer to a request. An answer that is not HTTP, as from a captive portal, is an OSError, also
    while it is read."""
    try:
        with _answer(address) as answer:
            yield answer
    except HTTPException as error:
        raise OSError(f"{address}: {error!r}") from error


def _answer(address: str) -> HTTPResponse:
    # Addresses are those of mirrors: http or https, never a file.
    if not address.startswith(("http://", "https://")):
        raise Missing(f"{address}: not an address of the web")
    try:
        answer: HTTPResponse = urllib.request.urlopen(address, timeout=TIMEOUT_S)  # noqa: S310
        return answer
    except HTTPError as error:
        kind = Missing if error.code in (403, 404, 410) else OSError
        raise kind(f"{address}: {error.code} {error.reason}") from error
    except (OSError, ValueError) as error:  # ValueError: an invalid address
        raise OSError(f"{address}: {getattr(error, 'reason', error)}") from error


def worse(known: OSError | None, new: OSError) -> OSError:
    """The error of two mirrors to report: a mirror that is out of reach may have the file."""
    return new if known is None or isinstance(known, Missing) else known
