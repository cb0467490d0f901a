"""Drives a headless Chromium and reads a report's page in it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.wait import WebDriverWait  # noqa: E402

__all__ = ["By", "Keys", "complaints", "drawn", "emulate", "rows", "until"]
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
needs_chromium = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver (chromium-driver)"
)
WAIT_S = 20


def start(profile: Path, downloads: Path | None = None) -> Any:
    """Start a browser with its own profile; downloads go to a folder."""
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--disable-dev-shm-usage",
        "--no-first-run",
        f"--user-data-dir={profile}",
    ):
        options.add_argument(argument)
    if downloads:
        options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    # Without this path, Selenium looks for a driver on the network.
    os.environ["SE_OFFLINE"] = "true"
    return webdriver.Chrome(options, webdriver.ChromeService(DRIVER))


def open_page(browser: Any, page: Path, address: str = "", width: int = 1400) -> None:
    """Open a page anew in light colours and drop its earlier logs."""
    emulate(browser, width)
    browser.get("about:blank")
    browser.get_log("browser"), browser.get_log("performance")
    browser.get(f"{page.as_uri()}{address}")
    browser.execute_script("try { localStorage.clear() } catch (e) {}")


def emulate(browser: Any, width: int, theme: str = "light") -> None:
    """Set the window's width in pixels (below 500: a phone) and the system's colours."""
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500},
    )
    features = [{"name": "prefers-color-scheme", "value": theme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def until(browser: Any, condition: Callable[[Any], Any]) -> Any:
    return WebDriverWait(browser, WAIT_S).until(condition)


def drawn(browser: Any) -> int:
    return len(browser.find_elements(By.CSS_SELECTOR, ".plot[data-drawn] svg.marks"))


def rows(browser: Any) -> list[Any]:
    return list(browser.find_elements(By.CSS_SELECTOR, "#cell-table tr.row"))


def complaints(browser: Any) -> list[Any]:
    """The console's messages above the level INFO."""
    return [entry for entry in browser.get_log("browser") if entry["level"] != "INFO"]


def network_requests(browser: Any) -> list[str]:
    """The requested addresses that are neither files nor data URLs."""
    urls = [
        message["params"]["request"]["url"]
        for entry in browser.get_log("performance")
        if (message := json.loads(entry["message"])["message"])["method"]
        == "Network.requestWillBeSent"
    ]
    return [url for url in urls if not url.startswith(("file:", "data:", "about:", "blob:"))]
