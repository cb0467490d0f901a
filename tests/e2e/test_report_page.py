"""The page in a real browser: from a file, without a network, at any width, whatever its text."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest
from cellfarm.report import write_report

from tests.support import browser as chromium
from tests.support import synthetic_warehouse
from tests.support.browser import By, Keys, complaints, drawn, emulate, rows, until

pytestmark = chromium.needs_chromium
HOSTILE = "</script><img src=x onerror=\"document.title='pwned'\"><svg onload=alert(1)>"
#: Plots of the page: four charts of 3 models at 2 numbers of threads, operators at one, calibration.
EVERY_PLOT = 4 * 3 * 2 + 3 + 1


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    warehouse = synthetic_warehouse.create(folder / "w.duckdb", reason=HOSTILE)
    return write_report(warehouse, folder / "out")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    driver = chromium.start(tmp_path_factory.mktemp("profile"))
    yield driver
    driver.quit()


@pytest.fixture
def opened(browser, page):
    chromium.open_page(browser, page)
    until(browser, rows)
    return browser


def _scroll_through(browser) -> None:
    """Scroll to every plot, so that the page draws it: plots are drawn when they come near."""
    browser.execute_async_script(
        """const [done] = arguments;
        const frame = () => new Promise(requestAnimationFrame);
        (async () => {
          for (const element of document.querySelectorAll("section, .plot")) {
            element.scrollIntoView();
            await frame();
            await frame();
          }
        })().then(() => done());"""
    )


def test_every_chart_is_drawn_quietly_and_nothing_is_loaded(opened):
    _scroll_through(opened)
    until(opened, lambda d: drawn(d) == EVERY_PLOT)
    assert complaints(opened) == []
    assert chromium.network_requests(opened) == []


def test_the_header_says_what_was_measured(opened):
    facts = opened.find_element(By.CLASS_NAME, "facts").text
    for text in ("30 cells", "24 rank", "1 wrong", "2026-11-20 to 2026-11-21", "Synthetic CPU"):
        assert text in facts
    assert "tie" in opened.find_element(By.CLASS_NAME, "v-tie").text


def test_hostile_text_is_shown_and_does_nothing(opened):
    _scroll_through(opened)
    assert opened.title == "cellfarm report"
    assert opened.find_elements(By.CSS_SELECTOR, "img, svg[onload]") == []
    row = opened.find_element(By.XPATH, "//tr[contains(@class,'row')][.//*[text()='failed']]")
    row.find_element(By.TAG_NAME, "a").send_keys(Keys.ENTER)
    until(opened, lambda d: d.find_elements(By.CSS_SELECTOR, "#cell[data-shown]"))
    texts = [pre.text for pre in opened.find_elements(By.CSS_SELECTOR, "#cell pre")]
    assert texts.count(HOSTILE) == 2, "the reason and the log"
    assert opened.find_elements(By.CSS_SELECTOR, "img, svg[onload]") == []
    assert "pwned" not in opened.title


def test_filters_change_the_rows_and_clear_brings_them_back(opened):
    assert len(rows(opened)) == 30
    opened.find_element(By.ID, "filter").send_keys("mobilenet ncnn")
    assert len(rows(opened)) == 2
    opened.find_element(By.ID, "clear").click()
    select = opened.find_element(By.CSS_SELECTOR, "#filters select[data-column=status]")
    select.send_keys("unsupported")
    until(opened, lambda d: len(rows(d)) == 2)
    assert opened.find_element(By.ID, "shown").text == "2 of 30 cells"
    opened.find_element(By.ID, "clear").click()
    assert len(rows(opened)) == 30


def test_a_heading_sorts_by_keyboard_with_the_unknown_last(opened):
    def latencies():
        cells = opened.find_elements(By.CSS_SELECTOR, "#cell-table tr.row td:nth-child(5)")
        return [cell.text.split(" ")[0] for cell in cells]

    heading = opened.find_element(By.CSS_SELECTOR, "th[data-column=latency_ms]")
    for direction, order in (("ascending", False), ("descending", True)):
        heading.find_element(By.TAG_NAME, "button").send_keys(Keys.ENTER)
        assert heading.get_attribute("aria-sort") == direction
        values = [float(text) for text in latencies() if text != "n/a"]
        assert len(values) == 26
        assert values == sorted(values, reverse=order)
        assert latencies()[26:] == ["n/a"] * 4


def test_the_theme_follows_the_system_and_its_button(opened):
    def ground():
        return opened.execute_script("return getComputedStyle(document.body).backgroundColor")

    light = ground()
    _scroll_through(opened)
    until(opened, drawn)
    opened.find_element(By.ID, "theme").click()
    assert ground() != light
    until(opened, lambda d: d.find_elements(By.CSS_SELECTOR, ".plot[data-drawn=dark]"))
    dark = ground()
    opened.execute_script("localStorage.clear(); delete document.documentElement.dataset.theme")
    emulate(opened, 1400, "dark")
    assert ground() == dark


def test_the_logarithmic_axis_and_one_number_of_threads_are_drawn(opened):
    opened.find_element(By.ID, "log").click()
    opened.find_element(By.ID, "threads").send_keys("2")
    _scroll_through(opened)
    # Operators were timed at one thread: they stay.
    until(opened, lambda d: drawn(d) == 4 * 3 + 3 + 1)
    assert complaints(opened) == []


@pytest.mark.parametrize("width", [360, 800, 1400])
def test_the_page_never_scrolls_sideways(opened, width):
    emulate(opened, width)
    _scroll_through(opened)
    for address in ("", "#model/resnet50", "#device/host", f"#cell/{_key(opened)}"):
        opened.execute_script("location.hash = arguments[0]", address)
        if address.startswith("#cell"):
            until(opened, lambda d: d.find_elements(By.CSS_SELECTOR, "#cell[data-shown]"))
        inner, outer = opened.execute_script(
            "for (const d of document.querySelectorAll('details')) d.open = true;"
            "const d = document.documentElement; return [d.scrollWidth, d.clientWidth]"
        )
        assert inner <= outer, address
        opened.execute_script("window.scrollTo(500, 0)")
        assert opened.execute_script("return window.scrollX") == 0, address


def _key(browser) -> str:
    """The key of the first cell in the table."""
    link = browser.find_element(By.CSS_SELECTOR, "#cell-table tr.row a")
    return link.get_attribute("href").rpartition("/")[2]


def _table(browser, name: str) -> list[list[str]]:
    """The texts of a section's table, row by row, even if it is closed."""
    rows = browser.find_elements(By.CSS_SELECTOR, f"[data-table={name}] tr")
    return [
        [cell.get_attribute("textContent") for cell in row.find_elements(By.CSS_SELECTOR, "th, td")]
        for row in rows
    ]


