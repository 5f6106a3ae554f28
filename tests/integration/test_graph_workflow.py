"""``taskq graph workflow``: a signature by name, and a workflow that ran or runs, by id or file."""

from __future__ import annotations

import json
import re
import subprocess
from collections import Counter

import pytest

from tests.integration.project import SCRIPTS, Project, wait_until

CODE = """
from taskq import chain, group

@app.task
def add(x, y=1):
    return x + y

@app.task
def total(numbers):
    return sum(numbers)

@app.task
def fail(x):
    raise ValueError("on purpose")

@app.task
def wait_for(x, path):
    while not os.path.exists(path):
        time.sleep(0.02)
    return x

nightly = chain(add.s(1, 2), group(add.s(1), add.s(2)), total.s(), add.s(5))

def weekly():
    return nightly | add.s(7)
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    directory = tmp_path_factory.mktemp("graph")
    url = f"sqlite:///{directory / 'q.db'}"
    project = Project(directory, CODE, broker=url, backend=url, conf={"result_extended": True})
    with project.worker("-c", "1"):
        yield project
    project.close()


def draw(project, *args):
    done = project.run("-A", "proj", "graph", "workflow", *args, "-f", "mermaid")
    assert done.returncode == 0, done.stderr
    return done.stdout


def arrows(text):
    """Return the arrows as counted pairs of task names; states in small letters behind them."""
    nodes = {
        key: f"{name.rsplit('.', 1)[-1]} {state}".strip()
        for key, name, state in re.findall(r"(n\d+)\(\"([\w.]+)[^\"<]*(?:<br/>(\w+))?\"\)", text)
    }
    return Counter(
        (nodes[before], nodes[after]) for before, after in re.findall(r"(n\d+) --> (n\d+)", text)
    )


def test_a_signature_by_its_name(project):
    assert arrows(draw(project, "proj:nightly")) == {
        ("add", "add"): 2,
        ("add", "total"): 2,
        ("total", "add"): 1,
    }
    assert arrows(draw(project, "proj.weekly"))["add", "add"] == 3


DONE = {
    ("add SUCCESS", "add SUCCESS"): 2,
    ("add SUCCESS", "total SUCCESS"): 2,
    ("total SUCCESS", "add SUCCESS"): 1,
}


def test_a_workflow_that_ran_by_any_of_its_ids(project):
    result = project.proj.nightly.apply_async()
    result.get(timeout=30)
    assert arrows(draw(project, result.id)) == DONE
    assert arrows(draw(project, result.parent.id)) == DONE
    text = draw(project, result.parent.parent.results[1].id)
    assert text.count('SUCCESS"):::SUCCESS') >= 3


def test_a_workflow_that_runs_by_its_handle(project):
    go = project.directory / "go"
    result = (
        project.proj.add.s(1, 2) | project.proj.wait_for.s(str(go)) | project.proj.fail.s()
    ).apply_async()
    try:
        wait_until(lambda: result.parent.parent.ready())
        path = project.directory / "handle.json"
        path.write_text(json.dumps(result.as_tuple()))
        text = draw(project, str(path))
        # Nothing is known of the later steps but their ids.
        assert text.count("<br/>PENDING") == 2
        assert text.count(" --> ") == 2
    finally:
        go.write_text("")
    result.get(timeout=30, propagate=False)
    assert arrows(draw(project, result.id)) == {
        ("add SUCCESS", "wait_for SUCCESS"): 1,
        ("wait_for SUCCESS", "fail FAILURE"): 1,
    }


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["proj:nothing"], "cannot be imported"),
        (["proj:app"], "name a signature"),
        (["no-such-id"], "Nothing is stored about 'no-such-id'"),
        (["proj.nightly", "--id"], "Nothing is stored about 'proj.nightly'"),
        (["proj.py"], "not what json.dumps(result.as_tuple()) returns"),
        (["proj:nightly", "-f", "gif"], "Invalid value for '-f'"),
    ],
)
def test_errors_name_what_is_wrong(project, args, said):
    done = project.run("-A", "proj", "graph", "workflow", *args)
    assert done.returncode != 0
    assert said in done.stderr


def test_pictures_need_graphviz(project, tmp_path):
    env = {**project.env, "PATH": str(tmp_path)}
    done = subprocess.run(
        [str(SCRIPTS / "taskq"), "-A", "proj", "graph", "workflow", "proj:nightly", "-o", "x.png"],
        cwd=project.directory,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "install Graphviz" in done.stderr
    assert not (project.directory / "x.png").exists()
