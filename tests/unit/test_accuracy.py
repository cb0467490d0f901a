"""Accuracy on labelled pictures: the runner's classes, and the columns computed from them."""

from __future__ import annotations

import importlib
import io
import json
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from cellfarm.base.project import PACKAGE
from cellfarm.experiments.summarising import Result, first_bad, summarise
from cellfarm.measures import all_measures
from cellfarm.measures.accuracy.host import columns, interval
from cellfarm.measures.accuracy.pictures import Pictures
from cellfarm.measures.hosts import Context, host_of
from cellfarm.measures.launches import is_emulated
from PIL import Image

from tests.support.colours import write_picture
from tests.support.results import PROTOCOL, TOLERANCE, bad_launch, make_launch
from tests.support.runner_modules import device_half, runner_module

FACTS = {
    "input": "x",
    "layout": "NCHW",
    "dtype": "float32",
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
}
#: The top five of seven classes, for each of four pictures.
TOP = np.array([[1, 0, 2, 3, 4], [2, 1, 0, 3, 4], [0, 1, 2, 3, 4], [5, 6, 0, 1, 2]], np.int32)


def pictures(labels: list[int], classes: int = 7) -> Pictures:
    return Pictures(Path("labelled.npy"), FACTS, labels, classes, 0.75)


def accuracy_launch(assessment: dict[str, Any] | None, **changes: Any) -> dict[str, Any]:
    launch = make_launch([], mode="accuracy", warmup_ms=[], accuracy=assessment, **changes)
    del launch["comparison"]
    return launch


@pytest.mark.parametrize(
    ("hits", "total", "low", "high"),
    # Computed with Wilson's formula, without scipy.
    [(8, 10, 0.49016, 0.94332), (0, 20, 0.0, 0.16113), (20, 20, 0.83887, 1.0),
     (350, 500, 0.65843, 0.73852)],
)  # fmt: skip
def test_intervals_are_wilsons(hits, total, low, high):
    assert interval(hits, total) == pytest.approx((low, high), abs=1e-5)


def test_right_classes_are_counted():
    assessment = pictures([1, 1, 6, 5]).assess(TOP)
    assert (assessment["images"], assessment["top1"], assessment["top5"]) == (4, 2, 3)
    assert assessment["top"] == TOP.tolist()
    row = columns([accuracy_launch(assessment)])
    assert set(row) == set(all_measures()["accuracy"].columns) - {"accuracy_reason"}
    assert (row["labelled_images"], row["top1_accuracy"], row["top5_accuracy"]) == (
        4,
        0.5,
        0.75,
    )
    assert row["top1_accuracy_low"] < 0.5 < row["top1_accuracy_high"]
    assert row["reference_top1_accuracy"] == 0.75


def test_five_classes_have_no_top5():
    assessment = pictures([1, 2, 0, 4], classes=5).assess(np.minimum(TOP, 4))
    assert assessment["top1"] == 4 and assessment["top5"] is None
    row = columns([accuracy_launch(assessment)])
    assert row["top1_accuracy"] == 1.0
    assert not {"top5_accuracy", "top5_accuracy_low", "top5_accuracy_high"} & set(row)


@pytest.mark.parametrize(
    ("top", "problem"),
    [
        (TOP[:3], r"the classes are int32\[3, 5\], not \[4, 5\]"),
        (TOP[:, :2], r"\[4, 2\]"),
        (TOP.astype(np.float32), "float32"),
        (TOP + 2, "none of the model's"),
        (TOP - 2, "none of the model's"),
    ],
)
def test_what_a_device_tells_is_not_trusted(top, problem):
    file = io.BytesIO()
    np.savez(file, top=top)
    assessment = pictures([0, 0, 0, 0]).read(file.getvalue(), "y")
    assert re.search(problem, assessment["problem"])
    row = columns([accuracy_launch(assessment)])
    assert row == {"accuracy_reason": f"labelled pictures: {assessment['problem']}"}


def test_garbage_is_a_problem_and_no_crash():
    assert "cannot be read" in pictures([0]).read(b"garbage", "y")["problem"]
    file = io.BytesIO()
    np.savez(file, other=TOP)
    assert pictures([0]).read(file.getvalue(), "y")["problem"]


