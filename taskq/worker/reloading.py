"""Running the code of modules with tasks again, in a worker that goes on (``pool_restart``).

A task that is defined anew takes the place of the old one. A module that makes the app makes
another one when it runs again; the worker keeps its own, which gets the tasks of that other one,
and which the module's name for the app stands for afterwards.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from taskq import _state
from taskq.utils.imports import reload_from_cwd
from taskq.utils.log import get_logger

logger = get_logger("celery.worker")


def import_again(
    app: Any, modules: list[str], *, force: bool, reloader: Callable[..., Any] | None = None
) -> None:
    """Import modules that are not, and with ``force`` run the code of those that are.

    - app: the worker's; reloader: does the running instead of ``importlib.reload``.

    What a module raises is passed on, with the module's tasks as they were.
    """
    for name in modules:
        if name not in sys.modules:
            logger.debug("importing module %s", name)
            app.loader.import_from_cwd(name)
        elif force:
            logger.debug("reloading module %s", name)
            _run_again(app, sys.modules[name], reloader)
    # For processes that import what they need by themselves.
    app.conf.include = tuple(sorted({*(app.conf.include or ()), *modules}))


def _run_again(app: Any, module: ModuleType, reloader: Callable[..., Any] | None) -> None:
    tasks = app.tasks
    names_of_app = [name for name, value in vars(module).items() if value is app]
    old = {name: task for name, task in tasks.items() if type(task).__module__ == module.__name__}
    # Or they would give the old functions to an app that the module makes.
    finalizers = _state._take_finalizers_of(module.__name__)
    for name in old:
        # A task of a name that is taken would keep its old function.
        del tasks[name]
    try:
        reload_from_cwd(module, reloader)
        for name in names_of_app:
            made = getattr(module, name, app)
            if made is not app:
                _take_over_tasks(app, made, module.__name__)
    except BaseException:
        tasks.update(old)
        _state._take_finalizers_of(module.__name__)
        for finalizer in finalizers:
            _state.connect_on_app_finalize(finalizer)
        raise
    finally:
        for name in names_of_app:
            setattr(module, name, app)
        app.set_current()


def _take_over_tasks(app: Any, made: Any, module: str) -> None:
    """Give ``app`` the tasks of a module that were registered with another app."""
    for name, task in made.tasks.items():
        if name not in app.tasks and type(task).__module__ == module:
            type(task).app = app
            type(task).bind(app)
            app.tasks.register(task)
