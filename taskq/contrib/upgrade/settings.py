"""Rewrites old names of settings where it is clear that settings are meant.

That is ``app.conf.OLD_NAME``, ``app.conf["OLD_NAME"]``, ``app.conf.update(OLD_NAME=…)`` with words
or a dict, and all of a module that ``config_from_object`` names without a namespace.
"""

from __future__ import annotations

import ast

import libcst as cst
from libcst import matchers

from taskq.app.defaults import _TO_NEW_KEY

#: An app's settings: any expression that ends in ``.conf``.
_CONF = matchers.Attribute(attr=matchers.Name("conf"))
_UPDATE = matchers.Call(func=matchers.Attribute(value=_CONF, attr=matchers.Name("update")))


class SettingsRewriter(cst.CSTTransformer):
    """Gives settings of an app their new names."""

    def leave_Attribute(  # noqa: N802 - libcst's name
        self, original_node: cst.Attribute, updated_node: cst.Attribute
    ) -> cst.Attribute:
        """``app.conf.OLD_NAME``."""
        new = _TO_NEW_KEY.get(original_node.attr.value)
        if new is None or not matchers.matches(original_node.value, _CONF):
            return updated_node
        return updated_node.with_changes(attr=cst.Name(new))

    def leave_Subscript(  # noqa: N802
        self, original_node: cst.Subscript, updated_node: cst.Subscript
    ) -> cst.Subscript:
        """``app.conf["OLD_NAME"]``."""
        if not matchers.matches(original_node.value, _CONF):
            return updated_node
        index = updated_node.slice[0].slice
        if not isinstance(index, cst.Index) or not isinstance(index.value, cst.SimpleString):
            return updated_node
        element = updated_node.slice[0].with_changes(
            slice=index.with_changes(value=_renamed(index.value))
        )
        return updated_node.with_changes(slice=[element, *updated_node.slice[1:]])

    def leave_Call(  # noqa: N802
        self, original_node: cst.Call, updated_node: cst.Call
    ) -> cst.Call:
        """``app.conf.update(…)``."""
        if not matchers.matches(original_node, _UPDATE):
            return updated_node
        return updated_node.with_changes(args=[_argument(arg) for arg in updated_node.args])


def settings_modules(tree: ast.Module) -> set[str]:
    """Return the modules that ``config_from_object("…")`` takes settings without prefix from."""
    return {
        node.args[0].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "config_from_object"
        and not any(keyword.arg == "namespace" for keyword in node.keywords)
        and node.args
        and isinstance(node.args[0], ast.Constant)
        and isinstance(node.args[0].value, str)
        and ":" not in node.args[0].value
    }


def _argument(arg: cst.Arg) -> cst.Arg:
    if arg.keyword is not None and arg.keyword.value in _TO_NEW_KEY:
        return arg.with_changes(keyword=cst.Name(_TO_NEW_KEY[arg.keyword.value]))
    if isinstance(arg.value, cst.Dict):
        return arg.with_changes(value=_dict(arg.value))
    return arg


def _dict(node: cst.Dict) -> cst.Dict:
    elements = [
        element.with_changes(key=_renamed(element.key))
        if isinstance(element, cst.DictElement) and isinstance(element.key, cst.SimpleString)
        else element
        for element in node.elements
    ]
    return node.with_changes(elements=elements)


def _renamed(node: cst.SimpleString) -> cst.SimpleString:
    new = _TO_NEW_KEY.get(str(node.raw_value))
    if new is None:
        return node
    return node.with_changes(value=f"{node.prefix}{node.quote}{new}{node.quote}")
