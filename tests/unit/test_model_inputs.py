"""Seeded inputs: equal on every machine, different for each stream."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest
from cellfarm.base.project import PACKAGE

IMAGE = {"name": "x", "shape": [1, 3, 8, 8], "dtype": "float32", "content": "image"}
TOKENS = {"name": "ids", "shape": [1, 6], "dtype": "int64", "content": "tokens", "below": 5}
CACHE = {"name": "past", "shape": [1, 2, 3, 4], "dtype": "float32", "content": "features"}


@pytest.fixture
def drawing(monkeypatch: pytest.MonkeyPatch) -> Any:
    """cellfarm/models/drawing.py, imported as its worker does: as a top-level module."""
    monkeypatch.syspath_prepend(PACKAGE / "models")
    return importlib.import_module("drawing")


def test_a_seed_and_a_stream_settle_every_value(drawing: Any):
    specs = [IMAGE, TOKENS, CACHE]
    first, repeated = drawing.draw_inputs(specs, 3), drawing.draw_inputs(specs, 3)
    other_seed = drawing.draw_inputs(specs, 4)
    other_stream = drawing.draw_inputs(specs, 3, stream=1)
    assert list(first) == ["x", "ids", "past"]
    for name, array in first.items():
        np.testing.assert_array_equal(array, repeated[name])
        assert not np.array_equal(array, other_seed[name])
        assert not np.array_equal(array, other_stream[name])


def test_contents_have_their_shapes_types_and_ranges(drawing: Any):
    drawn = drawing.draw_inputs([IMAGE | {"shape": [1, 3, 64, 64]}, TOKENS, CACHE], 0, batch=4)
    assert drawn["x"].shape == (4, 3, 64, 64) and drawn["x"].dtype == np.float32
    assert abs(drawn["x"].mean()) < 0.02 and abs(drawn["x"].std() - 1) < 0.02
    assert drawn["ids"].shape == (4, 6) and drawn["ids"].dtype == np.int64
    assert set(np.unique(drawn["ids"])) == {0, 1, 2, 3, 4}
    assert drawn["past"].shape == (4, 2, 3, 4)
    ones = drawing.draw_inputs([TOKENS | {"content": "ones"}], 0)
    assert (ones["ids"] == 1).all()


def test_a_sample_is_the_model_input_of_a_stream(drawing: Any):
    samples = drawing.draw_samples([IMAGE, TOKENS], 0, drawing.HELD_OUT)
    assert samples["x"].shape == (16, 1, 3, 8, 8) and samples["ids"].shape == (16, 1, 6)
    fifth = drawing.draw_inputs([IMAGE, TOKENS], 0, stream=drawing.HELD_OUT + 5)
    for name, array in fifth.items():
        np.testing.assert_array_equal(samples[name][5], array)


def test_no_two_sets_share_a_sample(drawing: Any):
    count = drawing.SAMPLES
    sets = [
        {0, drawing.OTHER_INPUTS},
        set(range(drawing.STATISTICS, drawing.STATISTICS + 4)),
        set(range(drawing.CALIBRATION, drawing.CALIBRATION + count)),
        set(range(drawing.HELD_OUT, drawing.HELD_OUT + count)),
    ]
    assert len(set.union(*sets)) == sum(map(len, sets))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"content": "sound"}, "unknown content 'sound'"),
        ({"dtype": "float31"}, "unknown dtype 'float31'"),
        ({"shape": [1, 0]}, "no shape"),
        ({"content": "tokens"}, "'below'"),
    ],
    ids=["content", "dtype", "shape", "below"],
)
def test_a_wrong_input_is_told(drawing: Any, change: dict[str, Any], message: str):
    with pytest.raises(Exception, match=message) as caught:
        drawing.draw_inputs([IMAGE | change], 0)
    assert type(caught.value).__name__ == "RecipeError"
