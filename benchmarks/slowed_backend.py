"""A library's back end whose inferences take longer by a known share.

Packed into the runner as `backend`, beside the real one (`unslowed_backend`) and `slowdown`, which
holds the share (see benchmarks.variants). The time of the real inference is taken, and a busy loop
adds the share of it, so that the slowdown follows whatever the inference does.
"""

from __future__ import annotations

import time

import slowdown  # type: ignore[import-not-found]
import unslowed_backend  # type: ignore[import-not-found]

import_library = unslowed_backend.import_library


class Session(unslowed_backend.Session):  # type: ignore[misc]
    """The real session with a slower `invoke`."""

    def invoke(self) -> None:
        began_ns = time.monotonic_ns()
        super().invoke()
        ended_ns = time.monotonic_ns()
        until_ns = ended_ns + int((ended_ns - began_ns) * slowdown.SHARE)
        while time.monotonic_ns() < until_ns:
            pass
