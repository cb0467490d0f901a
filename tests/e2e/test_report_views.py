"""The page's filters, its pages of a model, a device and a cell, and its downloads."""

from __future__ import annotations

import csv
from pathlib import Path

import duckdb
import pytest
from cellfarm.report import write_report

from tests.support import browser as chromium
from tests.support import synthetic_warehouse
from tests.support.browser import By, Keys, complaints, drawn, rows, until

pytestmark = chromium.needs_chromium
#: 3 models x 5 libraries x 2 numbers of threads x 2 devices.
CELLS = 60


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    warehouse = synthetic_warehouse.create(folder / "w.duckdb", devices=("host", "pi"))
    return write_report(warehouse, folder / "out")


@pytest.fixture(scope="module")
def downloads(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="module")
def browser(tmp_path_factory, downloads):
    driver = chromium.start(tmp_path_factory.mktemp("profile"), downloads)
    yield driver
    driver.quit()


@pytest.fixture
def opened(browser, page):
    _open(browser, page)
    yield browser
    assert complaints(browser) == []


def _open(browser, page: Path, address: str = "") -> None:
    chromium.open_page(browser, page, address)
    until(browser, rows)


def _hash(browser) -> str:
    return browser.execute_script("return decodeURIComponent(location.hash)")


def _shown(browser) -> str:
    return browser.find_element(By.ID, "shown").text


def _visible(browser, selector: str) -> list[str]:
    elements = browser.find_elements(By.CSS_SELECTOR, selector)
    return [element.text for element in elements if element.is_displayed()]


def _cards(browser) -> list[str]:
    return _visible(browser, "[data-chart=latency] .card h3")


def _show_charts(browser) -> None:
    """Scroll to the charts: they are drawn when they come near."""
    browser.execute_script("document.querySelector('[data-chart=latency]').scrollIntoView()")
    until(browser, drawn)


def _open_first_cell(browser) -> None:
    link = browser.find_element(By.CSS_SELECTOR, "#cell-table tr.row a")
    link.send_keys(Keys.ENTER)
    until(browser, lambda d: d.find_elements(By.CSS_SELECTOR, "#cell[data-shown]"))


def test_filters_narrow_table_charts_and_winners_and_stand_in_the_address(browser, opened, page):
    assert _shown(opened) == "60 of 60 cells"
    assert len(_cards(opened)) == 6
    opened.find_element(By.ID, "device").send_keys("pi")
    opened.find_element(By.ID, "threads").send_keys("2")
    opened.find_element(By.ID, "library").send_keys("ncnn")
    until(opened, lambda d: _hash(d) == "#device/pi?library=ncnn&threads=2")
    assert _shown(opened) == "3 of 60 cells"
    assert len(rows(opened)) == 3
    until(opened, lambda d: len(_cards(d)) == 3)
    _show_charts(opened)
    names = _visible(opened, "[data-chart=latency] .plot .role-axis-label text")
    assert {name for name in names if name.isalpha()} == {"ncnn"}
    squares = opened.find_elements(By.CSS_SELECTOR, ".without-flagged tbody td")
    visible = [square for square in squares if square.is_displayed()]
    assert len(visible) == 3, "one column of the four: that device's at two threads"
    for square in visible:
        assert ("ncnn" in square.text) != ("dim" in square.get_attribute("class"))
    address = opened.execute_script("return location.hash")
    _open(browser, page, address)
    assert _shown(opened) == "3 of 60 cells"
    opened.find_element(By.ID, "clear").click()
    assert _shown(opened) == "60 of 60 cells"


def test_what_no_cell_has_cannot_be_chosen(opened):
    opened.find_element(By.ID, "status").send_keys("timeout")
    models = opened.find_element(By.ID, "model").find_elements(By.TAG_NAME, "option")
    assert [option.text for option in models if option.is_enabled()] == ["every model", "resnet50"]


def test_an_address_that_means_nothing_shows_everything_and_says_so(browser, opened, page):
    for address, missed in (
        ("#model/none?device=nowhere", "; not in this report: device nowhere, model none"),
        ("#cell/none", "; not in this report: cell none"), ("#device/%E0%A4%A", ""), ("#winners", ""),
    ):  # fmt: skip
        browser.get("about:blank")
        _open(browser, page, address)
        assert _shown(opened) == f"60 of 60 cells{missed}", address
    _open(browser, page, "#?library=none")
    until(browser, lambda d: _shown(d) == "60 of 60 cells; not in this report: library none")
    browser.execute_script("location.hash = '#?'")
    until(opened, lambda d: _shown(d) == "60 of 60 cells")
    _open(browser, page, "#?library=none")
    until(browser, lambda d: _shown(d) == "60 of 60 cells; not in this report: library none")
    opened.find_element(By.ID, "library").send_keys("mnn")
    until(opened, lambda d: _shown(d) == "12 of 60 cells")


