"""Weights in files beside an ONNX file are found and change the key; they must be in its folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from cellfarm.base.errors import UserError
from cellfarm.base.project import Project
from cellfarm.wanted.configuration import parse_recipe
from cellfarm.wanted.contents import named_files
from cellfarm.wanted.onnx_data import locations

from tests.support.programs import program_of
from tests.support.projects import REPOSITORY, make_project

HAND = REPOSITORY / "tests/data/user_files/hand.onnx"
RECIPE = {"name": "mine", "source": "file", "file": "mine/model.onnx"}


def field(number: int, value: bytes | int) -> bytes:
    """A field of a message as Protocol Buffers write it."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    head = b""
    while value > 127:
        head += bytes([value & 127 | 128])
        value >>= 7
    return head + bytes([value])


def tensor(location: str, external: int = 1) -> bytes:
    """An initializer with a name, and weights in another file, if `external`."""
    entries = {"offset": "4096", "location": location, "length": "12"}
    text = b"".join(
        field(13, field(1, key.encode()) + field(2, value.encode()))
        for key, value in entries.items()
    )
    return field(1, 3) + field(2, 1) + field(8, b"weight" * 30) + text + field(14, external)


def model(*initializers: bytes, node: bytes = b"") -> bytes:
    graph = field(1, node) + b"".join(field(5, initializer) for initializer in initializers)
    return field(1, 8) + field(2, b"by hand") + field(7, graph) + field(8, field(2, 17))


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = make_project(tmp_path)
    (tmp_path / "mine" / "deep").mkdir(parents=True)
    for name in ("one.bin", "deep/two.bin"):
        (tmp_path / "mine" / name).write_bytes(name.encode())
    write(project, model(tensor("one.bin"), tensor("deep/two.bin"), tensor("one.bin")))
    return project


def write(project: Project, data: bytes) -> Path:
    path = project.root / RECIPE["file"]
    path.write_bytes(data)
    return path


def test_every_file_with_weights_is_found_once(project):
    files = named_files(project, parse_recipe(RECIPE, "test"))
    assert {name: path.name for name, path in files.items()} == {
        "file": "model.onnx", "data one.bin": "one.bin", "data deep/two.bin": "two.bin",
    }  # fmt: skip


def test_weights_in_nodes_and_in_what_nodes_hold_are_found(project):
    branch = field(6, field(5, tensor("of a branch")))
    listed, sparse = field(10, tensor("of a list")), field(22, field(1, tensor("sparse")))
    node = field(4, b"If") + b"".join(field(5, attribute) for attribute in (branch, listed, sparse))
    constant = field(5, field(5, tensor("of a constant")))
    function = field(25, field(7, constant))
    path = write(project, model(node=node + constant) + function)
    assert locations(path) == ["of a branch", "of a constant", "of a list", "sparse"]


def test_weights_that_stand_in_the_file_need_no_other(project):
    assert locations(write(project, model(tensor("left over", external=0)))) == []
    assert locations(HAND) == []


@pytest.mark.parametrize(
    "data",
    [b"", b"location", b"\xff" * 40 + b"location", model(tensor("one.bin"))[:-30]],
    ids=["empty", "text", "endless", "cut off"],
)
def test_what_is_no_onnx_is_left_to_the_reader_of_models(project, data):
    assert locations(write(project, data)) == []


def test_the_weights_count_into_the_key_and_their_dates_do_not(project):
    before = program_of(project, RECIPE).digest
    weights_file = project.root / "mine/deep/two.bin"
    os.utime(weights_file, (1e9, 1e9))
    assert program_of(project, RECIPE).digest == before
    weights_file.write_bytes(b"others")
    assert program_of(project, RECIPE).digest != before


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("/etc/passwd", "outside of its folder"),
        ("../outside", "outside of its folder"),
        ("deep/../../outside", "outside of its folder"),
        ("link", "which is a link: put a copy there"),
        ("linked/outside", "which is a link"),
        ("gone.bin", "which is not there; it belongs beside it"),
        ("deep", "which is not there"),
        ("", "which is not there"),
    ],
)
def test_weights_from_elsewhere_are_the_users_mistake(project, location, reason):
    (project.root / "outside").write_bytes(b"secret")
    (project.root / "mine/link").symlink_to(project.root / "outside")
    (project.root / "mine/linked").symlink_to(project.root)
    write(project, model(tensor(location)))
    with pytest.raises(
        UserError, match=r"models/mine\.yaml: key 'file': model\.onnx keeps"
    ) as error:
        named_files(project, parse_recipe(RECIPE, "test"))
    assert reason in str(error.value) and repr(location) in str(error.value)
