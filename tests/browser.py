"""A real browser for tests of web pages: Chromium without a window, driven by Selenium."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from typing import Any

from tests.services import Unavailable

#: Names of the browser in distributions.
BROWSERS = ("chromium", "chromium-browser", "google-chrome")

OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1300,900",
)


def browser() -> Iterator[Any]:
    """Yield a Selenium driver with a profile of its own."""
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    driver_program = shutil.which("chromedriver")
    if program is None or driver_program is None:
        raise Unavailable("no browser: apt-get install chromium chromium-driver")
    try:
        from selenium.webdriver import Chrome, ChromeOptions
        from selenium.webdriver.chrome.service import Service
    except ModuleNotFoundError as exc:
        raise Unavailable("pip install selenium") from exc
    with tempfile.TemporaryDirectory(prefix="taskq-browser-") as profile:
        options = ChromeOptions()
        options.binary_location = program
        for option in (*OPTIONS, f"--user-data-dir={profile}"):
            options.add_argument(option)
        driver = Chrome(options=options, service=Service(driver_program))
        try:
            yield driver
        finally:
            driver.quit()
