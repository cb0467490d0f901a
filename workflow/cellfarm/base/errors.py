"""The errors of cellfarm, as types, so that who is at fault and whether to retry is a type check."""

from __future__ import annotations

from collections.abc import Sequence


class CellfarmError(Exception):
    """Any error that cellfarm raises on purpose; `exit_code` is what the command line ends with."""

    exit_code = 1


class UserError(CellfarmError):
    """A mistake in what the user gave: one clear message that names the file and the way out."""

    exit_code = 2


class InternalMismatch(CellfarmError):
    """What a job was asked for is not what the sources now say: they changed during the run."""


class CommandError(CellfarmError):
    """A command that did not do its work.

    Attributes:
        command: the argument list.
        code: its exit code; negative is the signal that ended it; None if it never started.
        output: the end of what it printed.
    """

    def __init__(
        self, message: str, command: Sequence[str] = (), code: int | None = None, output: str = ""
    ) -> None:
        super().__init__(message)
        self.command = tuple(command)
        self.code = code
        self.output = output


class TransientError(CommandError):
    """May succeed when tried again: a network that is down, a device that is busy."""

    exit_code = 75  # EX_TEMPFAIL


class PermanentError(CommandError):
    """Will fail the same way again until something is changed."""


class TransientHostError(TransientError):
    """The orchestrating machine cannot do it now (network, disk)."""


class PermanentHostError(PermanentError):
    """The orchestrating machine cannot do it (no such package, a broken environment)."""


class TransientDeviceError(TransientError):
    """The device cannot do it now (lost, busy, full)."""


class PermanentDeviceError(PermanentError):
    """The device cannot do it (wrong architecture, a folder that cannot be written)."""


class OutOfServiceError(PermanentDeviceError):
    """The device's file says that it is not to be used now: left out on purpose."""
