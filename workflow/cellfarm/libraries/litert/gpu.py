"""What LiteRT's GPU accelerator says of itself: it says it on standard error alone."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Callable
from typing import Any

import refusal  # type: ignore[import-not-found]

_ADAPTER = re.compile(r"Selected adapter: (?P<name>.+), arch=.*adapterType=(?P<kind>.+)")
_LACKS = re.compile(r"not supported by GPU delegate:\n(?P<lines>.*?)\n\d+ operations will", re.S)
_FAILED = re.compile(r"Failed to initialize WebGPU environment: (?P<why>.+)")


def watched(load: Callable[[], Any]) -> tuple[Any, str]:
    """What `load` returns, and what was written to standard error meanwhile (and passed on).

    Raises:
        Unsupported: `load` failed, with the accelerator's own reason where it gives one.
    """
    sys.stderr.flush()
    # A file, not a pipe: nobody could read a pipe while the library holds the interpreter's lock.
    with tempfile.TemporaryFile() as file:
        standard_error = os.dup(2)
        os.dup2(file.fileno(), 2)
        error: Exception | None = None
        result = None
        try:
            result = load()
        except Exception as caught:
            error = caught
        finally:
            os.dup2(standard_error, 2)
            os.close(standard_error)
            file.seek(0)
            text = file.read().decode(errors="replace")
            sys.stderr.write(text)
            sys.stderr.flush()
    if error is not None:
        raise refusal.Unsupported(f"litert: the GPU: {reason(text) or error}") from error
    return result, text


def reason(text: str) -> str | None:
    """Why the accelerator refused, from what it wrote; None if it does not say."""
    lacks = _LACKS.search(text)
    if lacks:
        # A line a node: its operator, why, and its name.
        each = dict.fromkeys(line.partition(". ")[0] for line in lacks["lines"].splitlines())
        return "not supported: " + "; ".join(one.strip(". ") for one in each)
    failed = _FAILED.search(text)
    return failed["why"].strip() if failed else None


def adapter(text: str) -> dict[str, Any]:
    """The device that was taken, from what was written.

    Returns:
        ``device``, its name, and ``emulated``: whether it is a processor's software.

    Raises:
        Unsupported: no device is named: nothing shows then that there was a GPU.
    """
    found = _ADAPTER.search(text)
    if not found:
        raise refusal.Unsupported(
            "litert: the GPU accelerator names no device; it may have been the CPU"
        )
    return {"device": found["name"].strip(), "emulated": "CPU" in found["kind"]}
