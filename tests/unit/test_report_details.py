"""What a cell's own page shows: raw samples, launches, conditions, environment."""

from __future__ import annotations

import duckdb
import numpy as np
import pytest
from cellfarm.report import data, details
from cellfarm.report.details import Details

from tests.support import synthetic_warehouse


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory):
    path = tmp_path_factory.mktemp("warehouse") / "w.duckdb"
    return synthetic_warehouse.create(path, models=1, launches=10, iterations=70)


@pytest.fixture(scope="module")
def measured(warehouse):
    return data.read(warehouse)


def _samples(found: Details, place: int) -> np.ndarray:
    """The samples of one cell, as the page finds them."""
    sizes = [sum(sum(counts) for _, *counts in series) for series in found.series]
    start = sum(sizes[:place])
    return found.ms[start : start + sizes[place]]


def test_every_sample_is_there_launch_by_launch_in_the_order_of_time(warehouse, measured):
    found = measured.details
    place, cell = next((n, c) for n, c in enumerate(measured.cells) if c["latency_ms"] is not None)
    assert found.series[place] == [[launch, 1, 5, 64] for launch in range(10)]
    assert (found.steps[place], found.counts[place]) == (1, 700)
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        rows = connection.execute(
            "SELECT ms FROM samples WHERE key = ? AND phase IN ('first', 'warmup', 'warm') "
            "ORDER BY launch, list_position(['first', 'warmup', 'warm'], phase), iteration",
            [cell["key"]],
        ).fetchall()
    assert _samples(found, place) == pytest.approx([ms for (ms,) in rows], rel=1 / 16_000)


def test_the_samples_of_every_cell_are_its_own(warehouse, measured):
    """Medians of what the page has, against those of the warehouse."""
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        medians = dict(
            connection.execute(
                "SELECT key, median(ms) FROM samples WHERE phase IN ('first', 'warmup', 'warm') GROUP BY 1"
            ).fetchall()
        )
    for place, cell in enumerate(measured.cells):
        samples = _samples(measured.details, place)
        if cell["key"] in medians:
            assert np.median(samples) == pytest.approx(medians[cell["key"]], rel=1e-4)
        else:
            assert len(samples) == 0 and measured.details.counts[place] == 0


def test_too_many_samples_are_thinned_phase_by_phase_and_it_is_said(warehouse, monkeypatch):
    monkeypatch.setattr(details, "MAX_POINTS_PER_CELL", 300)
    found = data.read(warehouse).details
    place = found.counts.index(700)
    assert found.steps[place] == 3
    assert found.series[place][0] == [0, 1, 2, 22], "every third of each phase, from its first"
    monkeypatch.setattr(details, "MAX_POINTS", 1_000)
    found = data.read(warehouse).details
    assert len(found.ms) <= 1_000 + 10 * 3 * 10, "a launch's phase has one sample at least"


def test_rounding_keeps_one_part_in_16000():
    values = np.array([0.0123456, 1.0, 7.77777, 123.456, 98765.4], dtype=np.float32)
    rounded = details._rounded(values)
    assert np.all(np.abs(rounded / values - 1) <= 1 / 16_000)
    assert np.all(rounded.view(np.uint32) & 0x3FF == 0)
    assert np.isnan(details._rounded(np.array([np.nan], dtype=np.float32)))[0]


def test_launches_and_conditions_are_of_their_cell(measured):
    found = measured.details
    for place, cell in enumerate(measured.cells):
        launches = [
            dict(zip(details.LAUNCH_COLUMNS, row, strict=True)) for row in found.launches[place]
        ]
        if cell["latency_ms"] is None:
            assert launches == [] and found.conditions[place] == []
            continue
        assert [one["launch"] for one in launches] == list(range(10))
        assert {one["median_ms"] for one in launches} == {round(cell["latency_ms"], 4)}
        metrics = {row[0]: row[1:] for row in found.conditions[place]}
        unit, least, middle, most, readings = metrics["temperature_cpu_c"]
        assert (unit, readings) == ("°C", 30)
        assert 40 <= least <= middle <= most <= 44
        assert "before_temperature_board_c" not in metrics, "the gate's, not the launches'"


def test_environments_are_told_apart_and_unknown_stays_unknown(tmp_path):
    path = synthetic_warehouse.create(tmp_path / "w.duckdb", models=1, threads=(1,))
    with duckdb.connect(str(path)) as connection:
        connection.execute(
            """UPDATE results SET device_facts = '{"cpu": "another"}' WHERE library = 'mnn'"""
        )
        connection.execute(
            "UPDATE results SET device_facts = NULL, causes = NULL WHERE library = 'ncnn'"
        )
    measured = data.read(path)
    found = measured.details
    facts = {
        cell["library"]: None if place is None else found.environments[place]["cpu"]
        for cell, place in zip(measured.cells, found.environment, strict=True)
    }
    assert facts["mnn"] == "another" and facts["ncnn"] is None
    assert facts["litert"] == facts["executorch"] == "Synthetic CPU @ 2.50GHz"
    assert len(found.environments) == 2
    why = dict(zip((c["library"] for c in measured.cells), found.causes["library"], strict=True))
    assert why["litert"] == "litert 2.1.0" and why["ncnn"] is None


def test_a_warehouse_without_samples_has_none(tmp_path):
    path = synthetic_warehouse.create(tmp_path / "w.duckdb", models=1, iterations=0)
    found = data.read(path).details
    assert len(found.ms) == 0
    assert all(series == [] for series in found.series)
