"""Models' workers from copies of the code that they import: builds, exports, and a toy pass."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cellfarm.base.code import closure
from cellfarm.base.project import PACKAGE
from cellfarm.envs.environments import clean_variables

from tests.support.colours import COLOURS, write_picture
from tests.support.models_python import interpreter, python
from tests.support.projects import REPOSITORY

DATA = REPOSITORY / "tests/data/user_files"
RECIPE: dict[str, Any] = {
    "task": "classification",
    "source": "torchvision",
    "architecture": "squeezenet1_1",
    "arguments": {"num_classes": 10},
    "weights": {"kind": "random", "seed": 0},
    "inputs": [{"name": "input", "shape": [1, 3, 64, 64], "dtype": "float32", "content": "image"}],
    "outputs": ["logits"],
    "labelled": {"folder": "colours"},
}
LAYER = "model.features.6.squeeze"
#: A complete pass: a file in passes/.
TOY = '''
"""Multiplies the weights of a layer: a model that is wrong by as much as it is told."""

import torch
from pass_context import Context
from protocol import RecipeError, Unsupported

SETTINGS = {"layer": str, "factor": 0.5}


def apply(module: torch.nn.Module, context: Context) -> torch.nn.Module:
    layer, factor = context.settings["layer"], context.settings["factor"]
    if factor == 0:
        raise Unsupported("a layer of zeros is none")
    if factor < 0:
        return torch.nn.Flatten()
    try:
        weight = module.get_parameter(f"{layer}.weight")
    except AttributeError:
        raise RecipeError(f"the model has no layer {layer!r}") from None
    with torch.no_grad():
        weight.mul_(factor)
    outputs = module(*context.inputs), module(*context.calibration[-1])
    assert all(output[0].shape == (1, 10) for output in outputs), context.task
    return module
'''
#: Runs the worker and writes the list of the files that it imported.
WORK = """
import json, sys
sys.path.insert(0, sys.argv[1])
import worker
worker.main([sys.argv[2]])
files = [getattr(module, "__file__", None) for module in [*sys.modules.values()]]
with open(sys.argv[3], "w") as stream:
    json.dump([file for file in files if file], stream)
"""


class Workers:
    """Runs workers, each from a copy of its entries and all that they import.

    Args:
        root: the folder of all files; ``package/passes`` is the copy of the passes, with the toy.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.package = root / "package"
        shutil.copytree(PACKAGE / "passes", self.package / "passes")
        (self.package / "passes/scale_layer.py").write_text(TOY)
        (self.package / "passes/other.py").write_text("def apply(module, context): return module\n")
        #: step -> the modules of the closure, and those that were imported
        self.planned: dict[str, set[str]] = {}
        self.imported: dict[str, set[str]] = {}

    def run(
        self, step: str, entries: list[str], request: Mapping[str, Any], environment: str = "models"
    ) -> dict[str, Any]:
        """Run a step; returns the worker's answer. The step's files are in root/<step>.

        Args:
            entries: modules in addition to the worker and the request's module.
        """
        names = ["worker", request["module"], *entries]
        roots = (PACKAGE / "models", self.package)
        paths = [
            (self.package if "/" in name else PACKAGE / "models") / f"{name}.py" for name in names
        ]
        files = closure(paths, roots)
        code, out = self.root / "code" / step, self.root / step
        out.mkdir()
        for name, path in files.items():
            (code / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, code / name)
        request_file, modules = self.root / f"{step}.request", self.root / f"{step}.modules"
        request_file.write_text(json.dumps(dict(request) | {"out": str(out)}))
        argv = [str(interpreter(environment)), "-s", "-E", "-c", WORK]
        completed = subprocess.run(
            [*argv, str(code), str(request_file), str(modules)],
            capture_output=True, text=True, check=False, env=clean_variables(),
        )  # fmt: skip
        assert completed.returncode == 0, completed.stderr[-4000:]
        self.planned[step] = set(files)
        self.imported[step] = {
            Path(file).relative_to(code).as_posix()
            for file in json.loads(modules.read_text())
            if Path(file).is_relative_to(code)
        }
        answer: dict[str, Any] = json.loads(completed.stdout.splitlines()[-1])
        assert answer["status"] == "ok", (step, answer, completed.stderr[-4000:])
        return answer

    def export(self, step: str, source: str, start: str, form: str) -> None:
        """Export the model of another step to a folder of its own."""
        folder = self.root / source
        request = {
            "module": f"export_{start}_to_{form}",
            "source": str(folder / f"model.{start}"),
            "model": str(folder),
        }
        environment = "models.tflite" if start == "tflite" else "models"
        self.run(step, [], request, environment)


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Workers:
    root = tmp_path_factory.mktemp("workers")
    workers = Workers(root)
    for name in COLOURS:
        write_picture(root / f"{name}.png", name)
    pictures = [[f"{name}.png", 1, label] for label, name in enumerate(sorted(COLOURS))]
    listing = {"folder": str(root), "classes": None, "calibration": [], "pictures": pictures}
    (root / "pictures.json").write_text(json.dumps(listing))

    build = {"module": "build_architecture", "recipe": RECIPE}
    workers.run(
        "parent", ["source_torchvision", "labelled"],
        build | {"files": {"labelled": str(root / "pictures.json")}},
    )  # fmt: skip
    scale = ["scale_layer", {"layer": LAYER, "factor": 3}]
    derive = {"module": "apply_passes", "parent": str(root / "parent"), "passes": [scale]}
    workers.run("derived", ["passes/scale_layer", "labelled"], derive)
    workers.export("onnx", "derived", "pt2", "onnx")
    workers.export("torchscript", "derived", "pt2", "torchscript")
    return workers


