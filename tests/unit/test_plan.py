"""The plan: what is stale, why, and what it tells the jobs of a run."""

from __future__ import annotations

import os
import time
from typing import Any

import pytest
import yaml
from cellfarm.base.errors import TransientDeviceError, UserError
from cellfarm.base.project import Project
from cellfarm.cli import jobs
from cellfarm.measures import all_measures
from cellfarm.planning import device_facts as facts_module
from cellfarm.planning import outlook as outlook_module
from cellfarm.planning.freezing import freeze
from cellfarm.planning.outlook import NEW, Outlook, look
from cellfarm.planning.plan import load, save
from cellfarm.store.results import Store
from cellfarm.wanted.configuration import load as load_configuration
from cellfarm.wanted.devices import AnyDevice
from msgspec import structs

from tests.support.projects import CONFIG, make_project
from tests.support.results import commit_result

MATRIX = CONFIG | {"models": ["squeezenet1_1", "mobilenet_v2"], "threads": [1, 2]}


@pytest.fixture
def project(tmp_path) -> Project:
    return make_project(tmp_path)


def plan_of(project: Project, **changes: Any) -> Outlook:
    return look(project, load_configuration(project, MATRIX | changes, "test.yaml"))


def edit_protocol(project: Project, seed: int) -> None:
    path = project.config / "protocols/quick.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"seed": seed}))


def reasons(plan: Outlook) -> dict[str, str]:
    return {
        f"{planned.cell.model} {planned.cell.library} t{planned.cell.threads}": planned.reason
        for planned in plan.cells
    }


def test_without_results_everything_is_new(project):
    plan = plan_of(project)
    assert len(plan.cells) == len(plan.stale) == 2 * 2 * 2
    assert set(reasons(plan).values()) == {NEW}


def test_a_measure_is_asked_of_models_of_its_tasks_alone(project, monkeypatch):
    def measured(*tasks: str) -> set[str]:
        quality = structs.replace(all_measures()["quality"], tasks=tasks)
        measures = {**all_measures(), "quality": quality}
        monkeypatch.setattr(outlook_module, "all_measures", lambda: measures)
        return set(plan_of(project).cells[0].measures)

    assert "quality" in measured() and "quality" in measured("classification", "detection")
    assert measured("detection") == measured() - {"quality"}


def test_an_experiment_is_one_model_on_one_device(project):
    plan = plan_of(project)
    assert set(plan.experiments) == {("host", "squeezenet1_1"), ("host", "mobilenet_v2")}
    assert {len(cells) for cells in plan.experiments.values()} == {4}


def test_a_cell_with_a_result_is_not_measured_again(project):
    for planned in plan_of(project).experiments["host", "mobilenet_v2"]:
        commit_result(project, planned)
    plan = plan_of(project)
    assert set(plan.experiments) == {("host", "squeezenet1_1")}
    assert len(plan.stale) == 4 and len(plan.cells) == 8


def test_the_same_files_give_the_same_plan(project, tmp_path):
    copy = make_project(tmp_path / "elsewhere")
    plan, plan_of_copy = plan_of(project), plan_of(copy)
    assert plan.cells == plan_of_copy.cells and plan.current == plan_of_copy.current


def test_the_order_of_the_config_does_not_matter(project):
    backwards = {name: list(reversed(MATRIX[name])) for name in ("models", "libraries", "threads")}
    assert plan_of(project, **backwards).current == plan_of(project).current


def test_a_change_is_named(project):
    for planned in plan_of(project).cells:
        commit_result(project, planned)
    assert plan_of(project).stale == []
    edit_protocol(project, seed=7)
    assert set(reasons(plan_of(project)).values()) == {"the protocol changed"}
    path = project.models / "mobilenet_v2.yaml"
    path.write_text(path.read_text().replace("seed: 0", "seed: 1"))
    reason_of = reasons(plan_of(project))
    assert reason_of["mobilenet_v2 ncnn t1"] == "the model changed; the protocol changed"
    assert reason_of["squeezenet1_1 ncnn t1"] == "the protocol changed"


