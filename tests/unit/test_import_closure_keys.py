"""A module counts into the keys and ids of what imports it, and of nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cellfarm.base.cells import Cell
from cellfarm.base.project import Project
from cellfarm.planning.plan import Plan, PlannedCell, freeze, look
from cellfarm.wanted.configuration import load

from tests.support.packages import copy_package, forget
from tests.support.projects import CONFIG, REPOSITORY, make_project, write_yaml

VISION, TIMM, FILE = "squeezenet1_1", "ghostnet", "mine"
MATRIX = CONFIG | {
    "models": [VISION, TIMM, FILE],
    "libraries": ["litert", "onnxruntime", "ncnn", "mace"],
}
#: A user's own file, with labelled pictures.
RECIPE = {
    "name": FILE,
    "source": "file",
    "file": "mine/hand.onnx",
    "task": "classification",
    "inputs": [{"name": "images:0", "shape": [1, 3, 32, 32]}],
    "labelled": {"folder": "pictures"},
}
#: library -> what its converter is given of a model that is built, and of the user's file
READS = {
    "litert": ("pt2", "pt2"),
    "onnxruntime": ("onnx", "onnx"),
    "ncnn": ("torchscript", "onnx"),
    "mace": ("torchscript", "torchscript"),
}
Step = tuple[str, str]  # kind, id without its digest


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    yield copy_package(tmp_path / "package", monkeypatch)
    forget()


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = make_project(tmp_path / "project")
    shutil.copytree(REPOSITORY / "tests/data/user_files", project.root / "mine")
    write_yaml(project.models / f"{FILE}.yaml", RECIPE)
    (project.root / "pictures/a").mkdir(parents=True)
    (project.root / "pictures/a/1.jpg").write_bytes(b"x")
    return project


@dataclass
class Planned:
    cells: dict[Cell, PlannedCell]
    steps: dict[Step, str]  # -> the digest in its id


def plan_of(project: Project) -> Planned:
    forget()
    outlook = look(project, load(project, MATRIX, "test.yaml"))
    # Steps of cells that cannot run are none of the plan's: mace has no paths to its tools.
    return Planned({one.cell: one for one in outlook.cells}, dict(_steps(freeze(outlook))))


def _steps(plan: Plan) -> Iterator[tuple[Step, str]]:
    for kind in ("model", "export", "artifact"):
        for name in plan.steps(kind):
            rest, _, digest = name.rpartition("/")
            yield (kind, rest), digest


def edit(path: Path) -> None:
    with path.open("a") as file:
        file.write("\n# another line\n")


@pytest.mark.parametrize("folder", ["runner", "models", "passes", "measures", "conversion"])
def test_a_module_that_nothing_imports_is_no_cause(project, package, folder):
    before = plan_of(project)
    for name in ("unrelated.py", "source_unrelated.py", "export_a_to_b.py"):
        (package / folder / name).write_text("VALUE = 1\n")
    after = plan_of(project)
    assert after.steps == before.steps
    assert {cell: one.key for cell, one in after.cells.items()} == {
        cell: one.key for cell, one in before.cells.items()
    }


def reads(cell: Cell) -> str:
    return READS[cell.library][cell.model == FILE]


#: (what a model is, what a library reads) -> the exporters on the way
WAYS = {
    ("pt2", "pt2"): (),
    ("onnx", "onnx"): (),
    ("pt2", "onnx"): ("pt2_to_onnx",),
    ("pt2", "torchscript"): ("pt2_to_torchscript",),
    ("onnx", "pt2"): ("onnx_to_pt2",),
    ("onnx", "torchscript"): ("onnx_to_pt2", "pt2_to_torchscript"),
}


def exports(cell: Cell) -> tuple[str, ...]:
    """The exporters on a cell's way."""
    return WAYS["onnx" if cell.model == FILE else "pt2", reads(cell)]


@dataclass(frozen=True)
class Effect:
    """What a module is a cause of, said independently of the code: of a cell, by which cause."""

    cause: str
    cells: Callable[[Cell], bool]


def all_cells(cell: Cell) -> bool:
    return True


def of_library(name: str) -> Callable[[Cell], bool]:
    return lambda cell: cell.library == name


def of_model(*names: str) -> Callable[[Cell], bool]:
    return lambda cell: cell.model in names


def through(*exporters: str) -> Callable[[Cell], bool]:
    return lambda cell: not {*exporters}.isdisjoint(exports(cell))


def no_cell(cell: Cell) -> bool:
    return False


