"""Pidfiles, daemons, signals, users and descriptors."""

from __future__ import annotations

import errno
import io
import multiprocessing
import os
import signal
import subprocess
import sys
import time

import pytest

from taskq import platforms
from taskq.exceptions import SecurityError, SecurityWarning
from taskq.platforms import (
    LockFailed,
    Pidfile,
    check_privileges,
    close_open_fds,
    create_pidlock,
    fd_by_path,
    get_errno_name,
    ignore_errno,
    isatty,
    parse_gid,
    parse_uid,
    set_mp_process_title,
    set_process_title,
    signal_name,
    signals,
    strargv,
)

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX")


def a_dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def run(code: str, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *args], capture_output=True, text=True, timeout=60
    )


class Test_Pidfile:
    @pytest.fixture
    def path(self, tmp_path):
        return tmp_path / "worker.pid"

    def test_held_inside_of_the_block(self, path):
        with Pidfile(str(path)) as pidfile:
            assert pidfile.is_locked()
            assert pidfile.read_pid() == os.getpid()
            assert path.read_text() == f"{os.getpid()}\n"
            assert os.listdir(path.parent) == [path.name]
        assert not path.exists()

    def test_second_one_fails(self, path):
        with Pidfile(str(path)), pytest.raises(LockFailed, match=r"worker\.pid"):
            Pidfile(str(path)).acquire()

    def test_no_such_directory(self, path):
        with pytest.raises(LockFailed):
            Pidfile(str(path / "x")).acquire()

    @pytest.mark.parametrize("content", ["", "12", "no number\n"])
    def test_broken_content(self, path, content):
        path.write_text(content)
        with pytest.raises(ValueError):
            Pidfile(str(path)).read_pid()
        assert Pidfile(str(path)).remove_if_stale()
        assert not path.exists()

    def test_missing(self, path):
        assert Pidfile(str(path)).read_pid() is None
        Pidfile(str(path)).remove()
        assert Pidfile(str(path)).remove_if_stale()

    def test_stale(self, path):
        path.write_text(f"{a_dead_pid()}\n")
        lock = create_pidlock(str(path))
        assert lock.read_pid() == os.getpid()
        lock.release()

    def test_running(self, path, capsys):
        path.write_text(f"{os.getppid()}\n")
        with pytest.raises(SystemExit) as exit_:
            create_pidlock(str(path))
        assert exit_.value.code == platforms.EX_CANTCREAT
        assert str(os.getppid()) in capsys.readouterr().err
        assert path.exists()

    def test_removed_at_exit_and_not_by_children(self, path):
        code = (
            "import os, sys\n"
            "from taskq.platforms import create_pidlock\n"
            "create_pidlock(sys.argv[1])\n"
            "if os.fork() == 0: sys.exit(0)\n"
            "os.wait()\n"
            "print(os.path.exists(sys.argv[1]))\n"
        )
        assert run(code, str(path)).stdout == "True\n"
        assert not path.exists()

    def test_of_many_starters_that_find_it_stale_one_wins(self, path):
        path.write_text(f"{a_dead_pid()}\n")
        context = multiprocessing.get_context("fork")
        barrier, winners = context.Barrier(8), context.Queue()
        processes = [
            context.Process(target=_start_together, args=(str(path), barrier, winners))
            for _ in range(8)
        ]
        for process in processes:
            process.start()
        outcomes = [winners.get(timeout=30) for _ in processes]
        for process in processes:
            process.join()
        assert sum(outcomes) == 1


def _start_together(path, barrier, winners):
    sys.stderr = io.StringIO()
    barrier.wait()
    try:
        create_pidlock(path)
    except SystemExit:
        winners.put(False)
    else:
        winners.put(True)
        time.sleep(1)
    winners.close()
    winners.join_thread()
    os._exit(0)


