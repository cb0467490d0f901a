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


def _samples(cell_details: Details, index: int) -> np.ndarray:
    """The samples of one cell, read as the page reads them."""
    sizes = [sum(sum(counts) for _, *counts in series) for series in cell_details.series]
    start = sum(sizes[:index])
    return cell_details.ms[start : start + sizes[index]]


def test_every_sample_is_there_launch_by_launch_in_the_order_of_time(warehouse, measured):
    cell_details = measured.details
    index, cell = next(
        (number, candidate)
        for number, candidate in enumerate(measured.cells)
        if candidate["latency_ms"] is not None
    )
    assert cell_details.series[index] == [[launch, 1, 5, 64] for launch in range(10)]
    assert (cell_details.steps[index], cell_details.counts[index]) == (1, 700)
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        rows = connection.execute(
            "SELECT ms FROM samples WHERE key = ? AND phase IN ('first', 'warmup', 'warm') "
            "ORDER BY launch, list_position(['first', 'warmup', 'warm'], phase), iteration",
            [cell["key"]],
        ).fetchall()
    assert _samples(cell_details, index) == pytest.approx([ms for (ms,) in rows], rel=1 / 16_000)


def test_the_samples_of_every_cell_are_its_own(warehouse, measured):
    """The medians on the page are those of the warehouse."""
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        medians = dict(
            connection.execute(
                "SELECT key, median(ms) FROM samples WHERE phase IN ('first', 'warmup', 'warm') GROUP BY 1"
            ).fetchall()
        )
    for index, cell in enumerate(measured.cells):
        samples = _samples(measured.details, index)
        if cell["key"] in medians:
            assert np.median(samples) == pytest.approx(medians[cell["key"]], rel=1e-4)
        else:
            assert len(samples) == 0 and measured.details.counts[index] == 0


def test_too_many_samples_are_thinned_phase_by_phase_and_it_is_said(warehouse, monkeypatch):
    monkeypatch.setattr(details, "MAX_POINTS_PER_CELL", 300)
    cell_details = data.read(warehouse).details
    index = cell_details.counts.index(700)
    assert cell_details.steps[index] == 3
    assert cell_details.series[index][0] == [0, 1, 2, 22], (
        "every third of each phase, from its first"
    )
    monkeypatch.setattr(details, "MAX_POINTS", 1_000)
    cell_details = data.read(warehouse).details
    assert len(cell_details.ms) <= 1_000 + 10 * 3 * 10, "a launch's phase has one sample at least"


def test_rounding_keeps_one_part_in_16000():
    values = np.array([0.0123456, 1.0, 7.77777, 123.456, 98765.4], dtype=np.float32)
    rounded = details._rounded(values)
    assert np.all(np.abs(rounded / values - 1) <= 1 / 16_000)
    assert np.all(rounded.view(np.uint32) & 0x3FF == 0)
    assert np.isnan(details._rounded(np.array([np.nan], dtype=np.float32)))[0]


def test_launches_and_conditions_are_of_their_cell(measured):
    cell_details = measured.details
    for index, cell in enumerate(measured.cells):
        launches = [
            dict(zip(details.LAUNCH_COLUMNS, row, strict=True))
            for row in cell_details.launches[index]
        ]
        if cell["latency_ms"] is None:
            assert launches == [] and cell_details.conditions[index] == []
            continue
        assert [launch["launch"] for launch in launches] == list(range(10))
        assert {launch["median_ms"] for launch in launches} == {round(cell["latency_ms"], 4)}
        metrics = {row[0]: row[1:] for row in cell_details.conditions[index]}
        unit, low, median, high, readings = metrics["temperature_cpu_c"]
        assert (unit, readings) == ("°C", 30)
        assert 40 <= low <= median <= high <= 44
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
    cell_details = measured.details
    facts = {
        cell["library"]: None if index is None else cell_details.environments[index]["cpu"]
        for cell, index in zip(measured.cells, cell_details.environment, strict=True)
    }
    assert facts["mnn"] == "another" and facts["ncnn"] is None
    assert facts["litert"] == facts["executorch"] == "Synthetic CPU @ 2.50GHz"
    assert len(cell_details.environments) == 2
    library_causes = dict(
        zip(
            (cell["library"] for cell in measured.cells),
            cell_details.causes["library"],
            strict=True,
        )
    )
    assert library_causes["litert"] == "litert 2.1.0" and library_causes["ncnn"] is None


def test_a_warehouse_without_samples_has_none(tmp_path):
    path = synthetic_warehouse.create(tmp_path / "w.duckdb", models=1, iterations=0)
    cell_details = data.read(path).details
    assert len(cell_details.ms) == 0
    assert all(series == [] for series in cell_details.series)
