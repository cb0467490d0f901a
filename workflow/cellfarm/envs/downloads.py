"""Downloads: resumed, repeated, and accepted only if their SHA-256 is as expected."""

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
    import requests  # takes a quarter of a second: imported only by who downloads

_CHUNK_BYTES = 1 << 16  # the most that is lost when a connection breaks off
_REPORT_EVERY_S = 5.0
#: Unlike other client errors, these ask the client to try again.
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
        """The name of its record's folder: a mended address is a new attempt."""
        return f"{self.sha256}-{digest(self.url)}"


@dataclass(frozen=True)
class Policy:
    """How patient a download is. An attempt continues where the one before it ended.

    Args:
        read_timeout_s: the longest silence of a server.
    """

    attempts: int = 6
    first_wait_s: float = 1.0
    longest_wait_s: float = 30.0
    connect_timeout_s: float = 15.0
    read_timeout_s: float = 60.0


class _Retry(Exception):
    """An attempt failed in a way that may pass; the message says how."""


def weights_download(recipe: Recipe) -> Download | None:
    """The download of a recipe's trained weights, if it has any."""
    weights = recipe.weights
    if weights and weights.url and weights.sha256:
        return Download(weights.url, weights.sha256)
    return None


def fetch(download: Download, folder: Path, say: Say, policy: Policy | None = None) -> Path:
    """Return the file `folder`/<sha256>, downloaded unless it is there.

    What was read of it stays in <sha256>.part, so that a later call continues there. A file that
    somebody put in place is accepted if its content is right.

    Args:
        say: called with each line about errors and progress.

    Raises:
        TransientHostError: no connection, a server in trouble, no space: it names the file to put
            in place by hand.
        PermanentHostError: the server has no such file, or a file with another content.
    """
    import requests

    policy = policy or Policy()
    target = folder / download.sha256
    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(_Retry),
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
        # Two downloads from different addresses may have the same file.
        with file_lock(target.with_name(f".{target.name}.lock")), requests.Session() as session:
            # Under the lock: the file may have come while this process waited.
            if target.is_file():
                _check_content(target, download.sha256)
                return target
            retrying(_attempt, session, download, part, policy, say, wrong)
            os.replace(part, target)
    except _Retry as error:
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
    actual = file_digest(file)
    if actual != sha256:
        raise PermanentHostError(
            f"{file} has the SHA-256 {actual}: delete it, or put the right file there"
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
        wrong: the digests of earlier whole answers. A digest that comes twice is the server's file;
            one that comes once may be of an answer that broke off without a length.
    """
    start = part.stat().st_size if part.is_file() else 0
    with _get(session, download.url, start, policy) as answer:
        if answer.status_code == _RANGE_OUT_OF_FILE:
            # Nothing is missing, or `part` belongs to another file.
            if file_digest(part) != download.sha256:
                part.unlink()
                raise _Retry("what was kept of an earlier try is no part of the file")
            return
        _check_status(answer)
        resumed = answer.status_code == 206
        if resumed and _starts_at(answer) != start:
            part.unlink(missing_ok=True)
            raise _Retry("the server answered with another part of the file than was asked for")
        if resumed:
            say(f"going on after {start / 1e6:.1f} MB")
        with part.open("ab" if resumed else "wb") as file:
            _copy(answer, file, start if resumed else 0, say)
    actual = file_digest(part)
    if actual == download.sha256:
        return
    part.unlink()
    if resumed:
        raise _Retry("what was kept of an earlier try does not fit to the rest")
    message = f"the file has the SHA-256 {actual}, expected {download.sha256}"
    if actual in wrong:
        raise PermanentHostError(f"{download.url}: {message}")
    wrong.add(actual)
    raise _Retry(message)


@contextlib.contextmanager
def _get(
    session: requests.Session, url: str, start: int, policy: Policy
) -> Iterator[requests.Response]:
    """The answer to one request, its body not read yet. An error that may pass is raised as _Retry.

    `identity`: ranges count the bytes of the file as it is.
    """
    import requests

    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    timeout = (policy.connect_timeout_s, policy.read_timeout_s)
    host = urlsplit(url).hostname
    try:
        with session.get(url, headers=headers, timeout=timeout, stream=True) as answer:
            yield answer
    except requests.exceptions.SSLError as error:
        raise _Retry(f"there is no secure connection to {host}: {error}") from error
    except requests.exceptions.Timeout as error:
        raise _Retry(f"{host} does not answer") from error
    except requests.exceptions.ChunkedEncodingError as error:
        raise _Retry("the connection broke off") from error
    except requests.exceptions.ConnectionError as error:
        silent = "timed out" in str(error)  # a body that stalls is reported so
        raise _Retry(
            f"{host} fell silent" if silent else f"there is no connection to {host}"
        ) from error
    except requests.exceptions.RequestException as error:
        # An invalid address, endless redirects. It is an OSError, but not an error of writing.
        raise PermanentHostError(f"{url}: {error}") from error


def _check_status(answer: requests.Response) -> None:
    code = answer.status_code
    status = f"HTTP status {code} {answer.reason or ''}".rstrip()
    if code >= 500 or code in _TRY_AGAIN:
        raise _Retry(status)
    if code not in (200, 206):
        raise PermanentHostError(f"{answer.url}: {status}")


def _starts_at(answer: requests.Response) -> int | None:
    """The position in the file at which the body begins; None if the answer does not say."""
    match = _CONTENT_RANGE.match(answer.headers.get("Content-Range", ""))
    return int(match[1]) if match else None


def _copy(answer: requests.Response, file: IO[bytes], received: int, say: Say) -> None:
    """Write the body, and report the progress every few seconds."""
    length = answer.headers.get("Content-Length", "")
    total = received + int(length) if length.isdigit() else None
    of = f" of {total / 1e6:.1f}" if total else ""
    reported_s = time.monotonic()
    for chunk in answer.iter_content(_CHUNK_BYTES):
        file.write(chunk)
        received += len(chunk)
        if time.monotonic() - reported_s > _REPORT_EVERY_S:
            reported_s = time.monotonic()
            say(f"{received / 1e6:.1f}{of} MB")
    if total is not None and received < total:
        raise _Retry(f"the connection broke off after {received} of {total} bytes")


def _error(state: tenacity.RetryCallState) -> str:
    return str(state.outcome.exception()) if state.outcome else ""