def test_the_host_finds_the_classes_in_a_native_tools_outputs():
    scores = np.array([[[0, 3, 1, 0, 0, 0, 2.0]], [[9, 3, 1, 0, 0, 0, np.nan]]], np.float32)
    file = io.BytesIO()
    np.savez(file, y=scores)
    assessment = pictures([1, 0]).read(file.getvalue(), "y")
    assert assessment["top"] == [[1, 6, 2, 0, 3], [-1] * 5]
    assert (assessment["top1"], assessment["top5"]) == (1, 1)


# -- in a cell's result -----------------------------------------------------------------------------


def result_of(measure: str, *launches: dict[str, Any]) -> Result:
    context = Context("key", TOLERANCE, emulated=is_emulated(launches))
    return summarise(measure, launches, PROTOCOL["measures"][measure], context)


def test_labelled_pictures_are_the_last_launch_and_of_emulated_cells_too():
    assert list(all_measures())[-1] == "accuracy"
    host = host_of("accuracy")
    for emulated in (False, True):
        assert host.after_rounds(host.settings({}), emulated) == ("accuracy",)
    assert host.applies(labelled=True) and not host.applies(labelled=False)


def test_pictures_that_could_not_all_be_run_leave_the_cell_as_it_is():
    timed_out = bad_launch("timeout", "no end within 60 s (in phase accuracy)") | {
        "mode": "accuracy"
    }
    launches = [make_launch(), make_launch(), timed_out]
    assert first_bad(launches) is None
    result = result_of("latency", *launches)
    assert (result.status, result.columns["latency_ms"]) == ("ok", 10.0)
    result = result_of("accuracy", *launches)
    assert result.status == "timeout"
    reason = "labelled pictures: no end within 60 s (in phase accuracy)"
    assert result.columns == {"accuracy_reason": reason}


def test_a_failed_profile_does_not_keep_pictures_from_being_run():
    assert first_bad([make_launch(), bad_launch() | {"mode": "profile"}]) is None
    assert first_bad([make_launch(), bad_launch() | {"mode": "quality"}]) is not None


def test_emulated_and_wrong_cells_have_an_accuracy():
    assessment = pictures([1, 1, 6, 5]).assess(TOP)
    emulated_launch = make_launch([], warmup_ms=[], emulated=True)
    launches = [emulated_launch, accuracy_launch(assessment)]
    assert result_of("latency", *launches).status == "ok"
    result = result_of("accuracy", *launches)
    assert (result.status, result.columns["top1_accuracy"]) == ("ok", 0.5)
    wrong_launch = make_launch(comparison={"problem": "the output is constant"})
    launches = [wrong_launch, wrong_launch, accuracy_launch(assessment)]
    assert result_of("latency", *launches).status == "wrong"
    assert result_of("accuracy", *launches).columns["top1_accuracy"] == 0.5


# -- on the device ----------------------------------------------------------------------------------


class Session:
    """A library that classifies a picture by its brightest channel."""

    def __init__(self, artifact: str, **settings: Any) -> None:
        self.buffer = np.zeros((1, 3), np.float32)

    def actual(self) -> dict[str, Any]:
        return {}

    def set_inputs(self, arrays: list[np.ndarray]) -> None:
        (self.array,) = arrays

    def invoke(self) -> None:
        self.buffer[:] = self.array.mean(axis=(0, 2, 3))

    def get_outputs(self) -> list[np.ndarray]:
        return [self.buffer]


def test_the_runner_tells_the_classes_of_every_picture(tmp_path, monkeypatch):
    backend = ModuleType("backend")
    backend.import_library = lambda: "9.9"  # type: ignore[attr-defined]
    backend.Session = Session  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "backend", backend)
    pixels = np.zeros((4, 5, 5, 3), np.uint8)
    for number, channel in enumerate((2, 0, 1, 2)):
        pixels[number, :, :, channel] = 200
    np.save(tmp_path / "labelled.npy", pixels)
    events: list[str] = []
    request = {
        "artifact": str(tmp_path), "processor": "cpu", "threads": 1, "cores": None,
        "model": {"inputs": [{"name": "x"}], "outputs": [{"name": "y"}]},
        "inputs": str(tmp_path / "labelled.npy"), "outputs": str(tmp_path / "out.npz"),
        "pictures": FACTS,
    }  # fmt: skip
    device_half("accuracy").run(request, lambda event, **_: events.append(event))
    assert events[-2:] == ["phase", "outputs"]
    assessment = pictures([2, 0, 1, 0], classes=3).read((tmp_path / "out.npz").read_bytes(), "y")
    assert assessment["problem"] is None and (assessment["images"], assessment["top1"]) == (4, 3)


