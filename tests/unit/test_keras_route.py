"""A model of Keras' goes to its own framework's library as it is, and to the others as the program."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cellfarm.base.project import Project
from cellfarm.conversion.steps import ArtifactStep
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
    plan = Pipeline(CONFIG | {"models": ["mine"], "libraries": list(libraries)}).plan
    assert plan
    return plan


def artifact_of(plan: Plan) -> ArtifactStep:
    (artifact,) = plan.artifact.values()
    return artifact


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
    plan = plan_of(library)
    (planned,) = plan.cells
    artifact = artifact_of(plan)
    assert artifact.source_format == source and artifact.environment.startswith(environment)
    inputs = artifact.inputs
    assert Path(inputs[0]).parent.name.startswith(environment)
    assert inputs[1].startswith("results/models/mine/")
    assert [one.split("/")[1:4] for one in inputs[2:]] == [["exports", "mine", source]] * exported
    assert bool(planned.causes["latency"]["exporter"]) == exported
    if exported:  # from the program among the model's own files, by no further step
        (export,) = plan.export.values()
        models = plan.environment[next(name for name in plan.environment if is_models(name))]
        assert export.inputs == (models.output, inputs[1])
    else:
        assert not plan.export


def is_models(environment: str) -> bool:
    return environment.startswith("models-")


def test_another_model_s_artifacts_are_made_where_they_were(project):
    write_yaml(project.models / "mine.yaml", RECIPE | {"source": "timm"})
    artifact = artifact_of(plan_of("litert"))
    assert artifact.source_format == "pt2"
    assert Path(artifact.inputs[0]).parent.name.startswith("litert@")


def test_versions_that_one_converter_serves_have_environments_of_their_own(project):
    write_yaml(project.models / "mine.yaml", RECIPE | {"source": "timm"})
    references = ["tflite@2.1.6", "tflite@2.3.0"]
    plan = plan_of(*references)
    assert len({planned.artifact.rpartition("/")[2] for planned in plan.cells}) == 1
    for planned in plan.cells:
        library = planned.cell.versioned_library
        step = plan.artifact[planned.artifact.removeprefix("results/artifacts/")]
        assert step.environment == f"{library}.convert"
        assert Path(step.inputs[0]).parent.name.startswith(f"{library}.convert-")
        assert step.program == planned.model


def test_tensorflow_s_lock_counts_where_its_converter_may_be_asked(project):
    def converters() -> dict[str, str]:
        plan = plan_of("litert", "executorch")
        return {step.library: step.converter for step in plan.artifact.values()}

    before = converters()
    with (project.locks / f"{TENSORFLOW}.txt").open("a") as lock:
        lock.write("# another\n")
    after = converters()
    assert before["litert"] != after["litert"] and before["executorch"] == after["executorch"]


def test_the_same_program_has_the_same_causes_for_the_others(project):
    """What Keras adds is no cause of an artifact that is made of the program."""
    (planned,) = (plan := plan_of("executorch")).cells
    write_yaml(project.models / "mine.yaml", RECIPE | {"source": "timm"})
    (other,) = plan_of("executorch").cells
    assert planned.causes["latency"]["converter"] == other.causes["latency"]["converter"]
    assert artifact_of(plan).native == "keras"
