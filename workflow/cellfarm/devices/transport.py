"""What every transport can do: put files on a device once, and run a command there to its end."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from ..envs.environments import Environment

#: The variable that tells a command when it was spawned.
SPAWNED = "CELLFARM_SPAWNED_NS"


@dataclass(frozen=True)
class Launched:
    """A command that ran to its end on a device.

    `code` is its exit code, negative for the signal that ended it; `timed_out` says that it was
    killed at its deadline. `log` is the end of its standard error.
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

    #: whether the device is the machine this process runs on
    is_host: bool

    def facts(self) -> dict[str, Any]:
        """Hardware, OS build and present state; unknown is None.

        Raises:
            TransientDeviceError, PermanentDeviceError: the device cannot be used.
        """

    def check(self) -> None:
        """Look whether the work folder can be used, without changing anything: an experiment may run there.

        Raises:
            TransientDeviceError, PermanentDeviceError: it cannot.
        """

    def prepare(self) -> None:
        """Make the work folder (with `launches/` in it) and check that it can be written.

        Only who holds the device's lock may call it: it removes what launches left, and puts back what a
        killed experiment has set.

        Raises:
            PermanentDeviceError: it cannot.
        """

    def take_control(self, governor: str) -> dict[str, Any]:
        """Set what the device lets be set, and remember on the device how it was.

        `prepare` puts back what an experiment that was killed left behind.

        Args:
            governor: of the processors' frequency; `keep` leaves it as it is.

        Returns:
            {"governor": what was set or None, "reason": why it could not be or None}
        """

    def release_control(self) -> None:
        """Put everything back as it was."""

    def close(self) -> None:
        """Give up the connection to the device, and whatever still runs there for it."""

    def put(self, source: Path, name: str) -> bool:
        """Put a file or a folder under a content-addressed name unless it is there already.

        Returns:
            Whether anything was copied.
        """

    def interpreter(self, environment: Environment | None) -> Interpreter:
        """The Python of an environment, put on the device with its packages unless it is there; without an
        environment, a Python that has the standard library only."""

    @property
    def variables(self) -> Mapping[str, str]:
        """What a command there sees of its surroundings: no setting of the user's but where things are."""

    def resolve(self, name: str) -> str:
        """The path of a deployed name as a command on the device must write it."""

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
        """Run a command; nothing of it is left running afterwards, whatever happens.

        Args:
            stdin: the process's whole standard input.
            variables: all that it gets, besides SPAWNED: the device's monotonic time (ns) just
                before it was spawned.
            on_line: called with each line of its standard output, as it comes.
            keep_open: descriptors that the process inherits (the device's lock).
        """

    def read(self, name: str) -> bytes | None:
        """A small file from the work folder; None if it is not there."""

    def remove(self, name: str) -> None:
        """Delete a file or folder of the work folder; absent is fine."""