# -- as the model was built -------------------------------------------------------------------------


@pytest.fixture
def builder(monkeypatch: pytest.MonkeyPatch) -> Any:
    """cellfarm/models/labelled.py, imported as its worker does: as a top-level module."""
    monkeypatch.syspath_prepend(PACKAGE / "models")
    return importlib.import_module("labelled")


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_the_runner_prepares_pictures_bit_by_bit_as_the_reference_was(builder, layout, dtype):
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 3)).astype(np.uint8)
    facts = FACTS | {"layout": layout, "dtype": dtype}
    reference, prepared = (
        builder.prepare(pixels, facts),
        runner_module("pictures").prepare(pixels, facts),
    )
    assert reference.dtype == prepared.dtype == dtype and np.array_equal(reference, prepared)
    assert reference.shape == ((1, 3, 9, 7) if layout == "NCHW" else (1, 9, 7, 3))
    red = (pixels[0, 0, 0] / 255 - 0.485) / 0.229
    assert reference[0, 0, 0, 0] == pytest.approx(red, rel=1e-2)


def run_builder(
    builder: Any, root: Path, run: Any, picture_list: dict[str, Any], **facts: Any
) -> Any:
    """Run the builder on a list of pictures; returns model.json and labelled.json."""
    model = {
        "inputs": [{"name": "x", "shape": [1, 3, 16, 16], "dtype": "float32"}],
        "outputs": [{"name": "y", "shape": [1, 7]}],
    }
    (root / "model.json").write_text(json.dumps(model | facts))
    document = {"folder": str(root), "classes": None, "calibration": []} | picture_list
    (root / "list.json").write_text(json.dumps(document))
    builder.add(root, root / "list.json", {"folder": "unused"}, run)
    return json.loads((root / "model.json").read_text()), json.loads(
        (root / "labelled.json").read_text()
    )


