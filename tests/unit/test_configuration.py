"""A config with its models, devices and protocol: every mistake gives one clear message."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from cellfarm.base.errors import UserError
from cellfarm.base.project import Project
from cellfarm.measures.tolerances import Tolerance
from cellfarm.wanted.configuration import Configuration, load, load_file

from tests.support.projects import CONFIG, REPOSITORY, make_project, write_yaml

WHERE = "config/test.yaml"


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    return make_project(tmp_path_factory.mktemp("project"))


@pytest.fixture
def fresh_project(tmp_path) -> Project:
    """A project that the test may change."""
    return make_project(tmp_path)


def refusal(project: Project, **changes: Any) -> str:
    with pytest.raises(UserError) as caught:
        load(project, CONFIG | changes, WHERE)
    return str(caught.value)


def edit(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    document = yaml.safe_load(path.read_text())
    change(document)
    write_yaml(path, document)


def test_a_config_brings_the_documents_that_it_names(project):
    config = load(project, CONFIG, WHERE)
    assert set(config.models) == {"squeezenet1_1"} and set(config.devices) == {"host"}
    assert config.models["squeezenet1_1"].architecture == "squeezenet1_1"
    assert config.protocol.measures["latency"]["launches"]["min"] >= 2


def test_the_configs_of_this_repository_are_valid():
    for path in sorted((REPOSITORY / "config").glob("*.yaml")):
        assert isinstance(load_file(Project(REPOSITORY), path), Configuration)
    assert isinstance(load_file(Project(REPOSITORY)), Configuration)


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"models": ["squeezenet1_2"]},
         ["unknown model 'squeezenet1_2'", "did you mean 'squeezenet1_1'", "models/squeezenet1_2.yaml"]),
        ({"devices": ["hots"]}, ["unknown device 'hots'", "did you mean 'host'", "there are: host"]),
        ({"protocol": "quik"}, ["unknown protocol 'quik'", "did you mean 'quick'"]),
        ({"exclude": [{"model": "squeezenet"}]}, ["unknown model 'squeezenet'"]),
        ({"include": [{"device": ["host", "phone"]}]}, ["unknown device 'phone'"]),
        ({"modles": []}, ["unknown key 'modles'", "did you mean 'models'"]),
        ({"threads": [0]}, ["key 'threads[0]'", "found 0"]),
        ({"threads": ["some"]}, ["key 'threads[0]'", "'some'"]),
        ({"variants": ["fp23"]}, ["unknown variant 'fp23'", "did you mean 'fp32'"]),
        ({"models": []}, ["key 'models'", "found []"]),
        ({"models": ["../secrets"]}, ["key 'models[0]'", "letters, digits"]),
        ({"libraries": ["ncnn@"]}, ["key 'libraries[0]'", "name@version"]),
        ({"include": [{"thread": 1}]}, ["key 'include[0]'", "unknown key 'thread'", "'threads'"]),
        ({"include": None}, ["key 'include'", "expected a list", "found None"]),
        ({"models": None}, ["key 'models[0]'", "found None"]),
        ({"tolerances": {"fp64": {}}}, ["tolerances"]),
        ({"tolerances": {"fp32": {"min_cosine": 0.9}}}, ["tolerances.fp32", "max_relative_error"]),
    ],
    ids=str,
)  # fmt: skip
def test_a_mistake_names_the_config_and_the_way_out(project, changes, parts):
    message = refusal(project, **changes)
    assert message.startswith(f"{WHERE}: ")
    for part in parts:
        assert part in message


@pytest.mark.parametrize("name", ["prune", "../models/worker", "__init__"])
def test_an_unknown_pass_is_the_variants_mistake(fresh_project, name: str):
    path = fresh_project.config / "variants/fp32.yaml"
    edit(path, lambda document: document.update(passes=[{name: {}}]))
    message = refusal(fresh_project)
    assert message.startswith(f"{path}: key 'passes': unknown pass '{name}'")
    assert "workflow/cellfarm/passes/" in message


@pytest.mark.parametrize("name", [*CONFIG])
def test_what_is_missing_is_named(project, name: str):
    with pytest.raises(UserError, match=f"the key '{name}' is missing"):
        load(project, {key: value for key, value in CONFIG.items() if key != name}, WHERE)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ({"models": "squeezenet1_1"}, {"models": ["squeezenet1_1"]}),
        ({"models": "squeezenet1_1,mobilenet_v2"}, {"models": ["squeezenet1_1", "mobilenet_v2"]}),
        (
            {"models": "[squeezenet1_1, mobilenet_v2]"},
            {"models": ["squeezenet1_1", "mobilenet_v2"]},
        ),
        ({"threads": "1,all"}, {"threads": [1, "all"]}),
        ({"threads": 2}, {"threads": [2]}),
        ({"threads": "all"}, {"threads": ["all"]}),
        ({"libraries": "ncnn@1.0,mnn"}, {"libraries": ["ncnn@1.0", "mnn"]}),
    ],
    ids=str,
)
def test_a_string_of_the_command_line_is_a_list(project, overrides, expected):
    config = load(project, CONFIG | overrides, WHERE).config
    assert msgspec.json.decode(msgspec.json.encode(config)) == CONFIG | expected


def test_a_mistake_in_such_a_string_is_still_found(project):
    assert "unknown model 'mobilenet'" in refusal(project, models="squeezenet1_1,mobilenet")
    assert "key 'threads[1]'" in refusal(project, threads="1,two")


def test_models_of_include_entries_are_read_too(project):
    config = load(project, CONFIG | {"include": [{"model": "mobilenet_v2", "threads": 2}]}, WHERE)
    assert set(config.models) == {"squeezenet1_1", "mobilenet_v2"}


@pytest.mark.parametrize("kind", ["models/squeezenet1_1", "devices/host"])
def test_a_name_that_is_not_the_files_own_is_a_mistake(fresh_project, kind: str):
    path = fresh_project.root / f"{kind}.yaml"
    edit(path, lambda document: document.update(name="other"))
    message = refusal(fresh_project)
    assert message.startswith(f"{path}: key 'name'") and "found 'other'" in message


def test_a_mistake_in_a_named_file_names_that_file(fresh_project):
    path = fresh_project.models / "squeezenet1_1.yaml"
    edit(path, lambda document: document["inputs"][0].update(shape=[1, 3, 0, 224]))
    message = refusal(fresh_project)
    assert message.startswith(f"{path}: key 'inputs[0].shape[2]'") and "found 0" in message


@pytest.mark.parametrize("part", ["launches", "samples"])
def test_a_protocol_whose_max_is_below_its_min_is_a_mistake(fresh_project, part: str):
    path = fresh_project.config / "protocols/quick.yaml"
    edit(path, lambda document: document["measures"]["latency"][part].update(min=9, max=8))
    message = refusal(fresh_project)
    assert (
        message.startswith(f"{path}: key 'measures.latency.{part}'")
        and "max is smaller than min" in message
    )


def test_a_protocol_whose_longest_series_is_shorter_than_its_shortest_is_a_mistake(fresh_project):
    path = fresh_project.config / "protocols/quick.yaml"
    edit(
        path,
        lambda document: document["measures"]["latency"]["samples"].update(
            seconds=1, longest_s=0.5
        ),
    )
    assert "longest_s is smaller than seconds" in refusal(fresh_project)


def test_an_empty_folder_of_models_says_there_are_none(fresh_project):
    for path in fresh_project.models.glob("*.yaml"):
        path.unlink()
    assert "there are: none" in refusal(fresh_project)


@pytest.mark.parametrize("text", ["", "- models\n", "models\n", "[]"])
def test_a_config_file_that_is_no_mapping_is_a_mistake(fresh_project, text: str):
    (fresh_project.config / "config.yaml").write_text(text)
    with pytest.raises(UserError, match=r"config\.yaml: expected a mapping"):
        load_file(fresh_project)


def test_a_config_file_that_is_not_there_is_a_mistake(fresh_project):
    with pytest.raises(UserError, match=r"nowhere\.yaml: no such file"):
        load_file(fresh_project, fresh_project.config / "nowhere.yaml")


def test_tolerances_come_from_the_config_or_else_are_known(project):
    int8_tolerance = {"min_cosine": 0.5, "max_relative_error": 2.0}
    variants = CONFIG | {"variants": ["fp32", "int8"]}
    config = load(project, variants | {"tolerances": {"int8": int8_tolerance}}, WHERE)
    assert config.tolerance("int8") == Tolerance(**int8_tolerance)
    assert config.tolerance("fp32").top1 is True
    without_tolerances = load(project, variants, WHERE)
    assert without_tolerances.tolerance("int8") != Tolerance(**int8_tolerance)


def test_a_tolerance_of_a_variant_that_does_not_exist_is_refused(project):
    tolerance = {"min_cosine": 0.5, "max_relative_error": 2.0}
    with pytest.raises(UserError, match=r"unknown variant 'int88' \(did you mean 'int8'\?\)"):
        load(project, CONFIG | {"tolerances": {"int88": tolerance}}, WHERE)
    # A variant that is not measured today may stand there.
    assert load(project, CONFIG | {"tolerances": {"int8": tolerance}}, WHERE).tolerance("int8")
