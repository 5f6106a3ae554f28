"""The ``celery`` alias, each time in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]

needs_celery = pytest.mark.skipif(find_spec("celery") is None, reason="celery is not installed")


def python(*args: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run Python; the environment says nothing of the alias unless given."""
    environ = {**os.environ, "PYTHONPATH": f"{cwd}:{ROOT}", **env}
    if "TASKQ_COMPAT" not in env:
        environ.pop("TASKQ_COMPAT", None)
    return subprocess.run(
        [sys.executable, *args], cwd=cwd, env=environ, capture_output=True, text=True, timeout=60
    )


@pytest.fixture
def run(tmp_path: Path) -> Any:
    """Run code and return what it printed."""

    def run_code(code: str, **env: str) -> str:
        done = python("-c", textwrap.dedent(code), cwd=tmp_path, **env)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run_code


INSTALL = "import taskq.compat; taskq.compat.install()\n"


def test_submodules_are_the_same_objects(run: Any) -> None:
    run(
        INSTALL
        + """
import sys
import celery.app.base, celery.utils.log, celery.schedules
from celery.result import AsyncResult
import taskq.app.base, taskq.utils.log, taskq.schedules, taskq.result

assert celery.app.base is taskq.app.base
assert celery.utils.log is taskq.utils.log
assert AsyncResult is taskq.result.AsyncResult
for name, module in list(sys.modules.items()):
    if name.startswith("celery."):
        assert module is sys.modules["taskq" + name[6:]], name
# Still what the import system knows them as.
assert taskq.app.base.__spec__.name == taskq.app.base.__name__ == "taskq.app.base"
"""
    )


def test_names_of_the_top_module_are_taskqs(run: Any) -> None:
    run(
        INSTALL
        + """
from celery import Celery, Task, chain, current_app, group, shared_task, signature, states
import celery, taskq
from celery import *

assert Celery is taskq.Celery and shared_task is taskq.shared_task and states is taskq.states
assert current_app is taskq.current_app
assert celery.app is taskq.app and celery.result is taskq.result
assert set(taskq.__all__) <= set(dir(celery))
try:
    celery.nothing
except AttributeError as exc:
    assert "taskq" in str(exc)
"""
    )


def test_a_submodule_does_not_hide_what_its_package_calls_by_its_name(run: Any) -> None:
    run(
        INSTALL
        + """
import celery.canvas.chain, celery.canvas.group
import taskq.canvas
assert isinstance(taskq.canvas.chain, type) and isinstance(taskq.canvas.group, type)
assert celery.canvas.chain is taskq.canvas.chain
"""
    )


def test_versions_are_those_of_the_celery_that_it_matches(run: Any) -> None:
    run(
        INSTALL
        + """
import celery, taskq
from importlib.metadata import distribution, entry_points, requires, version

assert celery.__version__ == version("celery") == taskq.CELERY_COMPAT
assert celery.VERSION >= (5, 7, 0) and celery.VERSION.major == 5
assert celery.version_info[:2] == (5, 7)
assert taskq.__version__ == version("taskq") != celery.__version__
assert distribution("Celery").metadata["Name"] == "celery"
assert requires("celery") is None
(script,) = entry_points(group="console_scripts", name="celery")
import taskq.__main__
assert script.load() is taskq.__main__.main
"""
    )


def test_every_public_module_is_found(run: Any) -> None:
    out = run(
        INSTALL
        + """
import pkgutil, importlib.util, celery
names = [m.name for m in pkgutil.walk_packages(celery.__path__, "celery.", onerror=print)]
for name in names:
    assert importlib.util.find_spec(name) is not None, name
print(len(names))
"""
    )
    assert int(out) > 200


def test_what_taskq_does_not_have_is_not_there(run: Any) -> None:
    run(
        INSTALL
        + """
import importlib.util
assert importlib.util.find_spec("celery.no_such_module") is None
try:
    import celery.no_such_package.module
except ModuleNotFoundError as exc:
    assert exc.name == "celery.no_such_package", exc.name
else:
    raise AssertionError
"""
    )


def test_twice_is_once(run: Any) -> None:
    run(
        INSTALL
        + INSTALL
        + """
import sys
assert taskq.compat.is_installed()
assert len([f for f in sys.meta_path if type(f).__module__ == "taskq.compat.modules"]) == 1
"""
    )


