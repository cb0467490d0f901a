"""The interface of a connection to a remote device, which SSH and ADB implement."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ..base.errors import PermanentDeviceError, TransientDeviceError

#: How much of an output's end is kept.
TAIL_BYTES = 16_384
#: Reasons that no further attempt changes, in the words of every C library.
_PERMANENT = tuple(
    os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)
)


class Channel(Protocol):
    """A command that runs on a device: bytes to its standard input, bytes from its output."""

    def send(self, data: bytes, timeout_s: float) -> None:
        """Raises TransientDeviceError if it does not go through in time."""

    def receive(self, timeout_s: float) -> bytes | None:
        """The next output; b"" at its end; None if nothing came in time.

        Raises:
            TransientDeviceError: the connection is lost.
        """

    def finish(self) -> None:
        """End the command's standard input."""

    def ended(self) -> tuple[int | None, bytes]:
        """After the end of the output: exit code or None if unknown; end of standard error."""

    def close(self) -> None:
        """End the channel, whatever state it is in; never raises."""


class Link(Protocol):
    """A connection to a device. Every method has a deadline and raises only device errors."""

    def open(self, argv: Sequence[str]) -> Channel:
        """Start a command.

        Raises:
            TransientDeviceError, PermanentDeviceError: the device cannot be reached.
        """

    def push(self, source: Path, destination: str) -> None:
        """Copy a file to an absolute path of the device, whose folder exists."""

    def close(self) -> None:
        """Close the connection; the next call opens a new one. Never raises."""


def push_error(
    name: str, reason: str, argv: Sequence[str], code: int
) -> TransientDeviceError | PermanentDeviceError:
    """The error for a file that a device did not accept."""
    is_permanent = any(text in reason for text in _PERMANENT)
    kind = PermanentDeviceError if is_permanent else TransientDeviceError
    return kind(f"{name} cannot be put on the device: {reason}", argv, code)


@dataclass(frozen=True)
class Answer:
    """The result of a command that ended by itself."""

    code: int
    output: bytes
    log: str


def ask(
    link: Link,
    argv: Sequence[str],
    stdin: bytes = b"",
    timeout_s: float = 30.0,
    limit_bytes: int = 4 << 20,
) -> Answer:
    """Run a short command to its end.

    Raises:
        TransientDeviceError: it did not end in time, or the connection was lost.
        PermanentDeviceError: it prints more than a sane device would.
    """
    deadline = time.monotonic() + timeout_s
    channel = link.open(argv)
    try:
        if stdin:
            channel.send(stdin, timeout_s)
        channel.finish()
        output = bytearray()
        while True:
            left = deadline - time.monotonic()
            chunk = channel.receive(left) if left > 0 else None
            if chunk is None:
                link.close()
                raise TransientDeviceError(
                    f"the device did not answer within {timeout_s:g} s", argv
                )
            if not chunk:
                break
            output += chunk
            if len(output) > limit_bytes:
                raise PermanentDeviceError(
                    f"the device answers with more than {limit_bytes} bytes", argv
                )
        code, log = channel.ended()
    finally:
        channel.close()
    if code is None:
        raise TransientDeviceError("the connection was lost before a command had ended", argv)
    return Answer(code, bytes(output), log.decode(errors="replace"))


def error_text(error: BaseException) -> str:
    """The text of an error, without an address that it may name."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text)[:300]
