"""Configuration modules, discovery of tasks, and settings from the command line."""

from __future__ import annotations

import importlib
import sys
import warnings
from types import SimpleNamespace

import pytest

from taskq import signals
from taskq.exceptions import NotConfigured
from taskq.loaders import get_loader_cls
from taskq.loaders.app import AppLoader
from taskq.loaders.base import BaseLoader, autodiscover_tasks, find_related_module
from taskq.loaders.default import Loader
from taskq.utils.imports import NotAPackage


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A function that writes a file below the current directory, which is in the path."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)

    def write(name, content=""):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        importlib.invalidate_caches()

    yield write
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture(autouse=True)
def no_configuration_named(monkeypatch):
    monkeypatch.delenv("TASKQ_CONFIG_MODULE", raising=False)
    monkeypatch.delenv("CELERY_CONFIG_MODULE", raising=False)


@pytest.fixture
def app():
    return SimpleNamespace(conf=SimpleNamespace(imports=(), include=None))


@pytest.fixture
def loader(app):
    return AppLoader(app)


def test_get_loader_cls():
    assert get_loader_cls("app") is AppLoader
    assert get_loader_cls("default") is Loader
    assert get_loader_cls("taskq.loaders.base:BaseLoader") is BaseLoader
    assert get_loader_cls(AppLoader) is AppLoader
    with pytest.raises(ImportError):
        get_loader_cls("no_such_module:Loader")


class Test_configuration:
    def test_from_object(self, loader, project):
        project("conf_a.py", "value = 1\nclass Nested: value = 2\n")
        assert loader.config_from_object("conf_a")
        assert loader.conf["value"] == 1
        loader.config_from_object("conf_a:Nested")
        assert loader.conf["value"] == 2
        loader.config_from_object("conf_a.Nested")
        assert loader.conf["value"] == 2
        loader.config_from_object({"value": 3})
        assert loader.conf == {"value": 3}

    def test_from_object_that_is_missing(self, loader, project):
        project("conf_b.py")
        for name in ("conf_missing", "conf_b:nope"):
            with pytest.raises((ImportError, AttributeError)):
                loader.config_from_object(name)
            assert not loader.config_from_object(name, silent=True)

    def test_from_object_that_fails(self, loader, project):
        project("conf_c.py", "raise ValueError('broken')")
        with pytest.raises(ValueError, match="broken"):
            loader.config_from_object("conf_c", silent=True)

    def test_override_backends(self, loader):
        loader.config_from_object({"override_backends": {"db": "my:Backend"}})
        assert loader.override_backends == {"db": "my:Backend"}

    @pytest.mark.parametrize("variable", ["TASKQ_CONFIG_MODULE", "CELERY_CONFIG_MODULE"])
    def test_module_named_in_the_environment(self, loader, project, monkeypatch, variable):
        project("conf_env.py", "value = 1")
        assert loader.read_configuration() is None
        monkeypatch.setenv(variable, "conf_env")
        assert loader.read_configuration()["value"] == 1
        assert loader.read_configuration(env=variable)["value"] == 1

    def test_our_variable_counts_first(self, loader, project, monkeypatch):
        project("conf_ours.py", "value = 1")
        monkeypatch.setenv("CELERY_CONFIG_MODULE", "conf_theirs")
        monkeypatch.setenv("TASKQ_CONFIG_MODULE", "conf_ours")
        assert loader.read_configuration()["value"] == 1

    def test_file_name_in_place_of_a_module(self, loader, project, monkeypatch):
        project("conf_env.py")
        monkeypatch.setenv("TASKQ_CONFIG_MODULE", "conf_env.py")
        with pytest.raises(NotAPackage, match="Did you mean 'conf_env'"):
            loader.read_configuration()


class Test_default_loader:
    @pytest.mark.parametrize("name", ["taskqconfig", "celeryconfig"])
    def test_finds_the_usual_modules(self, app, project, name):
        project(f"{name}.py", "value = 5")
        loader = Loader(app)
        assert loader.conf["value"] == 5
        assert loader.configured

    def test_ours_counts_first(self, app, project):
        project("taskqconfig.py", "value = 1")
        project("celeryconfig.py", "value = 2")
        assert Loader(app).conf["value"] == 1

    def test_none_is_fine_unless_asked(self, app, project):
        loader = Loader(app)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert loader.conf.get("value") is None
        assert not loader.configured
        with pytest.raises(ModuleNotFoundError, match="celeryconfig"):
            loader.read_configuration(fail_silently=False)

    def test_named_and_missing_warns(self, app, project, monkeypatch):
        monkeypatch.setenv("TASKQ_CONFIG_MODULE", "conf_nowhere")
        with pytest.warns(NotConfigured, match=r"conf_nowhere.*TASKQ_CONFIG_MODULE"):
            assert Loader(app).conf.get("value") is None

    def test_import_error_inside_is_raised(self, app, project):
        project("taskqconfig.py", "import no_such_module_inside")
        with pytest.raises(ModuleNotFoundError, match="no_such_module_inside"):
            Loader(app).conf


