"""The loader of apps that are configured in code.

The default of ``TaskQ(loader=...)``.
"""

from __future__ import annotations

from taskq.loaders.base import BaseLoader

__all__ = ("AppLoader",)


class AppLoader(BaseLoader):
    """Loader of apps that are configured in code."""
