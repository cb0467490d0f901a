"""Converts three users' files and trained weights with the real converters."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cellfarm.base import documents
from cellfarm.base.digests import file_digest
from cellfarm.base.errors import UserError
from cellfarm.base.names import Format
from cellfarm.base.project import Project
from cellfarm.base.records import Record, StoredFile, read_record, write_record
from cellfarm.cli.models import add_file
from cellfarm.conversion.routes import EDGES, FILES
from cellfarm.envs.environments import build, library_environment, locate
from cellfarm.libraries import all_libraries
from cellfarm.wanted.recipes import Input, RecipeDocument
from msgspec import structs

from tests.support import steps
from tests.support.models_python import python
from tests.support.projects import REPOSITORY, make_project

DATA = REPOSITORY / "tests/data/user_files"
CHECKOUT = Project(REPOSITORY)
#: name of the file, inputs, outputs, the forms on the way to a library that does not read it,
#: libraries that do
HAND = {"file": "hand.onnx", "inputs": [{"name": "images:0", "shape": [1, 3, 32, 32]}]}
SCRIPTED = {"file": "scripted.pt", "inputs": [{"name": "x", "shape": [1, 3, 32, 32]}]}
SIGNED = {"file": "signed.tflite"}


def take_over(folder: Path, recipe: dict[str, Any], file: Path | None = None) -> Record:
    environment = locate(CHECKOUT, "models")
    assert build(environment).status == "ok"
    files = {"file": file or DATA / recipe["file"]}
    document = {"name": "mine", "source": "file", **recipe}
    return steps.build_model(document, folder, files)


def export(folder: Path, start: Format, form: Format, source: Path | None = None) -> Record:
    environment = locate(CHECKOUT, EDGES[start, form])
    assert build(environment).status == "ok"
    return steps.export(folder, form, folder.with_name(form), source, start)


def convert(folder: Path, name: str, form: Format, variant: str = "fp32") -> Record:
    library = all_libraries()[name]
    environment = locate(CHECKOUT, library_environment(name, library.default_version, "convert"))
    assert build(environment).status == "ok"
    source = folder if (folder / "files" / FILES[form]).is_file() else folder.with_name(form)
    out = folder.with_name(f"{name}-{variant}")
    return steps.convert(library, variant, folder, source, form, out)


def assert_ok(record: Record) -> None:
    assert record.status == "ok", (record.reason, record.log[-2000:])


@pytest.mark.parametrize(
    ("recipe", "native", "forms", "readers"),
    [
        (HAND, "onnx", ["pt2"], [("onnxruntime", "onnx"), ("ncnn", "onnx"), ("mnn", "onnx")]),
        (SCRIPTED, "script", ["pt2", "torchscript"], [("ncnn", "torchscript")]),
        (SIGNED, "tflite", ["onnx"], [("litert", "tflite"), ("onnxruntime", "onnx")]),
    ],
    ids=["onnx", "torchscript", "tflite"],
)
def test_a_users_file_goes_through(tmp_path, recipe, native, forms, readers):
    folder = tmp_path / "model"
    assert_ok(take_over(folder, recipe))
    facts = json.loads((folder / "files/model.json").read_text())
    assert (folder / "files" / FILES[native]).is_file()
    for samples, direction in (("calibration", "inputs"), ("heldout", "inputs"),
                            ("heldout_reference", "outputs")):  # fmt: skip
        with np.load(folder / f"files/{samples}.npz") as arrays:
            assert {name: list(arrays[name].shape) for name in arrays.files} == {
                spec["name"]: [16, *spec["shape"]] for spec in facts[direction]
            }
    start, source = native, None
    for form in forms:  # every step checks its outputs against the file's
        assert_ok(export(folder, start, form, source))
        start, source = form, folder.with_name(form)
    for library, form in readers:
        assert_ok(convert(folder, library, form))


def test_a_file_of_int8_weights_stays_what_it_is(tmp_path):
    folder = tmp_path / "model"
    assert_ok(take_over(folder, SIGNED))
    described = folder / "files/model.json"
    described.write_text(described.read_text().replace('"fp32"', '"int8"'))
    record = read_record(folder)
    assert record
    changed = StoredFile("model.json", described.stat().st_size, file_digest(described))
    files = [entry for entry in record.files if entry.name != changed.name]
    write_record(folder, structs.replace(record, files=(*files, changed)))
    refused = convert(folder, "litert", "tflite", "fp32")
    assert refused.status == "unsupported"
    assert refused.reason == "the model's file is int8 already: fp32 cannot be made of it"
    assert_ok(convert(folder, "litert", "tflite", "int8"))
    (artifact,) = tmp_path.glob("litert-int8/files/*")
    assert artifact.read_bytes() == (DATA / "signed.tflite").read_bytes()


@pytest.mark.parametrize(
    ("recipe", "reason"),
    [
        (HAND | {"outputs": ["other"]}, "the file's outputs are probabilities, not other"),
        (
            SIGNED | {"inputs": [{"name": "picture", "content": "ones"}]},
            "the output does not depend on the input as it is drawn",
        ),
    ],
    ids=["outputs", "constant"],
)
def test_what_does_not_fit_to_a_file_is_said(tmp_path, recipe, reason):
    record = take_over(tmp_path / "model", recipe)
    assert record.status == "failed" and reason in (record.reason or "")


ROUNDED = """
import numpy as np
from protocol import Unsupported
from checked_exports import check

