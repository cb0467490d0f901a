"""How many of a user's labelled pictures a variant recognises. Pure, but for reading a model's files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...runner.pictures import TOP, prepare, top_classes
from ..quality.verification import read_arrays

CONFIDENCE = 0.95
#: More than this is not put on a device as raw floats, which is what native tools read.
MOST_TOOL_BYTES = 1 << 30


@dataclass(frozen=True)
class Pictures:
    """The labelled pictures of a model.

    Args:
        pixels: the file of a model with uint8 [pictures, height, width, 3].
        facts: how they are prepared (see labelled.json in cellfarm.models.labelled).
        labels: the class of each.
        classes: how many classes the model has.
        reference: the share of them that the reference recognises.
    """

    pixels: Path
    facts: Mapping[str, Any]
    labels: Sequence[int]
    classes: int
    reference: float

    @classmethod
    def of(cls, model: Path) -> Pictures | None:
        """Those in the folder with a model's files; None for a model without."""
        described, pixels = model / "labelled.json", model / "labelled.npy"
        if not described.is_file():
            return None
        facts = json.loads(described.read_text(encoding="utf-8"))
        labels = list(facts["labels"])
        right = [top[0] == label for top, label in zip(facts["reference"], labels, strict=True)]
        named = {name: facts[name] for name in ("input", "layout", "dtype", "mean", "std")}
        return cls(pixels, named, labels, facts["classes"], sum(right) / len(right))

    @property
    def tool_bytes(self) -> int:
        """The size of the pictures as the model's inputs."""
        stored = np.load(self.pixels, mmap_mode="r", allow_pickle=False)
        return int(stored.size) * np.dtype(str(self.facts["dtype"])).itemsize

    def arrays(self) -> dict[str, np.ndarray]:
        """All of them as the model's input: [pictures, 1, 3, height, width], by the input's name."""
        stored = np.load(self.pixels, mmap_mode="r", allow_pickle=False)
        prepared = np.stack([prepare(pixels, dict(self.facts)) for pixels in stored])
        return {str(self.facts["input"]): prepared}

    def assess(self, top: np.ndarray) -> dict[str, Any]:
        """{"images", "top1", "top5", "reference_top1", "top", "problem"} of a launch.

        `top1` and `top5` are numbers of pictures; `top5` is None where there are no more than five
        classes, of which one is always right. `top` is what was told: raw, as every sample is kept.

        Args:
            top: the top classes of each picture, the first first; -1 is none.
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
        """What a launch wrote: `top` by the runner, or all of the output by a native tool, assessed.

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


def columns(launches: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What labelled pictures say of a cell, from the launches of this mode; nothing without any.

    Intervals are Wilson's, of 95 % (Wilson, "Probable inference, the law of succession, and
    statistical inference", JASA 1927): over which pictures were drawn, not over launches.
    """
    if not launches:
        return {}
    last = launches[-1]
    counts = last.get("accuracy") or {}
    problem = last["reason"] if last["status"] != "ok" else counts.get("problem", "no output")
    if problem:
        return {"accuracy_reason": f"labelled pictures: {problem}"}
    images = counts["images"]
    known = {"labelled_images": images, "reference_top1_accuracy": counts["reference_top1"]}
    for name in ("top1", "top5"):
        if counts[name] is not None:
            low, high = interval(counts[name], images)
            known |= {
                f"{name}_accuracy": counts[name] / images,
                f"{name}_accuracy_low": low,
                f"{name}_accuracy_high": high,
            }
    return known


def interval(hits: int, of: int) -> tuple[float, float]:
    """Wilson's interval for a share."""
    from scipy.stats import binomtest  # takes half a second: not for the start of every command

    bounds = binomtest(hits, of).proportion_ci(CONFIDENCE, method="wilson")
    return float(bounds.low), float(bounds.high)
