"""Accuracy on labelled pictures: what the runner tells, what the host makes of it."""

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
#: Of seven classes, the top five of four pictures.
TOP = np.array([[1, 0, 2, 3, 4], [2, 1, 0, 3, 4], [0, 1, 2, 3, 4], [5, 6, 0, 1, 2]], np.int32)


def pictures(labels: list[int], classes: int = 7) -> Pictures:
    return Pictures(Path("labelled.npy"), FACTS, labels, classes, 0.75)


def accuracy_launch(told: dict[str, Any] | None, **changes: Any) -> dict[str, Any]:
    launch = make_launch([], mode="accuracy", warmup_ms=[], accuracy=told, **changes)
    del launch["comparison"]
    return launch


@pytest.mark.parametrize(
    ("hits", "of", "low", "high"),
    # By Wilson's formula, worked out apart from scipy.
    [(8, 10, 0.49016, 0.94332), (0, 20, 0.0, 0.16113), (20, 20, 0.83887, 1.0),
     (350, 500, 0.65843, 0.73852)],
)  # fmt: skip
def test_intervals_are_wilsons(hits, of, low, high):
    assert interval(hits, of) == pytest.approx((low, high), abs=1e-5)


def test_right_classes_are_counted():
    told = pictures([1, 1, 6, 5]).assess(TOP)
    assert (told["images"], told["top1"], told["top5"]) == (4, 2, 3)
    assert told["top"] == TOP.tolist()
    found = columns([accuracy_launch(told)])
    assert set(found) == set(all_measures()["accuracy"].columns) - {"accuracy_reason"}
    assert (found["labelled_images"], found["top1_accuracy"], found["top5_accuracy"]) == (
        4,
        0.5,
        0.75,
    )
    assert found["top1_accuracy_low"] < 0.5 < found["top1_accuracy_high"]
    assert found["reference_top1_accuracy"] == 0.75


def test_among_five_classes_the_right_one_is_no_news():
    told = pictures([1, 2, 0, 4], classes=5).assess(np.minimum(TOP, 4))
    assert told["top1"] == 4 and told["top5"] is None
    found = columns([accuracy_launch(told)])
    assert found["top1_accuracy"] == 1.0
    assert not {"top5_accuracy", "top5_accuracy_low", "top5_accuracy_high"} & set(found)


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
    told = pictures([0, 0, 0, 0]).read(file.getvalue(), "y")
    assert re.search(problem, told["problem"])
    found = columns([accuracy_launch(told)])
    assert found == {"accuracy_reason": f"labelled pictures: {told['problem']}"}


def test_garbage_is_a_problem_and_no_crash():
    assert "cannot be read" in pictures([0]).read(b"garbage", "y")["problem"]
    file = io.BytesIO()
    np.savez(file, other=TOP)
    assert pictures([0]).read(file.getvalue(), "y")["problem"]


def test_a_native_tools_outputs_are_told_classes_here():
    scores = np.array([[[0, 3, 1, 0, 0, 0, 2.0]], [[9, 3, 1, 0, 0, 0, np.nan]]], np.float32)
    file = io.BytesIO()
    np.savez(file, y=scores)
    told = pictures([1, 0]).read(file.getvalue(), "y")
    assert told["top"] == [[1, 6, 2, 0, 3], [-1] * 5]
    assert (told["top1"], told["top5"]) == (1, 1)


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
    late = bad_launch("timeout", "no end within 60 s (in phase accuracy)") | {"mode": "accuracy"}
    launches = [make_launch(), make_launch(), late]
    assert first_bad(launches) is None
    found = result_of("latency", *launches)
    assert (found.status, found.columns["latency_ms"]) == ("ok", 10.0)
    found = result_of("accuracy", *launches)
    assert found.status == "timeout"
    reason = "labelled pictures: no end within 60 s (in phase accuracy)"
    assert found.columns == {"accuracy_reason": reason}


