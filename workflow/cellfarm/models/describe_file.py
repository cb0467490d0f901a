"""Describe the inputs of a user's file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from user_files import open_file


def handle(request: Mapping[str, Any]) -> None:
    """Write ``description.json``:

    {"inputs": [{"name", "shape" (null: unknown; a null size is free), "dtype" (null: unknown)}]}

    Args:
        request: ``file``; ``out``, the empty folder to fill.

    Raises:
        RecipeError: the file cannot be read.
    """
    model = open_file(Path(request["file"]))
    inputs = [
        {"name": tensor.name, "shape": tensor.shape, "dtype": tensor.dtype}
        for tensor in model.inputs
    ]
    text = json.dumps({"inputs": inputs}, indent=2)
    (Path(request["out"]) / "description.json").write_text(text + "\n", encoding="utf-8")
