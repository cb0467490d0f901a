"""Accuracy on a user's labelled pictures, from the recipe to the report, for a model whose accuracy
is known exactly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cellfarm.base.project import Project

from tests.support.colours import write_classifier, write_picture, write_pictures
from tests.support.farm import REPOSITORY, Farm
from tests.support.pages import unpacked

pytestmark = pytest.mark.pipeline
PICTURES_PER_COLOUR = 5
#: Two of the twenty pictures stand in another colour's folder.
RECIPE: dict[str, Any] = {
    "name": "colours",
    "source": "file",
    "file": "mine/colours.onnx",
    "task": "classification",
    "inputs": [{"name": "image", "shape": [1, 3, 16, 16]}],
    "labelled": {"folder": "mine/pictures", "images": 50},
}


@pytest.fixture
def colours(tmp_path: Path) -> Farm:
    farm = Farm.create(tmp_path / "farm")
    (farm.root / "mine").mkdir()
    write_classifier(farm.root / "mine/colours.onnx", Project(REPOSITORY))
    mislabelled = {"red": "green", "white": "blue"}
    write_pictures(farm.root / "mine/pictures", PICTURES_PER_COLOUR, mislabelled)
    farm.write("models/colours.yaml", RECIPE)
    farm.configure(models=["colours"], libraries=["onnxruntime"], variants=["fp32", "int8"])
    return farm


def test_accuracy_from_the_recipe_to_the_report(colours: Farm) -> None:
    colours.run()
    rows = colours.query("FROM cells ORDER BY variant")
    assert [(row["variant"], row["status"]) for row in rows] == [("fp32", "ok"), ("int8", "ok")]
    for row in rows:
        assert (row["labelled_images"], row["accuracy_reason"]) == (20, None)
        assert row["top1_accuracy"] == row["reference_top1_accuracy"] == 0.9
        bounds = (row["top1_accuracy_low"], row["top1_accuracy_high"])
        assert bounds == pytest.approx((0.69897, 0.97213), abs=1e-5)
        assert row["top5_accuracy"] is None  # of four classes
        assert row["latency_ms"] > 0
    modes = colours.query("SELECT mode, count(*) AS n FROM launches GROUP BY mode ORDER BY mode")
    assert {row["mode"]: row["n"] for row in modes} == {"accuracy": 2, "measure": 4, "quality": 2}
    summary = colours.cellfarm("summary")
    assert "colours, accuracy" in summary
    assert "20 labelled pictures; FP32 in the model's own runtime: 90.0 %" in summary
    assert "69.9 % to 97.2 %" in summary
    page = (colours.root / "reports/index.html").read_text(encoding="utf-8")
    columns = json.loads(unpacked(page, "report"))["columns"]
    assert columns["top1_accuracy"] == [0.9, 0.9]

    # Another picture makes only its model's cells stale, with a reason.
    assert "nothing to measure" in colours.run("-n").stdout
    write_picture(colours.root / "mine/pictures/red/new.png", "blue")
    assert "the labelled pictures changed" in colours.run("-n").stdout
    colours.run("measured")
    rows = colours.query("FROM cells")
    assert {(row["labelled_images"], row["top1_accuracy"]) for row in rows} == {(21, 18 / 21)}

    # With sixteen to spare, INT8 is calibrated on pictures.
    colours.write("models/colours.yaml", RECIPE | {"labelled": RECIPE["labelled"] | {"images": 5}})
    colours.run("measured")
    rows = colours.query("FROM cells")
    assert {(row["status"], row["labelled_images"]) for row in rows} == {("ok", 5)}
    assert all(row["top1_accuracy"] == row["reference_top1_accuracy"] for row in rows)


def test_what_is_wrong_with_the_pictures_is_told(colours: Farm) -> None:
    (colours.root / "mine/pictures/red/broken.png").write_bytes(b"no picture")
    colours.configure(models=["colours"], libraries=["onnxruntime"])
    colours.run("measured")
    (row,) = colours.query("FROM cells")
    assert row["status"] == "failed"
    assert "model: labelled: the picture red/broken.png cannot be read" in row["reason"]

    (colours.root / "mine/pictures/red/broken.png").unlink()
    (colours.root / "mine/pictures/unknown").mkdir()
    colours.run("measured")
    (row,) = colours.query("FROM cells")
    assert "mine/pictures has 5 sub-folders, the model has 4 classes" in row["reason"]

    (colours.root / "mine/pictures").rename(colours.root / "mine/elsewhere")
    completed = colours.run("-n", code=2)
    assert (
        "there is no folder mine/pictures" in completed.stdout
        and "Traceback" not in completed.stdout
    )


def test_pictures_that_take_too_long_leave_the_rest_of_the_cell(colours: Farm) -> None:
    backend = "workflow/cellfarm/libraries/onnxruntime/backend.py"
    code = "\n\n_invoke = Session.invoke\n\n\ndef _slow(self):\n    import time\n"
    # The series of a launch has four inferences; the pictures are twenty.
    code += "    self.count = getattr(self, 'count', 0) + 1\n"
    code += "    time.sleep(60 if self.count > 10 else 0)\n    _invoke(self)\n\n\n"
    colours.edit(backend, lambda text: text + code + "Session.invoke = _slow\n")
    protocol = colours.root / "config/protocols/test.yaml"
    protocol.write_text(protocol.read_text().replace("launch_timeout_s: 60", "launch_timeout_s: 5"))
    colours.configure(models=["colours"], libraries=["onnxruntime"])
    colours.run("measured")
    (row,) = colours.query("FROM cells")
    assert (row["status"], row["top1_accuracy"]) == ("ok", None) and row["latency_ms"] > 0
    assert row["accuracy_reason"] == "labelled pictures: no end within 5 s (in phase accuracy)"
    assert "no accuracy  colours" in colours.cellfarm("summary")