def read(folder: Path, name: str) -> np.ndarray:
    with np.load(folder / f"{name}.npz") as stored:
        (array,) = stored.values()
        return np.asarray(array)


def sqnr_db(outputs: np.ndarray, reference: np.ndarray) -> float:
    noise = float(np.square(outputs - reference).sum())
    return 10 * np.log10(float(np.square(reference).sum()) / noise)


def test_a_derived_model_has_its_own_reference_and_its_parents(workers: Workers):
    parent, derived = workers.root / "parent", workers.root / "derived"
    for kind, shape in (("", (1, 10)), ("heldout_", (16, 1, 10))):
        reference = read(derived, f"{kind}reference")
        parent_reference = read(derived, f"{kind}parent_reference")
        assert reference.shape == parent_reference.shape == shape
        np.testing.assert_array_equal(parent_reference, read(parent, f"{kind}reference"))
        assert sqnr_db(reference, parent_reference) < 20
    for name in ("inputs", "calibration", "heldout"):
        np.testing.assert_array_equal(read(derived, name), read(parent, name))


def test_a_derived_model_is_described_as_a_built_one(workers: Workers):
    facts, parent_facts = (
        json.loads((workers.root / name / "model.json").read_text())
        for name in ("derived", "parent")
    )
    assert facts["passes"] == [["scale_layer", {"layer": LAYER, "factor": 3.0}]]
    for name in ("task", "inputs", "outputs", "parameters", "flops"):
        assert facts[name] == parent_facts[name], name
    names = {path.name for path in (workers.root / "derived").iterdir()}
    built = {path.name for path in (workers.root / "parent").iterdir()}
    assert names - built == {"parent_reference.npz", "heldout_parent_reference.npz"}
    assert built <= names


def test_labelled_pictures_are_classified_by_the_derived_model(workers: Workers):
    derived, parent = workers.root / "derived", workers.root / "parent"
    pixels = (derived / "labelled.npy").read_bytes()
    assert pixels == (parent / "labelled.npy").read_bytes()
    labelled, parent_labelled = (
        json.loads((folder / "labelled.json").read_text()) for folder in (derived, parent)
    )
    assert (
        labelled["labels"] == parent_labelled["labels"]
        and labelled["mean"] == parent_labelled["mean"]
    )
    assert labelled["reference"] != parent_labelled["reference"]
    facts = json.loads((derived / "model.json").read_text())["labelled"]
    correct = sum(
        top[0] == label
        for top, label in zip(labelled["reference"], labelled["labels"], strict=True)
    )
    assert facts["images"] == len(COLOURS) and facts["top1_accuracy"] == correct / len(COLOURS)


RUN_EXPORTS = """
import sys
import numpy, onnxruntime, torch
root = sys.argv[1]
with numpy.load(f"{root}/derived/heldout.npz") as stored:
    samples = stored["input"]
session = onnxruntime.InferenceSession(f"{root}/onnx/model.onnx")
script = torch.jit.load(f"{root}/torchscript/model.torchscript.pt")
numpy.savez(f"{root}/onnx/outputs.npz", numpy.stack([
    session.run(["logits"], {"input": sample})[0] for sample in samples]))
with torch.no_grad():
    numpy.savez(f"{root}/torchscript/outputs.npz", numpy.stack([
        script(torch.from_numpy(sample)).numpy() for sample in samples]))
"""


def test_exports_of_a_derived_model_give_its_outputs_and_not_its_parents(workers: Workers):
    completed = python("models", RUN_EXPORTS, str(workers.root))
    assert completed.returncode == 0, completed.stderr[-3000:]
    for form in ("onnx", "torchscript"):
        outputs = read(workers.root / form, "outputs")
        conversion = sqnr_db(outputs, read(workers.root / "derived", "heldout_reference"))
        compression = sqnr_db(outputs, read(workers.root / "derived", "heldout_parent_reference"))
        assert conversion > 80 and compression < 20, form


