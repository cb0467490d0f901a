"""The report's parts below the browser: reading, words, colours, escaping, files."""

from __future__ import annotations

import json
from itertools import combinations

import duckdb
import pytest
from cellfarm.report import ReportError, data, write_report
from cellfarm.report.page import embedded
from cellfarm.report.palette import LIBRARY_COLOURS, library_colours
from cellfarm.report.panels import error_floor
from cellfarm.report.wording import count, milliseconds, percent, scientific, significant

from tests.support import synthetic_warehouse

HOSTILE = "</script><img src=x onerror=\"document.title='pwned'\"><!--\u2028&amp;"


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
    assert [scientific(v) for v in (0.0, 1.2e-7, 0.035, 7.3)] == ["exact", "1.2e-7", "0.035", "7.3"]
    assert [count(1, "library"), count(2, "library"), count(2, "launch")] == [
        "1 library",
        "2 libraries",
        "2 launches",
    ]


def test_an_error_of_zero_has_a_place_on_a_logarithmic_axis():
    assert error_floor([{"max_abs_error": 0.0}, {"max_abs_error": 3e-6}]) == pytest.approx(1e-7)
    assert error_floor([{"max_abs_error": 0.0}, {"max_abs_error": None}]) > 0


def test_embedded_json_cannot_end_its_element_and_reads_back():
    text = embedded({"reason": HOSTILE, "broken": "\ud800"})
    assert "<" not in text
    assert "\u2028" not in text
    assert json.loads(text)["reason"] == HOSTILE


def test_colours_stay_with_their_library_and_apart_for_the_colour_blind():
    assert library_colours(["b", "a"]) == library_colours(["a", "b"])
    for ground in (0, 1):
        colours = [pair[ground] for pair in LIBRARY_COLOURS[:5]]
        for sight in (_NORMAL, _DEUTERANOPIA, _PROTANOPIA):
            least = min(_distance(a, b, sight) for a, b in combinations(colours, 2))
            assert least > 0.05, (ground, sight)


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


def test_samples_are_thinned_and_left_out_when_they_are_too_many(tmp_path, monkeypatch):
    path = synthetic_warehouse.create(tmp_path / "w.duckdb", launches=10, iterations=70)
    samples = data.read(path).samples
    assert samples.left_out is None
    one = next(iter(samples.by_key.values()))
    points = sum(len(ms) for _, _, ms in one["launches"])
    assert one["step"] == 3
    assert 200 < points <= data.MAX_POINTS_PER_CELL
    assert {letter for _, phases, _ in one["launches"] for letter in phases} <= set("fuw")
    monkeypatch.setattr(data, "MAX_SAMPLES_BYTES", 1_000)
    samples = data.read(path).samples
    assert samples.by_key == {}
    assert "18,200" in samples.left_out


def test_a_missing_or_broken_warehouse_is_one_clear_error(tmp_path):
    with pytest.raises(ReportError, match="there is no warehouse"):
        write_report(tmp_path / "none.duckdb", tmp_path)
    broken = tmp_path / "broken.duckdb"
    broken.write_text("not a database, but long enough to be read as one" * 200)
    with pytest.raises(ReportError, match="cannot be read"):
        write_report(broken, tmp_path)


def test_an_empty_warehouse_and_one_without_any_success_make_a_page(tmp_path):
    path = synthetic_warehouse.create(tmp_path / "w.duckdb")
    with duckdb.connect(str(path)) as connection:
        connection.execute("DELETE FROM cells WHERE status = 'ok' OR status = 'wrong'")
    assert "Nothing can be compared yet" in write_report(path, tmp_path / "out").read_text()
    with duckdb.connect(str(path)) as connection:
        connection.execute("DELETE FROM cells")
    assert "Nothing has been measured yet" in write_report(path, tmp_path / "out").read_text()


def test_figures_are_written_whole_and_stale_ones_removed(tmp_path):
    path = synthetic_warehouse.create(tmp_path / "w.duckdb", models=1, devices=("host", "pi"))
    charts = tmp_path / "out" / "charts"
    write_report(path, tmp_path / "out")
    names = {file.name for file in charts.iterdir()}
    assert {"latency--host-cpu-fp32.svg", "winners--pi-cpu-fp32.png"} <= names
    (charts / "mine.svg").write_text("kept")
    with duckdb.connect(str(path)) as connection:
        connection.execute("DELETE FROM cells WHERE device = 'pi'")
    write_report(path, tmp_path / "out")
    names = {file.name for file in charts.iterdir()}
    assert {"latency.svg", "latency.png", "winners.svg", "mine.svg"} <= names
    assert not any("--" in name or name.startswith(".") for name in names)


def test_two_versions_of_a_library_stand_side_by_side(tmp_path):
    path = synthetic_warehouse.create(tmp_path / "w.duckdb", models=1, libraries=2, threads=(1,))
    with duckdb.connect(str(path)) as connection:
        connection.execute(
            "INSERT INTO cells SELECT * REPLACE ('9.9' AS library_version, 'k' AS key) "
            "FROM cells WHERE library = 'litert'"
        )
    page = write_report(path, tmp_path / "out").read_text()
    assert "litert 9.9" in page
    assert "litert 2.1.0" in page