def test_a_failed_profile_does_not_keep_pictures_from_being_run():
    assert first_bad([make_launch(), bad_launch() | {"mode": "profile"}]) is None
    assert first_bad([make_launch(), bad_launch() | {"mode": "quality"}]) is not None


def test_emulated_and_wrong_cells_have_an_accuracy():
    told = pictures([1, 1, 6, 5]).assess(TOP)
    emulated = make_launch([], warmup_ms=[], emulated=True)
    launches = [emulated, accuracy_launch(told)]
    assert result_of("latency", *launches).status == "ok"
    found = result_of("accuracy", *launches)
    assert (found.status, found.columns["top1_accuracy"]) == ("ok", 0.5)
    wrong = make_launch(comparison={"problem": "the output is constant"})
    launches = [wrong, wrong, accuracy_launch(told)]
    assert result_of("latency", *launches).status == "wrong"
    assert result_of("accuracy", *launches).columns["top1_accuracy"] == 0.5


# -- on the device ----------------------------------------------------------------------------------


class Session:
    """A library that knows a picture's class by its brightest channel."""

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
    told = pictures([2, 0, 1, 0], classes=3).read((tmp_path / "out.npz").read_bytes(), "y")
    assert told["problem"] is None and (told["images"], told["top1"]) == (4, 3)


# -- as the model was built -------------------------------------------------------------------------


@pytest.fixture
def building(monkeypatch: pytest.MonkeyPatch) -> Any:
    """cellfarm/models/labelled.py, as its worker imports it: flat."""
    monkeypatch.syspath_prepend(PACKAGE / "models")
    return importlib.import_module("labelled")


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_the_runner_prepares_pictures_bit_by_bit_as_the_reference_was(building, layout, dtype):
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 3)).astype(np.uint8)
    facts = FACTS | {"layout": layout, "dtype": dtype}
    one, other = building.prepare(pixels, facts), runner_module("pictures").prepare(pixels, facts)
    assert one.dtype == other.dtype == dtype and np.array_equal(one, other)
    assert one.shape == ((1, 3, 9, 7) if layout == "NCHW" else (1, 9, 7, 3))
    red = (pixels[0, 0, 0] / 255 - 0.485) / 0.229
    assert one[0, 0, 0, 0] == pytest.approx(red, rel=1e-2)


def make(building: Any, root: Path, run: Any, listed: dict[str, Any], **facts: Any) -> Any:
    """Run the builder on a list of pictures; returns model.json and labelled.json."""
    model = {
        "inputs": [{"name": "x", "shape": [1, 3, 16, 16], "dtype": "float32"}],
        "outputs": [{"name": "y", "shape": [1, 7]}],
    }
    (root / "model.json").write_text(json.dumps(model | facts))
    drawn = {"folder": str(root), "classes": None, "calibration": []} | listed
    (root / "list.json").write_text(json.dumps(drawn))
    building.add(root, root / "list.json", {"folder": "unused"}, run)
    return json.loads((root / "model.json").read_text()), json.loads(
        (root / "labelled.json").read_text()
    )


