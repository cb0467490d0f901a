"""A key changes when, and only when, something that the result depends on changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from cellfarm.base.cells import Cell
from cellfarm.base.digests import code_digest, digest
from cellfarm.base.project import Project
from cellfarm.libraries import Library, all_libraries
from cellfarm.planning import chains, plan
from cellfarm.planning.keys import CAUSES, cell_key, changes
from cellfarm.planning.plan import PlannedCell, freeze, look
from cellfarm.wanted.configuration import Configuration, load
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from tests.support.projects import CONFIG, make_project, write_yaml

CELL = Cell("squeezenet1_1", "ncnn", "1.0", "fp32", "host", "cpu", 1)
MATRIX = CONFIG | {
    "models": ["squeezenet1_1", "mobilenet_v2"],
    "libraries": ["litert", "onnxruntime", "ncnn"],
    "variants": ["fp32", "int8"],
    "devices": ["host", "board"],
    "threads": [1, 2],
}
BOARD = {
    "name": "board", "transport": "ssh", "address": {"host": "board.invalid", "user": "me"},
    "work_folder": "/home/me/cellfarm", "processors": ["cpu"],
}  # fmt: skip
#: The library that reads the program itself: nothing is exported for it.
READS_PROGRAMS = "litert"


@pytest.fixture(autouse=True)
def devices_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "_ask", lambda *_: {"cores": 2, "architecture": "aarch64"})


def project_at(root: Path) -> Project:
    project = make_project(root)
    write_yaml(project.devices / "board.yaml", BOARD)
    return project


def configuration_of(project: Project, **changes: Any) -> Configuration:
    return load(project, MATRIX | changes, "test.yaml")


def planned(project: Project, **changes: Any) -> dict[Cell, PlannedCell]:
    outlook = look(project, configuration_of(project, **changes))
    return {one.cell: one for one in outlook.cells}


def edited(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    document = yaml.safe_load(path.read_text())
    change(document)
    write_yaml(path, document)


def relock(project: Project, name: str) -> None:
    with (project.locks / f"{name}.txt").open("a") as lock:
        lock.write("# another\n")


def version(library: str) -> str:
    return f"{library}@{all_libraries()[library].default_version}"


@dataclass(frozen=True)
class Edit:
    """A change of a file, and what depends on it, said independently of the code."""

    make: Callable[[Project], None]
    cells: Callable[[Cell], bool]
    causes: Callable[[Cell], set[str]]
    #: whether the artifacts of those cells are made anew
    artifacts: bool = field(default=False)


EDITS = {
    "a model's seed": Edit(
        lambda p: edited(
            p.models / "mobilenet_v2.yaml", lambda recipe: recipe["weights"].update(seed=7)
        ),
        lambda cell: cell.model == "mobilenet_v2",
        lambda _: {"model"},
        artifacts=True,
    ),
    "a model's title": Edit(
        lambda p: edited(p.models / "mobilenet_v2.yaml", lambda r: r.update(title="Another")),
        lambda _: False,
        lambda _: set(),
    ),
    "the lock that models are built and exported with": Edit(
        lambda p: relock(p, "models"),
        lambda _: True,
        lambda cell: {"model"} | ({"exporter"} if cell.library != READS_PROGRAMS else set()),
        artifacts=True,
    ),
    "the lock of another exporter": Edit(
        lambda p: relock(p, "models.tflite"), lambda _: False, lambda _: set()
    ),
    "the lock of a converter": Edit(
        lambda p: relock(p, f"{version('ncnn')}.convert"),
        lambda cell: cell.library == "ncnn",
        lambda _: {"converter"},
        artifacts=True,
    ),
    "the lock of a library": Edit(
        lambda p: relock(p, f"{version('onnxruntime')}.run"),
        lambda cell: cell.library == "onnxruntime",
        lambda _: {"library"},
    ),
    "the protocol": Edit(
        lambda p: edited(p.config / "protocols/quick.yaml", lambda d: d.update(seed=7)),
        lambda _: True,
        lambda _: {"protocol"},
    ),
    "a variant's tolerance": Edit(
        lambda p: edited(
            p.config / "variants/int8.yaml", lambda d: d["tolerance"].update(min_cosine=0.123)
        ),
        lambda cell: cell.variant == "int8",
        lambda _: {"verification"},
    ),
    "a device": Edit(
        lambda p: edited(p.devices / "board.yaml", lambda d: d.update(work_folder="/home/me/x")),
        lambda cell: cell.device == "board",
        lambda _: {"device"},
    ),
    "where a device is": Edit(
        lambda p: edited(p.devices / "board.yaml", lambda d: d["address"].update(host="other")),
        lambda _: False,
        lambda _: set(),
    ),
}


def check(names: list[str], before: Any, after: Any) -> None:
    """What changed of keys, causes and artifacts is exactly what the edits say."""
    assert before.keys() == after.keys()
    for cell, old in before.items():
        new = after[cell]
        touching = [EDITS[name] for name in names if EDITS[name].cells(cell)]
        expected = set().union(*(edit.causes(cell) for edit in touching))
        found = {name for name in old.causes if old.causes[name] != new.causes[name]}
        assert found == expected and old.causes.keys() == new.causes.keys()
        assert (old.key != new.key) == bool(touching)
        assert (old.artifact != new.artifact) == any(edit.artifacts for edit in touching)
        assert changes(old.causes, new.causes) == "; ".join(
            words for name, words in CAUSES.items() if name in expected
        )


@pytest.mark.parametrize("name", EDITS)
def test_a_change_changes_the_keys_of_its_cells_and_no_other(tmp_path: Path, name: str):
    project = project_at(tmp_path)
    before = planned(project)
    EDITS[name].make(project)
    check([name], before, planned(project))


@settings(max_examples=15)
@given(names=st.lists(st.sampled_from(list(EDITS)), max_size=6, unique=True))
def test_any_set_of_changes_touches_exactly_the_union(tmp_path_factory, names: list[str]):
    project = project_at(tmp_path_factory.mktemp("union"))
    before = planned(project)
    for name in names:
        EDITS[name].make(project)
    check(names, before, planned(project))


def test_every_field_of_a_cell_matters():
    others = {
        name: structs.replace(CELL, **{name: 99 if name == "threads" else "other"})
        for name in CELL.__struct_fields__
    }
    found = {cell_key(other, {"model": "m"}) for other in others.values()}
    assert len(found | {cell_key(CELL, {"model": "m"})}) == len(CELL.__struct_fields__) + 1


@pytest.mark.parametrize("name", CAUSES)
def test_every_cause_matters_and_has_words(name: str):
    causes = dict.fromkeys(CAUSES, "before")
    assert cell_key(CELL, causes | {name: "after"}) != cell_key(CELL, causes)
    assert changes(causes, causes | {name: "after"}) == CAUSES[name]


def test_no_two_cells_share_a_key(tmp_path):
    cells = planned(project_at(tmp_path))
    assert len({one.key for one in cells.values()}) == len(cells) == 2 * 3 * 2 * 2 * 2


@given(st.permutations(list(CAUSES)))
def test_the_order_of_the_causes_does_not_matter(order: list[str]):
    causes = {name: f"digest of {name}" for name in CAUSES}
    assert cell_key(CELL, {name: causes[name] for name in order}) == cell_key(CELL, causes)


def test_every_cause_of_a_cell_has_words(tmp_path):
    for one in planned(project_at(tmp_path)).values():
        assert set(one.causes) == set(CAUSES) - {"labelled", "passes"}


def test_an_artifact_does_not_depend_on_where_it_runs(tmp_path):
    cells = planned(project_at(tmp_path))
    makers: dict[tuple[str, str, str], set[str]] = {}
    for cell, one in cells.items():
        makers.setdefault((cell.model, cell.library, cell.variant), set()).add(one.artifact)
    assert all(len(artifacts) == 1 for artifacts in makers.values())
    assert len({artifact for artifacts in makers.values() for artifact in artifacts}) == len(makers)


def test_a_tolerance_is_no_cause_of_an_artifact_and_a_precision_is(tmp_path):
    project = project_at(tmp_path)
    before = planned(project)
    edited(project.config / "variants/int8.yaml", lambda d: d.update(precision="int8_weights"))
    after = planned(project)
    for cell, one in before.items():
        assert (after[cell].artifact != one.artifact) == (cell.variant == "int8")
        assert (after[cell].key != one.key) == (cell.variant == "int8")
        assert after[cell].causes["model"] == one.causes["model"]


def test_an_export_is_named_by_model_exporter_and_format(tmp_path):
    project = project_at(tmp_path)

    def exports() -> set[str]:
        frozen = freeze(look(project, configuration_of(project)))
        return {step.id.rpartition("/")[2] for step in frozen.export.values()}

    before = exports()
    assert len(before) == 2 * 2  # two models; onnx and torchscript
    EDITS["a model's seed"].make(project)
    assert len(exports() & before) == 2
    relock(project, "models")
    assert not exports() & before


def test_another_route_is_another_artifact_and_another_cell(tmp_path, monkeypatch):
    """ncnn reads both ONNX and TorchScript; the library's liking decides."""
    project = project_at(tmp_path)
    before = planned(project)
    ncnn = all_libraries()["ncnn"]
    other = structs.replace(ncnn.description, sources=("onnx", "torchscript"))
    liking = {**all_libraries(), "ncnn": Library(ncnn.folder, other)}
    monkeypatch.setattr(chains, "all_libraries", lambda: liking)
    after = planned(project)
    for cell, one in before.items():
        moved = cell.library == "ncnn"
        assert (after[cell].artifact != one.artifact) == moved == (after[cell].key != one.key)


