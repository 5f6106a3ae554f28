"""``taskq upgrade project``: what it rewrites, what it leaves, and how it asks."""

from __future__ import annotations

import textwrap

import pytest

from taskq.contrib.upgrade.project import NotPython, plan, python_files


def upgraded(tmp_path, source, name="tasks.py"):
    path = tmp_path / name
    path.write_text(textwrap.dedent(source))
    return next((change.after for change in plan([path])), path.read_text())


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("from celery import Celery, chain", "from taskq import Celery, chain"),
        ("from celery.schedules import crontab as c", "from taskq.schedules import crontab as c"),
        ("from celery import *", "from taskq import *"),
        ("import celery\nx = celery.chain()", "import taskq\nx = taskq.chain()"),
        (
            "import celery.schedules, os\nx = celery.schedules.crontab",
            "import taskq.schedules, os\nx = taskq.schedules.crontab",
        ),
        ("import celery as c\nx = c.chain", "import taskq as c\nx = c.chain"),
        (
            "import celery.canvas as canvas  # why",
            "import taskq.canvas as canvas  # why",
        ),
        (
            "def f():\n    import celery\n    return celery.VERSION\n",
            "def f():\n    import taskq\n    return taskq.VERSION\n",
        ),
        # The new name is taken.
        (
            "import celery\ntaskq = 1\nx = celery.chain",
            "import taskq as celery\ntaskq = 1\nx = celery.chain",
        ),
        (
            "pytest_plugins = ('celery.contrib.pytest',)",
            "pytest_plugins = ('taskq.contrib.pytest',)",
        ),
        ("patch('celery.app.task.Task.delay')", "patch('taskq.app.task.Task.delay')"),
        ("S = 'celery.beat:PersistentScheduler'", "S = 'taskq.beat:PersistentScheduler'"),
        ("app.conf.CELERY_TASK_SERIALIZER = 'json'", "app.conf.task_serializer = 'json'"),
        ("app.conf['BROKER_URL'] = 'x'", "app.conf['broker_url'] = 'x'"),
        (
            "app.conf.update(CELERY_TIMEZONE='UTC', broker_url='')",
            "app.conf.update(timezone='UTC', broker_url='')",
        ),
        ("app.conf.update({'BROKER_URL': x, **y})", "app.conf.update({'broker_url': x, **y})"),
    ],
)
def test_what_is_rewritten(tmp_path, before, after):
    assert upgraded(tmp_path, before) == after


@pytest.mark.parametrize(
    "source",
    [
        "from .celery import app",
        "from proj.celery import app",
        "from django_celery_results.models import TaskResult",
        "import celery_once",
        "logging.getLogger('celery.app.trace')",
        "app.send_task('celery.backend_cleanup')",
        "celery = 1\nprint(celery.real)",
        "from proj import celery\ncelery.app",
        "import proj.celery as celery\ncelery.app",
        "BROKER_URL = 'x'  # of something else",
        "conf = {'BROKER_URL': 1}",
        "# import celery",
    ],
)
def test_what_stays(tmp_path, source):
    assert upgraded(tmp_path, source) == source


def test_a_module_of_settings_is_renamed_as_a_whole(tmp_path):
    (tmp_path / "proj").mkdir()
    (tmp_path / "proj" / "app.py").write_text("app.config_from_object('proj.conf')\n")
    (tmp_path / "proj" / "other.py").write_text("BROKER_URL = 1\n")
    (tmp_path / "proj" / "conf.py").write_text("BROKER_URL = 'x'\nCELERY_TIMEZONE = BROKER_URL\n")
    changes = plan(python_files([tmp_path]))
    assert [(c.path.name, c.after) for c in changes] == [
        ("conf.py", "broker_url = 'x'\ntimezone = broker_url\n")
    ]


def test_settings_with_a_prefix_stay(tmp_path):
    (tmp_path / "app.py").write_text("app.config_from_object('conf', namespace='CELERY')\n")
    (tmp_path / "conf.py").write_text("CELERY_TASK_SERIALIZER = 'json'\n")
    assert plan(python_files([tmp_path])) == []


def test_what_is_not_here_is_told(tmp_path):
    path = tmp_path / "tasks.py"
    path.write_text("import os\nfrom celery.nowhere import Thing\nfrom celery import Celery\n")
    (change,) = plan([path])
    assert change.remarks == ((2, "taskq.nowhere has no Thing"),)
    assert change.after == "import os\nfrom celery.nowhere import Thing\nfrom taskq import Celery\n"


def test_foreign_directories_are_left_out(tmp_path):
    for folder in ("venv", ".tox", "__pycache__", "build", "proj/build"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "a.py").write_text("")
    (tmp_path / "venv" / "pyvenv.cfg").write_text("")
    (tmp_path / "proj" / "build" / "__init__.py").write_text("")
    found = [str(path.relative_to(tmp_path)) for path in python_files([tmp_path])]
    assert found == ["proj/build/__init__.py", "proj/build/a.py"]


def test_what_is_not_python_is_named(tmp_path):
    (tmp_path / "a.py").write_text("print 1\n")
    with pytest.raises(NotPython, match=r"a\.py is not Python"):
        plan(python_files([tmp_path]))


def test_encodings_and_line_ends_stay(tmp_path):
    path = tmp_path / "a.py"
    path.write_bytes("# coding: latin-1\r\nfrom celery import chain # é\r\n".encode("latin-1"))
    (change,) = plan([path])
    assert change.encoding == "iso-8859-1"
    assert change.after == "# coding: latin-1\r\nfrom taskq import chain # é\r\n"