def test_without_it_nothing_changes(run: Any) -> None:
    run(
        """
        import sys
        import taskq, taskq.compat
        assert "celery" not in sys.modules and not taskq.compat.is_installed()
        """
    )


@needs_celery
def test_the_real_one_imported_before_is_refused(run: Any) -> None:
    run(
        """
        import celery, taskq.compat
        try:
            taskq.compat.install()
        except ImportError as exc:
            assert "already" in str(exc) and celery.__file__ in str(exc), exc
            assert "python -m taskq.compat" in str(exc)
        else:
            raise AssertionError("not refused")
        assert not taskq.compat.is_installed()
        """
    )


@needs_celery
def test_it_can_be_undone(run: Any) -> None:
    run(
        INSTALL
        + """
import sys
import celery.app.base
taskq.compat.uninstall()
assert not [name for name in sys.modules if name.partition(".")[0] == "celery"]
import celery
from importlib.metadata import version
assert "taskq" not in repr(celery) and version("celery") == celery.__version__
import celery.app.base
assert celery.app.base is not taskq.app.base
taskq.compat.uninstall()  # it leaves the real one alone
assert "celery.app.base" in sys.modules
"""
    )


def test_the_environment_installs_it(run: Any) -> None:
    code = "import taskq, taskq.compat; print(taskq.compat.is_installed())"
    assert run(code, TASKQ_COMPAT="1").strip() == "True"
    assert run(code, TASKQ_COMPAT="0").strip() == "False"


PROJECT = """
import sys
import celery
from celery import Celery

app = Celery("proj", broker="memory://", backend="cache+memory://")

@app.task(name="proj.add")
def add(x, y):
    return x + y

if __name__ == "__main__":
    import os
    print(type(app).__module__, sys.argv[1:], os.environ["TASKQ_COMPAT"])
"""


class TestCommand:
    @pytest.fixture(autouse=True)
    def _project(self, tmp_path: Path) -> None:
        (tmp_path / "proj.py").write_text(PROJECT)

    def test_a_script_of_a_package(self, tmp_path: Path) -> None:
        done = python("-m", "taskq.compat", "celery", "-A", "proj", "report", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "taskq:" in done.stdout or "software -> taskq" in done.stdout

    def test_a_file(self, tmp_path: Path) -> None:
        done = python("-m", "taskq.compat", "proj.py", "-x", "--help", cwd=tmp_path)
        assert done.stdout.strip() == "taskq.app.base ['-x', '--help'] 1", done.stderr

    def test_a_module(self, tmp_path: Path) -> None:
        done = python("-m", "taskq.compat", "-m", "proj", "one", cwd=tmp_path)
        assert done.stdout.strip() == "taskq.app.base ['one'] 1", done.stderr
        done = python("-m", "taskq.compat", "-m", "celery", "--version", cwd=tmp_path)
        assert done.returncode == 0, done.stderr

    def test_status_and_errors(self, tmp_path: Path) -> None:
        (tmp_path / "fails.py").write_text("raise SystemExit(7)")
        assert python("-m", "taskq.compat", "fails.py", cwd=tmp_path).returncode == 7
        unknown = python("-m", "taskq.compat", "no-such-command", cwd=tmp_path)
        assert unknown.returncode == 2
        assert "'no-such-command' is no script" in unknown.stderr
        nothing = python("-m", "taskq.compat", cwd=tmp_path)
        assert nothing.returncode == 2
        assert "Usage:" in nothing.stderr
        assert "Usage:" in python("-m", "taskq.compat", "--help", cwd=tmp_path).stdout


#: Names that published packages take from modules whose own users don't see them.
TAKEN_BY_OTHERS = {
    "celery.app.trace": (
        "_signal_internal_error _task_stack build_tracer info logger saferepr send_postrun "
        "send_prerun send_success signals task_has_custom trace_task"
    ),
}


@pytest.mark.parametrize("module", TAKEN_BY_OTHERS)
def test_what_published_packages_import_is_there(run: Any, module: str) -> None:
    names = ", ".join(TAKEN_BY_OTHERS[module].split())
    run(INSTALL + f"from {module} import {names}")
