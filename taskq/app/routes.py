"""Routing: which exchange, queue and routing key a task's message goes to.

The app's AMQP object owns a Router; it is asked once per published message.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from kombu import Queue

from taskq.exceptions import QueueNotFound
from taskq.utils.collections import lpmerge
from taskq.utils.functional import maybe_evaluate, mlazy
from taskq.utils.imports import symbol_by_name

__all__ = ("MapRoute", "Router", "expand_router_string", "prepare")

Route = Mapping[str, Any] | str | None


class MapRoute:
    """Router made of a mapping: task name, glob or compiled regex -> route."""

    def __init__(self, map: Mapping[Any, Any] | Iterable[tuple[Any, Any]]) -> None:
        items = map.items() if isinstance(map, Mapping) else map
        self.map: dict[str, Any] = {}
        self.patterns: dict[re.Pattern[str], Any] = {}
        for key, value in items:
            if isinstance(key, re.Pattern):
                self.patterns[key] = value
            elif "*" in key:
                self.patterns[re.compile(fnmatch.translate(key))] = value
            else:
                self.map[key] = value

    def __call__(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Return the route for the task of this name, or None."""
        try:
            return dict(self.map[name])
        except KeyError:
            pass
        except ValueError:
            # A plain string names a queue.
            return {"queue": self.map[name]}
        for regex, route in self.patterns.items():
            if regex.match(name):
                try:
                    return dict(route)
                except ValueError:
                    return {"queue": route}
        return None


class Router:
    """Resolve the destination of a task message.

    - routes: routers in order, as returned by `prepare`.
    - queues: the app's queues (a mapping of name to Queue).
    - create_missing: make up queues that are asked for but not configured.
    """

    def __init__(
        self,
        routes: list[Any] | None = None,
        queues: Any = None,
        create_missing: bool = False,
        app: Any = None,
    ) -> None:
        self.app = app
        self.queues = {} if queues is None else queues
        self.routes = [] if routes is None else routes
        self.create_missing = create_missing

    def route(
        self,
        options: dict[str, Any],
        name: str,
        args: Any = (),
        kwargs: Any = None,
        task_type: Any = None,
    ) -> dict[str, Any]:
        """Return ``options`` with the destination added.

        The call's own options win over what a router answers. Raises QueueNotFound when the
        queue isn't configured and may not be created.
        """
        options = self.expand_destination(options)
        if self.routes:
            route = self.lookup_route(name, args, kwargs or {}, options, task_type)
            if route:
                return lpmerge(self.expand_destination(route), options)
        if "queue" not in options:
            options["queue"] = self.app.amqp.default_queue
        return options

    def expand_destination(self, route: Any) -> dict[str, Any]:
        """Return the route with its queue as a Queue object instead of a name."""
        expanded: dict[str, Any] = {"queue": route} if isinstance(route, str) else dict(route)
        queue = expanded.pop("queue", None)
        if queue:
            expanded["queue"] = queue if isinstance(queue, Queue) else self._queue_named(queue)
        return expanded

    def _queue_named(self, name: str) -> Queue:
        try:
            return self.queues[name]
        except KeyError:
            raise QueueNotFound(
                f"Queue {name!r} missing from task_queues; add it there, or set "
                "task_create_missing_queues to have it created"
            ) from None

    def lookup_route(
        self,
        name: str,
        args: Any = None,
        kwargs: Any = None,
        options: Any = None,
        task_type: Any = None,
    ) -> Any:
        """Return the first answer of the routers, or None."""
        for router in self.routes:
            route = self.query_router(router, name, args, kwargs, options, task_type)
            if route is not None:
                return route
        return None

    def query_router(
        self, router: Any, task: str, args: Any, kwargs: Any, options: Any, task_type: Any
    ) -> Any:
        """Ask one router, a callable or an object with ``route_for_task``."""
        router = maybe_evaluate(router)
        if hasattr(router, "route_for_task"):
            return router.route_for_task(task, args, kwargs)
        return router(task, args, kwargs, options, task=task_type)


def expand_router_string(router: str) -> Any:
    """Import the router that a dotted name stands for; a class is instantiated."""
    found: Any = symbol_by_name(router)
    if hasattr(found, "route_for_task"):
        return found() if isinstance(found, type) else found
    return found


def prepare(routes: Any) -> list[Any]:
    """Turn the ``task_routes`` setting into a list of routers."""

    def expand(route: Any) -> Callable[..., Any] | mlazy:
        if isinstance(route, Mapping | list | tuple):
            return MapRoute(route)
        if isinstance(route, str):
            return mlazy(expand_router_string, route)
        router: Callable[..., Any] = route
        return router

    if routes is None:
        return []
    if not isinstance(routes, list | tuple):
        routes = (routes,)
    return [expand(route) for route in routes]
