"""Routes from the format of a model to one that a library reads, in the fewest steps."""

from __future__ import annotations

from typing import Any

import pytest
from cellfarm.conversion.routes import (
    EDGES,
    FILES,
    READ_IN,
    SUFFIXES,
    choose,
    format_of,
    model_formats,
    native_format,
    no_route,
    route,
)
from cellfarm.envs.environments import SHARED
from cellfarm.libraries import all_libraries
from cellfarm.wanted.recipes import Recipe


def recipe(**values: Any) -> Recipe:
    return Recipe(name="mine", **values)


@pytest.mark.parametrize(
    ("native", "sources", "expected"),
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
def test_the_fewest_steps_win_and_then_the_librarys_liking(native, sources, expected):
    form = choose(native, sources)
    assert (route(native, form) if form else None) == expected


def test_a_part_of_a_route_is_the_route_to_its_end():
    for native in FILES:
        for form in FILES:
            for end in range(2, len(route(native, form) or ()) + 1):
                steps = (route(native, form) or ())[:end]
                assert route(native, steps[-1]) == steps


@pytest.mark.parametrize(
    "native, form",
    [("pt2", "pt2"), ("onnx", "tflite"), ("pt2", "script"), ("keras", "pt2"), ("pt2", "keras")],
)
def test_no_step_precedes_a_format_that_nothing_is_converted_to(native, form):
    steps = route(native, form)
    assert steps is None or steps == (form,)


def test_every_step_has_an_environment_and_files_of_known_names():
    for (start, form), environment in EDGES.items():
        assert environment in SHARED and {start, form} <= set(FILES)
    assert set(SUFFIXES.values()) <= set(FILES)
    assert set(READ_IN) <= set(FILES) and set(READ_IN.values()) <= set(SHARED)
    assert len(set(FILES.values())) == len(FILES)


def test_every_library_gets_every_model_that_cellfarm_builds():
    for library in all_libraries().values():
        for native in ("pt2", "keras"):
            assert choose(native, library.sources), library.name


def test_only_tensorflow_s_own_library_gets_keras_models_as_they_are():
    formats = {name: choose("keras", library.sources) for name, library in all_libraries().items()}
    assert [name for name, form in formats.items() if form == "keras"] == ["litert"]


@pytest.mark.parametrize(
    ("name", "form"),
    [("a.onnx", "onnx"), ("b/A.TFLITE", "tflite"), ("x.y.pt2", "pt2"), ("m.pt", "script")],
)
def test_a_suffix_says_the_format(name, form):
    assert format_of(name) == form
    assert native_format(recipe(source="file", file=name)) == form


def test_what_is_built_is_a_program():
    assert native_format(recipe(source="timm")) == "pt2"
    assert model_formats("pt2") == ("pt2",) and model_formats("onnx") == ("onnx",)


def test_a_source_with_a_format_of_its_own_leaves_both():
    native = native_format(recipe(source="keras"))
    assert model_formats(native) == ("keras", "pt2")


@pytest.mark.parametrize("name", ["model.h5", "model", ".onnx"])
def test_another_suffix_names_no_format(name):
    with pytest.raises(ValueError, match="is of no known format"):
        format_of(name)


def test_the_lack_of_a_route_names_both_ends():
    reason = no_route("LiteRT", "onnx", ("tflite",))
    assert reason == "LiteRT reads TFLite; from ONNX there is no faithful route to that"