def test_a_library_that_reads_the_program_depends_on_no_exporter(tmp_path):
    for cell, one in planned(project_at(tmp_path)).items():
        assert bool(one.causes["exporter"]) == (cell.library != READS_PROGRAMS)


JSON: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(), JSON, min_size=1))
def test_a_digest_ignores_the_order_of_mappings(value: dict[str, Any]):
    assert digest(dict(reversed(value.items()))) == digest(value)


@given(st.lists(st.integers(), min_size=2, unique=True))
def test_a_digest_heeds_the_order_of_lists(value: list[int]):
    assert digest(value[::-1]) != digest(value)


def test_code_is_the_same_wherever_it_stands_and_not_when_it_differs(tmp_path):
    for name, text in (("one", "x = 1\n"), ("two", "x = 1\n"), ("three", "x = 2\n")):
        folder = tmp_path / name / "code"
        (folder / "__pycache__").mkdir(parents=True)
        (folder / "module.py").write_text(text)
        (folder / "notes.txt").write_text(name)  # no source: does not count
        (folder / "__pycache__" / "module.py").write_text(name)
    one, two, three = (code_digest(tmp_path / name / "code") for name in ("one", "two", "three"))
    assert one == two != three
    (tmp_path / "two" / "code" / "module.py").rename(tmp_path / "two" / "code" / "other.py")
    code_digest.cache_clear()
    assert code_digest(tmp_path / "two" / "code") != one
