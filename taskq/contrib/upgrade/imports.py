"""Rewrites the imports of one module, what they bind, and dotted names in strings."""

from __future__ import annotations

from collections.abc import Sequence

import libcst as cst
from libcst import helpers, matchers
from libcst.metadata import Assignment, PositionProvider, Scope, ScopeProvider

from taskq.contrib.upgrade.names import (
    CELERY,
    TASKQ,
    is_ours,
    lacking,
    names_a_thing,
    new_name,
)

_PYTEST_PLUGINS = matchers.Assign(
    targets=[matchers.AssignTarget(target=matchers.Name("pytest_plugins"))]
)
_IMPORT_MODULE = matchers.Call(
    func=matchers.Name("import_module") | matchers.Attribute(attr=matchers.Name("import_module"))
)


class ImportRewriter(cst.CSTTransformer):
    """Turns imports of Celery's modules into those of ours.

    What has no counterpart stays, and is noted in `remarks` as (line, text).
    """

    METADATA_DEPENDENCIES = (ScopeProvider, PositionProvider)

    def __init__(self) -> None:
        super().__init__()
        self.remarks: list[tuple[int, str]] = []
        #: Names, by identity, that mean the module bound by ``import celery``.
        self._references: set[cst.Name] = set()
        #: Statements whose binding keeps its name, as the new one is taken in their module.
        self._kept_bindings: set[cst.CSTNode] = set()
        #: How deep we are in an expression whose strings name modules.
        self._module_strings = 0

    def visit_Module(self, node: cst.Module) -> None:  # noqa: N802 - libcst's name
        """Find out what each ``import celery`` binds, and who refers to it."""
        for scope in set(self.metadata[ScopeProvider].values()):
            if isinstance(scope, Scope):
                self._look_at_bindings(scope)

    def _look_at_bindings(self, scope: Scope) -> None:
        taken = bool(scope.assignments[TASKQ]) or bool(scope.accesses[TASKQ])
        for assignment in scope.assignments:
            if not isinstance(assignment, Assignment) or not _binds_celery(assignment):
                continue
            if taken:
                self._kept_bindings.add(assignment.node)
                continue
            for access in assignment.references:
                self._references.add(_leftmost(access.node))

    # -- imports

    def leave_Import(  # noqa: N802
        self, original_node: cst.Import, updated_node: cst.Import
    ) -> cst.Import:
        """``import celery.x``."""
        names = [self._import(original_node, alias) for alias in updated_node.names]
        return updated_node.with_changes(names=names)

    def _import(self, statement: cst.Import, alias: cst.ImportAlias) -> cst.ImportAlias:
        name = helpers.get_full_name_for_node_or_raise(alias.name)
        if not is_ours(name):
            return alias
        if lacking(new_name(name), []):
            self._remark(statement, f"{new_name(name)} does not exist")
            return alias
        changed = alias.with_changes(name=_dotted(new_name(name)))
        if statement in self._kept_bindings and alias.asname is None and name == CELERY:
            space = cst.SimpleWhitespace(" ")
            return changed.with_changes(asname=cst.AsName(cst.Name(CELERY), space, space))
        return changed

    def leave_ImportFrom(  # noqa: N802
        self, original_node: cst.ImportFrom, updated_node: cst.ImportFrom
    ) -> cst.ImportFrom:
        """``from celery.x import y``; relative imports are the project's own."""
        if original_node.relative or original_node.module is None:
            return updated_node
        module = helpers.get_full_name_for_node_or_raise(original_node.module)
        if not is_ours(module):
            return updated_node
        missing = lacking(new_name(module), _imported(original_node.names))
        if missing:
            self._remark(original_node, f"{new_name(module)} has no {', '.join(missing)}")
            return updated_node
        return updated_node.with_changes(module=_dotted(new_name(module)))

    # -- what they bind

    def leave_Name(  # noqa: N802
        self, original_node: cst.Name, updated_node: cst.Name
    ) -> cst.Name:
        """A use of the module ``celery``."""
        if original_node in self._references:
            return updated_node.with_changes(value=TASKQ)
        return updated_node

    # -- strings

    def visit_Assign(self, node: cst.Assign) -> None:  # noqa: N802
        """``pytest_plugins`` names modules."""
        self._module_strings += matchers.matches(node, _PYTEST_PLUGINS)

    def leave_Assign(  # noqa: N802
        self, original_node: cst.Assign, updated_node: cst.Assign
    ) -> cst.Assign:
        """No longer in it."""
        self._module_strings -= matchers.matches(original_node, _PYTEST_PLUGINS)
        return updated_node

    def visit_Call(self, node: cst.Call) -> None:  # noqa: N802
        """So does what is given to ``import_module``."""
        self._module_strings += matchers.matches(node, _IMPORT_MODULE)

    def leave_Call(  # noqa: N802
        self, original_node: cst.Call, updated_node: cst.Call
    ) -> cst.Call:
        """No longer in it."""
        self._module_strings -= matchers.matches(original_node, _IMPORT_MODULE)
        return updated_node

    def leave_SimpleString(  # noqa: N802
        self, original_node: cst.SimpleString, updated_node: cst.SimpleString
    ) -> cst.SimpleString:
        """A dotted name, as in ``mock.patch("celery.app.task.Task.delay")``."""
        text = original_node.raw_value
        is_module = self._module_strings and is_ours(text) and not lacking(new_name(text), [])
        if not (is_module or names_a_thing(text)):
            return updated_node
        quote, prefix = original_node.quote, original_node.prefix
        return updated_node.with_changes(value=f"{prefix}{quote}{new_name(text)}{quote}")

    def _remark(self, node: cst.CSTNode, text: str) -> None:
        line = self.get_metadata(PositionProvider, node).start.line
        self.remarks.append((line, text))


def _binds_celery(assignment: Assignment) -> bool:
    """Return whether it is ``import celery`` or ``import celery.x``, without ``as``."""
    node = assignment.node
    if not is_ours(assignment.name) or not isinstance(node, cst.Import):
        return False
    return any(
        alias.asname is None and is_ours(helpers.get_full_name_for_node_or_raise(alias.name))
        for alias in node.names
    )


def _imported(names: Sequence[cst.ImportAlias] | cst.ImportStar) -> list[str]:
    if isinstance(names, cst.ImportStar):
        return ["*"]
    return [helpers.get_full_name_for_node_or_raise(alias.name) for alias in names]


def _dotted(name: str) -> cst.Attribute | cst.Name:
    """Return the expression of a dotted name."""
    first, *rest = name.split(".")
    expression: cst.Attribute | cst.Name = cst.Name(first)
    for attribute in rest:
        expression = cst.Attribute(expression, cst.Name(attribute))
    return expression


def _leftmost(node: cst.CSTNode) -> cst.Name:
    while isinstance(node, cst.Attribute):
        node = node.value
    assert isinstance(node, cst.Name)
    return node
