"""The user's labelled pictures, decoded and cropped for the model, and the reference's accuracy on them."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from drawing import SAMPLES
from model_folder import Run, read_facts, write_samples
from numpy.typing import NDArray
from PIL import Image
from protocol import RecipeError, shorten

#: A larger picture is refused before it is decoded: 100 million pixels take 300 MB.
MAX_PIXELS = 100_000_000
TOP = 5
#: The input's size as a share of the shorter side's, if the recipe does not say it (224 of 256).
CROPPED_SHARE = 0.875
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
_FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "PPM", "TIFF")
#: More than 8 bits a channel: Pillow clips such values when it makes them RGB.
_DEEP_MODES = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")
_INTERPOLATIONS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "nearest": Image.Resampling.NEAREST,
    "lanczos": Image.Resampling.LANCZOS,
}

Pixels = NDArray[np.uint8]


def add(out: Path, pictures: Path, settings: Mapping[str, Any], run: Run) -> None:
    """Write ``labelled.npy`` (uint8 [n, height, width, 3]) and ``labelled.json`` into the folder of a
    model, and the reference's accuracy into its ``model.json``.

    If there are pictures for calibration, pictures replace the random inputs: ``calibration.npz`` holds
    those for calibration, ``inputs.npz`` and ``heldout.npz`` the first of the others. A trained network
    has other ranges on noise than on the inputs that it was trained for.

    ``labelled.json`` has ``input`` (the name), ``layout``, ``dtype``, ``mean``, ``std``, ``classes``
    (their number), ``labels`` [n], ``names`` [n] and ``reference`` ([n, 5], the reference's top classes).

    Args:
        pictures: the list of cellfarm.wanted.labelled_pictures.write_list.
        settings: the recipe's ``labelled``.
        run: runs the model with its own runtime in FP32.

    Raises:
        RecipeError: the model does not classify pictures, or a picture cannot be read.
    """
    facts = read_facts(out)
    listed = json.loads(pictures.read_text(encoding="utf-8"))
    spec, sides, layout = _picture_input(facts["inputs"])
    classes = _classes(facts["outputs"][0])
    _check_labels(listed, classes)
    resize = settings.get("resize", round(max(sides) / CROPPED_SHARE))
    if resize < max(sides):
        raise RecipeError(f"labelled: resize: {resize} is smaller than the input, {spec['shape']}")
    described = {
        "input": spec["name"],
        "layout": layout,
        "dtype": spec["dtype"],
        "mean": list(settings.get("mean", IMAGENET_MEAN)),
        "std": list(settings.get("std", IMAGENET_STD)),
        "classes": classes,
        "labels": [label for _, _, label in listed["pictures"]],
        "names": [name for name, _, _ in listed["pictures"]],
    }
    shape = (len(described["labels"]), *sides, 3)
    # Written one by one: thousands of pictures need not fit into memory.
    stored = np.lib.format.open_memmap(out / "labelled.npy", "w+", np.uint8, shape)
    read = partial(
        read_picture, Path(listed["folder"]), resize=resize, sides=sides,
        interpolation=settings.get("interpolation", "bilinear"),
    )  # fmt: skip
    for number, name in enumerate(described["names"]):
        stored[number] = read(name)
    stored.flush()
    if listed["calibration"]:
        calibration = [read(name) for name in listed["calibration"]]
        _replace_samples(out, stored, calibration, described, run)
    _classify(out, stored, described, run)


def classify_again(parent: Path, out: Path, run: Run) -> None:
    """Take over the pictures of a parent model, with the classes and the accuracy of a derived model.

    Args:
        parent: the folder of the parent.
        out: the folder of the derived model, with its ``model.json``.
        run: the derived model.
    """
    shutil.copyfile(parent / "labelled.npy", out / "labelled.npy")
    described = json.loads((parent / "labelled.json").read_text(encoding="utf-8"))
    _classify(out, np.load(out / "labelled.npy", mmap_mode="r"), described, run)


def _classify(out: Path, stored: Pixels, described: dict[str, Any], run: Run) -> None:
    """Write the model's top classes for the pictures, and its accuracy."""
    tops = []
    for pixels in stored:
        outputs = run({described["input"]: prepare(pixels, described)})
        tops.append(top_classes(next(iter(outputs.values()))))
    described["reference"] = tops
    facts = read_facts(out)
    facts["labelled"] = _accuracy(tops, described["labels"], described["classes"])
    (out / "labelled.json").write_text(json.dumps(described) + "\n", encoding="utf-8")
    (out / "model.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def _replace_samples(
    out: Path, stored: Pixels, calibration: Sequence[Pixels], described: Mapping[str, Any], run: Run
) -> None:
    """Replace the random inputs by pictures, and the reference's outputs."""
    name = described["input"]

    def batch(pictures: Iterable[Pixels]) -> NDArray[Any]:
        return np.stack([prepare(pixels, described) for pixels in pictures])

    held_out = batch(stored[:SAMPLES])
    inputs = {name: held_out[0]}
    write_samples(out, run, inputs, run(inputs), {name: batch(calibration)}, {name: held_out})


def read_picture(
    folder: Path, name: str, resize: int, sides: Sequence[int], interpolation: str
) -> Pixels:
    """A picture after torchvision's ``Resize(resize)`` and ``CenterCrop(sides)``: uint8
    [height, width, 3]. As there, an orientation in the metadata is ignored.

    Raises:
        RecipeError: it is no complete picture of a known format, or too large.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Pillow, on metadata
            with Image.open(folder / name, formats=_FORMATS) as image:
                width, height = image.size
                if width * height > MAX_PIXELS:
                    raise ValueError(
                        f"{width} x {height} pixels are more than {MAX_PIXELS // 10**6} million"
                    )
                if image.mode in _DEEP_MODES:
                    raise ValueError("it has more than 8 bits a channel")
                # Decodes everything; a truncated file raises here.
                whole = image.convert("RGB")
    except Exception as error:  # decoders raise almost anything
        raise RecipeError(
            f"labelled: the picture {name} cannot be read: {shorten(error)}"
        ) from error
    short, long = min(width, height), max(width, height)
    longer = int(resize * long / short)
    size = (resize, longer) if width <= height else (longer, resize)
    if size != whole.size:
        whole = whole.resize(size, _INTERPOLATIONS[interpolation])
    left, top = (round((side - crop) / 2) for side, crop in zip(size, sides[::-1], strict=True))
    return np.asarray(whole.crop((left, top, left + sides[1], top + sides[0])))


def prepare(pixels: Pixels, described: Mapping[str, Any]) -> NDArray[Any]:
    """The model's input for a picture, as cellfarm's runner makes it (runner/pictures.py)."""
    mean, std = (np.asarray(described[name], np.float32) for name in ("mean", "std"))
    scaled = (pixels.astype(np.float32) / np.float32(255) - mean) / std
    if described["layout"] == "NCHW":
        scaled = scaled.transpose(2, 0, 1)
    return np.ascontiguousarray(scaled[None], dtype=described["dtype"])


def top_classes(scores: NDArray[Any]) -> list[int]:
    """The classes of the largest scores, at most five, the largest first.

    Raises:
        RecipeError: a score is not finite.
    """
    flat = scores.reshape(-1).astype(np.float64)
    if not np.isfinite(flat).all():
        raise RecipeError("labelled: the model's output for a picture is not finite")
    return [int(index) for index in np.argsort(-flat, kind="stable")[:TOP]]


def _picture_input(
    inputs: Sequence[Mapping[str, Any]],
) -> tuple[Mapping[str, Any], list[int], str]:
    """The input, its height and width, and its layout."""
    if len(inputs) != 1:
        raise RecipeError(f"labelled: the model has {len(inputs)} inputs, and not one, a picture")
    spec = inputs[0]
    shape, dtype = spec["shape"], spec["dtype"]
    if len(shape) != 4 or shape[0] != 1 or 3 not in (shape[1], shape[3]):
        raise RecipeError(f"labelled: the input {spec['name']!r} is {shape}, and no picture")
    if not dtype.startswith("float"):
        raise RecipeError(
            f"labelled: the input {spec['name']!r} is {dtype}; pictures are given as floats"
        )
    return (spec, shape[2:], "NCHW") if shape[1] == 3 else (spec, shape[1:3], "NHWC")


def _classes(output: Mapping[str, Any]) -> int:
    shape = output["shape"]
    count = int(np.prod(shape))
    if not shape or max(shape) != count or count < 2:
        raise RecipeError(
            f"labelled: the output {output['name']!r} is {shape}, and no vector of classes"
        )
    return count


def _check_labels(listed: Mapping[str, Any], classes: int) -> None:
    if listed["classes"] not in (None, classes):
        raise RecipeError(f"labelled: {listed['told_by']}, the model has {classes} classes")
    for name, _, label in listed["pictures"]:
        if label >= classes:
            raise RecipeError(
                f"labelled: {name} is of class {label}; the model's go from 0 to {classes - 1}"
            )


def _accuracy(tops: Sequence[Sequence[int]], labels: Sequence[int], classes: int) -> dict[str, Any]:
    pairs = list(zip(tops, labels, strict=True))
    top1 = sum(top[0] == label for top, label in pairs) / len(pairs)
    top5 = sum(label in top for top, label in pairs) / len(pairs)
    return {
        "images": len(pairs),
        "top1_accuracy": top1,
        # With five classes or fewer, the right class is always among five.
        "top5_accuracy": top5 if classes > TOP else None,
    }
