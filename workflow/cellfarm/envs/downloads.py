"""Downloads: resumed, tried again, and believed only when their SHA-256 is the one that was asked for."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING
from urllib.parse import urlsplit

import tenacity

from ..base.digests import digest, file_digest
from ..base.errors import PermanentHostError, TransientHostError
from ..base.locking import file_lock
from ..wanted.recipes import Recipe

if TYPE_CHECKING:
    import requests  # a quarter of a second that only who downloads has to wait

_CHUNK_BYTES = 1 << 16  # at most so much is lost when a connection breaks off
_TELL_EVERY_S = 5.0
#: Told apart from other client errors: the server asks to be asked again.
_TRY_AGAIN = frozenset({408, 425, 429})
_RANGE_OUT_OF_FILE = 416
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(?:\d+|\*)$")

Say = Callable[[str], None]


@dataclass(frozen=True)
class Download:
    """A file of known content at an address."""

    url: str
    sha256: str

    @property
    def name(self) -> str:
        """What the folder of its record is called: a mended address is another try."""
        return f"{self.sha256}-{digest(self.url)}"


@dataclass(frozen=True)
class Policy:
    """How patient a download is. An attempt goes on where the one before it ended.

    Args:
        read_timeout_s: the longest silence of a server.
    """

    attempts: int = 6
    first_wait_s: float = 1.0
    longest_wait_s: float = 30.0
    connect_timeout_s: float = 15.0
    read_timeout_s: float = 60.0


class _Again(Exception):
    """An attempt that failed in a way that may pass; the message says how."""


def wanted_download(recipe: Recipe) -> Download | None:
    """What a model's recipe needs from the net."""
    weights = recipe.weights
    return (
        Download(weights.url, weights.sha256)
        if weights and weights.url and weights.sha256
        else None
    )


def fetch(download: Download, folder: Path, say: Say, policy: Policy | None = None) -> Path:
    """Make sure of the file `folder`/<sha256>, from the net where it is not there yet.

    What was read of it stays in <sha256>.part, so that a later call goes on from there. A file that
    somebody put in place is taken, once its content is found right.

    Args:
        say: told what goes wrong and how far it is, a line at a time.

    Raises:
        TransientHostError: no connection, a server in trouble, no space: it names the file to put
            in place by hand.
        PermanentHostError: the server has no such file, or one with another content.
    """
    import requests

    policy = policy or Policy()
    target = folder / download.sha256
    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(_Again),
        stop=tenacity.stop_after_attempt(policy.attempts),
        wait=tenacity.wait_exponential_jitter(
            multiplier=policy.first_wait_s, max=policy.longest_wait_s
        ),
        before_sleep=lambda state: say(f"{_error(state)}; trying again"),
        reraise=True,
    )
    part = target.with_name(f"{target.name}.part")
    wrong: set[str] = set()
    try:
        # Two addresses of one file are two downloads to one place.
        with file_lock(target.with_name(f".{target.name}.lock")), requests.Session() as session:
            # Under the lock: who waited for it may find that the file has come.
            if target.is_file():
                _check_content(target, download.sha256)
                return target
            retrying(_attempt, session, download, part, policy, say, wrong)
            os.replace(part, target)
    except _Again as error:
        raise TransientHostError(
            f"{download.url}: {error}. Start again when the network is back, or put the file (SHA-256 "
            f"{download.sha256}) in place as {target}"
        ) from error
    except OSError as error:
        raise TransientHostError(
            f"{target} cannot be written: {error.strerror or error}"
        ) from error
    return target


def _check_content(file: Path, sha256: str) -> None:
    found = file_digest(file)
    if found != sha256:
        raise PermanentHostError(
            f"{file} has the SHA-256 {found}: delete it, or put the right file there"
        )


