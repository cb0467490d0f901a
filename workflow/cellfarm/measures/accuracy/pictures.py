"""How many of a user's labelled pictures a variant recognises. Pure, except for reading a model's files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...runner.pictures import TOP, prepare, top_classes
from ..quality.verification import read_arrays

#: Larger inputs are not put on a device as raw floats, which native tools read.
MAX_TOOL_BYTES = 1 << 30


@dataclass(frozen=True)
class Pictures:
    """The labelled pictures of a model.

    Args:
        pixels: the model's file with uint8 [pictures, height, width, 3].
        facts: how they are prepared (see labelled.json in cellfarm.models.labelled).
        labels: the class of each picture.
        classes: the number of the model's classes.
        reference: the share of pictures that the reference recognises.
    """

    pixels: Path
    facts: Mapping[str, Any]
    labels: Sequence[int]
    classes: int
    reference: float

    @classmethod
    def of(cls, model: Path) -> Pictures | None:
        """The pictures in the folder of a model's files; None if it has none."""
        description, pixels = model / "labelled.json", model / "labelled.npy"
        if not description.is_file():
            return None
        facts = json.loads(description.read_text(encoding="utf-8"))
        labels = list(facts["labels"])
        hits = [top[0] == label for top, label in zip(facts["reference"], labels, strict=True)]
        preparation = {name: facts[name] for name in ("input", "layout", "dtype", "mean", "std")}
        return cls(pixels, preparation, labels, facts["classes"], sum(hits) / len(hits))

    @property
    def tool_bytes(self) -> int:
        """The size of the pictures as the model's inputs."""
        stored = np.load(self.pixels, mmap_mode="r", allow_pickle=False)
        return int(stored.size) * np.dtype(str(self.facts["dtype"])).itemsize

    def arrays(self) -> dict[str, np.ndarray]:
        """All pictures as the model's input: [pictures, 1, 3, height, width], by the input's name."""
        stored = np.load(self.pixels, mmap_mode="r", allow_pickle=False)
        prepared = np.stack([prepare(pixels, dict(self.facts)) for pixels in stored])
        return {str(self.facts["input"]): prepared}

    def assess(self, top: np.ndarray) -> dict[str, Any]:
        """{"images", "top1", "top5", "reference_top1", "top", "problem"} of a launch.

        `top1` and `top5` are numbers of pictures. `top5` is None where there are no more than five
        classes, as it is always right then. `top` is kept raw, as every sample is.

        Args:
            top: the top classes of each picture in order; -1 is no class.
        """
        shape = (len(self.labels), min(TOP, self.classes))
        if top.shape != shape or top.dtype.kind not in "iu":
            return {"problem": f"the classes are {top.dtype}{list(top.shape)}, not {list(shape)}"}
        if top.min() < -1 or top.max() >= self.classes:
            return {"problem": "a class is none of the model's"}
        hits = top == np.asarray(self.labels)[:, None]
        return {
            "images": len(self.labels),
            "top1": int(hits[:, 0].sum()),
            "top5": int(hits.any(axis=1).sum()) if self.classes > TOP else None,
            "reference_top1": self.reference,
            "top": top.tolist(),
            "problem": None,
        }

    def read(self, data: bytes, output: str) -> dict[str, Any]:
        """Assess what a launch wrote: `top` by the runner, or the whole output by a native tool.

        Args:
            output: the name of the output that holds the classes.
        """
        try:
            arrays = read_arrays(data)
            if "top" not in arrays:
                arrays["top"] = np.stack([top_classes(scores) for scores in arrays[output]])
            return self.assess(arrays["top"])
        except (ValueError, KeyError) as error:
            return {"problem": str(error)}
