"""The parts of the report that need no browser: reading, wording, colours, escaping, files."""

from __future__ import annotations

from itertools import combinations

import altair as alt
import duckdb
import pytest
from cellfarm.analysis.ranking import rank
from cellfarm.base.errors import UserError
from cellfarm.report import charts, data, figures, winners, wording, write_report
from cellfarm.report.palette import LIBRARY_COLOURS, library_colours, operator_colours
from cellfarm.report.panels import MAX_OPERATOR_TYPES, arrange, error_floor, operator_types
from cellfarm.report.readings import MAX_POINTS
from cellfarm.report.wording import count, milliseconds, percent, scientific, significant
from jsonschema.exceptions import ValidationError

from tests.support import synthetic_warehouse
from tests.support.synthetic_warehouse import row


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """Everything the report reads of a warehouse with every kind of cell."""
    path = tmp_path_factory.mktemp("warehouse") / "w.duckdb"
    return data.read(synthetic_warehouse.create(path, sustained=True))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "n/a"),
        (0.0, "0"),
        (0.0512, "0.0512"),
        (4.2, "4.20"),
        (35.14, "35.1"),
        (99.96, "100"),
        (123.4, "123"),
        (12345.6, "12,346"),
    ],
)
def test_numbers_have_three_digits_and_unknown_is_not_zero(value, text):
    assert significant(value) == text


def test_units_and_counts():
    assert milliseconds(None) == "n/a"
    assert percent(0.034) == "3.4 %"
    assert percent(None) == "n/a"
    assert [scientific(value) for value in (0.0, 1.2e-7, 0.035, 7.3)] == [
        "exact",
        "1.2e-7",
        "0.035",
        "7.3",
    ]
    assert [count(1, "library"), count(2, "library"), count(2, "launch")] == [
        "1 library",
        "2 libraries",
        "2 launches",
    ]


def test_an_error_of_zero_has_a_place_on_a_logarithmic_axis():
    assert error_floor([{"max_abs_error": 0.0}, {"max_abs_error": 3e-6}]) == pytest.approx(1e-7)
    assert error_floor([{"max_abs_error": 0.0}, {"max_abs_error": None}]) > 0


def test_colours_stay_with_their_library_and_apart_for_the_colour_blind():
    assert library_colours(["b", "a"]) == library_colours(["a", "b"])
    for ground in (0, 1):
        colours = [pair[ground] for pair in LIBRARY_COLOURS[:5]]
        for sight in (_NORMAL, _DEUTERANOPIA, _PROTANOPIA):
            smallest = min(_distance(a, b, sight) for a, b in combinations(colours, 2))
            assert smallest > 0.05, (ground, sight)


# Machado et al. (2009), severity 1.0, on linear RGB.
_NORMAL = ((1, 0, 0), (0, 1, 0), (0, 0, 1))
_PROTANOPIA = (
    (0.152286, 1.052583, -0.204868),
    (0.114503, 0.786281, 0.099216),
    (-0.003882, -0.048116, 1.051998),
)
_DEUTERANOPIA = (
    (0.367322, 0.860646, -0.227968),
    (0.280085, 0.672501, 0.047413),
    (-0.011820, 0.042940, 0.968881),
)


def _distance(left, right, sight):
    """Distance in OKLab, where 0.02 is about just noticeable."""
    return (
        sum((a - b) ** 2 for a, b in zip(*(_oklab(c, sight) for c in (left, right)), strict=True))
        ** 0.5
    )


def _oklab(colour, sight):
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    r, g, b = (max(0.0, sum(w * c for w, c in zip(line, linear, strict=True))) for line in sight)
    long = (0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b) ** (1 / 3)
    medium = (0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b) ** (1 / 3)
    short = (0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b) ** (1 / 3)
    return (
        0.2104542553 * long + 0.7936177850 * medium - 0.0040720468 * short,
        1.9779984951 * long - 2.4285922050 * medium + 0.4505937099 * short,
        0.0259040371 * long + 0.7827717662 * medium - 0.8086757660 * short,
    )


def test_reading_keeps_unknown_unknown(tmp_path):
    measured = data.read(synthetic_warehouse.create(tmp_path / "w.duckdb"))
    assert len(measured.cells) == 30
    (failed,) = [cell for cell in measured.cells if cell["status"] == "failed"]
    assert failed["latency_ms"] is None
    assert failed["log"].startswith("loading")
    assert measured.devices["host"]["cores"] == 2
    assert measured.cells[0]["measured_at"].startswith("2026-11-2")


def test_launches_are_summed_up_for_their_cell_and_unknown_stays_unknown(tmp_path):
    path = synthetic_warehouse.create(tmp_path / "w.duckdb", devices=("host", "pi"))
    for cell in data.read(path).cells:
        if cell["latency_ms"] is None:
            assert cell["waited_s"] is None
            assert cell["outliers"] is None
        elif cell["device"] == "host":
            # Of two zones the hotter one, over all launches.
            assert cell["temperature_zone"] == "cpu"
            assert 40 <= cell["temperature_low_c"] < cell["temperature_high_c"] <= 44
        else:
            assert cell["temperature_high_c"] is None


