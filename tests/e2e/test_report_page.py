"""The page in a real browser: from a file, without a network, at any width, whatever its text."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import duckdb
import pytest
from cellfarm.report import write_report

from tests.support import synthetic_warehouse

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.wait import WebDriverWait  # noqa: E402

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver (chromium-driver)"
)
HOSTILE = "</script><img src=x onerror=\"document.title='pwned'\"><svg onload=alert(1)>"
WAIT_S = 20
#: Plots of the page: four charts of 3 models at 2 numbers of threads, operators at one, calibration.
EVERY_PLOT = 4 * 3 * 2 + 3 + 1


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    warehouse = synthetic_warehouse.create(folder / "w.duckdb", reason=HOSTILE)
    return write_report(warehouse, folder / "out")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--disable-dev-shm-usage",
        "--no-first-run",
        f"--user-data-dir={tmp_path_factory.mktemp('profile')}",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    # Selenium looks for a driver of its own on the network where it is not told of one.
    os.environ["SE_OFFLINE"] = "true"
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def opened(browser, page):
    """The page at 1400 px in light, freshly loaded, its logs before then dropped."""
    _emulate(browser, 1400)
    browser.get("about:blank")
    browser.get_log("browser"), browser.get_log("performance")
    browser.get(page.as_uri())
    browser.execute_script("try { localStorage.clear() } catch (e) {}")
    _until(browser, lambda d: _drawn(d) > 0)
    return browser


def _emulate(browser, width: int, theme: str = "light") -> None:
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500},
    )
    features = [{"name": "prefers-color-scheme", "value": theme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def _until(browser, condition):
    return WebDriverWait(browser, WAIT_S).until(condition)


def _drawn(browser) -> int:
    return len(browser.find_elements(By.CSS_SELECTOR, ".plot[data-drawn] svg"))


def _rows(browser) -> list:
    return browser.find_elements(By.CSS_SELECTOR, "#cell-table tr.row")


def _scroll_through(browser) -> None:
    for section in browser.find_elements(By.CSS_SELECTOR, "section"):
        browser.execute_script("arguments[0].scrollIntoView()", section)


def test_every_chart_is_drawn_quietly_and_nothing_is_loaded(opened):
    _scroll_through(opened)
    _until(opened, lambda d: _drawn(d) == EVERY_PLOT)
    bad = [entry for entry in opened.get_log("browser") if entry["level"] != "INFO"]
    assert bad == []
    urls = [
        message["params"]["request"]["url"]
        for entry in opened.get_log("performance")
        if (message := json.loads(entry["message"])["message"])["method"]
        == "Network.requestWillBeSent"
    ]
    assert [url for url in urls if not url.startswith(("file:", "data:", "about:"))] == []


def test_the_header_says_what_was_measured(opened):
    facts = opened.find_element(By.CLASS_NAME, "facts").text
    for words in ("30 cells", "24 rank", "1 wrong", "2026-11-20 to 2026-11-21", "Synthetic CPU"):
        assert words in facts
    assert "tie" in opened.find_element(By.CLASS_NAME, "v-tie").text


def test_hostile_text_is_shown_and_does_nothing(opened):
    _scroll_through(opened)
    assert opened.title == "cellfarm report"
    assert opened.find_elements(By.CSS_SELECTOR, "img, svg[onload]") == []
    row = opened.find_element(By.XPATH, "//tr[contains(@class,'row')][.//*[text()='failed']]")
    row.find_element(By.CSS_SELECTOR, ".open").click()
    shown = opened.find_elements(By.CSS_SELECTOR, ".detail pre")
    assert [pre.text for pre in shown] == [HOSTILE, HOSTILE]
    assert opened.title == "cellfarm report"


def test_filters_change_the_rows_and_clear_brings_them_back(opened):
    assert len(_rows(opened)) == 30
    opened.find_element(By.ID, "filter").send_keys("mobilenet ncnn")
    assert len(_rows(opened)) == 2
    opened.find_element(By.ID, "clear").click()
    select = opened.find_element(By.CSS_SELECTOR, "#filters select[data-column=status]")
    select.send_keys("unsupported")
    _until(opened, lambda d: len(_rows(d)) == 2)
    assert opened.find_element(By.ID, "shown").text == "2 of 30 cells"
    opened.find_element(By.ID, "clear").click()
    assert len(_rows(opened)) == 30


def test_a_heading_sorts_by_keyboard_with_the_unknown_last(opened):
    def latencies():
        cells = opened.find_elements(By.CSS_SELECTOR, "#cell-table tr.row td:nth-child(6)")
        return [cell.text.split(" ")[0] for cell in cells]

    heading = opened.find_element(By.CSS_SELECTOR, "th[data-column=latency_ms]")
    for direction, order in (("ascending", False), ("descending", True)):
        heading.find_element(By.TAG_NAME, "button").send_keys(Keys.ENTER)
        assert heading.get_attribute("aria-sort") == direction
        known = [float(text) for text in latencies() if text != "n/a"]
        assert len(known) == 26
        assert known == sorted(known, reverse=order)
        assert latencies()[26:] == ["n/a"] * 4


def test_a_row_opens_by_keyboard_and_shows_its_samples(opened):
    button = opened.find_element(By.CSS_SELECTOR, "#cell-table .open")
    button.send_keys(Keys.ENTER)
    assert button.get_attribute("aria-expanded") == "true"
    assert len(opened.find_elements(By.CSS_SELECTOR, ".samples circle, .samples .over")) == 180
    button.send_keys(Keys.ENTER)
    assert opened.find_elements(By.CSS_SELECTOR, "tr.detail") == []


def test_the_theme_follows_the_system_and_its_button(opened):
    def ground():
        return opened.execute_script("return getComputedStyle(document.body).backgroundColor")

    light = ground()
    opened.find_element(By.ID, "theme").click()
    assert ground() != light
    _until(opened, lambda d: d.find_elements(By.CSS_SELECTOR, ".plot[data-drawn=dark]"))
    dark = ground()
    opened.execute_script("localStorage.clear(); delete document.documentElement.dataset.theme")
    _emulate(opened, 1400, "dark")
    assert ground() == dark


def test_the_logarithmic_axis_and_one_number_of_threads_are_drawn(opened):
    opened.find_element(By.ID, "log").click()
    opened.find_element(By.ID, "threads").send_keys("2")
    _scroll_through(opened)
    # Operators were timed at one thread: they stay.
    _until(opened, lambda d: _drawn(d) == 4 * 3 + 3 + 1)
    assert [e for e in opened.get_log("browser") if e["level"] != "INFO"] == []


@pytest.mark.parametrize("width", [360, 800, 1400])
def test_the_page_never_scrolls_sideways(opened, width):
    _emulate(opened, width)
    _scroll_through(opened)
    opened.execute_script("document.querySelector('#cell-table tr.row').click()")
    inner, outer = opened.execute_script(
        "for (const d of document.querySelectorAll('details')) d.open = true;"
        "const d = document.documentElement; return [d.scrollWidth, d.clientWidth]"
    )
    assert inner <= outer
    opened.execute_script("window.scrollTo(500, 0)")
    assert opened.execute_script("return window.scrollX") == 0


def _table(browser, name: str) -> list[list[str]]:
    """The texts of a section's table, row by row; of closed ones too."""
    rows = browser.find_elements(By.CSS_SELECTOR, f"[data-table={name}] tr")
    return [
        [cell.get_attribute("textContent") for cell in row.find_elements(By.CSS_SELECTOR, "th, td")]
        for row in rows
    ]


