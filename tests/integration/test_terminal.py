"""A session in a terminal: start, watch, scale, revoke, restart under load, and lose nothing."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.project import SCRIPTS, Project, wait_until

pytestmark = pytest.mark.skipif(not shutil.which("tmux"), reason="needs tmux")

CODE = """
@app.task(acks_late=True)
def work(n):
    time.sleep(0.02)
    with open("done", "a") as done:
        done.write(f"{n}\\n")

@app.task(acks_late=True)
def long():
    open("long-started", "w").close()
    time.sleep(300)
"""

#: Sends tasks until there is a file `enough`, and tells how many.
LOAD = """
import os, time
from proj import work
n = 0
while not os.path.exists("enough"):
    work.delay(n)
    n += 1
    time.sleep(0.005)
print("sent", n, "tasks")
"""


class Terminal:
    """A tmux server of our own; each window is a shell in the project's directory."""

    def __init__(self, project: Project, socket: Path) -> None:
        self.project = project
        self.socket = socket
        self.windows: set[str] = set()

    def tmux(self, *words: str) -> str:
        done = subprocess.run(
            ["tmux", "-S", str(self.socket), "-f", "/dev/null", *words],
            capture_output=True,
            text=True,
            env={**self.project.env, "PATH": f"{SCRIPTS}:{os.environ['PATH']}", "TERM": "xterm"},
            cwd=self.project.directory,
            timeout=30,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def type(self, window: str, line: str) -> None:
        """Type a line, in a new window if there is none of that name."""
        if window not in self.windows:
            new = ("new-window",) if self.windows else ("new-session", "-x", "120", "-y", "40")
            self.tmux(*new, "-d", "-n", window, "sh")
            self.windows.add(window)
        self.tmux("send-keys", "-t", window, line, "Enter")

    def key(self, window: str, key: str) -> None:
        """Press a key, as tmux names it."""
        self.tmux("send-keys", "-t", window, key)

    def shows(self, window: str, text: str) -> bool:
        """Return whether the window shows text, or has shown it."""
        return text in self.tmux("capture-pane", "-p", "-J", "-S", "-500", "-t", window)

    def wait(self, window: str, text: str, timeout: float = 30.0) -> None:
        """Wait until the window shows text."""
        try:
            wait_until(lambda: self.shows(window, text), timeout)
        except AssertionError:
            seen = self.tmux("capture-pane", "-p", "-t", window)
            raise AssertionError(f"{text!r} is not shown in {window}:\n{seen}") from None


@pytest.fixture
def terminal(make_project: Callable[..., Project], redis_url: str) -> Iterator[Terminal]:
    project = make_project(CODE, broker=redis_url, backend=redis_url)
    # Not below tmp_path: the path of a socket may not be long.
    socket = Path("/tmp") / f"tmux-{project.queue}"
    made = Terminal(project, socket)
    yield made
    if made.windows:
        made.tmux("kill-server")
    socket.unlink(missing_ok=True)


def test_a_session_loses_nothing(terminal: Terminal) -> None:
    directory = terminal.project.directory
    start = "taskq -A proj worker -c 2 -E -n box@here -l WARNING"

    terminal.type("worker", start)
    terminal.wait("worker", "concurrency: 2 (prefork)")
    wait_until(lambda: "box@here" in terminal.project.run("-A", "proj", "status").stdout)

    (directory / "load.py").write_text(LOAD)
    terminal.type("load", f"{shlex.quote(sys.executable)} load.py")

    terminal.type("watch", "taskq -A proj events")
    terminal.wait("watch", "box@here")
    terminal.wait("watch", "proj.work")
    terminal.tmux("resize-window", "-t", "watch", "-x", "80", "-y", "20")
    terminal.wait("watch", "proj.work")

    terminal.type("shell", "taskq -A proj control pool_grow 2")
    terminal.wait("shell", "pool will grow")
    terminal.type("shell", "taskq -A proj inspect stats | grep max-concurrency")
    terminal.wait("shell", '"max-concurrency": 4')

    terminal.type("shell", "taskq -A proj call proj.long > long-id")
    wait_until((directory / "long-started").exists)
    terminal.type("shell", "taskq -A proj control terminate KILL $(cat long-id)")
    terminal.wait("shell", "terminate:")
    terminal.type("shell", "taskq -A proj result $(cat long-id)")
    terminal.wait("shell", "TaskRevokedError")

    # Restarted while tasks come and run.
    terminal.key("worker", "C-c")
    terminal.wait("worker", "worker: Warm shutdown (MainProcess)")
    terminal.type("worker", f"clear; {start}")
    done = directory / "done"
    before = len(done.read_text().split())
    wait_until(lambda: len(done.read_text().split()) > before + 100, timeout=60)

    (directory / "enough").touch()
    terminal.wait("load", "sent ")
    text = terminal.tmux("capture-pane", "-p", "-t", "load")
    sent = int(text.split("sent ")[1].split()[0])
    wait_until(lambda: len(set(done.read_text().split())) == sent, timeout=60)
    assert sorted(map(int, done.read_text().split())) == list(range(sent)), "each ran once"

    terminal.key("watch", "q")
    terminal.key("worker", "C-c")
    terminal.wait("worker", "Warm shutdown")
