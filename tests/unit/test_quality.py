"""Outputs on held-out inputs are compared with FP32: the measures and their limits."""

from __future__ import annotations

import math

import numpy as np
import pytest
from cellfarm.measures.quality.comparison import Quality
from cellfarm.measures.quality.heldout import MAX_SQNR_DB, assess
from cellfarm.measures.tolerances import Tolerance
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

TOLERANCE = Tolerance(min_cosine=0.9, max_relative_error=1.0)
REFERENCE = np.random.default_rng(0).normal(size=(8, 1, 10))


def noisy(sqnr_db: float) -> np.ndarray:
    """The reference with noise of exactly this strength."""
    noise = np.random.default_rng(1).normal(size=REFERENCE.shape)
    energy = np.square(REFERENCE).sum() / 10 ** (sqnr_db / 10)
    return REFERENCE + noise * math.sqrt(energy / np.square(noise).sum())


def test_equal_outputs_have_no_noise():
    quality = assess({"y": REFERENCE}, {"y": REFERENCE}, classes=True)
    assert (quality.samples, quality.cosine, quality.top1_agreement) == (8, 1.0, 1.0)
    assert quality.sqnr_db == MAX_SQNR_DB
    assert quality.violation(replace(TOLERANCE, min_sqnr_db=100, min_top1_agreement=1)) is None


@given(sqnr_db=st.floats(-20, 100), scale=st.floats(1e-6, 1e6))
def test_the_noise_is_found_whatever_the_scale(sqnr_db: float, scale: float):
    quality = assess({"y": noisy(sqnr_db) * scale}, {"y": REFERENCE * scale}, classes=False)
    assert quality.sqnr_db == pytest.approx(sqnr_db, abs=1e-3)
    assert quality.top1_agreement is None


def test_agreement_is_a_share_of_samples():
    output = REFERENCE.copy()
    output[:2] = -output[:2]
    assert assess({"y": output}, {"y": REFERENCE}, classes=True).top1_agreement == 0.75


def test_the_worst_output_counts():
    outputs = {"one": REFERENCE, "other": noisy(12)}
    quality = assess(outputs, {"one": REFERENCE, "other": REFERENCE}, classes=False)
    assert quality.sqnr_db == pytest.approx(12)
    assert quality.cosine is not None and quality.cosine < 0.99


def test_fewer_samples_than_asked_for_are_compared_with_as_many():
    quality = assess({"y": REFERENCE[:3]}, {"y": REFERENCE}, classes=True)
    assert (quality.samples, quality.cosine) == (3, 1.0)


@pytest.mark.parametrize(
    ("outputs", "problem"),
    [
        ({}, "no output"),
        ({"y": REFERENCE[:0]}, "no output"),
        ({"z": REFERENCE}, "the output 'y' is missing"),
        ({"y": REFERENCE[:, :, :4]}, "shape"),
        ({"y": np.full_like(REFERENCE, np.nan)}, "not finite"),
        ({"y": np.ones_like(REFERENCE)}, "constant"),
    ],
)
def test_what_cannot_be_compared_is_a_problem_and_wrong(outputs: dict, problem: str):
    quality = assess(outputs, {"y": REFERENCE}, classes=False)
    assert problem in str(quality.problem) and quality.cosine is None
    assert f"held-out inputs: {quality.problem}" == quality.violation(TOLERANCE)


@pytest.mark.parametrize(
    ("quality", "tolerance", "message"),
    [
        (Quality(8, 0.8, 5.0, 1.0), {}, "cosine 0.80000 is below 0.9"),
        (Quality(8, 0.99, 5.0, 1.0), {"min_sqnr_db": 10}, "SQNR 5.0 dB is below 10 dB"),
        (Quality(8, 0.99, 5.0, 0.5), {"min_top1_agreement": 0.75}, "50% of 8, below 75%"),
    ],
)
def test_each_limit_has_its_words(quality: Quality, tolerance: dict, message: str):
    assert message in str(quality.violation(replace(TOLERANCE, **tolerance)))


def test_a_limit_on_classes_asks_nothing_of_a_task_without():
    assert Quality(8, 0.99, 20.0, None).violation(replace(TOLERANCE, min_top1_agreement=1)) is None