def test_a_title_is_for_people(project):
    for planned in plan_of(project).cells:
        commit_result(project, planned)
    path = project.models / "mobilenet_v2.yaml"
    path.write_text("\n".join(
        "title: Another" if line.startswith("title:") else line for line in path.read_text().split("\n")
    ))  # fmt: skip
    assert plan_of(project).stale == []


def test_tolerances_touch_the_cells_of_their_variant(project):
    for planned in plan_of(project).cells:
        commit_result(project, planned)
    tolerance = {"min_cosine": 0.5, "max_relative_error": 0.5}
    assert plan_of(project, tolerances={"int8": tolerance}).stale == []
    assert set(reasons(plan_of(project, tolerances={"fp32": tolerance})).values()) == {
        "the tolerances changed"
    }


def test_the_newest_result_explains_a_change(project):
    edit_protocol(project, seed=1)
    older = commit_result(project, plan_of(project).cells[0])
    for path in older.parent.iterdir():
        os.utime(path, (time.time() - 100,) * 2)
    path = project.models / f"{plan_of(project).cells[0].cell.model}.yaml"
    path.write_text(path.read_text().replace("seed: 0", "seed: 1"))
    newer = commit_result(project, plan_of(project).cells[0])
    edit_protocol(project, seed=2)
    assert plan_of(project).cells[0].reason == "the protocol changed"
    for path in newer.parent.iterdir():
        if path.stat().st_mtime > time.time() - 50:
            path.write_text("torn")  # an older result is compared instead
    assert plan_of(project).cells[0].reason == "the model changed; the protocol changed"
    for path in older.parent.iterdir():
        if path.stat().st_mtime < time.time() - 50:
            path.unlink()
    assert plan_of(project).cells[0].reason == NEW  # no result can be read


def test_a_result_that_was_set_aside_is_measured_again(project):
    planned = plan_of(project).cells[0]
    Store(project.cells).set_aside(commit_result(project, planned))
    assert plan_of(project).cells[0].reason == "latency: a retry was asked for"


def test_another_version_of_a_library_says_so(project):
    planned = plan_of(project).cells[0]
    cell = structs.replace(planned.cell, library_version="0.1")
    commit_result(project, structs.replace(planned, cell=cell))
    assert plan_of(project).cells[0].reason == "new version of the library"


def test_a_library_that_reads_the_models_own_files_needs_no_export(project):
    outlook = plan_of(project, libraries=["litert", "onnxruntime"])
    plan = freeze(outlook)
    sources = {step.library: step.source for step in plan.artifact.values()}
    assert sources["litert"].startswith("results/models/")
    assert sources["onnxruntime"].startswith("results/exports/")


def test_a_frozen_plan_comes_back_and_is_named_by_its_content(project):
    outlook = plan_of(project)
    commit_result(project, outlook.cells[0])
    outlook = plan_of(project)
    frozen = freeze(outlook)
    path = save(project, frozen)
    assert load(project, frozen.id) == frozen
    assert list(frozen.cells) == outlook.stale
    assert save(project, freeze(plan_of(project))) == path
    commit_result(project, outlook.stale[0])
    assert freeze(plan_of(project)).id != frozen.id


def test_a_plan_has_the_steps_of_its_cells_and_no_others(project):
    outlook = plan_of(project)
    for planned in outlook.experiments["host", "mobilenet_v2"]:
        commit_result(project, planned)
    plan = freeze(plan_of(project))
    assert {step.recipe.name for step in plan.model.values()} == {"squeezenet1_1"}
    outputs = {step.output for kind in ("environment", "model", "export", "artifact")
               for step in plan.steps(kind).values()}  # fmt: skip
    assert outputs == set(plan.preparation)
    for kind in ("model", "export", "artifact", "experiment"):
        for step in plan.steps(kind).values():
            assert set(step.inputs) <= outputs, step


def test_another_attempt_is_another_plan(project):
    outlook = plan_of(project)
    assert freeze(outlook, 1).id != freeze(outlook).id


def test_one_measure_more_leaves_the_results_of_the_others(project):
    for planned in plan_of(project).cells:
        commit_result(project, planned)
    path = project.config / "protocols/quick.yaml"
    protocol = yaml.safe_load(path.read_text())
    protocol["measures"]["operators"]["runs"] += 1
    path.write_text(yaml.safe_dump(protocol))
    assert set(reasons(plan_of(project)).values()) == {
        "operators: the measure (its code or its settings) changed"
    }


