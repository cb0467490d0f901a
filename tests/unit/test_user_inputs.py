"""A user's file tells what its recipe leaves open; what neither tells is an error."""

from __future__ import annotations

from typing import Any

import pytest
from cellfarm.base.project import PACKAGE


@pytest.fixture
def user_model(monkeypatch) -> Any:
    """The module of the models' scripts; they import each other by their bare names."""
    monkeypatch.syspath_prepend(PACKAGE / "models")
    import user_model  # type: ignore[import-not-found]

    return user_model


def complete(user_model: Any, recipe_inputs: Any, *tensor: Any) -> Any:
    (spec,) = user_model.complete(recipe_inputs, [user_model.Tensor(*tensor)])
    return spec


def test_the_file_tells_what_the_recipe_does_not(user_model):
    assert complete(user_model, [], "x", (1, 3, 8, 8), "float32") == {
        "name": "x",
        "shape": [1, 3, 8, 8],
        "dtype": "float32",
        "content": "image",
    }


def test_a_free_batch_is_one(user_model):
    assert complete(user_model, [], "x", (None, 3), "float32")["shape"] == [1, 3]


@pytest.mark.parametrize(
    ("dtype", "below"), [("int64", 2), ("int32", 2), ("bool", 2), ("uint8", 256), ("int8", 128)]
)
def test_whole_numbers_are_indices_that_every_vocabulary_has(user_model, dtype, below):
    spec = complete(user_model, [], "ids", (1, 8), dtype)
    assert (spec["content"], spec["below"]) == ("tokens", below)


def test_the_recipe_has_the_last_word_on_what_an_input_holds(user_model):
    recipe_inputs = [{"name": "ids", "content": "tokens", "below": 30522, "shape": [1, 16]}]
    spec = complete(user_model, recipe_inputs, "ids", (None, None), "int64")
    assert (spec["shape"], spec["below"]) == ([1, 16], 30522)
    assert "below" not in complete(
        user_model, [{"name": "m", "content": "ones"}], "m", (1,), "bool"
    )


def test_torchscript_tells_neither_shape_nor_type(user_model):
    recipe_inputs = [{"name": "x", "shape": [1, 4]}]
    assert complete(user_model, recipe_inputs, "x", None, None)["dtype"] == "float32"
    recipe_inputs[0]["dtype"] = "int64"
    assert complete(user_model, recipe_inputs, "x", None, None)["dtype"] == "int64"


@pytest.mark.parametrize(
    ("recipe_inputs", "shape", "dtype", "reason"),
    [
        ([{"name": "y"}], (1, 3), "float32", "the file has no input 'y'; its inputs are x"),
        ([], (None, 3, None), "float32", r"leaves sizes free, \[\?, 3, \?\]: give its shape"),
        ([], None, None, "does not tell the shape of input 'x': give it"),
        (
            [{"name": "x", "shape": [1, 4]}],
            (None, 3),
            "float32",
            r"has the shape \[\?, 3\] in the file, not \[1, 4\]",
        ),
        ([{"name": "x", "shape": [3]}], (1, 3), "float32", r"\[1, 3\] in the file, not \[3\]"),
        ([{"name": "x", "dtype": "uint8"}], (1, 3), "float32", "of type float32 in the file, not"),
        ([], (1, 3), "tensor(string)", "cannot be measured"),
    ],
)
def test_what_does_not_fit_is_said(user_model, recipe_inputs, shape, dtype, reason):
    with pytest.raises(user_model.RecipeError, match=reason):
        complete(user_model, recipe_inputs, "x", shape, dtype)
