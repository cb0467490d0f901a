"""A share of this machine's lock, for the work that the experiment of another device does here."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Self, TypeVar

from ..base.locking import file_lock, machine_lock_path

T = TypeVar("T")


class HostShare:
    """Keeps packing, digests and encryption away from measurements of this machine, as conversions do.

    It is held from one action to the next, so that the set-up of a device waits once. An action that fails
    gives it up: a device that is out of reach must not keep this machine from being measured.

    Args:
        needed: False if the device is this machine: then its experiment has the whole lock.
        on_wait: see file_lock.
    """

    def __init__(self, needed: bool, on_wait: Callable[[str], None]) -> None:
        self._needed = needed
        self._on_wait = on_wait
        self._held: ExitStack | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._give_up()

    def during(self, action: Callable[[], T]) -> Callable[[], T]:
        """The action, which takes the share first unless it is held."""

        def attempt() -> T:
            if self._needed and self._held is None:
                lock = file_lock(machine_lock_path("host"), shared=True, on_wait=self._on_wait)
                held = ExitStack()
                held.enter_context(lock)
                self._held = held
            try:
                return action()
            except BaseException:
                self._give_up()
                raise

        return attempt

    def _give_up(self) -> None:
        if self._held is not None:
            self._held.close()
            self._held = None
