"""ONNX files with external weights as onnx saves them, and paths that lead out of the folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cellfarm.base.errors import UserError
from cellfarm.base.project import Project
from cellfarm.base.records import Record
from cellfarm.cli.models import add_file
from cellfarm.wanted.configuration import parse_recipe
from cellfarm.wanted.contents import named_files

from tests.support import models_python
from tests.support.projects import REPOSITORY, make_project
from tests.support.steps import build_model

CHECKOUT = Project(REPOSITORY)
HAND = REPOSITORY / "tests/data/user_files/hand.onnx"
RECIPE: dict[str, Any] = {
    "name": "mine",
    "source": "file",
    "file": "mine/split.onnx",
    "inputs": [{"name": "images:0", "shape": [1, 3, 32, 32]}],
}

SPLIT = """
import onnx
file, folder, location = sys.argv[1:]
options = {"save_as_external_data": True, "size_threshold": 0, "convert_attribute": True}
def split(name, **layout):
    onnx.save(onnx.load(file), f"{folder}/{name}.onnx", **options, **layout)
split("split", location="weights.bin")
split("scattered", all_tensors_to_one_file=False)
changed = onnx.load(f"{folder}/split.onnx", load_external_data=False)
for tensor in changed.graph.initializer:
    for entry in tensor.external_data:
        entry.value = location if entry.key == "location" else entry.value
onnx.save(changed, f"{folder}/evil.onnx")
"""

REFUSE = """
from pathlib import Path
import user_onnx
from protocol import RecipeError
from user_files import open_file
def reason(name):
    try:
        open_file(Path(sys.argv[1], name))
    except RecipeError as error:
        return str(error)
    raise AssertionError(name)
for name in ("evil.onnx", "split.onnx"):  # by a path, and by a link
    assert f"{name} cannot be read: Data of TensorProto" in reason(name), reason(name)
user_onnx.MAX_BYTES = 1000
assert "of more than 2 GB" in reason("scattered.onnx"), reason("scattered.onnx")
assert "of more than 2 GB" in reason("hand.onnx")
"""


def python(code: str, *arguments: object) -> None:
    """Run code in the models' environment, with their modules on its path."""
    completed = models_python.python("models", code, *map(str, arguments))
    assert completed.returncode == 0, completed.stderr[-3000:]


def take_over(folder: Path, project: Project, document: dict[str, Any]) -> Record:
    recipe = parse_recipe(document, "test")
    files = named_files(project, recipe)
    return build_model(recipe, folder, files)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("CELLFARM_ENVIRONMENTS", str(CHECKOUT.environments))
    (tmp_path / "mine").mkdir()
    python(SPLIT, HAND, tmp_path / "mine", "../outside.bin")
    return make_project(tmp_path)


def test_weights_beside_the_file_become_a_part_of_it(project, tmp_path):
    single_file = take_over(tmp_path / "whole", CHECKOUT, RECIPE | {"file": str(HAND)})
    assert single_file.status == "ok", single_file
    for name in ("split", "scattered"):
        recipe = RECIPE | {"file": f"mine/{name}.onnx"}
        files = named_files(project, parse_recipe(recipe, "test"))
        assert len(files) > (1 if name == "split" else 2)
        record = take_over(tmp_path / name, project, recipe)
        assert record.status == "ok", record
        assert not list((tmp_path / name).glob("files/*.bin"))
        for arrays in ("inputs.npz", "reference.npz", "heldout_reference.npz"):
            with (
                np.load(tmp_path / "whole/files" / arrays) as first,
                np.load(tmp_path / name / "files" / arrays) as second,
            ):
                assert all(np.array_equal(first[key], second[key]) for key in first.files)


def test_a_recipe_is_written_from_a_file_with_weights_beside_it(project):
    file = project.root / "mine/split.onnx"
    path = add_file(project, file, None, "classification", {"images:0": [1, 3, 32, 32]})
    assert path == project.models / "split.yaml"
    (project.root / "mine/weights.bin").unlink()
    with pytest.raises(UserError, match=r"split\.onnx cannot be read: .*weights\.bin"):
        add_file(project, file, "again", "classification", {"images:0": [1, 3, 32, 32]})


def test_the_reader_of_models_refuses_what_leads_out_itself(project):
    folder = project.root / "mine"
    (folder / "weights.bin").replace(project.root / "outside.bin")
    (folder / "weights.bin").symlink_to(project.root / "outside.bin")
    (folder / "hand.onnx").write_bytes(HAND.read_bytes())
    python(REFUSE, folder)
