"""The root command: help, global options, suggestions, and finding the app."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


def python(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout


def test_help_lists_every_command_and_imports_none():
    out = python(
        "import sys\n"
        "sys.argv = ['taskq', '--help']\n"
        "from taskq.bin.celery import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print('IMPORTED', sorted(m for m in sys.modules\n"
        "    if m in ('kombu', 'billiard', 'taskq.app', 'taskq.bin.worker', 'taskq.bin.call')))\n"
    )
    assert "worker  " in out
    assert "status  " in out
    assert "IMPORTED []" in out


def test_every_row_of_the_table_leads_to_a_command_of_that_name():
    from taskq.bin.celery import celery

    for name, command in celery.commands.items():
        assert command.name in (name, f"{name}_")


def test_no_command_shows_the_help(taskq):
    result = taskq()
    assert result.exit_code == 0
    assert "Commands:" in result.output


def test_version(taskq):
    from taskq import VERSION_BANNER

    assert taskq("--version").output.strip() == VERSION_BANNER


def test_a_mistyped_command_is_told_what_is_near(taskq):
    result = taskq("wroker")
    assert result.exit_code == 2
    assert "No such command 'wroker'" in result.output
    assert "Did you mean one of these?\n    worker" in result.output


def test_an_unknown_command_that_is_near_to_none(taskq):
    result = taskq("zzzzzzzz")
    assert result.exit_code == 2
    assert "Did you mean" not in result.output


@pytest.mark.parametrize(
    "words",
    [
        ["-A", "proj", "report"],
        ["report", "-A", "proj"],
        ["report", "--app=proj"],
        ["report", "-Aproj"],
        ["-q", "report", "--app", "proj:app"],
        ["--app", "proj.app", "report"],
    ],
)
def test_global_options_before_and_behind_the_command(taskq, project, words):
    result = taskq(*words)
    assert result.exit_code == 0, result.output
    assert "memory" in result.output


def test_words_behind_a_double_dash_stay_where_they_are(taskq, project):
    result = taskq("-A", "proj", "purge", "-f", "--", "-A")
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("name", ["TASKQ_APP", "CELERY_APP", "APP"])
def test_the_app_from_the_environment(taskq, project, name):
    result = taskq("report", **{name: "proj"})
    assert result.exit_code == 0, result.output
    assert "memory" in result.output


def test_options_of_commands_from_the_environment(taskq, project):
    assert "Error" in taskq("-A", "proj", "call", "t", TASKQ_CALL_COUNTDOWN="x").output
    assert "Error" in taskq("-A", "proj", "call", "t", CELERY_CALL_COUNTDOWN="x").output


def test_broker_backend_loader_and_config_reach_every_process_by_the_environment(taskq, project):
    taskq(
        "-A", "proj", "-b", "memory://b", "--result-backend", "cache+memory://r", "--skip-checks",
        "report",
    )  # fmt: skip
    assert os.environ["TASKQ_BROKER_URL"] == os.environ["CELERY_BROKER_URL"] == "memory://b"
    assert os.environ["CELERY_RESULT_BACKEND"] == "cache+memory://r"
    assert os.environ["CELERY_SKIP_CHECKS"] == "true"


def test_workdir(taskq, project, tmp_path, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert taskq("-A", "proj", "report").exit_code == 2
    assert taskq("-A", "proj", "--workdir", str(tmp_path), "report").exit_code == 0
    assert taskq("--workdir", str(tmp_path / "nowhere"), "report").exit_code == 2


def test_no_color_takes_any_text_in_the_environment(taskq, project):
    assert taskq("-A", "proj", "report", NO_COLOR="please").exit_code == 0


def test_an_app_starts_commands_itself(taskq, project, capsys):
    assert taskq("-A", "proj", "report").exit_code == 0
    sys.modules["proj"].app.start(["report"])
    assert "memory" in capsys.readouterr().out


class TestUnusableApps:
    def test_a_module_that_is_not_there(self, taskq, project):
        result = taskq("-A", "prok", "report")
        assert result.exit_code == 2
        assert "no module 'prok'" in result.output
        assert "Did you mean 'proj'?" in result.output
        assert "--workdir" in result.output

    def test_a_module_without_an_app(self, taskq, module):
        module("empty", "x = 1\n")
        result = taskq("-A", "empty", "report")
        assert result.exit_code == 2
        assert "empty.app" in result.output

    def test_an_attribute_that_is_not_there(self, taskq, project):
        result = taskq("-A", "proj:nope", "report")
        assert result.exit_code == 2
        assert "no attribute 'nope'" in result.output
        assert "app, add" in result.output

    def test_a_module_that_fails_shows_where_in_the_users_code(self, taskq, module):
        module("helper", "1 / 0\n")
        path = module("broken", "import helper\n")
        result = taskq("-A", "broken", "report")
        assert result.exit_code == 2
        assert f'File "{path}", line 1' in result.output
        assert "ZeroDivisionError" in result.output
        assert "importlib" not in result.output
        assert "kombu" not in result.output

    def test_a_missing_module_inside_is_not_taken_for_the_app(self, taskq, module):
        module("needy", "import surely_not_installed\n")
        result = taskq("-A", "needy", "report")
        assert result.exit_code == 2
        assert "surely_not_installed" in result.output
        assert "importing it failed" in result.output


class TestPlugins:
    @pytest.fixture
    def install(self, module, tmp_path, monkeypatch):
        """Install a package that declares commands."""

        def install(group: str, name: str, code: str) -> None:
            module(f"plugin_{name}", code)
            info = tmp_path / f"plugin_{name}-1.0.dist-info"
            info.mkdir()
            (info / "METADATA").write_text(
                f"Metadata-Version: 2.1\nName: plugin-{name}\nVersion: 1.0\n"
            )
            (info / "entry_points.txt").write_text(f"[{group}]\n{name} = plugin_{name}:command\n")
            monkeypatch.syspath_prepend(str(tmp_path))

        return install

    GREET = """
        import click
        from taskq.bin.base import CeleryCommand

        @click.command(cls=CeleryCommand)
        @click.pass_context
        def command(ctx):
            click.echo(f"hello from {ctx.obj.app.main}")
    """

    @pytest.mark.parametrize("group", ["taskq.commands", "celery.commands"])
    def test_a_plugin_runs_and_is_listed(self, taskq, project, install, group):
        install(group, "greet", self.GREET)
        assert "greet" in taskq("--help").output
        assert taskq("-A", "proj", "greet").output == "hello from proj\n"

    def test_a_plugin_cannot_take_the_name_of_a_command(self, taskq, project, install):
        install("celery.commands", "report", self.GREET)
        assert "hello" not in taskq("-A", "proj", "report").output

    def test_a_broken_plugin_is_named_and_harms_no_other_command(self, taskq, project, install):
        install("celery.commands", "bad", "raise ValueError('broken inside')\n")
        assert "bad" in taskq("--help").output
        assert taskq("-A", "proj", "report").exit_code == 0
        result = taskq("-A", "proj", "bad")
        assert result.exit_code == 1
        assert "plugin-bad" in result.output
        assert "broken inside" in result.output


class TestOptionsOfTheApp:
    @pytest.fixture
    def project(self, module: object) -> None:
        module(  # type: ignore[operator]
            "mine",
            """
            import click
            from taskq import TaskQ, signals

            app = TaskQ("mine", broker="memory://", set_as_current=False)
            app.user_options["preload"].add(click.Option(("-Z", "--template"), default="plain"))
            app.user_options["purge"].add(click.Option(("--harder",), is_flag=True))

            @signals.user_preload_options.connect
            def on_preload(options, app, **kwargs):
                print(f"template={options['template']} for {app.main}")
            """,
        )

    def test_preload_options_are_announced(self, taskq, project):
        assert "template=fancy for mine" in taskq("-A", "mine", "report", "-Z", "fancy").output
        assert "template=plain for mine" in taskq("-A", "mine", "report").output

    def test_they_are_in_the_help(self, taskq, project):
        out = taskq("-A", "mine", "purge", "--help").output
        assert "--template" in out
        assert "--harder" in out

    def test_another_app_does_not_get_them(self, taskq, project, module):
        from tests.unit.bin.conftest import PROJECT

        module("proj", PROJECT)
        taskq("-A", "mine", "report")
        assert "--template" not in taskq("-A", "proj", "report", "--help").output


def test_a_green_pool_that_is_not_installed():
    without = (
        "import sys; sys.modules['eventlet'] = None; sys.argv[1:] = ['worker', '-P', 'eventlet']; "
        "from taskq.__main__ import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", without], capture_output=True, text=True)
    assert done.returncode == 1
    assert "pip install 'taskq[eventlet]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_python_dash_m(tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-m", "taskq", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip()
