"""Versions over time and the roofline, as shown in tables, in figures and by `cellfarm series`."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import pytest
from cellfarm.analysis.longitudinal import all_series
from cellfarm.base.errors import UserError
from cellfarm.base.project import Project
from cellfarm.cli.operators import print_operators
from cellfarm.cli.series import print_series
from cellfarm.report import version_tables, write_report
from cellfarm.report.answers import MOST_ROWS
from cellfarm.warehouse import connect
from cellfarm.warehouse.reading import history, operators

from tests.support import synthetic_warehouse

SLOWER = 1.5
FACTS = {"cpu": "Synthetic", "peak": {"1": {"gflops": 80.0, "gb_s": 12.0, "method": "numpy"}}}


def synthetic_project(folder: Path) -> Project:
    """A project whose warehouse is a synthetic one."""
    project = Project(folder)
    project.results.mkdir()
    synthetic_warehouse.create(project.warehouse)
    return project


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    """litert in two versions, the newer one slower at everything; a device and models with their sizes."""
    project = synthetic_project(tmp_path_factory.mktemp("project"))
    with duckdb.connect(str(project.warehouse)) as connection:
        connection.execute(
            "INSERT INTO results SELECT * REPLACE ('2.10.0' AS library_version, result || 'n' AS result,"
            f" path || 'n' AS path, latency_ms * {SLOWER} AS latency_ms,"
            f" latency_ci_low_ms * {SLOWER} AS latency_ci_low_ms,"
            f" latency_ci_high_ms * {SLOWER} AS latency_ci_high_ms)"
            " FROM results WHERE library = 'litert'"
        )
        connection.execute(
            "INSERT INTO operator_times SELECT * REPLACE (path || 'n' AS path,"
            " CASE WHEN type = 'Conv' THEN ms + 1 ELSE ms END AS ms) FROM operator_times"
            " SEMI JOIN (SELECT path FROM results WHERE library_version = '2.1.0') USING (path)"
        )
        connection.execute(
            "INSERT INTO result_keys SELECT path, result, true, 0, 0 FROM results WHERE result LIKE '%n'"
        )
        connection.execute("UPDATE results SET causes = json_object('model', model)")
        connection.execute(
            "INSERT INTO models_now SELECT DISTINCT model, model, 3500000, 600000000 FROM results"
        )
        connection.execute("UPDATE devices_now SET facts = ?", [json.dumps(FACTS)])
    return project


@pytest.fixture(scope="module")
def series_and_profiles(project):
    with connect(project.warehouse) as connection:
        series = all_series(history(connection), {"litert": {"2.10.0": "2026-01-02"}})
        keys = [point.key for version_series in series for point in version_series.points]
        return series, operators(connection, keys)


def test_the_warehouse_gives_a_series_for_each_setting(series_and_profiles):
    series, profiles = series_and_profiles
    assert {version_series.setting["library"] for version_series in series} == {"litert"}
    assert len(series) == 6
    for version_series in series:
        assert [point.version for point in version_series.points] == ["2.1.0", "2.10.0"]
        assert [step.ratio for step in version_series.steps] == pytest.approx([SLOWER])
        assert version_series.points[1].released == "2026-01-02"
    assert profiles and all(operator.ms > 0 for rows in profiles.values() for operator in rows)


def test_steps_are_told_with_interval_rerun_and_operators(series_and_profiles):
    series, profiles = series_and_profiles
    steps, slowdowns = version_tables.tables(series, profiles)
    for table in (steps, slowdowns):
        assert 0 < len(table["rows"]) <= MOST_ROWS
        assert all(len(line) == len(table["columns"]) for line in table["rows"])
    first_step = dict(zip([name for name, _ in steps["columns"]], steps["rows"][0], strict=True))
    assert first_step["Versions"] == "2.1.0 → 2.10.0" and first_step["Ratio"] == "1.50×"
    assert first_step["Rerun"] == "not confirmed"
    operator_texts = {line[-1] for line in steps["rows"]}
    # Only the cells with the fewest threads have a profile.
    assert any(text.startswith("Conv +") for text in operator_texts)
    assert "n/a" in operator_texts
    assert [line[5:8] for line in slowdowns["rows"]] == [["not yet", "1", "n/a"]] * 6
    assert version_tables.tables([], {}) == []


def test_a_figure_marks_steps_and_says_what_is_not_confirmed(series_and_profiles):
    series, _ = series_and_profiles
    (figure,) = version_tables.figures(series).values()
    values = [row for rows in figure["datasets"].values() for row in rows]
    assert {row["step"] for row in values if row["step"]} == {"+50 % ?"}
    assert all(row["low_ms"] < row["latency_ms"] < row["high_ms"] for row in values)
    assert "not confirmed by a rerun" in figure["title"]["subtitle"]


def test_the_page_and_its_folder_have_the_steps_and_the_roofline(project, tmp_path):
    (tmp_path / "charts").mkdir()
    (tmp_path / "charts/series--gone.svg").write_text("of an earlier report")
    page = write_report(project.warehouse, tmp_path).read_text()
    for name in ("operator-types", "compute", "steps", "slowdowns"):
        assert f'data-name="{name}"' in page
    figure_names = {path.stem for path in (tmp_path / "charts").glob("*.svg")}
    assert {"series--litert", "roofline--host-t1"} <= figure_names
    assert "series--gone" not in figure_names


def test_a_warehouse_of_one_version_and_no_sizes_has_neither(tmp_path):
    warehouse = synthetic_warehouse.create(tmp_path / "w.duckdb")
    page = write_report(warehouse, tmp_path / "out").read_text()
    assert 'data-name="steps"' not in page and 'data-name="compute"' not in page
    assert not list((tmp_path / "out/charts").glob("series--*"))


def test_the_command_prints_steps_and_how_to_confirm_one(project, capsys):
    print_series(project, "litert", "resnet50", flagged=False, points=True)
    text = capsys.readouterr().out
    assert "2 series of 4 versions, 2 steps" in text
    assert "2.1.0 → 2.10.0" in text and "1.50×" in text and "level, ms" in text
    assert "libraries=litert@2.1.0,litert@2.10.0" in text and "protocol=quick" in text


@pytest.mark.parametrize(
    ("library", "model", "message"),
    [("litter", None, "did you mean 'litert'"), (None, "vgg16", "--model vgg16"),
     ("ncnn", None, "there are: litert")],
)  # fmt: skip
def test_a_series_that_is_not_there_is_the_user_s_mistake(project, library, model, message):
    with pytest.raises(UserError, match=message):
        print_series(project, library, model, flagged=False, points=False)


def test_the_operators_of_each_library_are_printed_side_by_side(project, capsys):
    print_operators(project, "resnet50")
    text = capsys.readouterr().out
    assert "resnet50 (fp32, cpu, 1 thread, host), ms" in text and "depthwise" in text
    assert "times as fast at most" in text
    with pytest.raises(UserError, match=r"resnet5: not among .*did you mean 'resnet50'"):
        print_operators(project, "resnet5")


def test_operators_that_nothing_matches_are_the_user_s_mistake(tmp_path):
    project = synthetic_project(tmp_path)
    with duckdb.connect(str(project.warehouse)) as connection:
        connection.execute("DELETE FROM operator_times")
    with pytest.raises(UserError, match="resnet50: no two libraries"):
        print_operators(project, "resnet50")


def test_one_version_is_no_series(tmp_path):
    project = synthetic_project(tmp_path)
    with pytest.raises(UserError, match=r"config/longitudinal\.yaml"):
        print_series(project, None, None, flagged=False, points=False)
