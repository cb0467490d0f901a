"""Measures: every column is defined once, and documented in every view."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest
from cellfarm import measures
from cellfarm.base.errors import UserError
from cellfarm.measures import all_columns, all_measures
from cellfarm.warehouse.exporting import VIEWS, dictionary
from cellfarm.warehouse.schema import schema

#: The columns of measures in the view `cells`; queries and notebooks rely on them.
COLUMNS = """
    latency_ms latency_ci_low_ms latency_ci_high_ms latency_p90_ms launches samples stopped_because
    steady_state cold_total_ms cold_total_ci_low_ms cold_total_ci_high_ms cold_start_ms
    cold_import_ms cold_read_ms cold_load_ms cold_first_ms steady_after_ms cold_cache_total_ms
    cold_cache_total_ci_low_ms cold_cache_total_ci_high_ms cold_cache_start_ms cold_cache_import_ms
    cold_cache_read_ms cold_cache_load_ms cold_cache_first_ms page_cache_share peak_rss_mb
    load_rss_mb peak_load_rss_mb peak_inference_rss_mb cpu_utilisation other_cpu_utilisation
    sampler_cpu_share energy_mj throughput_burst_per_s throughput_settled_per_s throughput_ratio
    settled_after_s operators_sum_ms operators_gap operators_reason cosine max_abs_error top1_match
    heldout_samples heldout_cosine sqnr_db top1_agreement compression_cosine compression_sqnr_db
    compression_top1_agreement labelled_images top1_accuracy
    top1_accuracy_low top1_accuracy_high top5_accuracy top5_accuracy_low top5_accuracy_high
    reference_top1_accuracy accuracy_reason
"""
REST = """
    model library library_version variant device processor threads protocol status reason
    artifact_bytes payload_bytes emulated flags key measured_at experiment drift_ratio device_facts
    causes log
"""


def test_no_column_came_or_went():
    with duckdb.connect() as connection:
        connection.execute(schema())
        columns = connection.sql("FROM cells").columns
    assert sorted(columns) == sorted(f"{COLUMNS} {REST}".split())
    assert sorted(all_columns()) == sorted(COLUMNS.split())


def test_every_column_of_every_view_is_described():
    with duckdb.connect() as connection:
        connection.execute(schema())
        described = dictionary(connection)
        for view in VIEWS:
            names = connection.sql(f"FROM {view}").columns
            assert [column["name"] for column in described[view]["columns"]] == names
            assert all(column["means"] for column in described[view]["columns"])


def test_timing_measures_share_their_columns():
    """They fill the same columns; rounds that are compared must come from the same measure."""
    for name in ("sustained", "spaced"):
        shared_columns = set(all_measures()[name].shares)
        assert {"latency_ms", "peak_rss_mb", "samples"} <= shared_columns
        assert shared_columns <= set(all_columns())


def test_emulators_have_no_columns_of_time_or_memory():
    emulated = {name for name, column in all_columns().items() if column.emulated}
    timed = {name for name in emulated if name.endswith(("_ms", "_mb", "_per_s"))}
    assert not timed and {"cosine", "launches", "top1_accuracy"} <= emulated


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A registry of two made-up measures."""
    monkeypatch.setattr(measures, "FOLDER", tmp_path)
    all_measures.cache_clear()
    all_columns.cache_clear()
    for name, order in (("one", 2), ("two", 1)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "measure.yaml").write_text(
            f"name: {name}\ntitle: t\nabout: a\norder: {order}\nessential: true\ntimed: true\n"
            f"columns:\n  {name}_ms: {{type: DOUBLE, means: m}}\n"
        )
    yield tmp_path
    monkeypatch.undo()
    all_measures.cache_clear()
    all_columns.cache_clear()


def test_measures_stand_in_their_order(folder):
    assert list(all_measures()) == ["two", "one"]
    assert list(all_columns()) == ["two_ms", "one_ms"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("one_ms", "two_ms", "both spell 'two_ms'"),
        ("one_ms", "One-ms", "'One-ms' is no name of a column"),
        ("title: t", "titel: t", "titel"),
        ("DOUBLE", "FLOAT", "FLOAT"),
        ("name: one", "name: other", "expected 'one', as the folder is called; found 'other'"),
        ("timed: true", "timed: true\nshares: [latency_ms]", "no measure spells 'latency_ms'"),
        ("means: m", "means: m, interval: [low, high]", "no measure spells 'low'"),
    ],
)
def test_a_mistake_is_named(folder, old, new, message):
    path = folder / "one" / "measure.yaml"
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(UserError, match=message):
        all_measures()
