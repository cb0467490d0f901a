"""A transport that adds up the time of each method of another transport."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast
from unittest.mock import patch

import cellfarm.experiments.run as experiments
from cellfarm.base.project import Project
from cellfarm.devices import Transport, open_device
from cellfarm.devices.link import Channel, Link
from cellfarm.wanted.devices import AnyDevice

#: method -> seconds
Spent = dict[str, float]


class TimedTransport:
    """Adds to `times_s`. A method that calls another of the same transport counts as one."""

    def __init__(self, inner: Transport, times_s: Spent) -> None:
        self._inner = inner
        self._spent = times_s

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._inner, name)
        return self._timed(name, attribute) if callable(attribute) else attribute

    def _timed(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any, **keywords: Any) -> Any:
            began_s = time.monotonic()
            try:
                return method(*arguments, **keywords)
            finally:
                self._spent[name] = self._spent.get(name, 0.0) + time.monotonic() - began_s

        return timed


class CountingLink:
    """Records the size of every pushed file."""

    def __init__(self, inner: Link) -> None:
        self._inner = inner
        self.pushed_bytes: list[int] = []

    def open(self, argv: Sequence[str]) -> Channel:
        return self._inner.open(argv)

    def push(self, source: Path, destination: str) -> None:
        self.pushed_bytes.append(source.stat().st_size)
        self._inner.push(source, destination)

    def close(self) -> None:
        self._inner.close()


def count_pushes(transport: Any) -> CountingLink:
    """Make a remote transport's link record its pushes."""
    counting = CountingLink(transport._link)
    transport._link = counting
    return counting


@contextmanager
def timed_experiments(times_s: Spent, links: list[CountingLink]) -> Iterator[None]:
    """Time every remote transport that this process's experiments open, and count its pushes."""

    def timed(device: AnyDevice, project: Project) -> Transport:
        transport = open_device(device, project)
        links.append(count_pushes(transport))
        return cast(Transport, TimedTransport(transport, times_s))

    with patch.object(experiments, "open_device", timed):
        yield
