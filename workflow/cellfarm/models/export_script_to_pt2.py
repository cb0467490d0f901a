"""Export a user's TorchScript to a program."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from checked_exports import Arrays, Run, export_checked
from programs import save_and_run, to_program
from protocol import Unsupported, shorten
from user_torch import load_script


def handle(request: Mapping[str, Any]) -> None:
    """Write ``model.pt2``; see `checked_exports.export_checked`."""
    export_checked(request, "script to pt2", _export)


def _export(source: Path, _facts: dict[str, Any], inputs: Arrays, out: Path) -> Run:
    try:
        program = to_program(load_script(source), inputs)
    except Exception as error:
        raise Unsupported(f"TorchScript to a program: {_reason(str(error))}") from error
    return save_and_run(program, out)


def _reason(text: str) -> str:
    """The reason in an error of TorchScript, which marks the failed line and often says no more."""
    lines = text.splitlines()
    marks = [position for position, line in enumerate(lines) if "<--- HERE" in line]
    if not marks:
        return shorten(text)
    # There is no message where a tensor's value is read, which recording operators cannot know.
    message = (
        lines[-1].partition(":")[2].strip() or "control flow that depends on a tensor's values"
    )
    return shorten(f"{message}, at: {lines[marks[-1] - 1].strip()}")
