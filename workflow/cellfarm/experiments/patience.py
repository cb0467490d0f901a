"""Calling a device again that cannot do it now."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    stop_after_delay,
    wait_random_exponential,
)

from ..errors import TransientDeviceError

LONGEST_PAUSE_S = 20.0

T = TypeVar("T")


class Patience:
    """Does something that a device may be unable to do for a while, again with pauses that grow.

    Args:
        longest_s: after which it is given up.
        tell: told why, each time.

    Attributes:
        lost: how often it failed in the last call.
    """

    def __init__(self, longest_s: float, tell: Callable[[str], None]) -> None:
        self._longest_s = longest_s
        self._tell = tell
        self.lost = 0

    def __call__(self, act: Callable[[], T]) -> T:
        """
        Raises:
            TransientDeviceError: the device could not do it for so long.
            PermanentDeviceError: at once; no attempt would change it.
        """
        self.lost = 0
        return Retrying(
            retry=retry_if_exception_type(TransientDeviceError),
            stop=stop_after_delay(self._longest_s),
            wait=wait_random_exponential(multiplier=1, max=LONGEST_PAUSE_S),
            before_sleep=self._failed,
            reraise=True,
        )(act)

    def _failed(self, state: RetryCallState) -> None:
        self.lost += 1
        error = state.outcome.exception() if state.outcome else None
        self._tell(f"{error}; calling it again")
