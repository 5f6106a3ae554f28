"""First-generation names of logging with the current app: see `taskq.app.log`."""

from __future__ import annotations

from typing import Any

from taskq._state import get_current_app

__all__ = ("get_default_logger", "redirect_stdouts_to_logger", "setup_logging_subsystem")


def get_default_logger(*args: Any, **kwargs: Any) -> Any:
    """Return the logger of taskq: see `Logging.get_default_logger`."""
    return get_current_app().log.get_default_logger(*args, **kwargs)


def redirect_stdouts_to_logger(*args: Any, **kwargs: Any) -> Any:
    """Log what is printed: see `Logging.redirect_stdouts_to_logger`."""
    return get_current_app().log.redirect_stdouts_to_logger(*args, **kwargs)


def setup_logging_subsystem(*args: Any, **kwargs: Any) -> Any:
    """Set up logging as a worker does: see `Logging.setup_logging_subsystem`."""
    return get_current_app().log.setup_logging_subsystem(*args, **kwargs)
