"""What LiteRT's GPU accelerator reports, which it does on standard error only."""

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


def capture_standard_error(load: Callable[[], Any]) -> tuple[Any, str]:
    """What `load` returns, and what the process writes to standard error meanwhile (passed on).

    Raises:
        Unsupported: `load` failed; the message is the accelerator's reason, if it gives one.
    """
    sys.stderr.flush()
    # A file, because no thread can read a pipe while the library holds the interpreter's lock.
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
    """Why the accelerator refused the model, if its text says so."""
    lacks = _LACKS.search(text)
    if lacks:
        # There is a line for each node: its operator and the reason, then its name.
        reasons = dict.fromkeys(line.partition(". ")[0] for line in lacks["lines"].splitlines())
        return "not supported: " + "; ".join(reason.strip(". ") for reason in reasons)
    failed = _FAILED.search(text)
    return failed["why"].strip() if failed else None


def adapter(text: str) -> dict[str, Any]:
    """The device that the accelerator chose, from its text.

    Returns:
        ``device``, its name, and ``emulated``, whether it is software on the CPU.

    Raises:
        Unsupported: the text names no device, so nothing shows that there was a GPU.
    """
    match = _ADAPTER.search(text)
    if not match:
        raise refusal.Unsupported(
            "litert: the GPU accelerator names no device; it may have been the CPU"
        )
    return {"device": match["name"].strip(), "emulated": "CPU" in match["kind"]}
