"""Calling a device again that cannot do it now."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    wait_random_exponential,
)

from ..base.errors import TransientDeviceError

LONGEST_PAUSE_S = 20.0

T = TypeVar("T")


class Patience:
    """Does something that a device may be unable to do for a while, again with pauses that grow.

    Args:
        longest_s: after which it is given up, counted from when it first failed: how long it had
            worked before says nothing of the device.
        tell: told why, each time.

    Attributes:
        lost: how often it failed in the last call.
    """

    def __init__(self, longest_s: float, tell: Callable[[str], None]) -> None:
        self._longest_s = longest_s
        self._tell = tell
        self._failed_s: float | None = None
        self.lost = 0

    def __call__(self, act: Callable[[], T]) -> T:
        """
        Raises:
            TransientDeviceError: the device could not do it for so long.
            PermanentDeviceError: at once; no attempt would change it.
        """
        self.lost, self._failed_s = 0, None
        return Retrying(
            retry=retry_if_exception_type(TransientDeviceError),
            stop=self._is_spent,
            wait=wait_random_exponential(multiplier=1, max=LONGEST_PAUSE_S),
            before_sleep=self._failed,
            reraise=True,
        )(act)

    def _is_spent(self, _: RetryCallState) -> bool:
        now_s = time.monotonic()
        if self._failed_s is None:
            self._failed_s = now_s
        return now_s - self._failed_s >= self._longest_s

    def _failed(self, state: RetryCallState) -> None:
        self.lost += 1
        error = state.outcome.exception() if state.outcome else None
        self._tell(f"{error}; calling it again")
