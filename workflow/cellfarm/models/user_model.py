"""A user's own file, behind one interface whatever its format is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray
from protocol import RecipeError

#: What an input may be of; a model with texts or lists of its own kind is none that can be measured.
DTYPES = (*("float32", "float16", "float64", "int64", "int32", "int16", "int8", "uint8", "bool"),)
#: The number of tokens that an input of unknown meaning is drawn from: 0 and 1 are indices in any
#: vocabulary, and both values of a mask.
_LEAST_VOCABULARY = 2
_BYTES = {"uint8": 256, "int8": 128}


@dataclass(frozen=True)
class Tensor:
    """An input or output as the file describes it. A size of None is left free by the file; a shape of
    None (TorchScript) is not in the file at all."""

    name: str
    shape: tuple[int | None, ...] | None
    dtype: str | None


@dataclass(frozen=True)
class Facts:
    """What model.json says beside inputs and outputs; None is not known.

    Args:
        precision: ``fp32``; ``fp16`` or ``int8`` of a file whose weights are so already.
        more: facts for the exporters of this format alone.
    """

    parameters: int | None = None
    flops: int | None = None
    precision: str = "fp32"
    more: dict[str, Any] = field(default_factory=dict)


class UserModel(Protocol):
    """A file of one format, opened."""

    #: in the file's own order
    inputs: Sequence[Tensor]

    def fix(self, specs: Sequence[Mapping[str, Any]]) -> None:
        """Settle the inputs' shapes: `name`, `shape` and `dtype` of each, in the file's order.

        Raises:
            RecipeError: the file does not take them.
        """

    def outputs(self) -> Sequence[str]:
        """The outputs' names, in the file's order; after `fix`."""

    def run(self, arrays: Sequence[NDArray[Any]]) -> Sequence[NDArray[Any]]:
        """The outputs of the format's own runtime, on the CPU; after `fix`."""

    def facts(self, arrays: Sequence[NDArray[Any]]) -> Facts:
        """What the file tells of itself. `arrays`: inputs that it can be run with."""

    def write(self, out: Path) -> None:
        """Write the file, its shapes settled, into the folder `out`, as every format is called."""


def complete(listed: Sequence[Mapping[str, Any]], inputs: Sequence[Tensor]) -> list[dict[str, Any]]:
    """The inputs' specifications: what the recipe lists, and of the rest what the file describes.

    A free first axis is a batch of 1. Numbers are drawn as normalised pictures are, whole numbers as
    indices into the smallest vocabulary.

    Raises:
        RecipeError: an input that the file does not have, a type that is not its own, a size that
            is neither in the recipe nor in the file.
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
    done = {"name": name, "shape": _shape(spec.get("shape"), tensor), "dtype": dtype}
    if spec.get("content"):
        done["content"] = spec["content"]
        return done | ({"below": spec["below"]} if "below" in spec else {})
    if dtype.startswith("float"):
        return done | {"content": "image"}
    return done | {"content": "tokens", "below": _BYTES.get(dtype, _LEAST_VOCABULARY)}


def _shape(wanted: list[int] | None, tensor: Tensor) -> list[int]:
    own = tensor.shape
    if wanted is not None:
        fits = own is None or (
            len(own) == len(wanted)
            and all(size in (None, other) for size, other in zip(own, wanted, strict=True))
        )
        if not fits:
            raise RecipeError(
                f"input {tensor.name!r} has the shape {readable(own)} in the file, not {wanted}"
            )
        return list(wanted)
    if own is None:
        raise RecipeError(f"the file does not tell the shape of input {tensor.name!r}: give it")
    sizes = [1 if axis == 0 and size is None else size for axis, size in enumerate(own)]
    if None in sizes:
        raise RecipeError(
            f"input {tensor.name!r} leaves sizes free, {readable(own)}: give its shape"
        )
    return [int(size) for size in sizes if size is not None]


def readable(shape: tuple[int | None, ...] | None) -> str:
    """`[1, ?, 224]`."""
    if shape is None:
        return "?"
    return f"[{', '.join('?' if size is None else str(size) for size in shape)}]"