def test_flagged_cells_are_shown_on_request_by_keyboard(opened):
    def shown():
        counts = [
            element.is_displayed()
            for element in winners.find_elements(By.CSS_SELECTOR, ".lede span")
        ]
        tables = [element.is_displayed() for element in winners.find_elements(By.TAG_NAME, "table")]
        answers = [
            element.is_displayed() for element in opened.find_elements(By.CSS_SELECTOR, gaps)
        ]
        assert counts == tables, "the number of comparisons is of the table that is shown"
        assert answers == tables, "what the choice is worth is told of the same results"
        return tables

    def unranked():
        return len(opened.find_elements(By.CSS_SELECTOR, "#cell-table tr.unranked"))

    winners = opened.find_element(By.ID, "winners")
    gaps = "#answers [data-name=gap], #answers [data-name=gap-flagged]"
    assert shown() == [True, False]
    assert unranked() == 6
    box = opened.find_element(By.ID, "flagged")
    box.send_keys(Keys.SPACE)
    assert shown() == [False, True]
    assert unranked() == 5, "wrong, failed, timed-out and unsupported cells never rank"
    box.send_keys(Keys.SPACE)
    assert shown() == [True, False]
    assert unranked() == 6


def test_comparisons_across_experiments_are_marked(opened):
    winners = opened.find_element(By.ID, "winners")
    marks = winners.find_elements(By.CSS_SELECTOR, ".without-flagged .doubt")
    assert [mark.text for mark in marks] == ["⇄ different experiments"] * 2
    assert "compared through the calibration load" in winners.text
    assert "2 comparisons are of results from different experiments" in opened.page_source


def test_cold_starts_stand_with_both_page_caches_and_intervals(opened):
    head, *rows = _table(opened, "cold-start")
    assert head[3:] == [
        "Total, warm page cache, ms",
        "Total, cold page cache, ms",
        "Left in the page cache",
        "Steady after, ms",
    ]
    assert len(rows) == 26
    assert all(" to " in row[3] and " to " in row[4] for row in rows)
    _scroll_through(opened)
    until(opened, lambda d: drawn(d) == EVERY_PLOT)
    bars = opened.find_elements(
        By.CSS_SELECTOR, "[data-chart=cold-start] .plot .mark-rect path[aria-label]"
    )
    caches = {"warm": 0, "cold": 0}
    for bar in bars:
        label = bar.get_attribute("aria-label")
        caches["warm" if "page cache: warm" in label else "cold"] += 1
    assert caches == {"warm": 26 * 5, "cold": 26 * 5}


