"""Projects for tests that break things."""

from tests.integration.conftest import Urls, make_project, urls

__all__ = ("Urls", "make_project", "urls")
