"""The interface of a user's file, whatever its format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray
from protocol import RecipeError

#: The types of inputs that can be measured; texts and lists cannot.
DTYPES = ("float32", "float16", "float64", "int64", "int32", "int16", "int8", "uint8", "bool")
#: The vocabulary from which an input of unknown meaning is drawn: 0 and 1 are indices in any vocabulary,
#: and both values of a mask.
_LEAST_VOCABULARY = 2
_BYTES = {"uint8": 256, "int8": 128}


@dataclass(frozen=True)
class Tensor:
    """An input or output as the file describes it. A size of None is free; a shape of None (TorchScript)
    is not in the file."""

    name: str
    shape: tuple[int | None, ...] | None
    dtype: str | None


@dataclass(frozen=True)
class Facts:
    """The facts in model.json beside inputs and outputs; None is unknown.

    Args:
        precision: that of the file's weights: ``fp32``, ``fp16`` or ``int8``.
        more: facts for the exporters of this format alone.
    """

    parameters: int | None = None
    flops: int | None = None
    precision: str = "fp32"
    more: dict[str, Any] = field(default_factory=dict)


class UserModel(Protocol):
    """A file of one format, opened."""

    #: in the file's order
    inputs: Sequence[Tensor]

    def fix(self, specs: Sequence[Mapping[str, Any]]) -> None:
        """Settle the inputs' shapes: `name`, `shape` and `dtype` of each, in the file's order.

        Raises:
            RecipeError: the file does not take them.
        """

    def outputs(self) -> Sequence[str]:
        """The outputs' names, in the file's order; after `fix`."""

    def run(self, arrays: Sequence[NDArray[Any]]) -> Sequence[NDArray[Any]]:
        """The outputs of the format's runtime, on the CPU; after `fix`."""

    def facts(self, arrays: Sequence[NDArray[Any]]) -> Facts:
        """The file's facts. `arrays`: inputs that it can be run with."""

    def write(self, out: Path) -> None:
        """Write the file with its settled shapes into the folder `out`, under the name of its format."""


def complete(listed: Sequence[Mapping[str, Any]], inputs: Sequence[Tensor]) -> list[dict[str, Any]]:
    """The inputs' specifications: those of the recipe, completed by the file.

    A free first axis is a batch of 1. Floats are drawn like normalised pictures, whole numbers as
    indices into the smallest vocabulary.

    Raises:
        RecipeError: an input that the file lacks, a type that differs from the file's, a size that is
            neither in the recipe nor in the file.
    """
    by_name = {str(spec["name"]): spec for spec in listed}
    names = [tensor.name for tensor in inputs]
    for name in by_name:
        if name not in names:
            raise RecipeError(f"the file has no input {name!r}; its inputs are {', '.join(names)}")
    return [_complete(dict(by_name.get(tensor.name, {})), tensor) for tensor in inputs]


def _complete(spec: dict[str, Any], tensor: Tensor) -> dict[str, Any]:
    name = tensor.name
    dtype = spec.get("dtype") or tensor.dtype or "float32"
    if dtype not in DTYPES:
        raise RecipeError(f"input {name!r} is of type {dtype}, which cannot be measured")
    if tensor.dtype not in (None, dtype):
        raise RecipeError(f"input {name!r} is of type {tensor.dtype} in the file, not {dtype}")
    completed = {"name": name, "shape": _shape(spec.get("shape"), tensor), "dtype": dtype}
    if spec.get("content"):
        return completed | {key: spec[key] for key in ("content", "below") if key in spec}
    if dtype.startswith("float"):
        return completed | {"content": "image"}
    return completed | {"content": "tokens", "below": _BYTES.get(dtype, _LEAST_VOCABULARY)}


def _shape(listed: list[int] | None, tensor: Tensor) -> list[int]:
    """The shape of an input from the recipe, else from the file."""
    shape = tensor.shape
    if listed is not None:
        fits = shape is None or (
            len(shape) == len(listed)
            and all(size in (None, other) for size, other in zip(shape, listed, strict=True))
        )
        if not fits:
            raise RecipeError(
                f"input {tensor.name!r} has the shape {readable(shape)} in the file, not {listed}"
            )
        return list(listed)
    if shape is None:
        raise RecipeError(f"the file does not tell the shape of input {tensor.name!r}: give it")
    sizes = [1 if axis == 0 and size is None else size for axis, size in enumerate(shape)]
    if None in sizes:
        raise RecipeError(
            f"input {tensor.name!r} leaves sizes free, {readable(shape)}: give its shape"
        )
    return [int(size) for size in sizes if size is not None]


def readable(shape: tuple[int | None, ...] | None) -> str:
    """`[1, ?, 224]`."""
    if shape is None:
        return "?"
    return f"[{', '.join('?' if size is None else str(size) for size in shape)}]"
