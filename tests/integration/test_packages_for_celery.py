"""Packages from PyPI that were written for Celery, unmodified, through the ``celery`` alias."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.project import ROOT, SCRIPTS, wait_until


class Program:
    """A process and its log."""

    def __init__(self, process: subprocess.Popen[bytes], logfile: Path) -> None:
        self.process = process
        self.logfile = logfile

    @property
    def log(self) -> str:
        """Everything written so far."""
        return self.logfile.read_text(errors="replace")

    def wait_for(self, text: str, count: int = 1) -> None:
        """Wait until the log has the text."""

        def is_there() -> bool:
            ended = self.process.poll() is not None
            there = self.log.count(text) >= count
            if ended and not there:
                raise AssertionError(f"ended with {self.process.returncode}")
            return there

        try:
            wait_until(is_there, 60)
        except AssertionError as exc:
            raise AssertionError(f"{text!r} is not {count} times in:\n{self.log}\n{exc}") from None


class Programs:
    """A directory with a project that imports ``celery``, and processes that run in it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.env = {
            **os.environ,
            "PYTHONPATH": f"{directory}:{ROOT}",
            "PYTHONUNBUFFERED": "1",
            "C_FORCE_ROOT": "1",
            "TASKQ_COMPAT": "1",
        }
        self._running: list[subprocess.Popen[bytes]] = []

    def write(self, name: str, *code: str) -> None:
        """Write a file of the project, in parts of which each may be indented."""
        path = self.directory / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("\n".join(map(textwrap.dedent, code)))

    def python(self, *args: str) -> str:
        """Run Python with the alias, return what it prints."""
        done = subprocess.run(
            [sys.executable, "-m", "taskq.compat", *args],
            cwd=self.directory,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=100,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def start(self, *options: str) -> Program:
        """Start ``taskq -A proj`` with options."""
        log = self.directory / f"{len(self._running)}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [str(SCRIPTS / "taskq"), "-A", "proj", *options, "-l", "INFO"],
                cwd=self.directory,
                env=self.env,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        self._running.append(process)
        return Program(process, log)

    def close(self) -> None:
        """End what still runs."""
        for process in self._running:
            if process.poll() is None:
                process.kill()
                process.wait()


@pytest.fixture
def programs(tmp_path: Path) -> Iterator[Programs]:
    made = Programs(tmp_path)
    yield made
    made.close()


TASKS = """
    from celery import shared_task

    @shared_task(name="proj.tick")
    def tick(who):
        print(f"TICK {who}")
        return who
"""


class TestDjango:
    """django-celery-beat keeps schedules in the models of a Django project."""

    @pytest.fixture(autouse=True)
    def _project(self, programs: Programs) -> None:
        pytest.importorskip("django_celery_beat")
        directory = programs.directory
        programs.env["DJANGO_SETTINGS_MODULE"] = "proj.settings"
        programs.write(
            "proj/settings.py",
            f"""
            SECRET_KEY = "not one"
            USE_TZ = True
            INSTALLED_APPS = [
                "django.contrib.contenttypes",
                "django.contrib.auth",
                "django_celery_beat",
                "django_celery_results",
                "proj",
            ]
            DATABASES = {{
                "default": {{
                    "ENGINE": "django.db.backends.sqlite3",
                    "NAME": "{directory}/django.sqlite3",
                    "OPTIONS": {{"timeout": 30}},
                }}
            }}
            DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
            CELERY_BROKER_URL = "sqlite:///{directory}/broker.db"
            CELERY_RESULT_BACKEND = "django-db"
            CELERY_RESULT_EXTENDED = True
            """,
        )
        programs.write("proj/__init__.py", "from proj.celery import app as celery_app\n")
        programs.write(
            "proj/celery.py",
            """
            from celery import Celery

            app = Celery("proj")
            app.config_from_object("django.conf:settings", namespace="CELERY")
            app.autodiscover_tasks()
            app.conf.beat_schedule = {
                "from the settings": {"task": "proj.tick", "schedule": 1.0, "args": ["settings"]}
            }
            """,
        )
        programs.write("proj/tasks.py", TASKS)
        self.programs = programs
        self.django(
            "from django.core.management import call_command; call_command('migrate', verbosity=0)"
        )

    def django(self, code: str) -> Any:
        """Run code with Django set up; what it binds to ``out`` comes back."""
        setup = "import json, django\ndjango.setup()\nout = None"
        self.programs.write("run.py", setup, code, "print(json.dumps(out))")
        return json.loads(self.programs.python("run.py").splitlines()[-1])

    def test_schedules_in_the_database_are_kept_and_followed(self) -> None:
        worker = self.programs.start("worker", "-c", "1")
        beat = self.programs.start("beat", "-S", "django_celery_beat.schedulers:DatabaseScheduler")
        worker.wait_for("TICK settings")
        self.django(
            """
            from datetime import UTC, datetime, timedelta
            from django_celery_beat.models import *

            second, _ = IntervalSchedule.objects.get_or_create(every=1, period="seconds")
            common = {"task": "proj.tick", "interval": second}
            PeriodicTask.objects.create(name="each second", args='["database"]', **common)
            PeriodicTask.objects.create(name="off", args='["off"]', enabled=False, **common)
            soon = datetime.now(UTC) + timedelta(seconds=2)
            clocked = ClockedSchedule.objects.create(clocked_time=soon)
            PeriodicTask.objects.create(
                name="once", task="proj.tick", clocked=clocked, one_off=True, args='["once"]'
            )
            noon = CrontabSchedule.objects.create(minute="0", hour="12", timezone="Europe/Paris")
            PeriodicTask.objects.create(name="noon", task="proj.tick", crontab=noon)
            """
        )
        beat.wait_for("Schedule changed", 2)
        worker.wait_for("TICK database", 2)
        worker.wait_for("TICK once")
        self.django(
            """
            from django_celery_beat.models import PeriodicTask
            task = PeriodicTask.objects.get(name="each second")
            task.args = '["edited"]'
            task.save()
            """
        )
        worker.wait_for("TICK edited")
        beat.process.send_signal(signal.SIGTERM)
        assert beat.process.wait(30) == 0
        out = self.django(
            """
            from django_celery_beat.models import PeriodicTask
            from django_celery_results.models import TaskResult
            rows = PeriodicTask.objects.exclude(name__startswith="celery.")
            out = {
                "runs": {row.name: row.total_run_count for row in rows},
                "seen": [row.name for row in rows if row.last_run_at],
                "crontab": str(PeriodicTask.objects.get(name="noon").schedule),
                "results": list(TaskResult.objects.filter(periodic_task_name="once").values_list(
                    "status", "result", "task_name")),
            }
            """
        )
        assert out["runs"]["each second"] >= 3
        assert out["runs"]["off"] == out["runs"]["noon"] == 0
        assert {"from the settings", "each second"} <= set(out["seen"])
        assert "<crontab: 0 12" in out["crontab"]
        assert out["results"] == [["SUCCESS", '"once"', "proj.tick"]]
        assert "TICK off" not in worker.log + beat.log
        assert worker.log.count("TICK once") == 1


class TestRedbeat:
    """celery-redbeat keeps schedules in Redis, and a lock lets one of several beats send."""

    def test_schedules_in_redis_are_followed_by_one_beat_at_a_time(
        self, programs: Programs, redis_url: str
    ) -> None:
        pytest.importorskip("redbeat")
        programs.write(
            "proj.py",
            f"""
            from celery import Celery

            app = Celery("proj", broker={redis_url!r}, backend={redis_url!r})
            app.conf.update(
                task_default_queue="q-{uuid.uuid4().hex}",
                redbeat_redis_url={redis_url!r},
                redbeat_lock_timeout=3,
                beat_max_loop_interval=1,
                beat_schedule={{
                    "static": {{"task": "proj.tick", "schedule": 1.0, "args": ["static"]}}
                }},
            )
            """,
            TASKS,
        )
        programs.write(
            "add.py",
            """
            from celery.schedules import crontab, schedule
            from proj import app
            from redbeat import RedBeatSchedulerEntry as Entry
            from redbeat.schedules import rrule

            Entry("dynamic", "proj.tick", schedule(1.0, app=app), args=["dynamic"], app=app).save()
            Entry("noon", "proj.tick", crontab("0", "12", app=app), args=["noon"], app=app).save()
            twice = rrule("SECONDLY", count=2, app=app)
            Entry("twice", "proj.tick", twice, args=["twice"], app=app).save()
            assert Entry.from_key("redbeat:noon", app=app).schedule == crontab("0", "12", app=app)
            """,
        )
        worker = programs.start("worker", "-c", "1")
        options = ("beat", "-S", "redbeat.RedBeatScheduler")
        first = programs.start(*options)
        first.wait_for("Acquired lock")
        second = programs.start(*options)
        worker.wait_for("TICK static")
        programs.python("add.py")
        worker.wait_for("TICK dynamic", 2)
        worker.wait_for("TICK twice", 1)
        assert "Sending due task" not in second.log
        first.process.kill()
        first.process.wait()
        second.wait_for("Sending due task dynamic")
        assert "TICK noon" not in worker.log
        assert worker.log.count("TICK twice") <= 2


def test_what_a_package_puts_in_place_of_the_tracer_is_used(
    programs: Programs, sqlite_url: str
) -> None:
    """As packages do that report errors: they wrap `run` when a task's tracer is made."""
    programs.write(
        "proj.py",
        f"""
        import celery.app.trace as trace
        from celery import Celery

        app = Celery("proj", broker={sqlite_url!r}, backend={sqlite_url!r})
        make = trace.build_tracer

        def make_and_watch(name, task, *args, **kwargs):
            run = task.run

            def watched(*args, **kwargs):
                print(f"WATCHED {{name}}")
                return run(*args, **kwargs)

            if not getattr(task, "watched", False):
                task.run, task.watched = watched, True
            return make(name, task, *args, **kwargs)

        trace.build_tracer = make_and_watch
        """,
        TASKS,
    )
    programs.write("call.py", "from proj import tick\nprint(tick.delay('x').get(timeout=60))")
    worker = programs.start("worker", "-c", "1")
    assert programs.python("call.py").strip() == "x"
    worker.wait_for("WATCHED proj.tick")
    assert worker.log.count("WATCHED proj.tick") == 1
