"""The pytest plugin, in a pytest of its own."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest


@pytest.fixture
def run_tests(tmp_path: Path):
    """Run pytest on a file with these tests; return what it printed."""

    def run(code: str, *options: str, conftest: str = "", fails: bool = False) -> str:
        (tmp_path / "test_it.py").write_text(textwrap.dedent(code))
        (tmp_path / "conftest.py").write_text(textwrap.dedent(conftest))
        done = subprocess.run(
            [
                *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"),
                *("-p", "no:celery", "-p", "taskq.contrib.pytest", "--strict-markers"),
                *(*options, str(tmp_path)),
            ],
            cwd=Path(__file__).parents[3],
            capture_output=True,
            text=True,
            timeout=100,
        )
        assert (done.returncode != 0) is fails, done.stdout + done.stderr
        return done.stdout

    return run


def test_an_app_and_a_worker(run_tests):
    out = run_tests(
        """
        def test_tasks_run(celery_app, celery_worker):
            @celery_app.task
            def double(x):
                return 2 * x
            celery_worker.reload()
            assert double.delay(4).get(timeout=10) == 8

        def test_our_names(taskq_app, taskq_worker, celery_app, celery_worker):
            assert taskq_app is celery_app
            assert taskq_worker is celery_worker
        """
    )
    assert "2 passed" in out


def test_one_worker_for_the_session(run_tests):
    out = run_tests(
        """
        from taskq import shared_task, Task

        @shared_task
        def triple(x):
            return 3 * x

        class Whole(Task):
            name = "whole"
            def run(self):
                return "ran"

        import pytest

        @pytest.fixture(scope="session")
        def celery_class_tasks():
            return [Whole]

        def test_one(celery_session_worker):
            assert triple.delay(2).get(timeout=10) == 6

        def test_two(celery_session_worker, celery_session_app):
            assert celery_session_app.tasks["whole"].delay().get(timeout=10) == "ran"
        """
    )
    assert "2 passed" in out


@pytest.mark.parametrize("prefix", ["celery", "taskq"])
def test_fixtures_are_overridden_under_either_name(run_tests, prefix):
    run_tests(
        """
        def test_it(celery_app, celery_worker):
            assert celery_app.main == "named"
            assert celery_app.conf.task_default_priority == 3
            assert celery_worker.concurrency == 2
            assert celery_worker.pool_cls.__module__.endswith("thread")
        """,
        conftest=f"""
        import pytest

        @pytest.fixture(scope="session")
        def {prefix}_config():
            return {{"task_default_priority": 3}}

        @pytest.fixture(scope="session")
        def {prefix}_parameters():
            return {{"name": "named"}}

        @pytest.fixture(scope="session")
        def {prefix}_worker_pool():
            return "threads"

        @pytest.fixture(scope="session")
        def {prefix}_worker_parameters():
            return {{"concurrency": 2}}
        """,
    )


def test_the_marker(run_tests):
    run_tests(
        """
        import pytest

        @pytest.mark.celery(task_default_queue="outer", task_default_priority=1)
        class TestMarked:
            @pytest.mark.celery(task_default_queue="inner")
            def test_it(self, celery_app):
                assert celery_app.conf.task_default_queue == "inner"
                assert celery_app.conf.task_default_priority == 1

        @pytest.mark.taskq(task_default_queue="ours")
        def test_ours(taskq_app):
            assert taskq_app.conf.task_default_queue == "ours"
        """
    )


def test_the_current_app(run_tests):
    out = run_tests(
        """
        import pytest
        from taskq import current_app

        def test_with(celery_app, depends_on_current_app):
            assert current_app.main == celery_app.main

        def test_without(celery_app):
            with pytest.raises(RuntimeError, match="depends on current_app"):
                current_app.conf
        """,
        conftest="""
        import pytest

        @pytest.fixture(scope="session")
        def use_celery_app_trap():
            return True
        """,
    )
    assert "passed" in out


def test_includes_are_imported_by_the_worker(run_tests, tmp_path):
    (tmp_path / "included_tasks.py").write_text(
        "from taskq import shared_task\n@shared_task\ndef here():\n    return 'here'\n"
    )
    run_tests(
        """
        def test_it(celery_app, celery_worker):
            assert celery_app.send_task("included_tasks.here").get(timeout=10) == "here"
        """,
        conftest=f"""
        import sys
        sys.path.insert(0, {str(tmp_path)!r})
        import pytest

        @pytest.fixture(scope="session")
        def celery_includes():
            return ["included_tasks"]
        """,
    )