def test_a_model_has_its_page(opened):
    opened.find_element(By.CSS_SELECTOR, ".without-flagged tr[data-model=resnet50] a").click()
    until(opened, lambda d: d.find_elements(By.ID, "model-h"))
    assert _hash(opened) == "#model/resnet50"
    assert opened.title == "resnet50 – cellfarm report"
    panel = opened.find_element(By.ID, "subjects").text
    assert "20 cells" in panel and "comparisons" in panel and "Who wins how often" in panel
    assert _visible(opened, ".hero h1") == [], "what is said of everything is not said of a model"
    until(opened, lambda d: _cards(d) == ["resnet50"] * 2)
    assert {row.text.split()[0] for row in rows(opened)} == {"resnet50"}
    assert _visible(opened, ".without-flagged tbody th") == ["resnet50"]
    opened.back()
    until(opened, lambda d: _shown(d) == "60 of 60 cells")
    assert len(_visible(opened, ".hero h1")) == 1


def test_a_device_has_its_page_and_narrows_with_a_model(browser, opened, page):
    _open(browser, page, "#device/pi?model=bert_mini")
    panels = opened.find_element(By.ID, "subjects")
    assert [heading.text for heading in panels.find_elements(By.TAG_NAME, "h1")] == [
        "bert_mini",
        "pi",
    ]
    assert "Synthetic CPU" in panels.text
    assert _shown(opened) == "10 of 60 cells"
    panels.find_elements(By.CSS_SELECTOR, ".crumb a")[0].click()
    until(opened, lambda d: _hash(d) == "#device/pi")
    assert _shown(opened) == "30 of 60 cells"


def test_a_cell_has_its_page_by_keyboard_and_leads_back(opened):
    opened.find_element(By.ID, "model").send_keys("mobilenet_v2")
    until(opened, lambda d: _hash(d) == "#model/mobilenet_v2")
    opened.execute_script("document.getElementById('cells').scrollIntoView()")
    before = opened.execute_script("return scrollY")
    _open_first_cell(opened)
    cell = opened.find_element(By.ID, "cell")
    assert _hash(opened).startswith("#cell/")
    assert opened.switch_to.active_element.tag_name == "h1"
    assert _visible(opened, "#all section") == []
    headings = [heading.text for heading in cell.find_elements(By.TAG_NAME, "h2")]
    assert headings == ["Numbers", "Raw samples", "Launches", "Conditions", "Environment",
                        "The same with every library", "Command", "Log"]  # fmt: skip
    assert len(cell.find_elements(By.CSS_SELECTOR, ".samples circle, .samples .over")) == 180
    launches = cell.find_elements(By.CSS_SELECTOR, "[data-name=launches] tbody tr")
    assert [row.text.split()[0] for row in launches] == list("012345")
    conditions = cell.find_element(By.CSS_SELECTOR, "[data-name=conditions] tbody").text
    assert "temperature_cpu_c" in conditions
    assert "Synthetic CPU" in cell.text and "model of mobilenet_v2" in cell.text
    assert "'models=[mobilenet_v2]'" in cell.find_element(By.TAG_NAME, "pre").text
    opened.find_element(By.CSS_SELECTOR, "#cell .crumb a").click()
    until(opened, lambda d: _hash(d) == "#model/mobilenet_v2")
    assert _shown(opened) == "20 of 60 cells"
    after = opened.execute_script("return scrollY")
    assert before > 1000 and abs(after - before) < 400, "charts that are drawn late move a little"


def test_a_cell_s_page_shows_the_command_that_measures_it_again(browser, page):
    with duckdb.connect(str(page.parent.parent / "w.duckdb"), read_only=True) as connection:
        for condition, ending in (
            ("status = 'ok' AND len(flags) = 0", None),
            ("status = 'ok' AND list_contains(flags, 'noisy')", "--flagged"),
            ("status = 'failed'", "--status failed"),
        ):
            row = connection.execute(
                f"SELECT key, library || '@' || library_version FROM cells WHERE {condition} LIMIT 1"
            ).fetchone()
            assert row, condition
            # Otherwise only the address changes, and the last cell is read.
            browser.get("about:blank")
            chromium.open_page(browser, page, f"#cell/{row[0]}")
            until(browser, lambda d: d.find_elements(By.CSS_SELECTOR, "#cell pre"))
            texts = [block.text for block in browser.find_elements(By.CSS_SELECTOR, "#cell pre")]
            commands = [text for text in texts if text.startswith("cellfarm retry")]
            assert len(commands) == (ending is not None), (condition, texts)
            assert all(row[1] in text and text.endswith(ending) for text in commands)