def test_flagged_cells_are_shown_on_request_by_keyboard(opened):
    def shown():
        tables = opened.find_elements(By.CSS_SELECTOR, "#winners table")
        return [table.is_displayed() for table in tables]

    def unranked():
        return len(opened.find_elements(By.CSS_SELECTOR, "#cell-table tr.unranked"))

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
    _until(opened, lambda d: _drawn(d) == EVERY_PLOT)
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
    _until(opened, lambda d: _drawn(d) == EVERY_PLOT)
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
    browser.get(write_report(warehouse, tmp_path / "out").as_uri())
    browser.find_element(By.ID, "setting").send_keys("host · cpu · fp32 · sustained")
    _scroll_through(browser)
    _until(browser, lambda d: d.find_elements(By.CSS_SELECTOR, "[data-chart=sustained] svg"))
    head, *rows = _table(browser, "sustained")
    assert head[3:] == ["Burst, per s", "Settled, per s", "Settled / burst", "Settles after, s"]
    assert [row[5] for row in rows] == ["75.0 %"] * 5
    assert [e for e in browser.get_log("browser") if e["level"] != "INFO"] == []


def test_what_was_not_measured_is_not_available(browser, tmp_path):
    warehouse = synthetic_warehouse.create(tmp_path / "w.duckdb", models=1)
    with duckdb.connect(str(warehouse)) as connection:
        connection.execute("DELETE FROM launch_facts")
        connection.execute("DELETE FROM condition_series")
        for column in ("operators_sum_ms", "cold_cache_total_ms", "drift_ratio", "cpu_utilisation"):
            connection.execute(f"UPDATE results SET {column} = NULL")
    browser.get(write_report(warehouse, tmp_path / "out").as_uri())
    head, first, *_ = _table(browser, "conditions")
    row = dict(zip(head, first, strict=True))
    for name in ("CPU use, cores", "Temperature, °C", "Calibration against baseline", "Waited, s"):
        assert row[name] == "not available"
    assert "not available" in browser.find_element(By.ID, "calibration").text
    operators = browser.find_element(By.CSS_SELECTOR, "[data-chart=operators]").text
    assert "No operators were timed here" in operators
    assert {row[-1] for row in _table(browser, "operators")[1:]} == {"not profiled"}
    _scroll_through(browser)
    _until(browser, lambda d: _drawn(d) == 4 * 2)
    assert [e for e in browser.get_log("browser") if e["level"] != "INFO"] == []


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
    assert page.stat().st_size < 12_000_000
    _emulate(browser, 1400)
    browser.get(page.as_uri())
    _until(browser, lambda d: len(_rows(d)) == 150)
    assert "10,000 of 10,000" in browser.find_element(By.ID, "shown").text
    browser.find_element(By.ID, "filter").send_keys("phone7 model_11 ncnn")
    _until(browser, lambda d: len(_rows(d)) == 4)
    browser.find_element(By.ID, "setting").send_keys("phone3")
    _until(browser, lambda d: _drawn(d) > 0)
