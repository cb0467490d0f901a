"""Labelled pictures in the plan: how they are drawn, their classes, and mistakes."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from cellfarm.base.errors import UserError
from cellfarm.base.project import Project
from cellfarm.planning.keys import CAUSES
from cellfarm.planning.outlook import look
from cellfarm.wanted.configuration import load, parse_recipe, read_model
from cellfarm.wanted.contents import named_files
from cellfarm.wanted.labelled_pictures import CALIBRATION, draw, identity
from cellfarm.wanted.recipes import Recipe
from hypothesis import given
from hypothesis import strategies as st

from tests.support.packages import copy_package
from tests.support.programs import program_of
from tests.support.projects import CONFIG, make_project, write_yaml
from tests.support.results import commit_planned

MINE: dict[str, Any] = {
    "name": "mine",
    "source": "file",
    "file": "mine.onnx",
    "task": "classification",
    "inputs": [{"name": "x", "shape": [1, 3, 32, 32]}],
    "labelled": {"folder": "pictures"},
}
TRAINED = {
    "name": "mine",
    "source": "torchvision",
    "architecture": "resnet18",
    "task": "classification",
    "weights": {"kind": "pretrained", "path": "w.pth", "format": "pth"},
    "inputs": [{"name": "x", "shape": [1, 3, 64, 64], "dtype": "float32", "content": "image"}],
    "outputs": ["logits"],
    "labelled": {"folder": "pictures", "resize": 64},
}


def write_pictures(root: Path, *names: str, data: bytes = b"1234") -> None:
    for name in names:
        path = root / "pictures" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def recipe(**labelled: Any) -> Recipe:
    return parse_recipe(MINE | {"labelled": MINE["labelled"] | labelled}, "test")


def labels(project: Project, **labelled: Any) -> dict[str, int]:
    drawn = draw(project, recipe(**labelled))
    return {picture.name: picture.label for picture in drawn.pictures}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


# -- which pictures ---------------------------------------------------------------------------------


@given(
    class_sizes=st.lists(st.integers(0, 12), min_size=1, max_size=6).filter(any),
    count=st.integers(1, 80),
)
def test_pictures_are_drawn_evenly_and_always_the_same(tmp_path_factory, class_sizes, count):
    root = tmp_path_factory.mktemp("even")
    for number, size in enumerate(class_sizes):
        (root / f"pictures/class{number}").mkdir(parents=True)
        write_pictures(root, *(f"class{number}/{i}.jpg" for i in range(size)))
    drawn = draw(Project(root), recipe(images=count))
    assert len(drawn.pictures) == len({picture.name for picture in drawn.pictures})
    assert len(drawn.pictures) == min(count, sum(class_sizes))
    assert drawn == draw(Project(root), recipe(images=count))
    counts = Counter(picture.label for picture in drawn.pictures)
    largest = max(counts.values())
    # A class has two fewer than another only if it has no more pictures.
    assert all(counts[label] >= min(size, largest - 1) for label, size in enumerate(class_sizes))
    smaller = draw(Project(root), recipe(images=max(1, count // 2))).pictures
    assert drawn.pictures[: len(smaller)] == smaller


def test_fewer_pictures_than_classes_are_not_the_first_classes(project):
    write_pictures(project.root, *(f"{number:04}/a.jpg" for number in range(200)))
    drawn = sorted(labels(project, images=50).values())
    assert len(drawn) == 50 and drawn != list(range(50)) and 60 < sum(drawn) / 50 < 140


def test_sixteen_pictures_more_are_for_calibration(project):
    write_pictures(project.root, *(f"{label}/{i}.jpg" for label in range(5) for i in range(4)))
    drawn = draw(project, recipe(images=4))
    assert len(drawn.pictures) == 4 and len(drawn.calibration) == 16
    assert not {picture.name for picture in drawn.pictures} & {
        picture.name for picture in drawn.calibration
    }
    assert draw(project, recipe(images=5)).calibration == ()
    before = identity(project, recipe(images=4))
    write_pictures(project.root, drawn.calibration[3].name, data=b"another size")
    assert identity(project, recipe(images=4)) != before


def test_only_pictures_count_and_those_in_deeper_folders_do(project):
    write_pictures(
        project.root, "a/1.JPG", "a/deep/2.png", "a/.3.png", "a/notes.txt", ".git/4.png", "5.png"
    )
    assert labels(project) == {"a/1.JPG": 0, "a/deep/2.png": 0}


# -- which classes ----------------------------------------------------------------------------------


def test_numeric_folder_names_are_the_classes(project):
    write_pictures(project.root, "7/a.jpg", "012/a.jpg")
    assert labels(project) == {"7/a.jpg": 7, "012/a.jpg": 12}
    assert draw(project, recipe()).classes is None


def test_other_names_are_classes_in_their_order(project):
    write_pictures(project.root, "dog/a.jpg", "cat/a.jpg", "10/a.jpg")
    (project.root / "pictures/empty").mkdir()
    assert labels(project) == {"10/a.jpg": 0, "cat/a.jpg": 1, "dog/a.jpg": 2}
    drawn = draw(project, recipe())
    assert (drawn.classes, drawn.said_by) == (4, "pictures has 4 sub-folders")


def test_a_file_of_classes_lets_a_part_of_the_folders_do(project):
    write_pictures(project.root, "n3/a.jpg", "n1/a.jpg")
    (project.root / "classes.txt").write_text("n0\nn1\nn2\nn3\n\n")
    assert labels(project, classes="classes.txt") == {"n3/a.jpg": 3, "n1/a.jpg": 1}
    assert draw(project, recipe(classes="classes.txt")).classes == 4


# -- mistakes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "classes", "message"),
    [
        (
            ["a/x.jpg"],
            "b\nc\n",
            r"\.classes': the folder 'a' of pictures is no line of classes.txt",
        ),
        (["a/x.jpg"], "a\nb\na\n", r"\.classes': 'a' stands twice in classes.txt"),
        (["a/x.jpg"], None, r"\.classes': there is no file classes.txt"),
        (["1/x.jpg", "01/x.jpg"], "", r"\.folder': two sub-folders of pictures are one number"),
        (["a/x.txt"], "", r"\.folder': there are no pictures in sub-folders of pictures: it takes"),
        (["x.jpg"], "", "there are no pictures in sub-folders of pictures"),
        ([], "", r"\.folder': there is no folder pictures \(a path is relative"),
    ],
)
def test_a_folder_that_is_wrong_is_named(project, names, classes, message):
    write_pictures(project.root, *names)
    settings = {} if classes == "" else {"classes": "classes.txt"}
    if classes:
        (project.root / "classes.txt").write_text(classes)
    with pytest.raises(UserError, match=rf"models/mine\.yaml: key 'labelled.*{message}"):
        draw(project, recipe(**settings))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "encoding"}, "it needs task: classification; found encoding"),
        ({"weights": {"kind": "random", "seed": 0}}, "random weights have no accuracy"),
        ({"inputs": [TRAINED["inputs"][0], TRAINED["inputs"][0] | {"name": "y"}]}, "one input"),
        ({"inputs": [TRAINED["inputs"][0] | {"shape": [1, 128]}]}, r"input 'x' is \[1, 128\]"),
        ({"inputs": [TRAINED["inputs"][0] | {"shape": [2, 3, 8, 8]}]}, "one picture with three"),
        ({"inputs": [TRAINED["inputs"][0] | {"dtype": "int32"}]}, "'x' is int32"),
        ({"inputs": [TRAINED["inputs"][0] | {"content": "ones"}]}, "content: image; 'x' has ones"),
        ({"labelled": {"folder": "p", "resize": 48}}, "resize: 48 is smaller than the input"),
        ({"labelled": {"folder": "p", "std": [1, 1, 0]}}, "expected a number above 0; found 0"),
        ({"labelled": {"folder": "p", "mean": [0.5]}}, "labelled.mean"),
        ({"labelled": {"folder": "p", "rezise": 48}}, "did you mean 'resize'"),
        ({"labelled": {"images": 5}}, "the key 'folder' is missing"),
    ],
)
def test_a_model_without_an_accuracy_is_told_so(tmp_path, changes, message):
    project = make_project(tmp_path)
    write_yaml(project.models / "mine.yaml", TRAINED | changes)
    with pytest.raises(UserError, match=message) as raised:
        read_model(project, "mine", "test.yaml")
    assert "mine.yaml: key 'labelled" in str(raised.value)


@pytest.mark.parametrize("document", [TRAINED, MINE, {k: MINE[k] for k in MINE if k != "inputs"}])
def test_trained_models_and_users_files_may_have_labelled_pictures(tmp_path, document):
    project = make_project(tmp_path)
    write_yaml(project.models / "mine.yaml", document)
    labelled = read_model(project, "mine", "test.yaml").labelled
    assert labelled and labelled.folder == "pictures"


# -- keys -------------------------------------------------------------------------------------------


def test_the_drawn_names_sizes_and_settings_are_the_identity(project):
    write_pictures(project.root, "a/1.jpg", "b/1.jpg")
    before = identity(project, recipe())
    for path in (project.root / "pictures").rglob("*.jpg"):
        os.utime(path, (1e9, 1e9))
    (project.root / "pictures").rename(project.root / "elsewhere")
    assert identity(project, recipe(folder="elsewhere", images=400)) == before
    (project.root / "elsewhere").rename(project.root / "pictures")
    assert identity(project, recipe(resize=99)) != before
    write_pictures(project.root, "a/1.jpg", data=b"another size")
    assert identity(project, recipe()) != before
    write_pictures(project.root, "a/1.jpg")
    assert identity(project, recipe()) == before
    write_pictures(project.root, "b/2.jpg")
    assert identity(project, recipe()) != before


def test_what_is_not_drawn_is_no_cause(project):
    write_pictures(project.root, *(f"a/{number}.jpg" for number in range(30)))
    before = identity(project, recipe(images=5))
    drawn = labels(project, images=5 + CALIBRATION)
    not_drawn = next(f"a/{number}.jpg" for number in range(30) if f"a/{number}.jpg" not in drawn)
    write_pictures(project.root, not_drawn, data=b"another size")
    assert identity(project, recipe(images=5)) == before


def test_the_builder_is_given_the_list(project):
    write_pictures(project.root, "a/1.jpg", "b/1.jpg")
    (project.root / "mine.onnx").write_bytes(b"x")
    files = named_files(project, recipe())
    picture_list = json.loads(files["labelled"].read_text())
    assert sorted(picture_list["pictures"]) == [["a/1.jpg", 4, 0], ["b/1.jpg", 4, 1]]
    assert picture_list["folder"] == str(project.root / "pictures") and picture_list["classes"] == 2
    assert named_files(project, recipe())["labelled"] == files["labelled"]
    without_labelled = parse_recipe({k: MINE[k] for k in MINE if k != "labelled"}, "test")
    assert set(named_files(project, without_labelled)) == {"file"}


def test_a_changed_folder_makes_the_cells_stale_and_says_so(tmp_path):
    project = make_project(tmp_path)
    write_yaml(project.models / "mine.yaml", MINE)
    (tmp_path / "mine.onnx").write_bytes(b"x")
    write_pictures(tmp_path, "a/1.jpg", "b/1.jpg")

    def stale_reason() -> str:
        config = CONFIG | {"models": ["mine"], "libraries": ["onnxruntime"]}
        (planned,) = look(project, load(project, config, "test.yaml")).cells
        assert set(planned.measures) >= {"latency", "accuracy"}
        if planned.reason == "no result yet":
            commit_planned(project, planned)
        return planned.reason

    assert (stale_reason(), stale_reason()) == ("no result yet", "")
    write_pictures(tmp_path, "a/2.jpg")
    assert stale_reason() == f"{CAUSES['labelled']}; {CAUSES['model']}"


def test_without_labelled_pictures_their_code_is_no_cause(tmp_path):
    project = make_project(tmp_path)
    (tmp_path / "mine.onnx").write_bytes(b"x")
    write_pictures(tmp_path, "a/1.jpg")
    without_labelled = {name: MINE[name] for name in MINE if name != "labelled"}
    labelled_program, plain_program = (
        program_of(project, MINE),
        program_of(project, without_labelled),
    )
    assert (
        labelled_program.labelled
        and not plain_program.labelled
        and labelled_program.step.code != plain_program.step.code
    )


def test_a_derived_model_takes_the_pictures_with_it(tmp_path, monkeypatch):
    """Its step imports `labelled` only where its parent has pictures."""
    package = copy_package(tmp_path / "package", monkeypatch)
    (package / "passes/nothing.py").write_text("def apply(module, context): return module\n")
    project = make_project(tmp_path)
    (tmp_path / "mine.pt2").write_bytes(b"x")
    write_pictures(tmp_path, "a/1.jpg")
    document = MINE | {"file": "mine.pt2"}
    without_labelled = {name: document[name] for name in document if name != "labelled"}
    variant = {"name": "derived", "precision": "fp32", "passes": [{"nothing": {}}]}
    tolerance = {"min_cosine": 0.9, "max_relative_error": 0.1}
    write_yaml(project.config / "variants/derived.yaml", variant | {"tolerance": tolerance})
    code_entries = [
        program_of(project, recipe, "derived").step.code.entries
        for recipe in (document, without_labelled)
    ]
    assert ["models/labelled.py" in paths for paths in code_entries] == [True, False]
    assert all("passes/nothing.py" in paths for paths in code_entries)