@pytest.mark.parametrize("text", [None, "", "{torn", "[1"])
def test_a_plan_that_is_not_there_is_the_users_mistake(project, text):
    if text is not None:
        project.plans.mkdir(parents=True)
        (project.plans / "p.json").write_text(text)
    with pytest.raises(UserError, match=r"results/plans/p\.json: not a plan"):
        load(project, "p")


def test_all_cores_are_those_of_the_device(project, monkeypatch):
    monkeypatch.setattr(facts_module, "_ask", lambda *_: {"cores": 6})
    assert {planned.cell.threads for planned in plan_of(project, threads=["all"]).cells} == {6}


def test_another_device_fingerprint_makes_its_cells_stale(project, monkeypatch):
    monkeypatch.setattr(facts_module, "_ask", lambda *_: {"cores": 2, "os": "1", "load_1min": 0})
    for planned in plan_of(project).cells:
        commit_result(project, planned)
    monkeypatch.setattr(facts_module, "_ask", lambda *_: {"cores": 2, "os": "1", "load_1min": 9})
    assert plan_of(project).stale == []
    monkeypatch.setattr(facts_module, "_ask", lambda *_: {"cores": 2, "os": "2"})
    assert set(reasons(plan_of(project)).values()) == {
        "the device (its description or its fingerprint) changed"
    }


def test_a_device_of_which_nothing_is_known_is_left_out_and_the_others_planned(project):
    host = yaml.safe_load((project.devices / "host.yaml").read_text())
    shelved = host | {
        "name": "shelved",
        "out_of_service": "no cable",
        "work_folder": "results/work/shelved",
    }
    (project.devices / "shelved.yaml").write_text(yaml.safe_dump(shelved))
    plan = plan_of(project, devices=["host", "shelved"])
    assert {planned.cell.device for planned in plan.cells} == {"host"}
    assert {name: str(error) for name, error in plan.skipped.items()} == {
        "shelved": "out of service: no cable"
    }
    assert plan.left_undone == {}  # it is skipped on purpose
    with pytest.raises(
        UserError, match=r"no device can be used .shelved: out of service: no cable"
    ):
        plan_of(project, devices=["shelved"])


def test_a_device_that_cannot_be_reached_is_left_undone_only_while_its_cells_are_stale(
    project, monkeypatch
):
    host = yaml.safe_load((project.devices / "host.yaml").read_text())
    away = {
        "name": "away", "transport": "ssh", "address": {"host": "away.invalid", "user": "me"},
        "work_folder": "/home/me/cellfarm", "processors": host["processors"],
    }  # fmt: skip
    (project.devices / "away.yaml").write_text(yaml.safe_dump(away))
    is_reachable = True

    def ask(_: object, device: AnyDevice) -> dict[str, Any]:
        if device.name == "away" and not is_reachable:
            raise TransientDeviceError("no answer")
        return {"cores": 2, "architecture": "aarch64"}

    monkeypatch.setattr(facts_module, "_ask", ask)
    full_plan = plan_of(project, devices=["host", "away"])
    is_reachable = False
    plan = plan_of(project, devices=["host", "away"])
    assert {planned.cell.device for planned in plan.stale} == {"host"}
    assert [str(error) for error in plan.left_undone.values()] == ["no answer"]
    for planned in full_plan.cells:
        commit_result(project, planned)
    plan = plan_of(project, devices=["host", "away"])
    assert plan.left_undone == {} and plan.skipped.keys() == {"away"}


@pytest.mark.parametrize("kind", ["environment", "model", "artifact", "experiment"])
def test_a_job_of_no_step_is_a_users_mistake(project, monkeypatch, kind):
    plan = freeze(plan_of(project))
    save(project, plan)
    monkeypatch.setattr(Project, "here", lambda: project)
    with pytest.raises(UserError, match=f"no {kind} nonsense"):
        jobs.job(jobs.Kind(kind), plan.id, "nonsense")
