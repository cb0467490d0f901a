"""A pass is one file, a variant another: a toy pass runs with two real libraries."""

from __future__ import annotations

import pytest

from tests.support.farm import Farm

pytestmark = pytest.mark.pipeline

PASS = '''\
"""Multiplies the weights of a layer. A toy: its error is as large as one wants."""

import torch
from pass_context import Context
from protocol import RecipeError

SETTINGS = {"layer": str, "factor": 0.5}


def apply(module: torch.nn.Module, context: Context) -> torch.nn.Module:
    try:
        weight = module.get_parameter(f"{context.settings['layer']}.weight")
    except AttributeError:
        raise RecipeError(f"the model has no layer {context.settings['layer']!r}") from None
    with torch.no_grad():
        weight.mul_(context.settings["factor"])
    return module
'''
VARIANT = {
    "name": "scaled",
    "precision": "fp32",
    "passes": [{"scale_layer": {"layer": "model.features.6.squeeze", "factor": 3.0}}],
    "tolerance": {"min_cosine": 0.999, "max_relative_error": 0.01, "top1": True},
}


@pytest.fixture
def toy(farm: Farm) -> Farm:
    """The measured farm with one more pass and variant."""
    (farm.root / "workflow/cellfarm/passes/scale_layer.py").write_text(PASS, encoding="utf-8")
    farm.write("config/variants/scaled.yaml", VARIANT)
    farm.configure(models=["small_squeezenet"], variants=["fp32", "scaled"])
    return farm


def test_a_derived_model_has_two_errors_apart(toy: Farm) -> None:
    before = toy.result_files()
    toy.run()
    after = toy.result_files()
    assert {
        path: after[path] for path in before
    } == before  # cells without a pass are not measured again
    rows = toy.query(
        "SELECT library, variant, status, reason, cosine, sqnr_db, latency_ms, compression_cosine,"
        " compression_sqnr_db FROM cells WHERE model = 'small_squeezenet' ORDER BY library, variant"
    )
    assert [(row["library"], row["variant"]) for row in rows] == [
        (library, variant) for library in ("ncnn", "onnxruntime") for variant in ("fp32", "scaled")
    ]
    for row in rows:
        assert row["status"] == "ok" and row["latency_ms"] > 0, row
        assert row["sqnr_db"] > 50  # of the conversion: against the derived model's own reference
    plain = [row["compression_sqnr_db"] for row in rows if row["variant"] == "fp32"]
    scaled = [row["compression_sqnr_db"] for row in rows if row["variant"] == "scaled"]
    assert plain == [None, None]
    assert scaled[0] == scaled[1] < 30  # of the pass: the same whatever the library


def test_a_wrong_layer_fails_its_cells_and_says_why(toy: Farm) -> None:
    variant = VARIANT | {"passes": [{"scale_layer": {"layer": "model.nowhere"}}]}
    toy.write("config/variants/scaled.yaml", variant)
    toy.configure(models=["small_squeezenet"], libraries=["ncnn"], variants=["scaled"])
    toy.run()
    (row,) = toy.query("SELECT status, reason FROM cells")
    assert row["status"] == "failed"
    assert "the model has no layer 'model.nowhere'" in row["reason"]
