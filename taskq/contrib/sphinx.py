"""A Sphinx extension that documents tasks.

``extensions = ["sphinx.ext.autodoc", "taskq.contrib.sphinx"]``: ``autotask`` documents one,
``automodule`` finds those of a module, and the ``:task:`` role of the Python domain links to them.
Setting ``celery_task_prefix`` or ``taskq_task_prefix`` is the text in front (``(task)``).
"""

from __future__ import annotations

from inspect import signature
from typing import Any

try:
    from docutils import nodes  # type: ignore[import-untyped,unused-ignore]
    from sphinx.domains.python import PyFunction
    from sphinx.ext.autodoc import FunctionDocumenter
except ImportError as exc:
    raise ImportError("taskq.contrib.sphinx needs the package sphinx: pip install sphinx") from exc

from taskq.app.task import Task

__all__ = ("TaskDirective", "TaskDocumenter", "autodoc_skip_member_handler", "setup")


class TaskDocumenter(FunctionDocumenter):  # type: ignore[misc,unused-ignore]
    """Documents a task by the function it was made of."""

    objtype = "task"
    member_order = 11

    @classmethod
    def can_document_member(cls, member: Any, membername: str, isattr: bool, parent: Any) -> bool:
        """Return whether a member of a module is a task."""
        return _function_of(member) is not None

    def format_args(self, **kwargs: Any) -> str:
        """Return the parameters as the task is called with."""
        function = _function_of(self.object)
        if function is None:
            return ""
        # `run` is bound, so the `self` of a bound task is no parameter of it.
        found = signature(function)
        shown = found.replace(return_annotation=found.empty)
        return str(shown).replace("\\", "\\\\")

    def document_members(self, all_members: bool = False) -> None:
        """Nothing: a task's attributes are no documentation."""

    def check_module(self) -> bool:
        """Return whether the task belongs to the module that is documented.

        It is an instance of a class made for it, so its function is what tells.
        """
        wanted = self.options.imported_members  # type: ignore[attr-defined,unused-ignore]
        if wanted:
            return True
        function = _function_of(self.object)
        module = getattr(function, "__module__", None)
        if module is not None:
            return bool(module == self.modname)
        return bool(super().check_module())


class TaskDirective(PyFunction):
    """The ``py:task`` directive: a function with a word in front."""

    def get_signature_prefix(self, sig: str) -> list[Any]:
        """Return the text in front."""
        config = self.env.config
        return [nodes.Text(config.taskq_task_prefix or config.celery_task_prefix)]


def autodoc_skip_member_handler(
    app: Any, what: str, name: str, obj: Any, skip: bool, options: Any
) -> bool | None:
    """Keep tasks from being skipped for having no docstring of their own class."""
    # A task made by `shared_task` or by a lazy app is a proxy; its function has the docstring.
    function = _function_of(obj)
    if function is not None and getattr(function, "__doc__", None):
        return False
    return None


def setup(app: Any) -> dict[str, bool]:
    """Register with Sphinx."""
    app.setup_extension("sphinx.ext.autodoc")
    if "autodoc_use_legacy_class_based" in app.config:
        # From version 9 on, Sphinx uses documenters of other packages only so.
        app.config.autodoc_use_legacy_class_based = True
    app.add_autodocumenter(TaskDocumenter)
    app.add_directive_to_domain("py", "task", TaskDirective)
    app.add_config_value("celery_task_prefix", "(task)", True)
    app.add_config_value("taskq_task_prefix", "", True)
    app.connect("autodoc-skip-member", autodoc_skip_member_handler)
    return {"parallel_read_safe": True}


def _function_of(member: Any) -> Any:
    """Return the function of a task, or of the proxy of one; None for anything else."""
    return member.run if isinstance(member, Task) else None
