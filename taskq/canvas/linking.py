"""What is called when a signature's task is done, and the stamps that follow it there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from taskq.canvas.kinds import AnySignature
from taskq.canvas.making import maybe_signature
from taskq.canvas.stamping import merge_headers
from taskq.utils.functional import maybe_list

__all__ = ("Linked",)


class Linked(AnySignature):
    """A signature that others can be linked to, and that can be stamped together with them."""

    def _with_list_option(self, key: str) -> list[Any]:
        items = self["options"].setdefault(key, [])
        if not isinstance(items, list):
            items = self["options"][key] = maybe_list(items)
        return items  # type: ignore[no-any-return]

    def append_to_list_option(self, key: str, value: Any) -> Any:
        """Add a value to an option that is a list, unless it is there. Returns the value."""
        items = self._with_list_option(key)
        if value not in items:
            items.append(value)
        return value

    def extend_list_option(self, key: str, value: Any) -> None:
        """Add a value, or each of a list of values, to an option that is a list."""
        self._with_list_option(key).extend(maybe_list(value))

    def link(self, callback: Any) -> Any:
        """Have a signature called with the result when the task succeeds. Returns `callback`."""
        return self.append_to_list_option("link", callback)

    def link_error(self, errback: Any) -> Any:
        """Have a signature called when the task fails. Returns `errback`."""
        return self.append_to_list_option("link_error", errback)

    def on_error(self, errback: Any) -> Any:
        """Do as `link_error`; returns the signature, to go on with."""
        self.link_error(errback)
        return self

    def flatten_links(self) -> list[Any]:
        """Return this signature and all that are linked to it, directly or not."""
        found = [self]
        for callback in maybe_list(self["options"].get("link")) or ():
            found.extend(maybe_signature(callback, app=self._app).flatten_links())
        return found

    # -- stamps -------------------------------------------------------------------------

    def stamp(self, visitor: Any = None, append_stamps: bool = False, **headers: Any) -> Any:
        """Stamp the call, and all that are linked to it.

        Parameters:
            visitor: a `StampingVisitor`, which is asked for the stamps.
            append_stamps: keep the values of stamps that are there, in a list with the new ones.
            headers: the stamps, or headers for the visitor.

        Returns the signature.
        """
        self.stamp_links(visitor, append_stamps, **headers)
        visited = visitor.on_signature(self, **headers) if visitor is not None else None
        self["options"].update(self._stamp_headers(visited, append_stamps, **headers))
        return self

    def _stamp_headers(
        self,
        visitor_headers: Mapping[str, Any] | None = None,
        append_stamps: bool = False,
        self_headers: bool = True,
        **headers: Any,
    ) -> dict[str, Any]:
        """Return the headers to set, those of this signature among them if `self_headers`."""
        own = self["options"] if self_headers else {}
        return merge_headers(own, visitor_headers, headers, append_stamps=append_stamps)

    def stamp_links(self, visitor: Any, append_stamps: bool = False, **headers: Any) -> None:
        """Stamp what is linked to the call, as `stamp` does."""
        options = self["options"]
        hooks = {
            "link": getattr(visitor, "on_callback", None),
            "link_error": getattr(visitor, "on_errback", None),
        }
        for key, hook in hooks.items():
            if not options.get(key):
                continue
            # The links may be shared with other calls, which are not to be stamped.
            links = [maybe_signature(link, clone=True) for link in maybe_list(options[key])]
            for linked in links:
                visited = hook(linked, **headers) if hook is not None else None
                linked_headers = linked._stamp_headers(visited, append_stamps, False, **headers)
                linked.stamp(visitor, append_stamps, **linked_headers)
            options[key] = links
