"""The interface of transports: put files on a device once, and run a command there to its end."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from ..envs.environments import Environment

#: The variable with the time at which a command was spawned.
SPAWNED = "CELLFARM_SPAWNED_NS"


@dataclass(frozen=True)
class Launched:
    """A command that ran to its end on a device.

    `code` is its exit code, or the negative signal that ended it; `timed_out`: it was killed at its
    deadline; `log` is the end of its standard error.
    """

    code: int
    timed_out: bool
    log: str
    spawned_ns: int


@dataclass(frozen=True)
class Interpreter:
    """A Python on a device: the start of its command, and the variables that it needs."""

    argv: tuple[str, ...]
    variables: Mapping[str, str]


class Transport(Protocol):
    """The narrow interface between an experiment and a device. Paths are relative to its work folder."""

    #: Whether the device is this machine.
    is_host: bool

    def facts(self) -> dict[str, Any]:
        """Hardware, OS build and present state; unknown is None.

        Raises:
            TransientDeviceError, PermanentDeviceError: the device cannot be used.
        """

    def check(self) -> None:
        """Check that the work folder can be used, without changes: an experiment may run there.

        Raises:
            TransientDeviceError, PermanentDeviceError: it cannot.
        """

    def prepare(self) -> None:
        """Make the work folder (with `launches/` in it) and check that it can be written.

        Only the holder of the device's lock may call it: it removes the files of launches, and restores
        the settings that a killed experiment changed.

        Raises:
            PermanentDeviceError: it cannot.
        """

    def take_control(self, governor: str) -> dict[str, Any]:
        """Change the device's settings as far as it allows, and keep the previous ones on the device.

        `prepare` restores them after an experiment that was killed.

        Args:
            governor: of the processors' frequency; `keep` changes nothing.

        Returns:
            {"governor": what was set or None, "reason": why it could not be or None}
        """

    def release_control(self) -> None:
        """Restore the previous settings."""

    def close(self) -> None:
        """Close the connection to the device, and end whatever still runs there for it."""

    def put(self, source: Path, name: str) -> bool:
        """Copy a file or a folder to a content-addressed name unless it is there already.

        Returns:
            Whether anything was copied.
        """

    def interpreter(self, environment: Environment | None) -> Interpreter:
        """The Python of an environment, put on the device with its packages unless it is there. Without an
        environment, a Python with only the standard library."""

    @property
    def variables(self) -> Mapping[str, str]:
        """The environment variables of commands: paths, but no other settings of the user."""

    def resolve(self, name: str) -> str:
        """The path of a deployed name on the device, for use in commands."""

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes,
        timeout_s: float,
        variables: Mapping[str, str],
        on_line: Callable[[str], None],
        keep_open: Sequence[int] = (),
    ) -> Launched:
        """Run a command; whatever happens, none of its processes is left running.

        Args:
            stdin: the whole standard input.
            variables: all of its variables but SPAWNED, the device's monotonic time (ns) just before
                it was spawned.
            on_line: called with each line of its standard output, as it comes.
            keep_open: descriptors that the process inherits (the device's lock).
        """

    def read(self, name: str) -> bytes | None:
        """A small file from the work folder; None if it is not there."""

    def remove(self, name: str) -> None:
        """Delete a file or folder of the work folder; absent is fine."""
