"""Projects that are both a taskq and a Celery project."""

from tests.integration.conftest import Urls, make_project, urls

__all__ = ("Urls", "make_project", "urls")