wanted = np.random.default_rng(0).normal(size=(1, 100)).astype(np.float32)
rounded = wanted + np.float32(0.02)  # 0.6 % of the largest: what 8 bits do
other = wanted[:, ::-1]

def passes(result, precision):
    facts = {"precision": precision, "outputs": [{"name": "y"}]}
    try:
        check("tflite to onnx", [result], [wanted], facts)
    except Unsupported as error:
        assert "'y' comes out wrong by" in str(error), str(error)
        return False
    return True

assert passes(wanted, "fp32") and passes(wanted, "int8")
assert passes(rounded, "int8") and not passes(rounded, "fp32")
assert not passes(other, "int8") and not passes(wanted * np.nan, "int8")
"""


def test_a_step_may_round_a_file_in_8_bits_otherwise_and_nothing_else():
    completed = python("models", ROUNDED)
    assert completed.returncode == 0, completed.stderr[-3000:]


BRANCHING = """
import sys, torch
class Branching(torch.nn.Module):
    def forward(self, x):
        return x * 2 if float(x.sum()) > 0 else x * 3
torch.jit.script(Branching()).save(sys.argv[1])
"""


def test_a_branch_on_values_is_never_frozen_in(tmp_path):
    file = tmp_path / "branching.pt"
    source = tmp_path / "branching.py"  # torch.jit.script reads it
    source.write_text(BRANCHING)
    run = "import runpy; runpy.run_path(sys.argv.pop(1), run_name='__main__')"
    assert python("models", run, str(source), str(file)).returncode == 0
    recipe = {"file": file.name, "inputs": [{"name": "x", "shape": [1, 4]}]}
    assert_ok(take_over(tmp_path / "model", recipe, file))
    record = export(tmp_path / "model", "script", "pt2")
    assert record.status == "unsupported" and "control flow that depends" in (record.reason or "")


NAMING = """
import sys, torch
class Naming(torch.nn.Module):
    def forward(self, x):
        return {"double": x * 2, "triple": x * 3}
torch.jit.script(Naming()).save(sys.argv[1])
"""


def test_outputs_in_a_dict_are_refused_and_no_failure(tmp_path):
    file, source = tmp_path / "naming.pt", tmp_path / "naming.py"
    source.write_text(NAMING)
    run = "import runpy; runpy.run_path(sys.argv.pop(1), run_name='__main__')"
    assert python("models", run, str(source), str(file)).returncode == 0
    recipe = {"file": file.name, "inputs": [{"name": "x", "shape": [1, 4]}]}
    record = take_over(tmp_path / "model", recipe, file)
    assert record.status == "unsupported" and "it returns a dict" in (record.reason or "")
    # A step that only passes this on adds nothing to it.
    refused = export(tmp_path / "model", "script", "pt2")
    assert refused.reason == f"model: {record.reason}"


def test_a_recipe_is_written_from_a_file(tmp_path, monkeypatch):
    monkeypatch.setenv("CELLFARM_ENVIRONMENTS", str(CHECKOUT.environments))
    project = make_project(tmp_path)
    shutil.copytree(DATA, tmp_path / "mine")
    file = tmp_path / "mine/hand.onnx"
    with pytest.raises(UserError, match="give --shape images:0="):
        add_file(project, file, None, "classification", {})
    path = add_file(project, file, None, "classification", {"images:0": [1, 3, 32, 32]})
    assert path == project.models / "hand.yaml"
    recipe = documents.read(path, RecipeDocument)
    assert (recipe.file, recipe.task) == ("mine/hand.onnx", "classification")
    assert recipe.inputs == (Input("images:0", (1, 3, 32, 32), "float32", "image"),)
    with pytest.raises(UserError, match="is there already"):
        add_file(project, file, None, "classification", {})


WEIGHTS = """
import torch
from pathlib import Path
from protocol import RecipeError
from safetensors.torch import save_file
from weights import load_weights
from torch import nn