def test_a_result_that_was_set_aside_is_in_no_figure(tmp_path):
    """A cell that was measured again has two files with one key."""
    path = synthetic_warehouse.create(tmp_path / "w.duckdb")
    before = data.read(path)
    with duckdb.connect(str(path)) as connection:
        for table in ("results", "launch_facts", "series", "operator_times", "condition_series"):
            connection.execute(
                f"INSERT INTO {table} SELECT * REPLACE ('old-' || path AS path) FROM {table}"
            )
        connection.execute("UPDATE results SET superseded = true WHERE path LIKE 'old-%'")
    after = data.read(path)
    assert after.cells == before.cells
    assert after.details.as_dict() == before.details.as_dict()
    assert (after.details.ms == before.details.ms).all()
    assert after.calibration == before.calibration


def test_operators_are_of_the_fewest_threads_and_add_up(measured):
    profiled = [cell for cell in measured.cells if cell["operators"]]
    assert {cell["threads"] for cell in profiled} == {1}
    for cell in profiled:
        assert sum(cell["operators"].values()) == pytest.approx(cell["operators_sum_ms"])


def test_rare_types_of_operators_are_put_together():
    common = {f"Kind{i:02d}": 100.0 - i for i in range(12)}
    cells = [{"operators": common | {"Other": 500.0}}, {"operators": None}]
    types = operator_types(cells)
    assert len(types) == MAX_OPERATOR_TYPES
    assert types[:2] == ["Kind00", "Kind01"]
    assert types[-1] == "other types"
    assert len(operator_colours(types)) == len(types)
    assert operator_types([{"operators": None}]) == ["other types"]


def test_a_gap_of_more_than_15_percent_says_so():
    def label(gap):
        cell = {"operators_sum_ms": 10.0, "operators_gap": gap}
        return wording._operators_label(cell)

    assert label(0.02) == "10.0 ms, +2.0 %"
    assert label(-0.33) == "10.0 ms, −33 % off"
    assert label(0.151) == "10.0 ms, +15 % off"
    assert label(None) == "10.0 ms, n/a"


def test_throughput_over_time_settles_where_the_samples_do(measured):
    (cell, *_) = [cell for cell in measured.cells if cell["rate_s"]]
    rates = dict(zip(cell["rate_s"], cell["rate_per_s"], strict=True))
    assert min(rates) == 2.5
    assert max(rates) == pytest.approx(117.5, abs=5)  # 120 s, the window that is not whole is out
    settled = [rate for time_s, rate in rates.items() if time_s > 65]
    assert sum(settled) / len(settled) == pytest.approx(cell["throughput_settled_per_s"], rel=0.02)
    assert [
        other for other in measured.cells if other["rate_s"] and other["protocol"] != "sustained"
    ] == []


def test_a_slow_episode_of_the_device_shows_in_its_calibration(measured):
    calibration = measured.calibration["host"]
    factors = [factor for _, _, _, factor, *_ in calibration.points]
    assert 5 <= sum(factor > 1.3 for factor in factors) <= 15
    assert len(calibration.sessions) == 1
    assert sum(point[-1] for point in calibration.points) == calibration.launches


def test_many_launches_are_drawn_together_and_a_pause_begins_a_session(tmp_path):
    path = synthetic_warehouse.create(tmp_path / "w.duckdb", launches=40)
    with duckdb.connect(str(path)) as connection:
        connection.execute(
            "UPDATE launch_facts SET started_at = started_at + 7200 WHERE launch >= 20"
        )
    calibration = data.read(path).calibration["host"]
    assert calibration.launches > 2 * MAX_POINTS
    assert len(calibration.points) < 2 * MAX_POINTS + 10  # one for each number of threads
    assert len(calibration.sessions) == 2
    assert all(high >= median for _, _, _, median, high, _, _ in calibration.points)


def test_without_readings_the_page_says_what_is_missing(tmp_path):
    path = synthetic_warehouse.create(tmp_path / "w.duckdb", models=1)
    with duckdb.connect(str(path)) as connection:
        connection.execute("DELETE FROM launch_facts")
        connection.execute("DELETE FROM operator_times")
        connection.execute("UPDATE results SET operators_sum_ms = NULL, operators_gap = NULL")
    page = write_report(path, tmp_path / "out").read_text()
    assert "n&nbsp;=&nbsp;0 launches with a calibration load" in page
    assert not (tmp_path / "out/charts/operators.svg").exists()
    assert (tmp_path / "out/charts/cold-start.svg").exists()


