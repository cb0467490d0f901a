"""Shared by the worker's modules: the form of the answer, the errors, and imports by name."""

from __future__ import annotations

import importlib
import json
import os
import re
import sys
from types import ModuleType
from typing import TextIO

REASON_LIMIT = 300


class RecipeError(Exception):
    """A request that cannot be carried out; the message is for its author."""


class Unsupported(Exception):
    """A refusal of a model or an operator by an exporter or a pass."""


def import_named(name: str, what: str) -> ModuleType:
    """Import a module that a request names.

    Only the needed alternative is imported: a step's key covers what the step imports.

    Args:
        what: its name in the message: ``source 'timm'``.

    Raises:
        RecipeError: there is no module of that name.
    """
    if not re.fullmatch(r"[a-z0-9_]+(\.[a-z0-9_]+)?", name):
        raise RecipeError(f"unknown {what}")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
        raise RecipeError(f"unknown {what}") from error


def claim_stdout() -> TextIO:
    """Redirect all output on fd 1, that of native code included, to stderr; return the real stdout.

    Exporters print progress to stdout, which must hold the answer alone.
    """
    sys.stdout.flush()
    real = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return real


def answer(stream: TextIO, status: str, reason: str | None = None) -> None:
    """Write the answer, one JSON object: ``status`` is ``ok``, ``unsupported`` or ``failed``."""
    stream.write(json.dumps({"status": status, "reason": reason}) + "\n")
    stream.flush()


def shorten(text: object, limit: int = REASON_LIMIT) -> str:
    """A message of many lines as a single line of at most ``limit`` characters."""
    line = " ".join(str(text).split())
    return line if len(line) <= limit else line[: limit - 3].rstrip() + "..."
