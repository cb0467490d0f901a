"""A back end that only sleeps: it shows a launch's cost on the host without a library's work.

Packed into the runner like a library's back end (see workflow/cellfarm/libraries).
"""

from __future__ import annotations

import time
from typing import Any

INVOKE_S = 0.005


def import_library() -> str:
    return "0"


class Session:
    """Takes any input; gives 0, 1, 2, ... in the outputs' shapes: a constant would be refused."""

    def __init__(
        self,
        artifact: str,
        *,
        processor: str,
        threads: int,
        inputs: list[dict[str, Any]],
        outputs: list[dict[str, Any]],
    ) -> None:
        self._shapes = [entry["shape"] for entry in outputs]

    def set_inputs(self, arrays: list[Any]) -> None:
        pass

    def invoke(self) -> None:
        time.sleep(INVOKE_S)

    def get_outputs(self) -> list[Any]:
        import numpy

        return [
            numpy.arange(numpy.prod(shape), dtype="float32").reshape(shape)
            for shape in self._shapes
        ]

    def actual(self) -> dict[str, Any]:
        return {"threads": None}