class Test_discovery:
    def test_finds_the_module(self, loader, project):
        project("disc_a/__init__.py")
        project("disc_a/tasks.py", "value = 1")
        assert find_related_module("disc_a", "tasks").value == 1
        loader.autodiscover_tasks(["disc_a"])
        assert loader.task_modules == {"disc_a.tasks"}

    def test_no_such_module_is_fine(self, project):
        project("disc_b/__init__.py")
        project("disc_single.py")
        assert find_related_module("disc_b", "tasks") is None
        assert find_related_module("disc_single", "tasks") is None
        assert autodiscover_tasks(["disc_b"]) == [None]

    def test_the_package_itself(self, project):
        project("disc_c/__init__.py", "value = 1")
        assert find_related_module("disc_c", None).value == 1

    def test_name_of_a_class_inside(self, project):
        project("disc_d/__init__.py")
        project("disc_d/apps.py", "class Config: pass")
        project("disc_d/tasks.py", "value = 1")
        assert find_related_module("disc_d.apps.Config", "tasks").value == 1
        assert find_related_module("disc_d.Config", "tasks").value == 1

    def test_errors_inside_are_raised(self, project):
        project("disc_e/__init__.py")
        project("disc_e/tasks.py", "import no_such_module_inside")
        with pytest.raises(ModuleNotFoundError, match="no_such_module_inside"):
            find_related_module("disc_e", "tasks")
        project("disc_f/__init__.py", "import no_such_module_inside")
        with pytest.raises(ModuleNotFoundError, match="no_such_module_inside"):
            find_related_module("disc_f", "tasks")

    def test_no_such_package(self, project):
        with pytest.raises(ModuleNotFoundError):
            find_related_module("disc_nowhere", "tasks")
        with pytest.raises(ModuleNotFoundError):
            find_related_module("disc_nowhere.deep.inside", "tasks")


class Test_life:
    def test_worker_imports_tasks_once(self, loader, app, project):
        project("life_a.py", "")
        project("life_b.py", "")
        app.conf.imports, app.conf.include = ("life_a",), ["life_b"]
        heard = []

        @signals.import_modules.connect(sender=app)
        def receive(**kwargs):
            heard.append(kwargs["sender"])

        loader.init_worker()
        loader.init_worker()
        assert heard == [app]
        assert loader.task_modules == {"life_a", "life_b"}
        assert loader.worker_initialized

    def test_error_of_a_receiver_is_raised(self, loader, app):
        @signals.import_modules.connect(sender=app)
        def receive(**kwargs):
            raise ValueError("broken tasks")

        with pytest.raises(ValueError, match="broken tasks"):
            loader.import_default_modules()

    def test_hooks(self, app):
        called = []

        class Mine(BaseLoader):
            def on_worker_init(self):
                called.append("init")

            def on_worker_process_init(self):
                called.append("process")

            def on_worker_shutdown(self):
                called.append("shutdown")

        loader = Mine(app)
        loader.init_worker()
        loader.init_worker_process()
        loader.on_task_init("id", "task")
        loader.on_process_cleanup()
        loader.shutdown_worker()
        assert called == ["init", "process", "shutdown"]

    def test_now(self, loader):
        assert loader.now().utcoffset().total_seconds() == 0
        assert loader.now(utc=False).tzinfo is None


class Test_command_line:
    @pytest.mark.parametrize(
        ("argument", "expected"),
        [
            ("broker_url=redis://", {"broker_url": "redis://"}),
            ("broker.url=redis://h/0?a=b", {"broker_url": "redis://h/0?a=b"}),
            ("task_always_eager=yes", {"task_always_eager": True}),
            ("worker_prefetch_multiplier=2", {"worker_prefetch_multiplier": 2}),
            ("worker.prefetch_multiplier=2", {"worker_prefetch_multiplier": 2}),
            ("enable_utc=no", {"enable_utc": False}),
            ('broker_transport_options={"a": 1}', {"broker_transport_options": {"a": 1}}),
            ('broker_transport_options=(dict){"a": 1}', {"broker_transport_options": {"a": 1}}),
            ('imports=(list)["a", "b"]', {"imports": ["a", "b"]}),
            ("result_expires=(float)1.5", {"result_expires": 1.5}),
        ],
    )
    def test_settings(self, loader, argument, expected):
        assert loader.cmdline_config_parser([argument]) == expected

    @pytest.mark.parametrize(
        ("argument", "message"),
        [
            ("nonsense", "key=value"),
            ("no_such_setting=1", "no_such_setting"),
            ("worker.no_such=1", "no_such"),
            ("task_queues=(foo)3", "foo"),
            ("worker_prefetch_multiplier=many", "many"),
        ],
    )
    def test_mistakes(self, loader, argument, message):
        with pytest.raises(ValueError, match=message):
            loader.cmdline_config_parser([argument])