def test_a_matrix_marks_flags_and_other_experiments(measured):
    plain = rank(measured.cells, measured.ratios)
    flagged = rank(measured.cells, measured.ratios, flagged=True)
    arrangement = arrange(measured.cells, plain, flagged)
    matrix = winners.build(arrangement, plain)
    assert matrix.crosses_experiments
    marks = {
        model: {mark for verdict in verdicts for mark in verdict.marks}
        for model, verdicts in matrix.rows
    }
    assert marks == {"bert_mini": {winners.ACROSS}, "mobilenet_v2": set(), "resnet50": set()}
    assert winners.build(arrangement, flagged).rows != matrix.rows
    # The square of a flagged winner says so.
    rows = [row("a", 10.0, flags=["noisy"]), row("b", 20.0)]
    (ranking,) = rank(rows, flagged=True)
    assert winners.verdict(ranking).marks == ("⚑ noisy",)


def test_the_margin_has_its_interval():
    rows = [row("a", 10.0, key="a"), row("b", 12.0, key="b")]
    ratio = {"key": "a", "other_key": "b", "ratio": 1.2, "ratio_ci_low": 1.15,
             "ratio_ci_high": 1.26, "crosses_experiments": False}  # fmt: skip
    (ranking,) = rank(rows, [ratio])
    assert winners.verdict(ranking).note == "+20 % (15 to 26 %)"
    assert "1.15× to 1.26×" in winners.verdict(ranking).detail


def test_a_missing_or_broken_warehouse_is_one_clear_error(tmp_path):
    with pytest.raises(UserError, match="no warehouse yet"):
        write_report(tmp_path / "none.duckdb", tmp_path)
    broken = tmp_path / "broken.duckdb"
    broken.write_text("not a database, but long enough to be read as one" * 200)
    with pytest.raises(UserError, match="cannot be opened"):
        write_report(broken, tmp_path)


def test_an_empty_warehouse_and_one_without_any_success_make_a_page(tmp_path):
    path = synthetic_warehouse.create(tmp_path / "w.duckdb")
    with duckdb.connect(str(path)) as connection:
        connection.execute("DELETE FROM results WHERE status = 'ok' OR status = 'wrong'")
    assert "Nothing can be compared yet" in write_report(path, tmp_path / "out").read_text()
    with duckdb.connect(str(path)) as connection:
        connection.execute("DELETE FROM results")
    assert "Nothing has been measured yet" in write_report(path, tmp_path / "out").read_text()


def test_the_specifications_are_what_vega_lite_takes(measured):
    rankings = rank(measured.cells, measured.ratios)
    arrangement = arrange(measured.cells, rankings)
    specs = charts.specifications(arrangement)
    assert specs.keys() == {"latency", "cold-start", "operators", "sustained", "memory", "error"}
    for spec in (
        *specs.values(),
        *charts.logarithmic(arrangement).values(),
        charts.calibration(arrangement.labels),
    ):
        alt.Chart.from_dict(spec, validate=True)
    specs["latency"]["layer"][0]["mark"] = {"type": "no such mark"}
    with pytest.raises(ValidationError):
        alt.Chart.from_dict(specs["latency"], validate=True)


def test_figures_are_written_whole_and_stale_ones_removed(tmp_path):
    path = synthetic_warehouse.create(tmp_path / "w.duckdb", models=1, devices=("host", "pi"))
    folder = tmp_path / "out" / "charts"
    write_report(path, tmp_path / "out")
    names = {file.name for file in folder.iterdir()}
    assert {"latency--host-cpu-fp32.svg", "winners--pi-cpu-fp32.png"} <= names
    (folder / "mine.svg").write_text("kept")
    with duckdb.connect(str(path)) as connection:
        connection.execute("DELETE FROM results WHERE device = 'pi'")
    write_report(path, tmp_path / "out")
    names = {file.name for file in folder.iterdir()}
    assert {"latency.svg", "latency.png", "winners.svg", "mine.svg"} <= names
    assert not any("--" in name or name.startswith(".") for name in names)


def test_a_large_report_has_figures_of_the_winners_only(tmp_path, monkeypatch):
    path = synthetic_warehouse.create(tmp_path / "w.duckdb", models=2)
    plots = 4 * 2 * 2 + 2  # four charts of two models at two numbers of threads, operators at one
    for limit, are_drawn in ((plots, True), (plots - 1, False)):
        monkeypatch.setattr(figures, "MAX_PLOTS_IN_ALL", limit)
        write_report(path, tmp_path / "out")
        names = {file.stem for file in (tmp_path / "out/charts").iterdir()}
        assert ("latency" in names) is are_drawn
        assert "winners" in names


def test_two_versions_of_a_library_stand_side_by_side(tmp_path):
    path = synthetic_warehouse.create(tmp_path / "w.duckdb", models=1, libraries=2, threads=(1,))
    with duckdb.connect(str(path)) as connection:
        connection.execute(
            "INSERT INTO results SELECT * REPLACE ('9.9' AS library_version, 'k' AS result, "
            "'k.json' AS path) FROM results WHERE library = 'litert'"
        )
        connection.execute("INSERT INTO result_keys VALUES ('k.json', 'k', true, 0, 0)")
    page = write_report(path, tmp_path / "out").read_text()
    assert "litert 9.9" in page
    assert "litert 2.1.0" in page
