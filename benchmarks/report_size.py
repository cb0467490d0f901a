"""The report of 10,000 cells and 1,000,000 samples: how long it takes, how large it is, its first paint.

Made-up results in the form in which experiments commit them, loaded by the product; a fresh process writes
the page, its figures and the Parquet files. The first paint is Chromium's own entry `first-contentful-paint`,
headless, of the page opened from its file, in a fresh browser each time. Baselines from the same run: the
same of 30 cells, and the first paint of a page with one word.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from .figures import SCRATCH, Baseline, Figure, NotMeasurable, Options, spread
from .loading import load, variables
from .processes import VENV_BIN, run
from .synthetic_store import LARGE, SMALL, TINY, Size, SyntheticStore

REPORT_S = 10.0
SIZE_MB = 15.0
PAINT_S = 2.0
RUNS = 5
SCRIPT = Path(__file__).with_name("write_report.py")
_PAINT = (
    "return performance.getEntriesByName('first-contentful-paint').map(entry => entry.startTime)[0]"
)
_READY = "return document.querySelectorAll('#cell-table tr.row').length > 0"


def measure(options: Options) -> list[Figure]:
    size = TINY if options.quick else LARGE
    runs = options.runs or (1 if options.quick else RUNS)
    SCRATCH.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="report-", dir=SCRATCH) as name:
        folder = Path(name)
        times_s, page = _reports(folder / "large", size, runs)
        few_s, small_page = _reports(folder / "small", TINY if options.quick else SMALL, runs)
        word = folder / "word.html"
        word.write_text("<!DOCTYPE html><title>word</title><p>word", encoding="utf-8")
        paints = {
            path: [_first_paint(path) for _ in range(runs)] for path in (page, small_page, word)
        }
        large_mb, small_mb = (path.stat().st_size / 1e6 for path in (page, small_page))
    times_s = [paint_s for paint_s, _ in paints[page]]
    return [
        Figure(
            what=f"writing the report of {size.cells:,} cells with {size.samples:,} samples",
            value=median(times_s),
            unit="s",
            target=REPORT_S,
            baselines=[Baseline(f"of {SMALL.cells} cells", median(few_s), "s")],
            details={"all runs": spread(times_s, "s")},
        ),
        Figure(
            what="its page",
            value=large_mb,
            unit="MB",
            target=SIZE_MB,
            baselines=[Baseline(f"of {SMALL.cells} cells", small_mb, "MB")],
        ),
        Figure(
            what="its first paint in Chromium",
            value=median(times_s),
            unit="s",
            target=PAINT_S,
            baselines=[
                Baseline(
                    f"of {SMALL.cells} cells",
                    median(paint_s for paint_s, _ in paints[small_page]),
                    "s",
                ),
                Baseline("of one word", median(paint_s for paint_s, _ in paints[word]), "s"),
            ],
            details={
                "all runs": spread(times_s, "s"),
                "until its table is there": spread([table_s for _, table_s in paints[page]], "s"),
            },
        ),
    ]


def _reports(folder: Path, size: Size, runs: int) -> tuple[list[float], Path]:
    """Write reports; returns the seconds of each, and the page."""
    print(f"  writing and loading {size.cells:,} results ...", flush=True)
    store = SyntheticStore(folder / "cells", size)
    warehouse, out = folder / "w.duckdb", folder / "reports"
    load(folder, warehouse, store)
    times_s = []
    for _ in range(runs):
        completed = run([VENV_BIN / "python", SCRIPT, warehouse, out], folder, variables())
        if completed.code != 0:
            raise NotMeasurable(f"the report cannot be written: {completed.output[-2000:]}")
        times_s.append(completed.wall_s)
    return times_s, out / "index.html"


def _first_paint(page: Path) -> tuple[float, float]:
    """The first paint, and when the page's scripts had drawn the table (0 without one), in s."""
    with _browser() as driver:
        started = time.monotonic()
        driver.get(page.as_uri())
        deadline = started + 60
        table = page.name == "index.html"
        while table and not driver.execute_script(_READY):
            if time.monotonic() > deadline:
                raise NotMeasurable(f"{page} draws nothing within a minute")
            time.sleep(0.02)
        ready_s = time.monotonic() - started if table else 0.0
        while (paint_ms := driver.execute_script(_PAINT)) is None:
            if time.monotonic() > deadline:
                raise NotMeasurable(f"{page} paints nothing within a minute")
            time.sleep(0.02)
    return float(paint_ms) / 1000, ready_s


def _browser() -> Any:
    try:
        from selenium import webdriver
    except ImportError:
        raise NotMeasurable("selenium is not installed: make setup-dev") from None
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        raise NotMeasurable("needs chromium and chromedriver: tests/system-packages")
    os.environ["SE_OFFLINE"] = "true"  # otherwise Selenium looks for a driver on the network
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                     "--disable-background-networking", "--no-first-run"):  # fmt: skip
        options.add_argument(argument)
    return webdriver.Chrome(options, webdriver.ChromeService(driver))
