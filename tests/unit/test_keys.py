"""A key changes when, and only when, something that the result depends on changes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import fields, replace
from itertools import product
from typing import Any

import pytest
from cellfarm.base.cells import Cell
from cellfarm.base.digests import code_digest, digest
from cellfarm.planning.keys import (
    CAUSES,
    Causes,
    LibraryCauses,
    ModelCauses,
    artifact_id,
    cell_causes,
    cell_key,
    export_id,
)
from hypothesis import given
from hypothesis import strategies as st

MODELS = ("small", "large")
#: library@version -> the formats that its converter reads
LIBRARIES = {
    "litert@2": ("pt2", "tflite"),
    "onnxruntime@1": ("onnx",),
    "onnxruntime@2": ("onnx",),
    "ncnn@1": ("torchscript", "onnx"),
}
DEVICES = ("host", "phone")
VARIANTS = ("fp32", "int8")
CELLS = [
    Cell(model, *library.split("@"), variant, device, "cpu", threads)
    for model, library, variant, device, threads in product(
        MODELS, LIBRARIES, VARIANTS, DEVICES, (1, 2)
    )
]
CAUSES_NOW = Causes(
    models={name: ModelCauses(f"recipe-{name}", f"builder-{name}") for name in MODELS},
    libraries={
        name: LibraryCauses(sources, f"converter-{name}", f"runtime-{name}")
        for name, sources in LIBRARIES.items()
    },
    devices={name: f"device-{name}" for name in DEVICES},
    exporter="exporter",
    runner="runner",
    protocol="protocol",
    verification={name: f"verification-{name}" for name in VARIANTS},
)

Path = tuple[str, ...]  # attribute, then key, then attribute


def paths() -> Iterable[Path]:
    """Every single digest in a Causes."""
    for field in fields(Causes):
        value = getattr(CAUSES_NOW, field.name)
        if isinstance(value, str):
            yield (field.name,)
            continue
        for name, entry in value.items():
            inner = [] if isinstance(entry, str) else [f.name for f in fields(entry)]
            # The formats of a model and of a converter are no digests; see below.
            digests = [[i] for i in inner if i not in ("sources", "native")]
            yield from ((field.name, name, *part) for part in digests or [[]])


def changed(causes: Causes, path: Path, value: str) -> Causes:
    name, *rest = path
    if not rest:
        return replace(causes, **{name: value})
    table = dict(getattr(causes, name))
    table[rest[0]] = replace(table[rest[0]], **{rest[1]: value}) if rest[1:] else value
    return replace(causes, **{name: table})


def keys(causes: Causes) -> dict[Cell, str]:
    return {cell: cell_key(cell, cell_causes(cell, causes)) for cell in CELLS}


#: What each cause is a cause of, said independently of the code.
DEPENDS: dict[str, Callable[[Cell, str], bool]] = {
    "models": lambda cell, name: cell.model == name,
    "libraries": lambda cell, name: cell.versioned_library == name,
    "devices": lambda cell, name: cell.device == name,
    "verification": lambda cell, name: cell.variant == name,
    "exporter": lambda cell, _: "pt2" not in LIBRARIES[cell.versioned_library],
    "runner": lambda cell, _: True,
    "protocol": lambda cell, _: True,
}


@pytest.mark.parametrize("path", list(paths()), ids="/".join)
def test_a_digest_changes_the_keys_of_its_cells_and_no_other(path: Path):
    before, after = keys(CAUSES_NOW), keys(changed(CAUSES_NOW, path, "something else"))
    expected = {cell for cell in CELLS if DEPENDS[path[0]](cell, "".join(path[1:2]))}
    assert {cell for cell in CELLS if before[cell] != after[cell]} == expected
    assert expected, "the law was not tested on any cell"


@given(
    changes=st.dictionaries(st.sampled_from(list(paths())), st.text(max_size=8), max_size=6),
)
def test_any_set_of_changes_touches_exactly_the_union(changes: dict[Path, str]):
    causes = CAUSES_NOW
    for path, value in changes.items():
        causes = changed(causes, path, f"new {value}")
    before, after = keys(CAUSES_NOW), keys(causes)
    expected = {
        cell for cell in CELLS for path in changes if DEPENDS[path[0]](cell, "".join(path[1:2]))
    }
    assert {cell for cell in CELLS if before[cell] != after[cell]} == expected


def test_every_field_of_a_cell_matters():
    cell = CELLS[0]
    why = cell_causes(cell, CAUSES_NOW)
    others = {
        field.name: replace(cell, **{field.name: 99 if field.name == "threads" else "other"})
        for field in fields(Cell)
    }
    found = {cell_key(other, why) for other in others.values()}
    assert len(found | {cell_key(cell, why)}) == len(fields(Cell)) + 1


def test_no_two_cells_share_a_key():
    assert len(set(keys(CAUSES_NOW).values())) == len(CELLS)


@given(st.permutations(list(CAUSES)))
def test_the_order_of_the_causes_does_not_matter(order: list[str]):
    why = cell_causes(CELLS[0], CAUSES_NOW)
    assert cell_key(CELLS[0], {name: why[name] for name in order}) == cell_key(CELLS[0], why)


def test_every_cause_of_a_cell_has_words():
    assert set(cell_causes(CELLS[0], CAUSES_NOW)) == set(CAUSES)


def test_an_artifact_does_not_depend_on_where_it_runs():
    cell = CELLS[0]
    same = [replace(cell, device="phone"), replace(cell, threads=2), replace(cell, processor="gpu")]
    assert {artifact_id(one, CAUSES_NOW) for one in same} == {artifact_id(cell, CAUSES_NOW)}
    assert artifact_id(replace(cell, variant="int8"), CAUSES_NOW) != artifact_id(cell, CAUSES_NOW)


@pytest.mark.parametrize("path", list(paths()), ids="/".join)
def test_an_artifact_changes_with_its_model_exporter_and_converter_only(path: Path):
    after = changed(CAUSES_NOW, path, "something else")
    for cell in CELLS:
        mine = {
            ("models", cell.model, "recipe"), ("models", cell.model, "builder"),
            ("libraries", cell.versioned_library, "converter"),
        }  # fmt: skip
        if "pt2" not in LIBRARIES[cell.versioned_library]:
            mine.add(("exporter",))
        moved = artifact_id(cell, after) != artifact_id(cell, CAUSES_NOW)
        assert moved == (path in mine)


def test_an_export_is_named_by_model_exporter_and_format():
    small, large = CAUSES_NOW.models["small"], CAUSES_NOW.models["large"]
    names = {
        export_id(model, exporter, source)
        for model, exporter, source in product((small, large), ("a", "b"), ("onnx", "torchscript"))
    }
    assert len(names) == 8
    assert export_id(replace(small, native="onnx"), "a", "torchscript") not in names


def test_another_route_is_another_artifact_and_another_cell():
    """ncnn reads both ONNX and TorchScript; a model's format or the library's liking decides."""
    cell = next(one for one in CELLS if one.library == "ncnn")
    ncnn, model = CAUSES_NOW.libraries["ncnn@1"], CAUSES_NOW.models[cell.model]
    liking = replace(
        CAUSES_NOW, libraries={"ncnn@1": replace(ncnn, sources=("onnx", "torchscript"))}
    )
    native = replace(CAUSES_NOW, models={cell.model: replace(model, native="onnx")})
    found = [CAUSES_NOW, liking, native]
    assert len({artifact_id(cell, one) for one in found}) == 3
    assert len({cell_key(cell, cell_causes(cell, one)) for one in found}) == 3


def test_a_library_that_reads_a_models_own_file_depends_on_no_exporter():
    cell = next(one for one in CELLS if one.library == "ncnn")
    model = CAUSES_NOW.models[cell.model]
    for native, exported in (("onnx", False), ("tflite", True), ("pt2", True)):
        causes = replace(CAUSES_NOW, models={cell.model: replace(model, native=native)})
        assert bool(cell_causes(cell, causes)["exporter"]) == exported


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
