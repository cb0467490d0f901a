"""A model's recipe: one file in models/."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from ..base.names import FileName, Task

Text = Annotated[str, Meta(min_length=1)]
Whole = Annotated[int, Meta(ge=1, description="a whole number from 1")]
Channels = Annotated[
    tuple[Annotated[float, Meta(description="a number")], ...],
    Meta(
        min_length=3,
        max_length=3,
        description="three numbers, of red, green and blue, where pixels are from 0 to 1",
    ),
]
Deviations = Annotated[
    tuple[Annotated[float, Meta(gt=0, description="a number above 0")], ...],
    Meta(
        min_length=3,
        max_length=3,
        description="three numbers, of red, green and blue, where pixels are from 0 to 1",
    ),
]


class Input(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """An input of a model. Of a user's file, what the recipe leaves out is the file's own."""

    name: Annotated[str, Meta(min_length=1, description="the input's name")]
    shape: (
        Annotated[tuple[Whole, ...], Meta(description="a list of whole numbers, the batch first")]
        | None
    ) = None
    dtype: (
        Literal["float32", "float16", "float64", "int64", "int32", "int16", "int8", "uint8", "bool"]
        | None
    ) = None
    content: Literal["image", "features", "tokens", "ones"] | None = None
    below: Annotated[int, Meta(ge=1, description="tokens are drawn from 0 to below - 1")] | None = (
        None
    )


_UNTRAINED: dict[str, Any] = {
    "not": {}, "description": "no such key: it belongs to kind: pretrained"
}  # fmt: skip
_OF_TRAINED = ("url", "sha256", "path", "format", "key_prefix")
_WEIGHTS_RULES: dict[str, Any] = {
    "if": {"properties": {"kind": {"const": "random"}}},
    "then": {"required": ["seed"], "properties": dict.fromkeys(_OF_TRAINED, _UNTRAINED)},
    "else": {
        "required": ["format"],
        "description": "either url and sha256, or path",
        "oneOf": [{"required": ["url", "sha256"]}, {"required": ["path"]}],
    },
}


class Weights(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Random weights of a seed, or trained ones from an address or a file."""

    kind: Literal["random", "pretrained"]
    seed: (
        Annotated[int, Meta(ge=0, description="the seed of the random weights, from 0")] | None
    ) = None
    url: (
        Annotated[str, Meta(pattern=r"^https?://[^\s]+$", description="an address, https://...")]
        | None
    ) = None
    sha256: (
        Annotated[
            str,
            Meta(
                pattern="^[0-9a-f]{64}$",
                description="the SHA-256 of the file, 64 hexadecimal digits",
            ),
        ]
        | None
    ) = None
    path: (
        Annotated[
            str, Meta(min_length=1, description="the path of a file, from the project's folder")
        ]
        | None
    ) = None
    format: Literal["safetensors", "pth"] | None = None
    key_prefix: (
        Annotated[
            str,
            Meta(
                min_length=1,
                description="what the names of this model's weights begin with in the file",
            ),
        ]
        | None
    ) = None


class Labelled(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Pictures whose classes are known."""

    folder: Annotated[
        str,
        Meta(
            min_length=1,
            description="the path of a folder with one sub-folder of pictures per class, "
            "from the project's folder",
        ),
    ]
    classes: (
        Annotated[
            str,
            Meta(
                min_length=1,
                description="the path of a text file with the name of one sub-folder per line, "
                "the first that of class 0",
            ),
        ]
        | None
    ) = None
    images: (
        Annotated[
            int,
            Meta(
                ge=1, le=50000, description="a whole number from 1 to 50000: pictures that are run"
            ),
        ]
        | None
    ) = None
    resize: (
        Annotated[
            int,
            Meta(
                ge=1,
                le=10000,
                description="a whole number of pixels: the shorter side before the centre is cut out",
            ),
        ]
        | None
    ) = None
    interpolation: Literal["bilinear", "bicubic", "nearest", "lanczos"] | None = None
    mean: Channels | None = None
    std: Deviations | None = None


class Recipe(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A model: an architecture of a source with weights, or a file of the user's own."""

    name: FileName
    source: Literal["torchvision", "timm", "transformers", "keras", "cellfarm", "file"]
    title: Annotated[str, Meta(description="what reports print")] | None = None
    task: Task | None = None
    architecture: (
        Annotated[
            str,
            Meta(
                pattern=r"^[A-Za-z][A-Za-z0-9_]*(\.[A-Za-z][A-Za-z0-9_]*)*$",
                description="the source's own name for the architecture",
            ),
        ]
        | None
    ) = None
    arguments: (
        Annotated[dict[str, Any], Meta(description="keyword arguments of the architecture")] | None
    ) = None
    file: (
        Annotated[
            str,
            Meta(
                pattern=r"^[^\x00-\x1f]+\.(onnx|tflite|pt2|pt|pth|ts|ONNX|TFLITE|PT2|PT|PTH|TS)$",
                description="the path of an .onnx, .tflite, .pt2 or TorchScript (.pt, .pth, .ts) file, "
                "from the project's folder",
            ),
        ]
        | None
    ) = None
    weights: Annotated[Weights | None, Meta(extra_json_schema=_WEIGHTS_RULES)] = None
    inputs: Annotated[tuple[Input, ...], Meta(min_length=1)] | None = None
    outputs: (
        Annotated[
            tuple[Annotated[str, Meta(min_length=1, description="a name")], ...],
            Meta(min_length=1, description="names for the outputs, in order"),
        ]
        | None
    ) = None
    labelled: Labelled | None = None

    @property
    def is_file(self) -> bool:
        """Whether the model is a file of the user's own."""
        return self.source == "file"

    def as_dict(self) -> dict[str, Any]:
        """The recipe as JSON has it, without what it leaves out."""
        return dict(msgspec.to_builtins(self))


def _no_such_key(why: str) -> dict[str, Any]:
    return {"not": {}, "description": f"no such key: {why}"}


_IDENTIFIER = {
    "type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]*$", "description": "an identifier"
}  # fmt: skip
_TOKENS: dict[str, Any] = {
    "if": {"properties": {"content": {"const": "tokens"}}, "required": ["content"]},
    "then": {"required": ["below"]},
}
#: A file says itself what an architecture has to be told.
_RULES: dict[str, Any] = {
    "if": {"properties": {"source": {"const": "file"}}},
    "then": {
        "required": ["file"],
        "properties": {
            "architecture": _no_such_key("the file is the architecture"),
            "arguments": _no_such_key("the file is the architecture"),
            "weights": _no_such_key("the file holds them"),
            "inputs": {"items": _TOKENS},
        },
    },
    "else": {
        "required": ["task", "architecture", "weights", "inputs", "outputs"],
        "properties": {
            "file": _no_such_key("it belongs to source: file"),
            "inputs": {
                "items": {
                    "required": ["name", "shape", "dtype", "content"],
                    "properties": {
                        "name": _IDENTIFIER,
                        "shape": {"minItems": 1},
                        "dtype": {"enum": ["float32", "int64", "int32"]},
                    },
                    **_TOKENS,
                }
            },
            "outputs": {"items": _IDENTIFIER},
        },
    },
}
RecipeDocument = Annotated[Recipe, Meta(extra_json_schema=_RULES)]
