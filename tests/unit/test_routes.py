"""From what a model is in to what a library reads, in the fewest steps."""

from __future__ import annotations

import pytest
from cellfarm.base.project import PACKAGE
from cellfarm.conversion.routes import (
    EDGES,
    FILES,
    READ_IN,
    SUFFIXES,
    at_hand,
    choose,
    describer_entries,
    exporter_of,
    format_of,
    format_of_file,
    native_format,
    no_route,
    route,
    worker_entries,
)
from cellfarm.envs.environments import SHARED
from cellfarm.libraries import all_libraries

from tests.support.steps import parse_recipe


@pytest.mark.parametrize(
    ("native", "sources", "way"),
    [
        ("pt2", ("pt2", "tflite"), ("pt2",)),
        ("tflite", ("pt2", "tflite"), ("tflite",)),
        ("pt2", ("torchscript", "onnx"), ("pt2", "torchscript")),
        ("pt2", ("onnx", "torchscript"), ("pt2", "onnx")),
        ("onnx", ("torchscript", "onnx"), ("onnx",)),
        ("onnx", ("pt2",), ("onnx", "pt2")),
        ("script", ("onnx",), ("script", "pt2", "onnx")),
        ("tflite", ("torchscript",), ("tflite", "onnx", "pt2", "torchscript")),
        ("onnx", ("tflite",), None),
        ("keras", ("keras", "pt2", "tflite"), ("keras",)),
        ("keras", ("pt2", "keras"), ("pt2",)),
        ("keras", ("torchscript", "onnx"), ("pt2", "torchscript")),
        ("pt2", ("keras", "pt2", "tflite"), ("pt2",)),
        ("tflite", ("keras", "pt2", "tflite"), ("tflite",)),
        ("onnx", ("keras", "pt2", "tflite"), ("onnx", "pt2")),
        ("pt2", ("keras",), None),
    ],
)
def test_the_fewest_steps_win_and_then_the_librarys_liking(native, sources, way):
    form = choose(native, sources)
    assert (route(native, form) if form else None) == way


def test_a_part_of_a_route_is_the_route_to_its_end():
    for native in FILES:
        for form in FILES:
            for end in range(2, len(route(native, form) or ()) + 1):
                steps = (route(native, form) or ())[:end]
                assert route(native, steps[-1]) == steps


@pytest.mark.parametrize(("native", "form"), [("pt2", "pt2"), ("keras", "pt2"), ("keras", "keras")])
def test_what_is_at_hand_is_not_made(native, form):
    assert route(native, form) == (form,)


@pytest.mark.parametrize(
    ("native", "form"), [("onnx", "tflite"), ("pt2", "script"), ("pt2", "keras")]
)
def test_nothing_makes_what_no_exporter_leads_to(native, form):
    assert route(native, form) is None


def test_every_exporter_is_a_module():
    for start, form in EDGES:
        assert (PACKAGE / f"models/{exporter_of(start, form)}.py").is_file()


@pytest.mark.parametrize(
    ("document", "module", "names"),
    [
        ({"source": "timm"}, "build_architecture", ["source_timm"]),
        ({"source": "keras", "labelled": {"folder": "x"}}, "build_architecture",
         ["source_keras", "labelled"]),
        ({"source": "file", "file": "a.onnx"}, "build_file", ["user_onnx"]),
        ({"source": "file", "file": "a.tflite"}, "build_file", ["user_tflite"]),
        ({"source": "file", "file": "a.pt2"}, "build_file", ["user_torch"]),
        ({"source": "file", "file": "a.pth"}, "build_file", ["user_torch"]),
    ],
)  # fmt: skip
def test_a_model_s_builder_enters_what_its_recipe_needs_and_no_other(document, module, names):
    recipe = parse_recipe(document)
    entries, found = worker_entries(recipe, native_format(recipe))
    assert found == module
    assert entries == [f"models/{name}.py" for name in ("worker", module, *names)]
    assert all((PACKAGE / entry).is_file() for entry in entries)


def test_a_file_is_described_by_the_module_of_its_format():
    for suffix in SUFFIXES:
        entries = describer_entries(f"a{suffix}")
        assert all((PACKAGE / entry).is_file() for entry in entries) and len(entries) == 3


def test_every_step_has_an_environment_and_files_of_known_names():
    for (start, form), environment in EDGES.items():
        assert environment in SHARED and {start, form} <= set(FILES)
    assert set(SUFFIXES.values()) <= set(FILES)
    assert set(READ_IN) <= set(FILES) and set(READ_IN.values()) <= set(SHARED)
    assert {form: format_of_file(name) for form, name in FILES.items()} == {
        form: form for form in FILES
    }


def test_every_library_gets_every_model_that_cellfarm_builds():
    for library in all_libraries().values():
        for native in ("pt2", "keras"):
            assert choose(native, library.sources), library.name


def test_only_tensorflow_s_own_library_gets_keras_models_as_they_are():
    given = {name: choose("keras", one.sources) for name, one in all_libraries().items()}
    assert [name for name, form in given.items() if form == "keras"] == ["litert"]


@pytest.mark.parametrize(
    ("name", "form"),
    [("a.onnx", "onnx"), ("b/A.TFLITE", "tflite"), ("x.y.pt2", "pt2"), ("m.pt", "script")],
)
def test_a_suffix_says_the_format(name, form):
    assert format_of(name) == form
    assert native_format(parse_recipe({"source": "file", "file": name})) == form


def test_what_is_built_is_a_program():
    assert native_format(parse_recipe({"source": "timm"})) == "pt2"
    assert at_hand("pt2") == ("pt2",) and at_hand("onnx") == ("onnx",)


def test_a_source_with_a_format_of_its_own_leaves_both():
    native = native_format(parse_recipe({"source": "keras"}))
    assert at_hand(native) == ("keras", "pt2")


@pytest.mark.parametrize("name", ["model.h5", "model", ".onnx"])
def test_another_suffix_says_none(name):
    with pytest.raises(ValueError, match="is of no known format"):
        format_of(name)


def test_the_lack_of_a_route_names_both_ends():
    reason = no_route("LiteRT", "onnx", ("tflite",))
    assert reason == "LiteRT reads TFLite; from ONNX there is no faithful route to that"
