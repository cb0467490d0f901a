"""What names may look like, and the values that configuration, recipes and plans share."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

#: A name from a config becomes a part of paths and of Snakemake's wildcards.
NAME_PATTERN = "^[A-Za-z0-9][A-Za-z0-9_.+-]*$"
_WORDS = "letters, digits, '_', '.', '+' and '-'"

Name = Annotated[
    str,
    Meta(max_length=100, pattern=NAME_PATTERN, description=f"a name of at most 100 {_WORDS}"),
]
FileName = Annotated[
    str,
    Meta(max_length=100, pattern=NAME_PATTERN, description="the file's own name without .yaml"),
]
Label = Annotated[
    str,
    Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]{0,99}$", description=f"a label of {_WORDS}"),
]
FolderName = Annotated[
    str, Meta(pattern="^[a-z0-9][a-z0-9_]*$", description="the folder's own name")
]
Version = Annotated[str, Meta(pattern=NAME_PATTERN, description="a version")]
Processor = Literal["cpu", "gpu", "npu"]
#: What a library is asked to convert to, after all passes.
Precision = Literal["fp32", "fp16", "int8", "int8_dynamic", "int8_weights"]
Task = Literal["classification", "encoding", "detection", "segmentation", "generation"]
Format = Literal["pt2", "onnx", "torchscript", "script", "tflite", "keras"]
UNIQUE = {"uniqueItems": True}
