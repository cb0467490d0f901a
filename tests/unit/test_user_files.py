"""A user's own file in the plan is identified by its content, wherever it is."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from cellfarm.base.errors import TransientHostError, UserError
from cellfarm.base.project import Project
from cellfarm.base.records import RECORD
from cellfarm.conversion.routes import route
from cellfarm.envs.environments import Environment, locate
from cellfarm.libraries import all_libraries
from cellfarm.planning.freezing import freeze
from cellfarm.planning.outlook import Outlook, look
from cellfarm.planning.plan import Plan
from cellfarm.planning.plan import load as load_plan
from cellfarm.snakemake.pipeline import Pipeline
from cellfarm.wanted import contents
from cellfarm.wanted.configuration import load as load_configuration
from msgspec import structs

from tests.support.programs import program_of
from tests.support.projects import CONFIG, REPOSITORY, make_project, write_yaml
from tests.support.results import commit_planned
from tests.support.steps import build_model, convert

DATA = REPOSITORY / "tests/data/user_files"
SHA256 = "a" * 64
RECIPE: dict[str, Any] = {
    "name": "mine",
    "source": "file",
    "file": "mine/hand.onnx",
    "inputs": [{"name": "images:0", "shape": [1, 3, 32, 32]}],
    "outputs": ["probabilities"],
}
PRETRAINED = {
    "kind": "pretrained",
    "url": "https://example.org/w",
    "sha256": SHA256,
    "format": "pth",
}


TRAINED: dict[str, Any] = {
    "name": "mine",
    "task": "classification",
    "source": "torchvision",
    "architecture": "squeezenet1_1",
    "weights": PRETRAINED,
    "inputs": [{"name": "x", "shape": [1, 3, 64, 64], "dtype": "float32", "content": "image"}],
    "outputs": ["logits"],
}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = make_project(tmp_path)
    shutil.copytree(DATA, tmp_path / "mine")
    for path in (tmp_path / "mine").iterdir():
        os.utime(path, (1e9, 1e9))
    write_yaml(project.models / "mine.yaml", RECIPE)
    return project


@pytest.fixture
def no_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Environment:
    """An environment that is not built."""
    monkeypatch.setenv("CELLFARM_ENVIRONMENTS", str(tmp_path / "none"))
    return locate(Project(REPOSITORY), "models")


def identify(project: Project, **changes: Any) -> str:
    return program_of(project, RECIPE | changes).digest


def outlook_of(project: Project, recipe: dict[str, Any], libraries: list[str]) -> Outlook:
    write_yaml(project.models / "mine.yaml", recipe)
    config = CONFIG | {"models": ["mine"], "libraries": libraries}
    return look(project, load_configuration(project, config, "test.yaml"))


def plan_of(project: Project, recipe: dict[str, Any], libraries: list[str]) -> Plan:
    return freeze(outlook_of(project, recipe, libraries))


def test_a_moved_or_touched_file_is_the_same_model(project):
    before = identify(project)
    (project.root / "mine/hand.onnx").rename(project.root / "other.onnx")
    os.utime(project.root / "other.onnx")
    assert identify(project, file="other.onnx", title="Another") == before


def test_another_content_is_another_model(project):
    before = identify(project)
    with (project.root / "mine/hand.onnx").open("ab") as file:
        file.write(b"\0")
    assert identify(project) != before
    assert identify(project, inputs=[{"name": "images:0"}]) != identify(project)


def test_a_missing_file_is_the_users_mistake(project):
    with pytest.raises(
        UserError, match=r"models/mine\.yaml: key 'file': there is no file gone\.onnx"
    ):
        identify(project, file="gone.onnx")
    weights = {"kind": "pretrained", "path": "gone.pth", "format": "pth"}
    with pytest.raises(UserError, match=r"key 'weights\.path': there is no file gone\.pth"):
        program_of(project, TRAINED | {"weights": weights})


def test_a_file_is_read_once_for_each_content(project, monkeypatch):
    paths_read: list[Path] = []
    digest = contents.file_digest
    monkeypatch.setattr(
        contents, "file_digest", lambda path: (paths_read.append(path), digest(path))[1]
    )
    path = project.root / "mine/hand.onnx"
    first_digest = contents.sha256(project, path)
    assert contents.sha256(project, path) == first_digest == digest(path) and len(paths_read) == 1
    path.write_bytes(b"new")
    os.utime(path, (1e9 + 1, 1e9 + 1))
    assert contents.sha256(project, path) != first_digest and len(paths_read) == 2


def test_a_file_that_was_only_just_written_is_not_believed_twice(project):
    path = project.root / "mine/hand.onnx"
    path.write_bytes(b"one")
    first_digest = contents.sha256(project, path)
    status = path.stat()
    path.write_bytes(b"two")  # as long, and within one tick of a coarse clock
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert contents.sha256(project, path) != first_digest


@pytest.mark.parametrize(
    ("file", "library", "exports"),
    [
        ("hand.onnx", "onnxruntime", ()),
        ("hand.onnx", "ncnn", ()),
        ("hand.onnx", "executorch", ("pt2",)),
        ("signed.tflite", "litert", ()),
        ("signed.tflite", "mnn", ("onnx",)),
        ("scripted.pt", "ncnn", ("pt2", "torchscript")),
        ("scripted.pt", "litert", ("pt2",)),
    ],
)
def test_a_file_takes_the_shortest_way_to_a_library(project, file, library, exports):
    plan = plan_of(project, RECIPE | {"file": f"mine/{file}"}, [library])
    (artifact,) = plan.artifact.values()
    assert artifact.source_format
    assert (route(artifact.native, artifact.source_format) or ())[1:] == exports
    assert {step.format for step in plan.export.values()} == set(exports)
    (model,) = plan.model.values()
    assert (artifact.source == model.folder) == (not exports)


def test_the_workflow_is_told_of_every_step(project, monkeypatch):
    write_yaml(project.models / "mine.yaml", RECIPE | {"file": "mine/signed.tflite"})
    monkeypatch.chdir(project.root)
    monkeypatch.setattr("cellfarm.base.project.Project.here", lambda: project)
    pipeline = Pipeline(CONFIG | {"models": ["mine"], "libraries": ["executorch"]})
    plan = pipeline.plan
    assert plan
    (artifact,), (model,) = plan.artifact, plan.model
    inputs = pipeline.inputs("artifact", artifact)
    assert inputs[-1].startswith("results/exports/mine/pt2/")
    exports = {step.format: pipeline.inputs("export", name) for name, step in plan.export.items()}
    assert exports["pt2"][-1].startswith("results/exports/mine/onnx/")
    assert "models.tflite-" in exports["onnx"][0]
    assert exports["onnx"][-1].startswith("results/models/mine/")
    (environment,) = (step for step in plan.environment.values() if step.name == "models")
    assert pipeline.inputs("model", model) == [environment.output]


def test_pretrained_weights_are_fetched_before_the_model_is_built(project, monkeypatch):
    write_yaml(project.models / "mine.yaml", TRAINED)
    monkeypatch.setattr("cellfarm.base.project.Project.here", lambda: project)
    pipeline = Pipeline(CONFIG | {"models": ["mine"]})
    assert pipeline.plan
    (model,) = pipeline.plan.model
    record_path = pipeline.inputs("model", model)[-1]
    name = record_path.split("/")[2]
    assert record_path == f"results/downloads/{name}/record.json" and name.startswith(SHA256)
    assert pipeline.plan.download[name].model == "mine"
    assert record_path in load_plan(project, pipeline.plan.id).preparation


def test_a_recipe_without_a_task_is_compared_as_numbers(project):
    plan = plan_of(project, RECIPE, ["onnxruntime"])
    assert plan.models["mine"].task is None  # classes are compared only of a classification


def test_a_failed_download_is_the_models_reason(no_environment, tmp_path):
    download = tmp_path / "download"
    download.mkdir()
    (download / RECORD).write_text('{"status": "failed", "reason": "HTTP status 404"}')
    record = build_model(RECIPE, tmp_path / "model", {}, download)
    assert (record.status, record.reason) == ("failed", "weights: HTTP status 404")


def test_weights_that_were_deleted_are_fetched_again(no_environment, tmp_path):
    download = tmp_path / "download"
    download.mkdir()
    (download / RECORD).write_text('{"status": "ok", "reason": null}')
    with pytest.raises(TransientHostError, match="is gone"):
        build_model(RECIPE, tmp_path / "m", {"weights": tmp_path / "gone"}, download)
    assert not (download / RECORD).exists()


def test_a_library_that_no_route_leads_to_is_unsupported(no_environment, tmp_path, monkeypatch):
    library, folder = all_libraries()["litert"], tmp_path / "artifact"
    reads_tflite = structs.replace(library, sources=("tflite",))
    monkeypatch.setitem(all_libraries(), "litert", reads_tflite)
    record = convert(library, "fp32", tmp_path, tmp_path, None, folder, native="onnx")
    assert record.status == "unsupported"
    assert record.reason == "LiteRT reads TFLite; from ONNX there is no faithful route to that"


def test_a_recipe_may_leave_everything_to_the_file(project):
    recipe = {"name": "mine", "source": "file", "file": "mine/signed.tflite"}
    plan = plan_of(project, recipe, ["litert"])
    assert [step.source_format for step in plan.artifact.values()] == ["tflite"]


def test_a_retry_forgets_every_failed_step(project):
    from cellfarm.planning.retrying import set_aside

    recipe = RECIPE | {"file": "mine/signed.tflite"}
    plan = plan_of(project, recipe, ["executorch"])
    (planned,) = plan.cells
    folders = [project.root / step.folder for step in plan.export.values()]
    assert len(folders) == 2
    for folder in folders:
        folder.mkdir(parents=True)
        (folder / RECORD).write_text('{"status": "failed", "reason": "no"}')
    commit_planned(project, planned, "failed", "no")
    config = CONFIG | {"models": ["mine"], "libraries": ["executorch"]}
    path = write_yaml(project.config / "mine.yaml", config)
    assert set_aside(project, path, ["failed"], None, None, None) == 1
    assert not any(folder.exists() for folder in folders)
