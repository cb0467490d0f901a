"""Opens a user's file with the module for its format."""

from __future__ import annotations

from pathlib import Path

from protocol import RecipeError, import_named, shorten
from user_model import UserModel

#: suffix -> the module user_<name> that reads it
_READERS = {
    ".onnx": "onnx",
    ".tflite": "tflite",
    **dict.fromkeys((".pt2", ".pt", ".pth", ".ts"), "torch"),
}


def open_file(file: Path) -> UserModel:
    """The file, by its suffix. TorchScript holds code: open only files that you trust.

    Raises:
        RecipeError: an unknown suffix, or content of another format.
    """
    reader = _READERS.get(file.suffix.lower())
    if reader is None:
        raise RecipeError(f"{file.name} is of no known format")
    module = import_named(f"user_{reader}", f"format {reader!r}")
    try:
        model: UserModel = module.open_file(file)
    except RecipeError:
        raise
    except Exception as error:  # every parser has other errors
        raise RecipeError(f"{file.name} cannot be read: {shorten(error)}") from error
    return model
