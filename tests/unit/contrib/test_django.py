"""Tasks of a Django project, in an interpreter of their own: Django can be set up only once."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

pytest.importorskip("django", reason="Django is not installed: pip install taskq[django]")

SETTINGS = """
SECRET_KEY = "x"
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "shop"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3"}}
USE_TZ = True
TIME_ZONE = "Europe/Paris"
CELERY_BROKER_URL = "memory://"
CELERY_RESULT_BACKEND = "cache+memory://"
CELERY_TASK_DEFAULT_QUEUE = "shop"
"""

TASKS = """
from taskq import shared_task

@shared_task
def order(number):
    return number
"""

START = """
import os
os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
from taskq import TaskQ, signals
app = TaskQ("shop")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
"""


@pytest.fixture
def run(tmp_path: Path):
    """Run code in the Django project and return what it printed."""
    (tmp_path / "settings.py").write_text(SETTINGS)
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "__init__.py").touch()
    (tmp_path / "shop" / "tasks.py").write_text(TASKS)

    def run(code: str, start: str = START) -> str:
        done = subprocess.run(
            [sys.executable, "-c", start + textwrap.dedent(code)],
            cwd=tmp_path,
            env={
                **os.environ,
                "PYTHONPATH": ":".join([str(Path(__file__).parents[3]), *filter(None, sys.path)]),
            },
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    return run


def test_settings_and_tasks_of_the_project(run):
    out = run(
        """
        app.loader.import_default_modules()
        print(app.conf.task_default_queue, "shop.tasks.order" in app.tasks)
        """
    )
    assert "shop True" in out


def test_time_is_djangos(run):
    assert "True" in run("print(app.loader.now().tzinfo is not None)")


def test_tasks_are_sent_when_the_transaction_commits(run):
    out = run(
        """
        app.loader.import_default_modules()
        from django.db import transaction
        from shop.tasks import order
        sent = []
        @signals.before_task_publish.connect
        def on_publish(body, **kwargs):
            sent.append(body[0][0])
        try:
            with transaction.atomic():
                order.delay_on_commit(1)
                order.apply_async_on_commit(args=(2,), countdown=5)
                print("inside", sent)
            print("after", sent)
            with transaction.atomic():
                order.delay_on_commit(3)
                raise ValueError
        except ValueError:
            print("rolled back", sent)
        """
    )
    assert "inside []" in out
    assert "after [1, 2]" in out
    assert "rolled back [1, 2]" in out


def test_a_custom_task_class_is_kept(run):
    out = run(
        """
        from taskq import Task
        class Mine(Task):
            pass
        other = TaskQ("other", task_cls=Mine)
        print(issubclass(other.Task, Mine), hasattr(app.Task, "delay_on_commit"))
        """
    )
    assert "True True" in out


def test_connections_are_looked_after_around_tasks(run):
    out = run(
        """
        from django.db import connection
        closed = []
        connection.ensure_connection()
        real = connection.close_if_unusable_or_obsolete
        connection.close_if_unusable_or_obsolete = lambda: closed.append(1) or real()
        from taskq.contrib.testing.worker import start_worker
        import taskq.contrib.testing.tasks
        with start_worker(app, perform_ping_check=False):
            before = len(closed)
            app.loader.import_default_modules()
            from django.core.cache import cache
            task = app.tasks["shop.tasks.order"]
            fixup = app._fixups[0].worker_fixup
            fixup.on_task_prerun(task)
            fixup.on_task_postrun(task)
            print("looked after", len(closed) - before)
            task.apply(args=(1,))
            print("eager leaves them", len(closed) - before)
        """
    )
    assert "looked after 2" in out
    assert "eager leaves them 2" in out


def test_checks_are_run_unless_skipped(run):
    code = """
        from django.core.checks import register
        @register()
        def ours(app_configs, **kwargs):
            print("checked")
            return []
        app.loader.import_default_modules()
    """
    assert "checked" in run(code)
    assert "checked" not in run(code, 'import os\nos.environ["TASKQ_SKIP_CHECKS"] = "1"\n' + START)