def test_a_rival_is_one_click_away(opened):
    _open_first_cell(opened)
    first = _hash(opened)
    opened.find_element(By.CSS_SELECTOR, "#cell [data-name=rivals] a").click()
    until(opened, lambda d: _hash(d) != first)
    until(opened, lambda d: len(d.find_elements(By.CSS_SELECTOR, "#cell .samples")) == 1)
    assert _hash(opened).startswith("#cell/")


def test_a_mark_opens_its_cell(opened):
    _show_charts(opened)
    mark = opened.find_element(By.CSS_SELECTOR, "[data-chart=latency] .mark-symbol path")
    opened.execute_script("arguments[0].scrollIntoView({block: 'center'})", mark)
    mark.click()
    until(opened, lambda d: _hash(d).startswith("#cell/"))


def test_links_to_sections_keep_the_filters(opened):
    opened.find_element(By.ID, "library").send_keys("mnn")
    until(opened, lambda d: _hash(d) == "#?library=mnn")
    opened.find_element(By.CSS_SELECTOR, "nav a[href='#conditions']").click()
    assert _hash(opened) == "#?library=mnn"
    assert _shown(opened) == "12 of 60 cells"
    top = "return document.getElementById('conditions').getBoundingClientRect().top"
    until(opened, lambda d: abs(d.execute_script(top)) < 300)


def _downloaded(downloads: Path, name: str) -> list[list[str]]:
    with (downloads / name).open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_tables_are_downloaded_as_they_are_shown(opened, downloads):
    opened.find_element(By.ID, "model").send_keys("resnet50")
    opened.find_element(By.ID, "device").send_keys("host")
    until(opened, lambda d: len(rows(d)) == 10)
    opened.find_element(By.CSS_SELECTOR, "th[data-column=latency_ms] button").click()
    opened.find_element(By.ID, "csv").click()
    until(opened, lambda d: (downloads / "cells.csv").is_file())
    head, *lines = _downloaded(downloads, "cells.csv")
    assert {"model", "latency_ms", "key", "reason"} <= set(head) and len(lines) == 10
    latencies = [float(text) for line in lines if (text := line[head.index("latency_ms")])]
    assert len(latencies) == 9 and latencies == sorted(latencies), (
        "the one that timed out has no latency"
    )
    box = opened.find_element(By.CSS_SELECTOR, "[data-table=conditions]")
    box.find_element(By.CLASS_NAME, "csv").click()
    until(opened, lambda d: (downloads / "conditions.csv").is_file())
    head, *lines = _downloaded(downloads, "conditions.csv")
    assert head[0] == "Model" and len(lines) == 9


def test_what_the_page_links_to_is_beside_it(opened, page):
    links = opened.find_elements(By.CSS_SELECTOR, "#cells .note a")
    paths = [link.get_attribute("href").partition(page.parent.as_uri())[2] for link in links]
    assert "/data/samples.parquet" in paths
    for path in paths:
        assert (page.parent / path.lstrip("/")).is_file()


def test_answers_are_sorted_by_their_numbers(opened):
    table = opened.find_element(By.CSS_SELECTOR, "#answers [data-name=gap]")

    def slowest() -> list[float]:
        cells = table.find_elements(By.CSS_SELECTOR, "tbody td:nth-child(4)")
        return [float(cell.text.rstrip("×")) for cell in cells]

    for direction in ("ascending", "descending"):
        table.find_elements(By.CSS_SELECTOR, "th button")[3].click()
        head = table.find_elements(By.TAG_NAME, "th")[3]
        assert head.get_attribute("aria-sort") == direction
        assert slowest() == sorted(slowest(), reverse=direction == "descending")


def test_paper_has_no_controls_and_cuts_nothing_off(opened):
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        assert _visible(opened, "#filters, nav, #csv") == []
        box = opened.find_element(By.CLASS_NAME, "table-box")
        assert box.value_of_css_property("overflow-y") == "visible"
    finally:
        opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