def network():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))

trained, folder = network(), Path(sys.argv[1])
state = {k: torch.rand(v.shape) if v.is_floating_point() else v for k, v in trained.state_dict().items()}

def check(content, form, expected=None, **recipe):
    file = folder / f"weights.{form}"
    (save_file if form == "safetensors" else torch.save)(content, file)
    fresh = network()
    try:
        load_weights(fresh, file, {"format": form, **recipe})
    except RecipeError as error:
        assert expected and expected in str(error), (expected, str(error))
        return
    assert expected is None, expected
    assert all(torch.equal(v, state[k]) for k, v in fresh.state_dict().items() if v.is_floating_point())

check(state, "safetensors")
check(state, "pth")
check({"state_dict": state, "epoch": 3}, "pth")
check({k: v for k, v in state.items() if "num_batches" not in k}, "pth")
more = {f"backbone.{k}": v for k, v in state.items()} | {"head.weight": torch.rand(1)}
check(more, "safetensors", key_prefix="backbone.")
check(more, "safetensors", "begins with 'other.'", key_prefix="other.")
check(more, "pth", "6 are missing: 0.weight, 0.bias, 1.weight, ...; 8 are unknown to the architecture")
check({k: v for k, v in state.items() if k != "0.bias"}, "pth", "1 are missing: 0.bias")
check(state | {"0.weight": torch.rand(8, 3, 3, 3)}, "pth", "another shape: 0.weight [8, 3, 3, 3], not [4")
check([1, 2], "pth", "holds no tensors by name")

class Code:
    def __reduce__(self):
        return (Path(sys.argv[1], "ran").touch, ())

check(state | {"code": Code()}, "pth", "save the model's state_dict()")
assert not Path(sys.argv[1], "ran").exists()
"""


def test_weights_fit_whole_or_say_what_does_not(tmp_path):
    completed = python("models", WEIGHTS, str(tmp_path))
    assert completed.returncode == 0, completed.stderr[-3000:]


SQUEEZENET = """
import torch
from torchvision_import import import_torchvision
torch.manual_seed(1)
network = import_torchvision().models.squeezenet1_1()
torch.save(network.state_dict(), sys.argv[1])
x = torch.ones(1, 3, 64, 64)
print(float(network.eval()(x).sum()))
"""
LOADED = """
import torch
program = torch.export.load(sys.argv[1]).module()
print(float(program(torch.ones(1, 3, 64, 64))[0].sum()))
"""


def test_trained_weights_are_taken_as_they_are(tmp_path):
    """Their statistics stay: a trained network has its own."""
    file = tmp_path / "weights.pth"
    expected = python("models", SQUEEZENET, str(file))
    recipe = {
        "name": "trained",
        "task": "classification",
        "source": "torchvision",
        "architecture": "squeezenet1_1",
        "weights": {"kind": "pretrained", "path": "weights.pth", "format": "pth"},
        "inputs": [{"name": "x", "shape": [1, 3, 64, 64], "dtype": "float32", "content": "image"}],
        "outputs": ["logits"],
    }
    folder = tmp_path / "model"
    assert_ok(steps.build_model(recipe, folder, {"weights": file}))
    actual = python("models", LOADED, str(folder / "files/model.pt2"))
    assert float(actual.stdout) == pytest.approx(float(expected.stdout), rel=1e-5)
