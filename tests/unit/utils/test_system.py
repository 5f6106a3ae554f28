"""Facts about the machine, deprecation warnings, debugging aids."""

from __future__ import annotations

import io
import threading
import time

import pytest

from taskq.exceptions import CDeprecationWarning, CPendingDeprecationWarning
from taskq.utils import cgroups, debug, deprecated, sysinfo
from taskq.utils.quorum_queues import detect_quorum_queues


def test_load_average():
    assert len(sysinfo.load_average()) == 3


def test_df():
    disk = sysinfo.df("/")
    assert 0 <= disk.capacity <= 100
    assert 0 < disk.available <= disk.total_blocks


@pytest.mark.parametrize(
    ("value", "expected"), [("auto", True), (" AUTO ", True), (4, False), (None, False)]
)
def test_is_auto_concurrency(value, expected):
    assert sysinfo.is_auto_concurrency(value) is expected


class Test_cpu_budget:
    @pytest.fixture
    def group(self, tmp_path, monkeypatch):
        """A file system of control groups in which we are in /outer/inner."""
        (tmp_path / "self").write_text("0::/outer/inner\n")
        (tmp_path / "fs/outer/inner").mkdir(parents=True)
        monkeypatch.setattr(cgroups, "PROC_SELF_CGROUP", str(tmp_path / "self"))
        monkeypatch.setattr(cgroups, "CGROUP_ROOT", str(tmp_path / "fs"))
        monkeypatch.setattr(sysinfo, "available_cpu_count", lambda: 8)
        return tmp_path / "fs"

    def test_no_limit(self, group):
        (group / "outer/inner/cpu.max").write_text("max 100000\n")
        assert sysinfo.cpu_budget() == (8, 8, None)

    def test_tightest_limit_counts(self, group):
        (group / "outer/inner/cpu.max").write_text("400000 100000\n")
        (group / "outer/cpu.max").write_text("150000 100000\n")
        budget = sysinfo.cpu_budget()
        assert (budget.count, budget.available, budget.quota) == (2, 8, 1.5)
        assert sysinfo.cpu_budget(use_cgroup_quota=False).count == 8

    def test_version_1(self, group, tmp_path):
        (tmp_path / "self").write_text("4:cpu,cpuacct:/box\n")
        (group / "cpu/box").mkdir(parents=True)
        (group / "cpu/box/cpu.cfs_quota_us").write_text("50000\n")
        (group / "cpu/box/cpu.cfs_period_us").write_text("100000\n")
        assert sysinfo.cpu_budget() == (1, 8, 0.5)

    def test_no_control_groups(self, monkeypatch):
        monkeypatch.setattr(cgroups, "PROC_SELF_CGROUP", "/no/such/file")
        assert sysinfo.cgroup_cpu_quota() is None


class Test_deprecated:
    def test_function(self):
        @deprecated.Callable(deprecation="1.0", removal="2.0", alternative="Use new()")
        def old():
            return 1

        with pytest.warns(CPendingDeprecationWarning, match=r"old .*1\.0.*2\.0\. Use new"):
            assert old() == 1

    def test_property(self):
        class Owner:
            _value = 1

            @deprecated.Property(removal="2.0")
            def value(self):
                return self._value

            @value.setter
            def value(self, value):
                self._value = value

            @value.deleter
            def value(self):
                del self._value

            @deprecated.Property(removal="2.0")
            def fixed(self):
                return 5

        owner = Owner()
        with pytest.warns(CDeprecationWarning, match="value is deprecated"):
            owner.value = 3
        with pytest.warns(CDeprecationWarning):
            assert owner.value == 3
        with pytest.warns(CDeprecationWarning):
            del owner.value
        with pytest.raises(AttributeError):
            owner.fixed = 1
        with pytest.raises(AttributeError):
            del owner.fixed
        assert Owner.value.__class__.__name__ == "_deprecated_property"


def test_humanbytes():
    assert [debug.humanbytes(n) for n in (0, 500, 2048, 3 << 20, 5e12)] == [
        "0b", "500b", "2KB", "3MB", "4.5475TB"
    ]  # fmt: skip


def test_sample():
    assert list(debug.sample(list(range(100)), 4)) == [0, 25, 50, 75]


def test_memory():
    out = io.StringIO()
    debug.sample_mem()
    debug.memdump(file=out)
    assert "rss" in out.getvalue()


def test_blockdetection():
    with pytest.raises(RuntimeError, match="Blocking"), debug.blockdetection(0.01):
        time.sleep(5)
    with debug.blockdetection(None):
        pass


def test_cry():
    text = debug.cry()
    assert threading.current_thread().name in text
    assert "LOCAL VARIABLES" in text
    out = io.StringIO()
    assert debug.cry(out=out) is None
    assert out.getvalue()


def test_detect_quorum_queues():
    from types import SimpleNamespace

    def app(**queues):
        found = {name: SimpleNamespace(queue_arguments=args) for name, args in queues.items()}
        return SimpleNamespace(amqp=SimpleNamespace(queues=found))

    quorum = app(a=None, b={"x-queue-type": "quorum"})
    assert detect_quorum_queues(quorum, "amqp") == (True, "b")
    assert detect_quorum_queues(quorum, "redis") == (False, "")
    assert detect_quorum_queues(app(a={}), "amqp") == (False, "")