class Test_detached:
    def test_daemon(self, tmp_path):
        code = (
            "import os, sys\n"
            "from taskq.platforms import detached\n"
            "before = os.getpid()\n"
            "with detached(logfile='daemon.log', pidfile='daemon.pid', umask='077',\n"
            "              workdir=sys.argv[1]):\n"
            "    with open('facts', 'w') as f:\n"
            "        print(os.getpid() != before, os.getsid(0) != before, os.getcwd(),\n"
            "              oct(os.umask(0)), os.isatty(1), sep='|', file=f)\n"
            "    os.rename('facts', 'done')\n"
        )
        started = run(code, str(tmp_path))
        assert (started.returncode, started.stdout, started.stderr) == (0, "", "")
        deadline = time.monotonic() + 20
        while not (tmp_path / "done").exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        facts = (tmp_path / "done").read_text().strip().split("|")
        assert facts == ["True", "True", str(tmp_path), "0o77", "False"]
        assert (tmp_path / "daemon.log").exists()
        assert not (tmp_path / "daemon.pid").exists()

    def test_fake_stays_in_the_foreground(self, tmp_path):
        code = (
            "import os, sys\n"
            "from taskq.platforms import detached\n"
            "before = os.getpid()\n"
            "with detached(workdir=sys.argv[1], fake=True):\n"
            "    print(os.getpid() == before, os.getcwd())\n"
        )
        assert run(code, str(tmp_path)).stdout == f"True {tmp_path}\n"

    def test_a_log_that_cannot_be_written_fails_before_the_daemon_runs(self, tmp_path):
        code = (
            "import sys\n"
            "from taskq.platforms import detached\n"
            "with detached(logfile='no/such/dir', workdir=sys.argv[1], fake=True):\n"
            "    print('ran')\n"
        )
        done = run(code, str(tmp_path))
        assert done.returncode == 1
        assert "no/such/dir" in done.stderr


class Test_signals:
    def test_names_and_numbers(self):
        assert signals.signum("TERM") == signals.signum("SIGTERM") == signal.SIGTERM
        assert signals.signum(9) == 9
        assert signal_name(signal.SIGKILL) == "KILL"
        assert signal_name(signal.SIGCHLD) == "CHLD"
        with pytest.raises(TypeError, match="term"):
            signals.signum("term")

    def test_supported(self):
        assert signals.supported("INT")
        assert not signals.supported("NOSUCH")

    def test_handlers(self):
        previous = signals["USR1"]
        received = []
        try:
            signals["USR1"] = lambda signum, frame: received.append(signum)
            os.kill(os.getpid(), signal.SIGUSR1)
            assert received == [signal.SIGUSR1]
            signals.ignore("USR1")
            os.kill(os.getpid(), signal.SIGUSR1)
            signals.reset("USR1")
            assert signals["USR1"] == signal.SIG_DFL
            signals.update(USR1=signal.SIG_IGN)
            assert signals["USR1"] == signal.SIG_IGN
        finally:
            signals["USR1"] = previous

    def test_unsupported_and_outside_of_the_main_thread(self):
        import threading

        signals["NOSUCH"] = signal.SIG_IGN
        thread = threading.Thread(target=signals.ignore, args=("USR1",))
        thread.start()
        thread.join()
        assert signals["USR1"] != signal.SIG_IGN

    def test_alarm(self):
        received = []
        signals["ALRM"] = lambda *args: received.append(1)
        try:
            signals.arm_alarm(100)
            signals.reset_alarm()
            signals.arm_alarm(0.01)
            time.sleep(0.2)
            assert received == [1]
        finally:
            signals.reset("ALRM")


