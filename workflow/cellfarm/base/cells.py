"""The cell: one combination that is measured, and its place in the store."""

from __future__ import annotations

import re
from typing import Any

from msgspec import Struct, structs

from .names import NAME_PATTERN

#: What a name from a config may look like.
NAME = re.compile(NAME_PATTERN)


def threads_text(threads: int) -> str:
    """`1 thread`, `4 threads`."""
    return "1 thread" if threads == 1 else f"{threads} threads"


class Cell(Struct, frozen=True, order=True):
    """model x library x variant x device x processor x threads."""

    model: str
    library: str
    library_version: str
    variant: str
    device: str
    processor: str
    threads: int

    @property
    def versioned_library(self) -> str:
        """`ncnn@1.0.20261020`."""
        return f"{self.library}@{self.library_version}"

    @property
    def folder(self) -> str:
        """Where the results of this cell stand below results/cells, whatever their keys."""
        setting = f"{self.variant}-{self.processor}-t{self.threads}"
        return f"{self.device}/{self.versioned_library}/{self.model}/{setting}"

    @property
    def label(self) -> str:
        """What a person reads: `mobilenet_v2 · ncnn@1.0 · fp32 · cpu · 2 threads · host`."""
        threads = threads_text(self.threads)
        parts = (self.model, self.versioned_library, self.variant, self.processor, threads)
        return " · ".join((*parts, self.device))

    def as_dict(self) -> dict[str, Any]:
        return structs.asdict(self)
