"""Keys depend on the modules that a step really imports, and on no others.

A separate process works on a copy of the package. It adds and changes modules one after the other; after
each change it computes the ids of all steps and the keys of all results again.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cellfarm.base.project import PACKAGE

from tests.support.projects import CONFIG, make_project

#: Two sources and three libraries; two libraries read exports, one reads the model's own program.
WANTED = CONFIG | {
    "models": ["squeezenet1_1", "fastvit_t8"],
    "libraries": ["onnxruntime", "ncnn", "executorch"],
}
PROGRAM = """
import json, pathlib, sys
package, project, config = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), json.loads(sys.argv[3])
from cellfarm.base import code, digests
from cellfarm.base.project import PACKAGE, Project
from cellfarm.planning.outlook import look
from cellfarm.wanted.configuration import load
assert PACKAGE == package / "cellfarm", PACKAGE

def snapshot():
    caches = (code._closure_digest, code.sha256_of, code._imported, code._resolve, code._names)
    for cached in (*caches, digests.code_digest):
        cached.cache_clear()
    outlook = look(Project(project), load(Project(project), config, "test"))
    ids = {}
    for planned in outlook.cells:
        cell = planned.cell
        for step in outlook.chains.steps_of(planned.artifact, ()):
            kind = type(step).__name__.removesuffix("Step").lower()
            if kind != "environment":
                name = getattr(step, "library", None) or getattr(step, "format", "")
                ids[f"{kind} {cell.model} {name}".strip()] = step.id
        for measure, key in planned.measures.items():
            ids[f"result {cell.model} {cell.library} {measure}"] = key
    return ids

before = snapshot()
answers = {"before": sorted(before)}
for name in json.loads(sys.argv[4]):
    path = package / "cellfarm" / name
    old = path.read_bytes() if path.is_file() else None
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes((old or b"") + b"\\nCHANGED = True\\n")
    now = snapshot()
    answers[name] = sorted(entry for entry in before if now.get(entry) != before[entry])
    assert now.keys() == before.keys()
    path.unlink() if old is None else path.write_bytes(old)
print(json.dumps(answers))
"""
UNRELATED = [
    "runner/unrelated.py", "models/unrelated.py", "models/source_unrelated.py",
    "passes/unrelated.py", "measures/unrelated.py", "measures/unrelated/device.py",
    "measures/latency/unrelated.py", "libraries/ncnn/unrelated.py",
    "libraries/ncnn/conversion/unrelated.py", "conversion/unrelated.py",
]  # fmt: skip

Rule = Callable[[list[str]], bool]


def of_model(model: str) -> Rule:
    return lambda words: words[1] == model


def results(library: str | None = None, measures: tuple[str, ...] = ()) -> Rule:
    return lambda words: (
        words[0] == "result"
        and (library is None or words[2] == library)
        and (not measures or words[3] in measures)
    )


def exported(form: str, library: str) -> Rule:
    """An export, and the artifacts and results of that export."""
    return lambda words: words[0] != "model" and words[2] in (form, library)


def converted(*libraries: str) -> Rule:
    return lambda words: words[0] in ("artifact", "result") and words[2] in libraries


STARTING = ("latency", "cold_start", "quality")
#: The ids and keys that depend on each module.
IMPORTED: dict[str, Rule] = {
    "models/source_torchvision.py": of_model("squeezenet1_1"),
    "models/source_timm.py": of_model("fastvit_t8"),
    "models/build_architecture.py": lambda words: True,
    "models/weights.py": lambda words: True,
    "models/export_pt2_to_onnx.py": exported("onnx", "onnxruntime"),
    "models/export_pt2_to_torchscript.py": exported("torchscript", "ncnn"),
    "models/labelled.py": lambda words: False,
    "models/export_tflite_to_onnx.py": lambda words: False,
    "models/build_file.py": lambda words: False,
    "conversion/worker.py": converted("onnxruntime", "ncnn", "executorch"),
    "libraries/ncnn/convert.py": converted("ncnn"),
    "libraries/ncnn/conversion/int8.py": converted("ncnn"),
    "libraries/ncnn/backend.py": results("ncnn"),
    "libraries/ncnn/profiler.py": results("ncnn", ("operators",)),
    "libraries/ncnn/operators.yaml": results("ncnn", ("operators",)),
    "libraries/litert/backend.py": lambda words: False,
    "runner/__main__.py": results(),
    "runner/phases.py": results(),
    "runner/series.py": results(measures=("latency",)),
    "runner/pictures.py": lambda words: False,
    "runner/gate.py": results(measures=("latency", "cold_start", "operators")),
    "measures/latency/device.py": results(measures=("latency",)),
    "measures/quality/device.py": results(measures=("quality",)),
    "measures/operators/device.py": results(measures=("operators",)),
    "measures/cold_start/device.py": results(measures=("cold_start",)),
    "measures/spaced/device.py": lambda words: False,
    # The host's processing of launches is no cause: every raw sample is stored.
    "measures/latency/host.py": lambda words: False,
    "experiments/experiment.py": lambda words: False,
}


@pytest.fixture(scope="module")
def changed_by_module(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The ids and keys that change with a module, by the module's name."""
    folder = tmp_path_factory.mktemp("closures")
    workflow = folder / "checkout" / "workflow"
    shutil.copytree(PACKAGE, workflow / "cellfarm", ignore=shutil.ignore_patterns("__pycache__"))
    make_project(folder / "project")
    names = [*UNRELATED, *IMPORTED]
    argv = [sys.executable, "-c", PROGRAM, str(workflow), str(folder / "project"),
            json.dumps(WANTED), json.dumps(names)]  # fmt: skip
    completed = subprocess.run(
        argv, env={"PYTHONPATH": str(workflow)}, capture_output=True, text=True, timeout=300
    )
    assert completed.returncode == 0, completed.stderr
    return json.loads(completed.stdout)


@pytest.mark.parametrize("name", UNRELATED)
def test_a_module_that_nothing_imports_changes_no_key(
    changed_by_module: dict[str, list[str]], name: str
):
    assert changed_by_module[name] == []


@pytest.mark.parametrize("name", IMPORTED)
def test_a_module_changes_exactly_what_imports_it(
    changed_by_module: dict[str, list[str]], name: str
):
    assert Path(PACKAGE / name).is_file()
    expected = [entry for entry in changed_by_module["before"] if IMPORTED[name](entry.split())]
    assert changed_by_module[name] == expected
