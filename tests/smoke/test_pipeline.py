"""The pipeline as a whole, with the smallest real matrix: two models, two libraries, one thread."""

from __future__ import annotations

import pytest

from tests.support.farm import ALL, Farm

pytestmark = pytest.mark.pipeline


def test_everything_is_measured_verified_and_ranked(farm: Farm) -> None:
    rows = farm.query("SELECT * FROM cells")
    assert {f"{row['model']} {row['library']}" for row in rows} == ALL
    for row in rows:
        assert row["status"] == "ok", row
        assert row["cosine"] > 0.9999
        assert row["latency_ci_low_ms"] <= row["latency_ms"] <= row["latency_ci_high_ms"]
        assert row["cold_total_ms"] > row["cold_load_ms"] > 0
        assert (row["launches"], row["samples"]) == (2, 6)
    samples = farm.query("SELECT count(*) AS n FROM samples WHERE phase = 'warm'")
    assert samples == [{"n": 24}]
    assert (farm.root / "reports/index.html").is_file()


def test_a_second_run_does_nothing(farm: Farm) -> None:
    before = farm.result_files()
    completed = farm.run()
    assert "nothing to measure" in completed.stdout
    assert farm.measured_since(before) == set()


def test_a_deleted_result_is_measured_alone(farm: Farm) -> None:
    before = farm.result_files()
    result = next(
        path for path in before
        if "ncnn" in path and "small_mobilenet" in path and "/latency-" in path
    )  # fmt: skip
    (farm.root / "results/cells" / result).unlink()
    assert farm.outlook() == {
        "cells": {"small_mobilenet ncnn": "latency: no result yet"},
        "steps": [],
    }
    farm.run("measured")
    after = farm.result_files()
    assert {path for path, stamp in after.items() if before.get(path) != stamp} == {result}
