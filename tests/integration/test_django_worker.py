"""A Django project with a real worker: tasks are sent when the transaction commits."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.integration.project import Project

pytest.importorskip("django", reason="Django is not installed: pip install taskq[django]")

SETTINGS = """
SECRET_KEY = "x"
USE_TZ = True
INSTALLED_APPS = ["blog"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "blog.sqlite3"}}
"""

MODELS = """
from django.db import models

class Comment(models.Model):
    text = models.TextField()
    is_spam = models.BooleanField(default=False)

    class Meta:
        app_label = "blog"
"""

TASKS = """
from taskq import shared_task
from blog.models import Comment

@shared_task
def check(comment_id, word="spam"):
    # Fails when the row isn't there yet.
    comment = Comment.objects.get(pk=comment_id)
    comment.is_spam = word in comment.text
    comment.save()
    return comment.is_spam
"""

#: Stands behind the header that makes the app.
CODE = """
app.autodiscover_tasks(["blog"])
"""

CLIENT = """
import functools, os, time
os.environ["DJANGO_SETTINGS_MODULE"] = "shopsettings"
import django
django.setup()
import proj
from django.db import connection, transaction
from blog.models import Comment
from blog.tasks import check

with connection.schema_editor() as editor:
    editor.create_model(Comment)

class Undone(Exception):
    pass

def seen(comment, timeout=20):
    deadline = time.monotonic() + timeout
    while not Comment.objects.get(pk=comment.pk).is_spam:
        assert time.monotonic() < deadline, "never checked"
        time.sleep(0.02)

with transaction.atomic():
    one = Comment.objects.create(text="buy spam")
    assert check.delay_on_commit(one.pk) is None
    two = Comment.objects.create(text="buy eggs")
    check.apply_async_on_commit((two.pk,), {"word": "eggs"}, queue=proj.app.conf.task_default_queue)
    three = Comment.objects.create(text="spam again")
    transaction.on_commit(functools.partial(check.delay, three.pk))
    time.sleep(0.5)
for comment in (one, two, three):
    seen(comment)
try:
    with transaction.atomic():
        check.delay_on_commit(Comment.objects.create(text="spam undone").pk)
        raise Undone
except Undone:
    pass
four = Comment.objects.create(text="spam outside")
check.delay_on_commit(four.pk)
seen(four)
print("CLIENT DONE")
"""


def test_tasks_are_sent_when_the_transaction_commits(tmp_path, redis_url, monkeypatch):
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "shopsettings")
    (tmp_path / "blog").mkdir()
    for name, text in {
        "shopsettings.py": SETTINGS,
        "blog/__init__.py": "",
        "blog/models.py": MODELS,
        "blog/tasks.py": TASKS,
        "client.py": CLIENT,
    }.items():
        (tmp_path / name).write_text(text)
    project = Project(tmp_path, CODE, broker=redis_url, backend=redis_url)
    try:
        with project.worker("-c", "2") as worker:
            done = subprocess.run(
                [sys.executable, "client.py"],
                cwd=tmp_path,
                env=project.env,
                capture_output=True,
                text=True,
                timeout=60,
            )
            assert "CLIENT DONE" in done.stdout, done.stderr + worker.log
            assert worker.log.count("] received") == 4, "nothing for what was undone"
            assert "DoesNotExist" not in worker.log
    finally:
        project.close()
