"""A device at the other end of a link that gets no Python: its shell replaces the agent.

A shell can do less. `timeout` ends a launch that takes too long, also after the connection is lost; governors
are not set, no room is made, and no lock keeps other hosts away.
"""

from __future__ import annotations

import contextlib
import math
import posixpath
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..base.digests import file_digest
from ..base.errors import TransientDeviceError
from .agent import ARRIVALS
from .control import KEEP
from .link import Answer, ask
from .remote import (
    CALL_TIMEOUT_S,
    GRACE_S,
    MAX_READ_BYTES,
    MIN_BYTES_PER_S,
    READ_TIMEOUT_S,
    RemoteTransport,
    as_file,
)
from .transport import Interpreter, Launched

if TYPE_CHECKING:
    from ..envs.environments import Environment

_LAUNCHES = "launches"
#: A shell adds this to the signal that ended a command. `timeout` itself ends by that signal, which over SSH
#: looks like a lost connection: hence a shell around it.
_SIGNAL_OFFSET = 128
_IN_SHELL = ("sh", "-c", '"$@"; exit $?', "sh")


class ShellTransport(RemoteTransport):
    """See transport.Transport."""

    def prepare(self) -> None:
        folders = [self.resolve(name) for name in (_LAUNCHES, ARRIVALS)]
        self._ask("rm", "-rf", *folders)
        self._check_made(self._ask("mkdir", "-p", *folders))

    def take_control(self, governor: str) -> dict[str, Any]:
        reason = None if governor == KEEP else "the device gets no Python, which would put it back"
        return {"governor": None, "reason": reason}

    def release_control(self) -> None:
        """Nothing was set."""

    def put(self, source: Path, name: str) -> bool:
        path = self.resolve(name)
        if name in self._present or self._ask("test", "-e", path).code == 0:
            self._present.add(name)
            return False
        with as_file(source) as file:
            digest = file_digest(file)
            arrived = self.resolve(f"{ARRIVALS}/{digest}")
            self._link.push(file, arrived)
            if not self._has_file(f"{ARRIVALS}/{digest}", digest):
                raise TransientDeviceError(f"{name} arrived damaged")
            steps = [["mkdir", "-p", posixpath.dirname(path)]]
            if source.is_dir():
                unpacked = f"{arrived}.tmp"
                steps += [["mkdir", "-p", unpacked], ["tar", "-xf", arrived, "-C", unpacked]]
                steps += [["rm", "-f", arrived], ["mv", unpacked, path]]
            else:
                steps += [["mv", arrived, path]]
            timeout_s = CALL_TIMEOUT_S + file.stat().st_size / MIN_BYTES_PER_S
            self._run_steps(name, steps, timeout_s)
        self._present.add(name)
        return True

    def interpreter(self, environment: Environment | None) -> Interpreter:
        """There is none: an empty command."""
        return Interpreter((), {})

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
        """As Transport.run, but lines come after the end, and the command is not told when it was spawned."""
        limit = [*_IN_SHELL, "timeout", "-s", "KILL", str(math.ceil(timeout_s))]
        assignments = [f"{name}={value}" for name, value in variables.items()]
        began_s = time.monotonic()
        answer = ask(
            self._link,
            [*limit, "env", "-i", *assignments, *argv],
            stdin,
            timeout_s + GRACE_S,
            MAX_READ_BYTES,
        )
        timed_out = bool(answer.code) and time.monotonic() - began_s >= math.ceil(timeout_s)
        for line in answer.output.decode(errors="replace").splitlines():
            on_line(line)
        code = answer.code if answer.code <= _SIGNAL_OFFSET else _SIGNAL_OFFSET - answer.code
        return Launched(code, timed_out, answer.log, 0)

    def read(self, name: str) -> bytes | None:
        answer = self._ask("cat", self.resolve(name), timeout_s=READ_TIMEOUT_S)
        return None if answer.code else answer.output

    def remove(self, name: str) -> None:
        self._present.discard(name)
        # Not needed after a lost connection: `prepare` removes the files of launches.
        with contextlib.suppress(TransientDeviceError):
            self._ask("rm", "-rf", self.resolve(name))

    def _ask(self, *argv: str, timeout_s: float = CALL_TIMEOUT_S) -> Answer:
        return ask(self._link, argv, timeout_s=timeout_s, limit_bytes=MAX_READ_BYTES)
