"""Results in files."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest

from taskq import TaskQ
from taskq.exceptions import ImproperlyConfigured


def make(url: str, **settings: Any) -> Any:
    app = TaskQ("files", broker="memory://", backend=url, set_as_current=False)
    app.conf.update(settings)
    return app.backend


@pytest.fixture
def files(tmp_path: Path) -> Any:
    return make(f"file://{tmp_path}")


def test_the_file_is_named_as_celery_names_it(files: Any, tmp_path: Path) -> None:
    files.store_result("a", {"x": 1}, "SUCCESS")
    assert [each.name for each in tmp_path.iterdir()] == ["celery-task-meta-a"]
    assert json.loads((tmp_path / "celery-task-meta-a").read_bytes())["result"] == {"x": 1}


def test_round_trip(files: Any) -> None:
    files.store_result("a", ValueError("x"), "FAILURE", traceback="tb")
    assert repr(files.get_result("a")) == "ValueError('x')"
    assert [meta["task_id"] for meta in files.read_metas(["nobody", "a", "b"])] == ["a"]
    files.forget("a")
    files.forget("a")
    assert files.get_state("a") == "PENDING"


def test_compressed(tmp_path: Path) -> None:
    files = make(f"file://{tmp_path}", result_compression="gzip")
    files.store_result("a", "x" * 1000, "SUCCESS")
    assert (tmp_path / "celery-task-meta-a").stat().st_size < 400
    assert make(f"file://{tmp_path}").get_result("a") == "x" * 1000


def test_groups(files: Any) -> None:
    group = files.app.GroupResult("g", [files.app.AsyncResult("a")])
    group.save()
    assert files.app.GroupResult.restore("g", backend=files) == group


def test_a_failed_write_leaves_nothing_behind(files: Any, tmp_path: Path) -> None:
    files.store_result("a", 1, "RETRY")

    class Full:
        def __enter__(self) -> Any:
            return self

        def __exit__(self, *exc: object) -> None: ...

        def write(self, data: bytes) -> None:
            raise OSError(28, "No space left on device")

    real_open = files.open

    def full_open(path: Any, mode: str) -> Any:
        if "w" not in mode:
            return real_open(path, mode)
        real_open(path, mode).close()
        return Full()

    files.open = full_open
    with pytest.raises(OSError, match="No space"):
        files.store_result("a", 2, "SUCCESS")
    assert [each.name for each in tmp_path.iterdir()] == ["celery-task-meta-a"]
    assert files.get_state("a") == "RETRY"


def test_cleanup_removes_what_is_old_and_ours(tmp_path: Path) -> None:
    files = make(f"file://{tmp_path}", result_expires=60)
    for task_id in ("old", "new"):
        files.store_result(task_id, 1, "SUCCESS")
    (tmp_path / "notes.txt").write_text("not ours")
    for name in ("celery-task-meta-old", "notes.txt"):
        os.utime(tmp_path / name, (0, 0))
    files.cleanup()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["celery-task-meta-new", "notes.txt"]


@pytest.mark.parametrize("url", ["file:///no/such/directory", "file://", "file://host/path"])
def test_a_path_that_does_not_work_is_refused(url: str) -> None:
    with pytest.raises(ImproperlyConfigured):
        make(url)


def test_waiting(files: Any) -> None:
    files.store_result("a", 5, "SUCCESS")
    assert files.app.AsyncResult("a").get(timeout=5) == 5


def test_pickling(files: Any) -> None:
    files.app.set_current()
    files.store_result("a", 5, "SUCCESS")
    assert pickle.loads(pickle.dumps(files)).get_result("a") == 5