def by_channel(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Scores of seven classes: those of 0, 1, 2 by the channels, the others always least."""
    scores = np.concatenate([inputs["x"].mean(axis=(2, 3)), np.full((1, 4), -9.0)], axis=1)
    return {"y": scores, "more": scores + 1}


def test_the_builder_cuts_pictures_and_counts_for_the_reference(building, tmp_path):
    for colour in ("red", "green", "blue"):
        write_picture(tmp_path / f"{colour}.png", colour)
    listed = [["red.png", 1, 0], ["green.png", 1, 1], ["blue.png", 1, 6]]
    model, told = make(building, tmp_path, by_channel, {"pictures": listed})
    assert model["labelled"] == {
        "images": 3, "top1_accuracy": 2 / 3, "top5_accuracy": 2 / 3,
    }  # fmt: skip
    stored = np.load(tmp_path / "labelled.npy")
    assert stored.shape == (3, 16, 16, 3) and stored.dtype == np.uint8
    assert [list(image.mean(axis=(0, 1)).argsort())[-1] for image in stored] == [0, 1, 2]
    assert told["reference"][0][0] == 0 and told["names"][2] == "blue.png"
    found = Pictures.of(tmp_path)
    assert found and (found.labels, found.classes, found.reference) == ([0, 1, 6], 7, 2 / 3)
    assert found.tool_bytes == 3 * 16 * 16 * 3 * 4
    assert found.arrays()["x"].shape == (3, 1, 3, 16, 16)


def test_with_pictures_to_spare_nothing_is_noise(building, tmp_path):
    listed = []
    for number in range(36):
        colour = ("red", "green", "blue")[number % 3]
        write_picture(tmp_path / f"{number}.png", colour)
        listed.append([f"{number}.png", 1, number % 3])
    further = [name for name, _, _ in listed[20:]]
    make(building, tmp_path, by_channel, {"pictures": listed[:20], "calibration": further})
    read = {name: np.load(tmp_path / f"{name}.npz") for name in (
        "calibration", "inputs", "reference", "heldout", "heldout_reference",
    )}  # fmt: skip
    assert read["calibration"]["x"].shape == read["heldout"]["x"].shape == (16, 1, 3, 16, 16)
    brightest = read["calibration"]["x"].mean(axis=(1, 3, 4)).argmax(axis=1)
    assert list(brightest) == [number % 3 for number in range(20, 36)]
    assert np.array_equal(read["inputs"]["x"], read["heldout"]["x"][0])
    assert read["heldout_reference"]["y"].shape == (16, 1, 7)
    for output in ("y", "more"):
        expected = by_channel(read["inputs"])[output]
        assert np.array_equal(read["reference"][output], expected)
        assert np.array_equal(read["heldout_reference"][output][0], expected)


def test_a_picture_is_resized_and_its_centre_cut_out(building, tmp_path):
    wide = np.zeros((40, 120, 3), np.uint8)
    wide[:, 50:70] = 255  # the middle
    Image.fromarray(wide).save(tmp_path / "wide.png")
    pixels = building.read_picture(tmp_path, "wide.png", 20, [16, 16], "bilinear")
    assert pixels.shape == (16, 16, 3)
    assert pixels[:, 4:12].min() > 200 and pixels[:, :2].max() < 10 and pixels[:, -2:].max() < 10
    grey = Image.fromarray(wide[:, :, 0])
    grey.save(tmp_path / "grey.png")
    assert np.array_equal(
        building.read_picture(tmp_path, "grey.png", 20, [16, 16], "bilinear"), pixels
    )


def test_a_picture_that_cannot_be_read_is_named(building, tmp_path, monkeypatch):
    write_picture(tmp_path / "whole.jpg", "red")
    data = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(data[: len(data) // 2])
    (tmp_path / "text.png").write_text("no picture")
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(tmp_path / "deep.png")
    for name, why in (
        ("cut.jpg", "truncated"),
        ("text.png", "cannot identify"),
        ("deep.png", "more than 8 bits"),
        ("gone.png", "No such file"),
    ):
        with pytest.raises(building.RecipeError, match=rf"(?i)the picture {name} cannot.*{why}"):
            building.read_picture(tmp_path, name, 20, [16, 16], "bilinear")
    monkeypatch.setattr(building, "MAX_PIXELS", 1000)
    with pytest.raises(building.RecipeError, match="40 x 30 pixels are more than"):
        building.read_picture(tmp_path, "whole.jpg", 20, [16, 16], "bilinear")


@pytest.mark.parametrize(
    ("listed", "facts", "message"),
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
    building, tmp_path, listed, facts, message
):
    with pytest.raises(building.RecipeError, match=message):
        make(building, tmp_path, by_channel, listed, **facts)


def test_a_model_without_labelled_pictures_has_none(tmp_path):
    assert Pictures.of(tmp_path) is None
    assert columns([]) == {}
