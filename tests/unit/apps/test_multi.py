"""The words of ``taskq multi``: which nodes they name, and the command line of each."""

from __future__ import annotations

import io
import shlex

import pytest

from taskq.apps.multi import Cluster, MultiParser, NamespacedOptionParser, Node
from taskq.bin.multi import MultiTool
from taskq.utils.nodenames import gethostname


def nodes(words):
    parser = NamespacedOptionParser(shlex.split(words))
    parser.parse()
    return list(MultiParser().parse(parser))


def option(node, name):
    return node.options.get(name)


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ("web mail", [f"web@{gethostname()}", f"mail@{gethostname()}"]),
        ("2", [f"celery1@{gethostname()}", f"celery2@{gethostname()}"]),
        ("2 --range-prefix=w", [f"w1@{gethostname()}", f"w2@{gethostname()}"]),
        ("2 --hostname=a.org", ["celery1@a.org", "celery2@a.org"]),
        ("2 -n a.org", ["celery1@a.org", "celery2@a.org"]),
        ("web mail@b.org --suffix=a.org", ["web@a.org", "mail@b.org"]),
        ("web --prefix=p_ --suffix=a.org", ["p_web@a.org"]),
        ("web@%h", [f"web@{gethostname()}"]),
    ],
)
def test_names(words, names):
    assert [node.name for node in nodes(words)] == names


@pytest.mark.parametrize(
    ("words", "concurrency"),
    [
        ("4 -c 3", ["3", "3", "3", "3"]),
        ("4 -c 3 -c:2 9", ["3", "9", "3", "3"]),
        ("4 -c 3 -c:2-3 9", ["3", "9", "9", "3"]),
        ("4 -c:1,3-4 9", ["9", None, "9", "9"]),
        ("a b c -c:b,c 9", [None, "9", "9"]),
        ("a b -c:2 9", [None, "9"]),
        ("a -c:a,b 9", ["9"]),  # options of all nodes, behind the command for one
        ("a -c:b 9", [None]),
    ],
)
def test_options_of_some(words, concurrency):
    assert [option(node, "-c") for node in nodes(words)] == concurrency


def test_long_options_of_some():
    first, second = nodes("2 --concurrency:1=5 --logfile:2=x.log")
    assert option(first, "--concurrency") == "5"
    assert second.logfile == "x.log"


def test_a_number_without_its_node_is_refused():
    with pytest.raises(KeyError, match="No node at index 7: there are 2"):
        nodes("2 -c:7 3")


def test_words_that_follow_options():
    (node,) = nodes("-E web -c3 --pidfile x.pid -D --purge -- broker.heartbeat=3")
    assert node.name.startswith("web@")
    assert node.pidfile == "x.pid"
    assert node.prepare_argv(node.argv, "python")[:4] == ["python", "-m", "taskq", "worker"]
    assert node.argv[-1] == "-- broker.heartbeat=3"
    assert "-c3" in node.argv


def test_global_options_stand_before_the_subcommand():
    (node,) = nodes("web -A proj --workdir=/srv/x -b redis://x -l INFO")
    assert node.argv[0] == "-m taskq -A proj --workdir=/srv/x -b redis://x worker --detach"
    assert "-l INFO" in node.argv


def test_parts_of_the_name_in_values():
    (node,) = nodes("web@a.org --logfile=/v/%d/%n%I-%i.log --pidfile=%p.pid -X %h")
    assert node.logfile == "/v/a.org/web%I-%i.log"
    assert node.pidfile == "web@a.org.pid"
    assert "-X web@a.org" in node.argv


def test_values_with_spaces_reach_the_worker():
    (node,) = nodes("web --statedb='a b'")
    assert "--statedb=a b" in node.prepare_argv(node.argv, "python")


def test_nodes_made_by_a_program():
    node = Node.from_kwargs("w@h", max_tasks_per_child=3, A="proj", Q="x", E=True)
    assert node.argv[:4] == (
        "-m taskq -A proj worker --detach",
        "--max-tasks-per-child=3",
        "-Q x",
        "-E",
    )
    assert node.getopt("--queues", "-Q") == "x"
    with pytest.raises(KeyError):
        node.getopt("-z")
    cluster = Cluster([node])
    assert cluster.find("w") is cluster.find("w@h") is node
    assert list(cluster) == [node]
    with pytest.raises(KeyError):
        cluster.find("other")


def test_nodes_that_do_not_run(tmp_path):
    node = Node("w@h", options={"--pidfile": str(tmp_path / "none.pid")})
    down = []
    assert node.pid is None
    assert not node.alive()
    assert not node.send(15, down.append)
    Cluster([node], on_node_down=down.append).stop()
    assert down == [node, node]


def run(*words):
    out, err = io.StringIO(), io.StringIO()
    status = MultiTool(stdout=out, stderr=err).execute_from_commandline(["taskq multi", *words])
    return status, out.getvalue(), err.getvalue()


def test_names_show_get_expand():
    assert run("names", "2", "-n", "h") == (0, "celery1@h\ncelery2@h\n", "")
    assert run("expand", "%n-%d", "2", "-n", "h")[1] == "celery1-h\ncelery2-h\n"
    status, shown, _ = run("show", "2", "-n", "h", "-c:2", "5")
    assert (status, shown.count("\n")) == (0, 2)
    assert run("get", "celery2@h", "2", "-n", "h", "-c:2", "5")[1] == shown.splitlines(True)[1]
    assert run("get", "zz", "2")[0] == 1


def test_mistakes():
    assert run()[0] == 1
    assert "Invalid command: bogus. One of: start" in run("bogus", "1")[2]
    assert "no nodes given" in run("start")[2]
    assert "no node given" in run("get")[2]
    assert "no text given" in run("expand")[2]
