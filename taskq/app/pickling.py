"""How an app travels to another process: as its class and what it was made from.

The app's ``__reduce__`` names these functions; old pickles name them too.
"""

from __future__ import annotations

from typing import Any


class AppPickler:
    """Makes an app from the positional values of its pickle; a base for apps with more of them."""

    def __call__(self, cls: type[Any], *args: Any) -> Any:
        """Return a new *cls* made from *args*, with its run-time changes applied."""
        kwargs = self.build_kwargs(*args)
        app = self.construct(cls, **kwargs)
        self.prepare(app, **kwargs)
        return app

    def prepare(self, app: Any, **kwargs: Any) -> None:
        """Finish a new *app*: give it the settings that were changed at run time."""
        app.conf.update(kwargs["changes"])

    def build_kwargs(self, *args: Any) -> dict[str, Any]:
        """Return the arguments of the app class for the values of a pickle."""
        return self.build_standard_kwargs(*args)

    def build_standard_kwargs(
        self,
        main: str | None,
        changes: dict[str, Any],
        loader: Any,
        backend: Any,
        amqp: Any,
        events: Any,
        log: Any,
        control: Any,
        accept_magic_kwargs: bool,
        config_source: Any = None,
        config_source_silent: bool = False,
    ) -> dict[str, Any]:
        """Return the arguments of the app class for the values every app has."""
        return {
            "main": main,
            "changes": changes,
            "loader": loader,
            "backend": backend,
            "amqp": amqp,
            "events": events,
            "log": log,
            "control": control,
            "set_as_current": False,
            "config_source": config_source,
            "config_source_silent": config_source_silent,
        }

    def construct(self, cls: type[Any], **kwargs: Any) -> Any:
        """Return a new *cls*."""
        return cls(**kwargs)


def _unpickle_app(cls: type[Any], pickler: type[AppPickler], *args: Any) -> Any:
    """Make the app of a pickle that holds positional values."""
    return pickler()(cls, *args)


def _unpickle_app_v2(cls: type[Any], kwargs: dict[str, Any]) -> Any:
    """Make the app of a pickle that holds named values; it becomes nobody's current app."""
    return cls(**{**kwargs, "set_as_current": False})
