"""Importing by name, and naming after modules."""

from __future__ import annotations

import sys
from collections import OrderedDict
from types import SimpleNamespace

import pytest

from taskq.utils import imports
from taskq.utils.imports import (
    NotAPackage,
    cwd_in_path,
    find_module,
    gen_task_name,
    import_from_cwd,
    instantiate,
    load_extension_class_names,
    load_extension_classes,
    module_file,
    qualname,
    reload_from_cwd,
    symbol_by_name,
)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A current directory with a module and a package that no other test imports."""
    (tmp_path / "vocab_mod.py").write_text("value = 1\n")
    (tmp_path / "vocab_pkg").mkdir()
    (tmp_path / "vocab_pkg" / "__init__.py").write_text("")
    (tmp_path / "vocab_pkg" / "inner.py").write_text("class Thing: pass\n")
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("vocab_")]:
        del sys.modules[name]


class Test_symbol_by_name:
    def test_both_ways_to_write_it(self):
        assert symbol_by_name("collections:OrderedDict") is OrderedDict
        assert symbol_by_name("collections.OrderedDict") is OrderedDict
        assert symbol_by_name("collections") is sys.modules["collections"]

    def test_anything_else_is_returned(self):
        assert symbol_by_name(OrderedDict) is OrderedDict

    def test_aliases(self):
        assert symbol_by_name("od", {"od": "collections:OrderedDict"}) is OrderedDict

    def test_missing(self):
        with pytest.raises(ImportError):
            symbol_by_name("no_such_module:x")
        with pytest.raises(AttributeError):
            symbol_by_name("collections:Nope")
        assert symbol_by_name("collections:Nope", default=5) == 5

    def test_relative(self):
        assert symbol_by_name(".abc:Mapping", package="collections").__name__ == "Mapping"


def test_instantiate():
    assert instantiate("collections:OrderedDict", a=1) == {"a": 1}


def test_qualname():
    assert qualname(OrderedDict) == "collections.OrderedDict"
    assert qualname(OrderedDict()) == "collections.OrderedDict"


def test_importing_from_the_current_directory(project):
    assert import_from_cwd("vocab_mod").value == 1
    assert str(project) not in sys.path
    (project / "vocab_mod.py").write_text("value = 22\n")
    assert reload_from_cwd(sys.modules["vocab_mod"]).value == 22
    assert module_file(sys.modules["vocab_mod"]) == str(project / "vocab_mod.py")


def test_find_module(project):
    assert find_module("vocab_pkg.inner").__name__ == "vocab_pkg.inner"
    with pytest.raises(ModuleNotFoundError):
        find_module("vocab_pkg.nope")
    with pytest.raises(NotAPackage, match="vocab_mod"):
        find_module("vocab_mod.py")


def test_cwd_in_path_when_the_directory_is_gone(tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with cwd_in_path():
        assert str(gone) not in sys.path


class Test_gen_task_name:
    app = SimpleNamespace(main="proj")
    nameless = SimpleNamespace(main=None)

    def test_module_and_function(self):
        assert gen_task_name(self.app, "add", "mod.tasks") == "mod.tasks.add"

    def test_main_is_the_app(self):
        assert gen_task_name(self.app, "add", "__main__") == "proj.add"
        assert gen_task_name(self.app, "add", None) == "proj.add"
        assert gen_task_name(self.nameless, "add", "__main__") == "__main__.add"

    def test_main_file_imported_under_its_own_name(self, monkeypatch):
        monkeypatch.setattr(imports, "MP_MAIN_FILE", sys.modules[__name__].__file__)
        assert gen_task_name(self.app, "add", __name__) == "proj.add"


def test_extensions(monkeypatch):
    found = (
        SimpleNamespace(name="od", value="collections:OrderedDict"),
        SimpleNamespace(name="broken", value="no_such_module:X"),
    )
    monkeypatch.setattr(imports, "_entry_points", lambda namespace: found)
    assert list(load_extension_class_names("g")) == [
        ("od", "collections:OrderedDict"),
        ("broken", "no_such_module:X"),
    ]
    with pytest.warns(UserWarning, match="no_such_module"):
        assert list(load_extension_classes("g")) == [("od", OrderedDict)]


def test_importing_utils_is_cheap():
    import subprocess

    code = (
        "import sys, taskq.utils, taskq.exceptions, taskq.signals, taskq._state;"
        "heavy = {'asyncio', 'multiprocessing', 'importlib.metadata', 'decimal', 'ctypes', 'kombu',"
        " 'billiard', 'click', 'amqp', 'xml', 'socket', 'dateutil'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
