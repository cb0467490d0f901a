"""How the worker answers: one JSON object as the last line of stdout, everything else on stderr."""

from __future__ import annotations

import json
import os
import sys
from typing import TextIO

REASON_LIMIT = 300


class RecipeError(Exception):
    """A recipe that describes no model that can be built; the message is for its author."""


class Unsupported(Exception):
    """An exporter's own refusal of a model or an operator."""


def claim_stdout() -> TextIO:
    """Send everything that writes to fd 1, native code included, to stderr; return the real one.

    Exporters print progress to stdout. The answer must stay the only thing there.
    """
    sys.stdout.flush()
    real = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return real


def answer(stream: TextIO, status: str, reason: str | None = None) -> None:
    """Write the answer: ``status`` is ``ok``, ``unsupported`` or ``failed``."""
    stream.write(json.dumps({"status": status, "reason": reason}) + "\n")
    stream.flush()


def shorten(text: object, limit: int = REASON_LIMIT) -> str:
    """A message of many lines as one of at most ``limit`` characters."""
    line = " ".join(str(text).split())
    return line if len(line) <= limit else line[: limit - 3].rstrip() + "..."