def by_channel(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Scores of seven classes: the channels' means for 0, 1 and 2, less for all the others."""
    scores = np.concatenate([inputs["x"].mean(axis=(2, 3)), np.full((1, 4), -9.0)], axis=1)
    return {"y": scores, "more": scores + 1}


def test_the_builder_cuts_pictures_and_counts_for_the_reference(builder, tmp_path):
    for colour in ("red", "green", "blue"):
        write_picture(tmp_path / f"{colour}.png", colour)
    entries = [["red.png", 1, 0], ["green.png", 1, 1], ["blue.png", 1, 6]]
    model, labelled = run_builder(builder, tmp_path, by_channel, {"pictures": entries})
    assert model["labelled"] == {
        "images": 3, "top1_accuracy": 2 / 3, "top5_accuracy": 2 / 3,
    }  # fmt: skip
    stored = np.load(tmp_path / "labelled.npy")
    assert stored.shape == (3, 16, 16, 3) and stored.dtype == np.uint8
    assert [list(image.mean(axis=(0, 1)).argsort())[-1] for image in stored] == [0, 1, 2]
    assert labelled["reference"][0][0] == 0 and labelled["names"][2] == "blue.png"
    labelled_pictures = Pictures.of(tmp_path)
    assert labelled_pictures and (
        labelled_pictures.labels,
        labelled_pictures.classes,
        labelled_pictures.reference,
    ) == ([0, 1, 6], 7, 2 / 3)
    assert labelled_pictures.tool_bytes == 3 * 16 * 16 * 3 * 4
    assert labelled_pictures.arrays()["x"].shape == (3, 1, 3, 16, 16)


def test_further_pictures_replace_random_inputs(builder, tmp_path):
    entries = []
    for number in range(36):
        colour = ("red", "green", "blue")[number % 3]
        write_picture(tmp_path / f"{number}.png", colour)
        entries.append([f"{number}.png", 1, number % 3])
    calibration = [name for name, _, _ in entries[20:]]
    run_builder(
        builder, tmp_path, by_channel, {"pictures": entries[:20], "calibration": calibration}
    )
    arrays = {name: np.load(tmp_path / f"{name}.npz") for name in (
        "calibration", "inputs", "reference", "heldout", "heldout_reference",
    )}  # fmt: skip
    assert arrays["calibration"]["x"].shape == arrays["heldout"]["x"].shape == (16, 1, 3, 16, 16)
    brightest = arrays["calibration"]["x"].mean(axis=(1, 3, 4)).argmax(axis=1)
    assert list(brightest) == [number % 3 for number in range(20, 36)]
    assert np.array_equal(arrays["inputs"]["x"], arrays["heldout"]["x"][0])
    assert arrays["heldout_reference"]["y"].shape == (16, 1, 7)
    for output in ("y", "more"):
        expected = by_channel(arrays["inputs"])[output]
        assert np.array_equal(arrays["reference"][output], expected)
        assert np.array_equal(arrays["heldout_reference"][output][0], expected)


def test_a_picture_is_resized_and_its_centre_cut_out(builder, tmp_path):
    wide = np.zeros((40, 120, 3), np.uint8)
    wide[:, 50:70] = 255  # the middle
    Image.fromarray(wide).save(tmp_path / "wide.png")
    pixels = builder.read_picture(tmp_path, "wide.png", 20, [16, 16], "bilinear")
    assert pixels.shape == (16, 16, 3)
    assert pixels[:, 4:12].min() > 200 and pixels[:, :2].max() < 10 and pixels[:, -2:].max() < 10
    grey = Image.fromarray(wide[:, :, 0])
    grey.save(tmp_path / "grey.png")
    assert np.array_equal(
        builder.read_picture(tmp_path, "grey.png", 20, [16, 16], "bilinear"), pixels
    )


def test_a_picture_that_cannot_be_read_is_named(builder, tmp_path, monkeypatch):
    write_picture(tmp_path / "whole.jpg", "red")
    data = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(data[: len(data) // 2])
    (tmp_path / "text.png").write_text("no picture")
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(tmp_path / "deep.png")
    for name, reason in (
        ("cut.jpg", "truncated"),
        ("text.png", "cannot identify"),
        ("deep.png", "more than 8 bits"),
        ("gone.png", "No such file"),
    ):
        with pytest.raises(builder.RecipeError, match=rf"(?i)the picture {name} cannot.*{reason}"):
            builder.read_picture(tmp_path, name, 20, [16, 16], "bilinear")
    monkeypatch.setattr(builder, "MAX_PIXELS", 1000)
    with pytest.raises(builder.RecipeError, match="40 x 30 pixels are more than"):
        builder.read_picture(tmp_path, "whole.jpg", 20, [16, 16], "bilinear")


@pytest.mark.parametrize(
    ("picture_list", "facts", "message"),
    [
        ({"pictures": [["a.png", 1, 7]]}, {}, "a.png is of class 7; the model's go from 0 to 6"),
        ({"pictures": [], "classes": 4, "told_by": "pictures has 4 sub-folders"}, {},
         "pictures has 4 sub-folders, the model has 7 classes"),
        ({}, {"outputs": [{"name": "y", "shape": [1, 7, 2]}]}, "no vector of classes"),
        ({}, {"inputs": [{"name": "x", "shape": [1, 9], "dtype": "float32"}]}, "and no picture"),
        ({}, {"inputs": [{"name": "x", "shape": [1, 3, 8, 8], "dtype": "uint8"}]}, "is uint8"),
        ({}, {"inputs": []}, "has 0 inputs"),
    ],
)  # fmt: skip
def test_pictures_that_mean_nothing_to_the_model_are_refused(
    builder, tmp_path, picture_list, facts, message
):
    with pytest.raises(builder.RecipeError, match=message):
        run_builder(builder, tmp_path, by_channel, picture_list, **facts)


def test_a_model_without_labelled_pictures_has_none(tmp_path):
    assert Pictures.of(tmp_path) is None
    assert columns([]) == {}