BUILT = (VISION, TIMM)
FROM_PROGRAM = ("pt2_to_onnx", "pt2_to_torchscript")
EFFECTS: dict[str, list[Effect]] = {
    # sources, and what they share
    "models/source_torchvision.py": [Effect("model", of_model(VISION))],
    "models/source_timm.py": [Effect("model", of_model(TIMM))],
    "models/source_transformers.py": [],
    "models/source_keras.py": [],
    "models/build_architecture.py": [Effect("model", of_model(*BUILT))],
    "models/calibration.py": [Effect("model", of_model(*BUILT))],
    "models/build_file.py": [Effect("model", of_model(FILE))],
    "models/user_onnx.py": [Effect("model", of_model(FILE))],
    "models/user_tflite.py": [],
    "models/labelled.py": [Effect("model", of_model(FILE))],
    "models/describe_file.py": [],
    "models/worker.py": [
        Effect("model", all_cells),
        Effect("exporter", lambda cell: bool(exports(cell))),
    ],
    # exporters
    "models/export_pt2_to_onnx.py": [Effect("exporter", through("pt2_to_onnx"))],
    "models/export_pt2_to_torchscript.py": [Effect("exporter", through("pt2_to_torchscript"))],
    "models/export_onnx_to_pt2.py": [Effect("exporter", through("onnx_to_pt2"))],
    "models/export_tflite_to_onnx.py": [],
    "models/checked_exports.py": [Effect("exporter", through("onnx_to_pt2"))],
    "models/program_exports.py": [Effect("exporter", through(*FROM_PROGRAM))],
    # converters
    "conversion/worker.py": [Effect("converter", all_cells)],
    "conversion/cellfarm_convert.py": [Effect("converter", all_cells)],
    "libraries/ncnn/convert.py": [Effect("converter", of_library("ncnn"))],
    "libraries/ncnn/conversion/quantisation.py": [Effect("converter", of_library("ncnn"))],
    "libraries/mnn/convert.py": [],
    # what goes to a device, and the vendor's tool
    "libraries/ncnn/backend.py": [Effect("runner", of_library("ncnn"))],
    "libraries/ncnn/profiler.py": [Effect("runner", of_library("ncnn"))],
    "libraries/litert/gpu.py": [Effect("runner", of_library("litert"))],
    "libraries/mace/tool.py": [Effect("library", of_library("mace"))],
    "libraries/mace/native/tables.py": [Effect("library", of_library("mace"))],
    "libraries/qnn/tool.py": [],
    "runner/__main__.py": [Effect("runner", all_cells)],
    "runner/measuring.py": [Effect("runner", all_cells)],
    # the orchestrator's own
    "measures/__init__.py": [],
    "conversion/jobs.py": [],
    "conversion/workers.py": [],
}
#: The causes that make the steps of a cell anew, besides its key.
OF_STEPS = {"model": ("model", "export", "artifact"), "exporter": ("export", "artifact"),
            "converter": ("artifact",)}  # fmt: skip


@pytest.mark.parametrize("module", EFFECTS)
def test_a_module_changes_what_imports_it_and_nothing_else(project, package, module):
    before = plan_of(project)
    edit(package / module)
    after = plan_of(project)
    steps: set[Step] = set()
    for cell, old in before.cells.items():
        new = after.cells[cell]
        expected = {effect.cause for effect in EFFECTS[module] if effect.cells(cell)}
        found = {name for name in old.causes if old.causes[name] != new.causes[name]}
        assert found == expected, cell.label
        assert (new.key != old.key) == bool(expected)
        if old.refusal is None:
            kinds = {kind for cause in expected for kind in OF_STEPS.get(cause, ())}
            steps |= {step for step in _steps_of(cell) if step[0] in kinds}
    changed = {step for step in before.steps if after.steps[step] != before.steps[step]}
    assert changed == steps and after.steps.keys() == before.steps.keys()


def _steps_of(cell: Cell) -> Iterator[Step]:
    yield "model", cell.model
    for exporter in exports(cell):
        yield "export", f"{cell.model}/{exporter.rpartition('_')[2]}"
    yield "artifact", f"{cell.versioned_library}/{cell.model}/{cell.variant}"


def test_the_steps_are_those_that_these_tests_speak_of(project, package):
    planned = plan_of(project)
    can_run = [cell for cell, one in planned.cells.items() if one.refusal is None]
    assert {cell.library for cell in can_run} == {"litert", "onnxruntime", "ncnn"}
    assert {step for cell in can_run for step in _steps_of(cell)} == set(planned.steps)
    missing = [module for module in EFFECTS if not (package / module).is_file()]
    assert not missing


def test_a_touched_or_moved_package_is_the_same_code(project, package, tmp_path, monkeypatch):
    before = plan_of(project)
    (package / "models/worker.py").touch()
    assert plan_of(project) == before
    monkeypatch.undo()
    copy_package(tmp_path / "elsewhere", monkeypatch)
    assert plan_of(project) == before


def test_what_imports_a_new_module_depends_on_it_from_then_on(project, package):
    (package / "libraries/ncnn/conversion/more.py").write_text("VALUE = 1\n")
    with (package / "libraries/ncnn/convert.py").open("a") as file:
        file.write("\n\ndef late():\n    from conversion.more import VALUE\n    return VALUE\n")
    before = plan_of(project)
    edit(package / "libraries/ncnn/conversion/more.py")
    after = plan_of(project)
    moved = {cell for cell, one in before.cells.items() if one.key != after.cells[cell].key}
    assert moved == {cell for cell in before.cells if cell.library == "ncnn"}
