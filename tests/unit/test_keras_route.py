"""A Keras model goes to its own framework's library unchanged, and to other libraries as a program."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cellfarm.base.project import Project
from cellfarm.conversion.steps import ArtifactStep, ModelStep
from cellfarm.planning.plan import Plan
from cellfarm.snakemake.pipeline import Pipeline

from tests.support.projects import CONFIG, make_project, write_yaml

RECIPE: dict[str, Any] = {
    "name": "mine",
    "task": "classification",
    "source": "keras",
    "architecture": "MobileNet",
    "weights": {"kind": "random", "seed": 0},
    "inputs": [{"name": "x", "shape": [1, 3, 32, 32], "dtype": "float32", "content": "image"}],
    "outputs": ["logits"],
}
TENSORFLOW = "models.tflite"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    project = make_project(tmp_path)
    write_yaml(project.models / "mine.yaml", RECIPE)
    monkeypatch.setattr("cellfarm.base.project.Project.here", lambda: project)
    return project


def plan_of(*libraries: str) -> Plan:
    plan = Pipeline(CONFIG | {"models": ["mine"], "libraries": [*libraries]}).plan
    assert plan
    return plan


def steps_of(library: str) -> tuple[Plan, ModelStep, ArtifactStep]:
    plan = plan_of(library)
    (model,), (artifact,) = plan.model.values(), plan.artifact.values()
    return plan, model, artifact


@pytest.mark.parametrize(
    ("library", "source", "exported", "environment"),
    [
        ("litert", "keras", False, TENSORFLOW),
        ("executorch", "pt2", False, "executorch@"),
        ("onnxruntime", "onnx", True, "onnxruntime@"),
        ("ncnn", "torchscript", True, "ncnn@"),
    ],
)
def test_each_library_gets_what_it_reads(project, library, source, exported, environment):
    plan, model, artifact = steps_of(library)
    assert artifact.source_format == source
    assert Path(artifact.inputs[0]).parent.name.startswith(environment)
    assert artifact.inputs[1] == model.output and model.output.startswith("results/models/mine/")
    exports = [path.split("/")[1:4] for path in artifact.inputs[2:]]
    assert exports == [["exports", "mine", source]] * exported
    assert bool(artifact.exporter) == exported
    (planned,) = plan.cells
    assert {causes["exporter"] for causes in planned.causes.values()} == {artifact.exporter}
    if exported:  # made from the program among the model's files, without another step
        (export,) = plan.export.values()
        assert export.inputs == (model.inputs[0], model.output)
        assert "/models-" in model.inputs[0]


def test_another_model_s_artifacts_are_made_where_they_were(project):
    write_yaml(project.models / "mine.yaml", RECIPE | {"source": "timm"})
    _, _, artifact = steps_of("litert")
    assert artifact.source_format == "pt2"
    assert Path(artifact.inputs[0]).parent.name.startswith("litert@")


def test_versions_that_one_converter_serves_have_environments_of_their_own(project):
    write_yaml(project.models / "mine.yaml", RECIPE | {"source": "timm"})
    references = ["tflite@2.1.6", "tflite@2.3.0"]
    plan = plan_of(*references)
    (model,) = plan.model.values()
    assert len({step.id.rpartition("/")[2] for step in plan.artifact.values()}) == 1
    assert len(plan.cells) == len(plan.artifact) == 2
    for planned in plan.cells:
        library = planned.cell.versioned_library
        (step,) = (step for step in plan.artifact.values() if step.folder == planned.artifact)
        assert f"{step.library}@{step.version}" == library
        assert Path(step.inputs[0]).parent.name.startswith(f"{library}.convert-")
        assert step.source == planned.model == model.folder


def test_tensorflow_s_lock_counts_where_its_converter_may_be_asked(project):
    def converters() -> dict[str, str]:
        return {
            step.library: step.converter
            for step in plan_of("litert", "executorch").artifact.values()
        }

    before = converters()
    with (project.locks / f"{TENSORFLOW}.txt").open("a") as lock:
        lock.write("# another\n")
    after = converters()
    assert before["litert"] != after["litert"] and before["executorch"] == after["executorch"]


def test_the_same_program_has_the_same_causes_for_the_others(project):
    """Keras' own files are no cause of an artifact that is made from the program."""
    _, _, artifact = steps_of("executorch")
    write_yaml(project.models / "mine.yaml", RECIPE | {"source": "timm"})
    _, _, other = steps_of("executorch")
    assert artifact.converter == other.converter
    assert (artifact.native, other.native) == ("keras", "pt2")
