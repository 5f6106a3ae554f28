"""The FastAPI example, served, with a worker, and its page in a real browser."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.integration.project import ROOT, SCRIPTS, wait_until

pytest.importorskip("fastapi", reason="needs fastapi")
pytest.importorskip("uvicorn", reason="needs uvicorn")

EXAMPLE = ROOT / "examples" / "fastapi"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    """The address of the running example."""
    directory = shutil.copytree(EXAMPLE, tmp_path / "fastapi")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = {**os.environ, "PYTHONPATH": f"{directory}:{ROOT}", "C_FORCE_ROOT": "1"}
    worker = [str(SCRIPTS / "taskq"), "-A", "tasks", "worker", "-l", "INFO", "-P", "asyncio"]
    server = [sys.executable, "-m", "uvicorn", "main:web", "--port", str(port)]
    log = (directory / "log").open("wb")
    started = []
    try:
        for command in (worker, server):
            started.append(
                subprocess.Popen(command, cwd=directory, env=env, stdout=log, stderr=log)
            )
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: _answers(url), 30, (directory / "log").read_text())
        wait_until(lambda: b" ready." in (directory / "log").read_bytes(), 30)
        yield url
    finally:
        log.close()
        for process in started:
            process.terminate()
        for process in started:
            process.wait(20)


def _answers(url: str) -> bool:
    with suppress(OSError), urllib.request.urlopen(url, timeout=5) as response:
        return bool(response.status == 200)
    return False


def test_the_page_shows_progress_results_and_revocation(site: str, browser: Any) -> None:
    def element(name: str) -> Any:
        return browser.find_element("id", name)

    browser.get(site)
    assert element("state").text == "Nothing to do."
    element("start").click()
    seen: list[str] = []

    def finished() -> bool:
        text = element("state").text
        if not seen or seen[-1] != text:
            seen.append(text)
        return text == "5 pages converted"

    wait_until(finished, 60)
    assert any(text.startswith("Page ") for text in seen), seen
    assert float(element("bar").get_attribute("value")) == 1

    browser.execute_script("document.getElementById('pages').value = 1000")
    element("start").click()
    wait_until(lambda: element("state").text.startswith("Page "), 60)
    element("stop").click()
    wait_until(lambda: element("state").text == "REVOKED", 60)