def test_passes_are_applied_in_order_and_on_top_of_each_other(workers: Workers):
    """Doubled and then halved, the weights are the parent's."""
    chain = [["scale_layer", {"layer": LAYER, "factor": factor}] for factor in (2.0, 0.5)]
    parent = workers.root / "parent"
    request = {"module": "apply_passes", "parent": str(parent), "passes": chain}
    workers.run("undone", ["passes/scale_layer", "labelled"], request)
    restored = workers.root / "undone"
    reference = read(restored, "heldout_reference")
    np.testing.assert_allclose(reference, read(parent, "heldout_reference"), atol=1e-5)
    facts = json.loads((restored / "model.json").read_text())
    assert [settings["factor"] for _, settings in facts["passes"]] == [2.0, 0.5]


REFUSALS = """
import json, sys
from pathlib import Path
sys.path.append(sys.argv[1])
from apply_passes import handle
from protocol import RecipeError, Unsupported

folder, parent = Path(sys.argv[2]), sys.argv[3]
(folder / "empty").mkdir()
(folder / "out").mkdir()
layer = {"layer": sys.argv[4], "factor": 0.5}
for name, settings, where in (
    ("scale_layers", layer, parent),
    ("scale_layer", layer | {"layer": "stem"}, parent),
    ("scale_layer", layer | {"factor": 0}, parent),
    ("scale_layer", layer | {"factor": -1}, parent),
    ("other", {}, str(folder / "empty")),
    ("broken", {}, parent),
):
    try:
        handle({"passes": [[name, settings]], "parent": where, "out": str(folder / "out")})
    except (RecipeError, Unsupported) as error:
        print(type(error).__name__, error)
    else:
        raise AssertionError(name)
assert not list((folder / "out").iterdir())
"""


def test_what_a_pass_cannot_do_is_a_reason(workers: Workers, tmp_path: Path):
    broken = workers.package / "passes/broken.py"
    broken.write_text("def apply(module, context): return 1 / 0\n")
    completed = python(
        "models", REFUSALS, str(workers.package), str(tmp_path), str(workers.root / "parent"), LAYER
    )
    assert completed.returncode == 0, completed.stderr[-3000:]
    assert completed.stdout.splitlines() == [
        "RecipeError unknown pass 'scale_layers'",
        "RecipeError pass 'scale_layer': the model has no layer 'stem'",
        "Unsupported pass 'scale_layer': a layer of zeros is none",
        "RecipeError output 'logits' of the derived model is float32 [1, 12288], that of its parent"
        " float32 [1, 10]",
        "Unsupported passes change PyTorch programs, and the model is in another format",
        "RecipeError pass 'broken': ZeroDivisionError: division by zero",
    ]


@pytest.fixture(scope="module")
def file_workers(workers: Workers) -> Workers:
    """The same workers after steps with a user's files."""
    for step, file, reader in (
        ("hand", "hand.onnx", "user_onnx"), ("signed", "signed.tflite", "user_tflite"),
        ("scripted", "scripted.pt", "user_torch"),
    ):  # fmt: skip
        shape = {"hand": "images:0", "scripted": "x"}.get(step)
        inputs = [{"name": shape, "shape": [1, 3, 32, 32]}] if shape else []
        request = {
            "module": "build_file",
            "recipe": {"source": "file", "inputs": inputs},
            "files": {"file": str(DATA / file)},
        }
        workers.run(step, [reader], request)
    shutil.copyfile(
        workers.root / "scripted/model.script.pt", workers.root / "scripted/model.script"
    )
    describe = {"module": "describe_file", "file": str(DATA / "hand.onnx")}
    workers.run("described", ["user_onnx"], describe)
    workers.export("hand_pt2", "hand", "onnx", "pt2")
    workers.export("scripted_pt2", "scripted", "script", "pt2")
    workers.export("signed_onnx", "signed", "tflite", "onnx")
    return workers


#: The modules that a request chooses: a step has those that it uses and no others.
CHOSEN: dict[str, set[str]] = {
    "parent": {"build_architecture.py", "source_torchvision.py", "labelled.py"},
    "derived": {"apply_passes.py", "labelled.py", "passes/scale_layer.py"},
    "onnx": {"export_pt2_to_onnx.py"},
    "torchscript": {"export_pt2_to_torchscript.py"},
    "hand": {"build_file.py", "user_onnx.py"},
    "signed": {"build_file.py", "user_tflite.py"},
    "scripted": {"build_file.py", "user_torch.py"},
    "described": {"describe_file.py", "user_onnx.py"},
    "hand_pt2": {"export_onnx_to_pt2.py"},
    "scripted_pt2": {"export_script_to_pt2.py", "user_torch.py"},
    "signed_onnx": {"export_tflite_to_onnx.py"},
}
ALTERNATIVES = ("build_", "source_", "user_onnx", "user_tflite", "user_torch", "describe_", "export_",
                "apply_", "labelled", "passes/")  # fmt: skip


@pytest.mark.parametrize("step", CHOSEN)
def test_a_step_imports_what_its_key_covers_and_no_alternative(file_workers: Workers, step: str):
    planned = file_workers.planned[step]
    assert file_workers.imported[step] == planned
    assert {name for name in planned if name.startswith(ALTERNATIVES)} == CHOSEN[step]
