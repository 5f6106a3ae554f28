"""``-A`` names an app by Celery's rules, in modules and packages laid out in every usual way."""

from __future__ import annotations

import itertools
import sys
import textwrap

import pytest

from taskq.app.utils import find_app

_numbers = itertools.count()


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Write files of a package and return its name, which no other test uses."""
    monkeypatch.chdir(tmp_path)
    name = f"project_{next(_numbers)}"

    def write(**files: str) -> str:
        for path, text in files.items():
            file = tmp_path / name / f"{path}.py"
            file.parent.mkdir(exist_ok=True)
            file.write_text(textwrap.dedent(text))
        return name

    yield write
    for module in [module for module in sys.modules if module.split(".")[0] == name]:
        del sys.modules[module]


def app(attribute: str, main: str | None = None) -> str:
    return f"from taskq import TaskQ\n{attribute} = TaskQ({main or attribute!r})\n"


def main_of(name: str) -> str | None:
    found: str | None = find_app(name).main
    return found


@pytest.mark.parametrize("attribute", ["app", "celery", "taskq", "anything"])
def test_app_in_a_module(project, attribute):
    assert main_of(project(__init__=app(attribute))) == attribute


def test_app_goes_before_celery_goes_before_others(project):
    source = app("other") + app("celery")
    assert main_of(project(__init__=source)) == "celery"


def test_app_attribute_goes_first(project):
    assert main_of(project(__init__=app("celery") + app("app"))) == "app"


@pytest.mark.parametrize("separator", [":", "."])
def test_attribute(project, separator):
    name = project(__init__=app("app") + app("other"))
    assert main_of(f"{name}{separator}other") == "other"


@pytest.mark.parametrize("submodule", ["celery", "taskq"])
@pytest.mark.parametrize("attribute", ["app", "celery", "anything"])
def test_submodule(project, submodule, attribute):
    assert main_of(project(__init__="", **{submodule: app(attribute)})) == attribute


def test_submodule_that_the_package_imports(project):
    name = project(__init__="from .celery import app as celery_app\n", celery=app("app"))
    assert main_of(name) == "app"


def test_module_path_of_a_submodule(project):
    name = project(__init__="", celery=app("app"), worker=app("celery"))
    assert main_of(f"{name}.celery") == "app"
    assert main_of(f"{name}.celery:app") == "app"
    assert main_of(f"{name}.celery.app") == "app"
    assert main_of(f"{name}.worker") == "celery"


def test_taskq_submodule_goes_before_celery(project):
    name = project(__init__="", celery=app("app", "old"), taskq=app("app", "new"))
    assert main_of(name) == "new"


def test_submodule_without_an_app_is_passed_over(project):
    name = project(__init__="", taskq="helpers = 1\n", celery=app("app"))
    assert main_of(name) == "app"


def test_app_itself():
    from taskq import TaskQ

    itself = TaskQ("itself", set_as_current=False)
    assert find_app(itself) is itself


def test_module_without_an_app(project):
    name = project(__init__="x = 1\n")
    with pytest.raises(AttributeError, match=rf"'{name}' holds no app.*{name}:my_app"):
        find_app(name)


def test_submodule_that_cannot_be_imported_is_named(project):
    name = project(__init__="", celery="import no_such_module_anywhere\n")
    with pytest.raises(ImportError, match="no_such_module_anywhere"):
        find_app(name)


def test_app_is_found_beside_a_submodule_that_cannot_be_imported(project):
    name = project(__init__=app("anything"), celery="import no_such_module_anywhere\n")
    assert main_of(name) == "anything"


def test_missing_module():
    with pytest.raises(ImportError, match="no_such_module_anywhere"):
        find_app("no_such_module_anywhere")


def test_missing_attribute(project):
    name = project(__init__=app("app"))
    with pytest.raises((AttributeError, ImportError), match="nope"):
        find_app(f"{name}:nope")
