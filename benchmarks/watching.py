"""A transport that records the times of launches and passes everything to another transport."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from cellfarm.devices import Interpreter, Launched, Transport
from cellfarm.envs.environments import Environment


@dataclass
class LaunchTimes:
    """Monotonic times of one launch, in ns.

    mode      what the runner was asked for: measure, cold, profile or gate
    called    the host asks for the launch
    spawned   the process exists and its interpreter is starting
    first     the host read the runner's first event
    ended     the host read the runner's last event
    returned  the process is reaped
    """

    called: int
    spawned: int = 0
    first: int = 0
    ended: int = 0
    returned: int = 0
    mode: str = ""

    @property
    def seconds(self) -> float:
        """From the call to the reaped process."""
        return (self.returned - self.called) / 1e9


@dataclass
class WatchingTransport:
    """Records the times of every launch in `launches`."""

    inner: Transport
    is_host: bool = True
    launches: list[LaunchTimes] = field(default_factory=list)

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
        times = LaunchTimes(time.monotonic_ns())
        self.launches.append(times)

        times.mode = str(json.loads(stdin).get("mode"))

        class ObservedPopen(subprocess.Popen[bytes]):
            """Notes when the process exists and its interpreter starts."""

            def __init__(self, *arguments: Any, **keywords: Any) -> None:
                super().__init__(*arguments, **keywords)
                times.spawned = time.monotonic_ns()

        def line(text: str) -> None:
            times.ended = time.monotonic_ns()
            times.first = times.first or times.ended
            on_line(text)

        with mock.patch.object(subprocess, "Popen", ObservedPopen):
            launched = self.inner.run(
                argv, stdin=stdin, timeout_s=timeout_s, variables=variables, on_line=line,
                keep_open=keep_open,
            )  # fmt: skip
        times.returned = time.monotonic_ns()
        return launched

    def close(self) -> None:
        self.inner.close()

    def interpreter(self, environment: Environment | None) -> Interpreter:
        return self.inner.interpreter(environment)

    @property
    def variables(self) -> Mapping[str, str]:
        return self.inner.variables

    def facts(self) -> dict[str, Any]:
        return self.inner.facts()

    def check(self) -> None:
        self.inner.check()

    def prepare(self) -> None:
        self.inner.prepare()

    def take_control(self, governor: str) -> dict[str, Any]:
        return self.inner.take_control(governor)

    def release_control(self) -> None:
        self.inner.release_control()

    def put(self, source: Path, name: str) -> bool:
        return self.inner.put(source, name)

    def resolve(self, name: str) -> str:
        return self.inner.resolve(name)

    def read(self, name: str) -> bytes | None:
        return self.inner.read(name)

    def remove(self, name: str) -> None:
        self.inner.remove(name)
