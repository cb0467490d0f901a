"""A model of Keras' goes to its own framework's library as it is, and to the others as the program."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cellfarm.base.project import Project
from cellfarm.libraries import all_libraries
from cellfarm.planning.causes import library_causes
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


def pipeline_of(library: str) -> Pipeline:
    return Pipeline(CONFIG | {"models": ["mine"], "libraries": [library]})


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
    pipeline = pipeline_of(library)
    (planned,) = pipeline.plan.cells
    assert planned.source == source
    inputs = pipeline.artifact_inputs(planned.cell.versioned_library, planned.artifact_id)
    assert Path(inputs[0]).parent.name.startswith(environment)
    assert inputs[1].startswith("results/models/mine/")
    assert [one.split("/")[1:4] for one in inputs[2:]] == [["exports", "mine", source]] * exported
    assert bool(planned.causes["exporter"]) == exported
    if exported:  # from the program among the model's own files, by no further step
        assert pipeline.export_inputs("mine", source) == [
            pipeline.models_environment(), inputs[1],
        ]  # fmt: skip


def test_another_model_s_artifacts_are_made_where_they_were(project):
    write_yaml(project.models / "mine.yaml", RECIPE | {"source": "timm"})
    pipeline = pipeline_of("litert")
    (planned,) = pipeline.plan.cells
    inputs = pipeline.artifact_inputs(planned.cell.versioned_library, planned.artifact_id)
    assert planned.source == "pt2" and Path(inputs[0]).parent.name.startswith("litert@")


def test_versions_that_one_converter_serves_have_environments_of_their_own(project):
    write_yaml(project.models / "mine.yaml", RECIPE | {"source": "timm"})
    references = ["tflite@2.1.6", "tflite@2.3.0"]
    pipeline = Pipeline(CONFIG | {"models": ["mine"], "libraries": references})
    assert len({planned.artifact_id for planned in pipeline.plan.cells}) == 1
    for planned in pipeline.plan.cells:
        library = planned.cell.versioned_library
        environment = pipeline.artifact_inputs(library, planned.artifact_id)[0]
        assert Path(environment).parent.name.startswith(f"{library}.convert-")
        assert (
            pipeline.artifact_sources(library, planned.artifact_id).split()[0] == planned.model_id
        )


def test_tensorflow_s_lock_counts_where_its_converter_may_be_asked(project):
    def converters() -> dict[str, str]:
        return {
            name: library_causes(project, name, all_libraries()[name].default_version).converter
            for name in ("litert", "executorch")
        }

    before = converters()
    with (project.locks / f"{TENSORFLOW}.txt").open("a") as lock:
        lock.write("# another\n")
    after = converters()
    assert before["litert"] != after["litert"] and before["executorch"] == after["executorch"]


def test_the_same_program_has_the_same_causes_for_the_others(project):
    """What Keras adds is no cause of an artifact that is made of the program."""
    (planned,) = (pipeline := pipeline_of("executorch")).plan.cells
    write_yaml(project.models / "mine.yaml", RECIPE | {"source": "timm"})
    (other,) = pipeline_of("executorch").plan.cells
    assert planned.causes["converter"] == other.causes["converter"]
    assert pipeline.plan.models["mine"].native == "keras"