def test_operators_that_do_not_add_up_say_so(opened):
    _, *rows = _table(opened, "operators")
    assert len(rows) == 15
    doubtful = [row for row in rows if "more than 15 % off" in row[6]]
    assert [row[:3] for row in doubtful] == [["mobilenet_v2", "ncnn", "1"]]
    (unsupported,) = [row for row in rows if row[7] == "unsupported"]
    assert unsupported[3:6] == ["not available"] * 3
    _scroll_through(opened)
    until(opened, lambda d: drawn(d) == EVERY_PLOT)
    texts = opened.find_element(By.CSS_SELECTOR, "[data-chart=operators] .cards").text
    assert texts.count(" % off") == 1


def test_conditions_are_listed_and_flags_explained(opened):
    head, *rows = _table(opened, "conditions")
    assert len(rows) == 26
    row = dict(zip(head, rows[0], strict=True))
    assert row["Launches"] == "6"
    assert row["Temperature, °C"].endswith("(cpu)")
    assert row["Sampler's CPU share"].endswith(" %")
    meanings = opened.find_element(By.ID, "flag-meanings").text
    assert [word in meanings for word in ("noisy", "throttled", "low_battery")] == [
        True,
        True,
        False,
    ]


def test_continuous_load_has_its_section_where_there_is_any(browser, opened, tmp_path):
    assert opened.find_elements(By.CSS_SELECTOR, "[data-chart=sustained]") == []
    warehouse = synthetic_warehouse.create(tmp_path / "w.duckdb", models=1, sustained=True)
    chromium.open_page(browser, write_report(warehouse, tmp_path / "out"))
    until(browser, rows)
    browser.find_element(By.ID, "protocol").send_keys("sustained")
    _scroll_through(browser)
    until(browser, lambda d: d.find_elements(By.CSS_SELECTOR, "[data-chart=sustained] svg"))
    head, *lines = _table(browser, "sustained")
    assert head[3:] == ["Burst, per s", "Settled, per s", "Settled / burst", "Settles after, s"]
    assert [row[5] for row in lines] == ["75.0 %"] * 5
    assert complaints(browser) == []


def test_what_was_not_measured_is_not_available(browser, tmp_path):
    warehouse = synthetic_warehouse.create(tmp_path / "w.duckdb", models=1)
    with duckdb.connect(str(warehouse)) as connection:
        connection.execute("DELETE FROM launch_facts")
        connection.execute("DELETE FROM condition_series")
        for column in ("operators_sum_ms", "cold_cache_total_ms", "drift_ratio", "cpu_utilisation"):
            connection.execute(f"UPDATE results SET {column} = NULL")
    chromium.open_page(browser, write_report(warehouse, tmp_path / "out"))
    until(browser, rows)
    head, first, *_ = _table(browser, "conditions")
    row = dict(zip(head, first, strict=True))
    for name in ("CPU use, cores", "Temperature, °C", "Calibration against baseline", "Waited, s"):
        assert row[name] == "not available"
    assert "not available" in browser.find_element(By.ID, "calibration").text
    operators = browser.find_element(By.CSS_SELECTOR, "[data-chart=operators]").text
    assert "No operators were timed here" in operators
    assert {row[-1] for row in _table(browser, "operators")[1:]} == {"not profiled"}
    _scroll_through(browser)
    until(browser, lambda d: drawn(d) == 4 * 2)
    assert complaints(browser) == []


def test_ten_thousand_cells_open_in_seconds(browser, tmp_path):
    warehouse = synthetic_warehouse.create(
        tmp_path / "w.duckdb",
        models=25,
        libraries=10,
        threads=(1, 2, 4, 8),
        devices=[f"phone{i}" for i in range(10)],
        launches=2,
        iterations=5,
    )
    page = write_report(warehouse, tmp_path / "out")
    assert page.stat().st_size < 6_000_000
    chromium.open_page(browser, page)
    until(browser, lambda d: len(rows(d)) == 150)
    assert "10,000 of 10,000" in browser.find_element(By.ID, "shown").text
    browser.find_element(By.ID, "filter").send_keys("phone7 model_11 ncnn")
    until(browser, lambda d: len(rows(d)) == 4)
    _scroll_through(browser)
    until(browser, drawn)
    browser.find_element(By.ID, "clear").click()
    browser.find_element(By.ID, "device").send_keys("phone3")
    until(browser, lambda d: "1,000 of 10,000" in d.find_element(By.ID, "shown").text)
    assert complaints(browser) == []
