"""Finding tasks in packages, and adding periodic ones.

A part of `TaskQ`.
"""

from __future__ import annotations

from typing import Any

from taskq import signals


class Discovery:
    """The part of an app that imports the tasks of packages."""

    loader: Any
    _fixups: list[Any]

    def autodiscover_tasks(
        self,
        packages: Any = None,
        related_name: str | None = "tasks",
        force: bool = False,
    ) -> None:
        """Import the ``tasks`` modules of packages.

        - packages: list of names or a function that returns one; the installed apps of the
          framework in use when not given.
        - related_name: name of the module in each package; None imports the packages.
        - force: now, instead of when a worker imports its modules.
        """
        if force:
            self._autodiscover_tasks(packages, related_name)
            return

        def discover(**_: Any) -> None:
            self._autodiscover_tasks(packages, related_name)

        signals.import_modules.connect(discover, weak=False, sender=self)

    def _autodiscover_tasks(self, packages: Any, related_name: str | None, **_: Any) -> Any:
        if packages:
            return self._autodiscover_tasks_from_names(packages, related_name)
        return self._autodiscover_tasks_from_fixups(related_name)

    def _autodiscover_tasks_from_names(self, packages: Any, related_name: str | None) -> Any:
        names = packages() if callable(packages) else packages
        return self.loader.autodiscover_tasks(names, related_name)

    def _autodiscover_tasks_from_fixups(self, related_name: str | None) -> Any:
        return self._autodiscover_tasks_from_names(
            [
                package
                for fixup in self._fixups
                if hasattr(fixup, "autodiscover_tasks")
                for package in fixup.autodiscover_tasks()
            ],
            related_name,
        )