class Test_users:
    def test_parse(self):
        assert (parse_uid("0"), parse_uid(0), parse_uid("root")) == (0, 0, 0)
        assert (parse_gid("0"), parse_gid("root")) == (0, 0)
        with pytest.raises(KeyError, match="no_such_user"):
            parse_uid("no_such_user")
        with pytest.raises(KeyError, match="no_such_group"):
            parse_gid("no_such_group")

    @pytest.mark.skipif(os.getuid() != 0, reason="needs root")
    def test_dropping_privileges_is_for_good(self):
        code = (
            "import os\n"
            "from taskq.platforms import maybe_drop_privileges\n"
            "maybe_drop_privileges(uid='nobody')\n"
            "print(os.getuid() != 0, os.getgid() != 0, 0 in os.getgroups())\n"
            "try: os.setuid(0)\n"
            "except PermissionError: print('for good')\n"
        )
        assert run(code).stdout == "True True False\nfor good\n"

    @pytest.mark.skipif(os.getuid() != 0, reason="needs root")
    def test_root(self, monkeypatch):
        monkeypatch.delenv("C_FORCE_ROOT", raising=False)
        with pytest.raises(SecurityError, match="--uid"):
            check_privileges(["pickle"])
        with pytest.warns(SecurityWarning):
            check_privileges(["json"])
        monkeypatch.setenv("C_FORCE_ROOT", "1")
        with pytest.warns(SecurityWarning):
            check_privileges({"application/x-python-serialize"})

    def test_nothing_wanted(self):
        platforms.maybe_drop_privileges()


class Test_descriptors:
    def test_fd_by_path(self, tmp_path):
        with open(tmp_path / "f", "w") as file:
            assert fd_by_path([str(tmp_path / "f"), "/no/such"]) == [file.fileno()]

    def test_close_open_fds(self):
        code = (
            "import os\n"
            "from taskq.platforms import close_open_fds\n"
            "a, b = os.pipe()\n"
            "file = open(os.devnull)\n"
            "close_open_fds([0, 1, 2, b, file])\n"
            "os.fstat(b), os.fstat(file.fileno())\n"
            "try: os.fstat(a)\n"
            "except OSError: print('closed')\n"
        )
        done = run(code)
        assert (done.stdout, done.stderr) == ("closed\n", "")
        assert close_open_fds

    def test_get_fdmax(self):
        assert platforms.get_fdmax(5) > 0


def test_ignore_errno():
    with ignore_errno("ENOENT"):
        os.stat("/no/such/file")
    with pytest.raises(FileNotFoundError), ignore_errno(errno.EPERM):
        os.stat("/no/such/file")
    with pytest.raises(ValueError), ignore_errno("ENOENT"):
        raise ValueError
    assert get_errno_name("ENOENT") == errno.ENOENT


def test_titles(monkeypatch):
    monkeypatch.delenv("NOSETPS", raising=False)
    assert set_process_title("prog", "info") == "[prog] info"
    assert set_process_title("prog") == "[prog]"
    assert set_mp_process_title("prog", hostname="h").startswith("[prog: h:")
    monkeypatch.setenv("NOSETPS", "1")
    assert set_mp_process_title("prog") == ""


def test_strargv():
    assert strargv(["taskq", "worker", "-n", "a b"]) == "worker -n 'a b'"
    assert strargv(["manage.py", "taskq", "worker"]) == "worker"
    assert strargv(["taskq"]) == ""


def test_isatty():
    assert not isatty(io.StringIO())
    assert not isatty(object())


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux")
def test_set_pdeathsig():
    code = (
        "import os, signal, time\n"
        "from taskq.platforms import set_pdeathsig\n"
        "read, write = os.pipe()\n"
        "parent = os.fork()\n"
        "if parent == 0:\n"
        "    if os.fork() == 0:\n"
        "        set_pdeathsig('SIGKILL')\n"
        "        os.write(write, b'x')\n"
        "        time.sleep(60)\n"
        "    os.read(read, 1)\n"
        "    os._exit(0)\n"
        "os.close(write)\n"
        "os.waitpid(parent, 0)\n"
        "print(os.read(read, 1))\n"  # end of file once the grandchild is dead
    )
    assert run(code).stdout == "b''\n"


def test_constants():
    assert (platforms.EX_OK, platforms.EX_FAILURE, platforms.EX_USAGE) == (0, 1, 64)
    assert platforms.pyimplementation() == "CPython"
    assert platforms.SYSTEM