def _attempt(
    session: requests.Session,
    download: Download,
    part: Path,
    policy: Policy,
    say: Say,
    wrong: set[str],
) -> None:
    """Read what is missing of `part`, and check the whole.

    Args:
        wrong: the digests of what whole answers held before. One of them for the second time is
            what the server has; once may be an answer that broke off without a length.
    """
    start = part.stat().st_size if part.is_file() else 0
    with _get(session, download.url, start, policy) as answer:
        if answer.status_code == _RANGE_OUT_OF_FILE:
            # Either nothing is missing, or the rest of something else stands there.
            if file_digest(part) != download.sha256:
                part.unlink()
                raise _Again("what was kept of an earlier try is no part of the file")
            return
        _check_status(answer)
        resumed = answer.status_code == 206
        if resumed and _starts_at(answer) != start:
            part.unlink(missing_ok=True)
            raise _Again("the server answered with another part of the file than was asked for")
        if resumed:
            say(f"going on after {start / 1e6:.1f} MB")
        with part.open("ab" if resumed else "wb") as file:
            _copy(answer, file, start if resumed else 0, say)
    found = file_digest(part)
    if found == download.sha256:
        return
    part.unlink()
    if resumed:
        raise _Again("what was kept of an earlier try does not fit to the rest")
    message = f"the file has the SHA-256 {found}, expected {download.sha256}"
    if found in wrong:
        raise PermanentHostError(f"{download.url}: {message}")
    wrong.add(found)
    raise _Again(message)


@contextlib.contextmanager
def _get(
    session: requests.Session, url: str, start: int, policy: Policy
) -> Iterator[requests.Response]:
    """The answer to one request, its body not read yet. What may pass is raised as _Again.

    `identity`: the bytes of the file are wanted as they are, and ranges count those.
    """
    import requests

    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    timeout = (policy.connect_timeout_s, policy.read_timeout_s)
    host = urlsplit(url).hostname
    try:
        with session.get(url, headers=headers, timeout=timeout, stream=True) as answer:
            yield answer
    except requests.exceptions.SSLError as error:
        raise _Again(f"there is no secure connection to {host}: {error}") from error
    except (requests.exceptions.ConnectTimeout, requests.exceptions.ReadTimeout) as error:
        raise _Again(f"{host} does not answer") from error
    except requests.exceptions.ChunkedEncodingError as error:
        raise _Again("the connection broke off") from error
    except requests.exceptions.ConnectionError as error:
        silent = "timed out" in str(error)  # a body that stalls is reported so
        raise _Again(
            f"{host} fell silent" if silent else f"there is no connection to {host}"
        ) from error
    except requests.exceptions.RequestException as error:
        # An address that is none, endless redirects. It is an OSError to Python, and none of ours.
        raise PermanentHostError(f"{url}: {error}") from error


def _check_status(answer: requests.Response) -> None:
    code = answer.status_code
    said = f"HTTP status {code} {answer.reason or ''}".rstrip()
    if code >= 500 or code in _TRY_AGAIN:
        raise _Again(said)
    if code not in (200, 206):
        raise PermanentHostError(f"{answer.url}: {said}")


def _starts_at(answer: requests.Response) -> int | None:
    """Where in the file the body begins; None if the answer does not say."""
    found = _CONTENT_RANGE.match(answer.headers.get("Content-Range", ""))
    return int(found[1]) if found else None


def _copy(answer: requests.Response, file: IO[bytes], have: int, say: Say) -> None:
    """Write the body, telling every few seconds how far it is."""
    length = answer.headers.get("Content-Length", "")
    total = have + int(length) if length.isdigit() else None
    of = f" of {total / 1e6:.1f}" if total else ""
    told = time.monotonic()
    for chunk in answer.iter_content(_CHUNK_BYTES):
        file.write(chunk)
        have += len(chunk)
        if time.monotonic() - told > _TELL_EVERY_S:
            told = time.monotonic()
            say(f"{have / 1e6:.1f}{of} MB")
    if total is not None and have < total:
        raise _Again(f"the connection broke off after {have} of {total} bytes")


def _error(state: tenacity.RetryCallState) -> str:
    return str(state.outcome.exception()) if state.outcome else ""
