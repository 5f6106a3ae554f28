"""What `importlib.metadata` says of ``celery`` while the alias is installed."""

from __future__ import annotations

import os
from importlib.metadata import Distribution
from pathlib import Path

import taskq

__all__ = ("CeleryDistribution",)

FILES = {
    "METADATA": f"""\
Metadata-Version: 2.1
Name: celery
Version: {taskq.CELERY_COMPAT}
Summary: taskq {taskq.__version__} under the name of celery
""",
    "entry_points.txt": """\
[console_scripts]
celery = celery.__main__:main
""",
}


class CeleryDistribution(Distribution):
    """A distribution that is installed nowhere: the version of Celery that taskq matches."""

    def read_text(self, filename: str) -> str | None:
        """Return a file of the distribution's metadata, None if there is none of that name."""
        return FILES.get(filename)

    def locate_file(self, path: str | os.PathLike[str]) -> Path:
        """Return where a file of the package is: among taskq's."""
        return Path(taskq.__file__).parent.parent / path
