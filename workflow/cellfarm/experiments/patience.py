"""Repeated attempts at something that a device cannot do now."""

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
    """Repeats an action that a device may be unable to do for a while, with pauses that grow.

    Args:
        longest_s: the time after its first failure at which the action is given up.
        on_failure: called with the reason of each failure.

    Attributes:
        lost: failures in the last call.
    """

    def __init__(self, longest_s: float, on_failure: Callable[[str], None]) -> None:
        self._longest_s = longest_s
        self._on_failure = on_failure
        self._failed_s: float | None = None
        self.lost = 0

    def __call__(self, action: Callable[[], T]) -> T:
        """Do the action.

        Raises:
            TransientDeviceError: the device could not do it for `longest_s`.
            PermanentDeviceError: at once; no further attempt would help.
        """
        self.lost, self._failed_s = 0, None
        return Retrying(
            retry=retry_if_exception_type(TransientDeviceError),
            stop=self._is_spent,
            wait=wait_random_exponential(multiplier=1, max=LONGEST_PAUSE_S),
            before_sleep=self._failed,
            reraise=True,
        )(action)

    def _is_spent(self, _: RetryCallState) -> bool:
        now_s = time.monotonic()
        if self._failed_s is None:
            self._failed_s = now_s
        return now_s - self._failed_s >= self._longest_s

    def _failed(self, state: RetryCallState) -> None:
        self.lost += 1
        error = state.outcome.exception() if state.outcome else None
        self._on_failure(f"{error}; calling it again")
