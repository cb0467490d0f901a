"""`cellfarm models add` writes valid recipes only, and refuses a bad request before it writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cellfarm.base.errors import UserError
from cellfarm.base.project import Project
from cellfarm.cli import models
from cellfarm.wanted.configuration import read_model

from tests.support.projects import make_project

PICTURE = {"name": "x", "shape": [None, 3, 32, 32], "dtype": "float32"}
IDS = {"name": "ids", "shape": [1, 8], "dtype": "int64"}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = make_project(tmp_path)
    (tmp_path / "my.onnx").write_bytes(b"x")
    return project


def add(
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    *inputs: dict[str, Any],
    name: str | None = "mine",
    task: str = "encoding",
    shapes: tuple[str, ...] = (),
) -> Path:
    monkeypatch.setattr(models, "describe", lambda *_: list(inputs))
    return models.add_file(
        project, project.root / "my.onnx", name, task, models.parse_shapes(shapes)
    )


def test_what_is_written_is_a_recipe(project, monkeypatch):
    path = add(project, monkeypatch, PICTURE, IDS)
    assert path == project.models / "mine.yaml"
    recipe = read_model(project, "mine", "the test")
    assert recipe.inputs and [entry.shape for entry in recipe.inputs] == [(1, 3, 32, 32), (1, 8)]
    assert recipe.inputs[1].content == "tokens"
    with pytest.raises(UserError, match="is there already"):
        add(project, monkeypatch, PICTURE)


@pytest.mark.parametrize("name", ["../x", "a/b", "a b", "a;b", "é", "-x", ".hid", "/abs", "a\nb"])
def test_an_invalid_name_is_refused(project, monkeypatch, name):
    before = sorted(project.root.rglob("*"))
    with pytest.raises(UserError, match=r"--name .*: expected letters, digits"):
        add(project, monkeypatch, PICTURE, name=name)
    assert sorted(project.root.rglob("*")) == before


@pytest.mark.parametrize("name", ["123", "1e3", "0x10", "1.5", "1_000"])
def test_a_name_that_a_config_would_read_as_a_number_is_refused(project, monkeypatch, name):
    with pytest.raises(UserError, match="read as a number"):
        add(project, monkeypatch, PICTURE, name=name)


@pytest.mark.parametrize(
    ("inputs", "options", "message"),
    [
        ([PICTURE], {"task": "foo"}, "key 'task': expected one of"),
        ([], {}, "has no inputs"),
        ([PICTURE | {"shape": [0, 3, 32, 32]}], {}, "a size of 0"),
        ([PICTURE], {"shapes": ("x=1,4,32,32",)}, r"the file has \[\?, 3, 32, 32\]"),
        ([PICTURE], {"shapes": ("x=1,3,32",)}, "the file has"),
        ([PICTURE], {"shapes": ("x=99999999999,3,32,32",)}, "more than 1e\\+09 values"),
        ([PICTURE], {"shapes": ("y=1",)}, "the file's inputs are x"),
    ],
)
def test_an_invalid_recipe_is_not_written(project, monkeypatch, inputs, options, message):
    with pytest.raises(UserError, match=message):
        add(project, monkeypatch, *inputs, **options)
    assert not (project.models / "mine.yaml").exists()
