"""The entry point of the ``taskq`` command and of ``python -m taskq``."""

from __future__ import annotations

import sys

from taskq import maybe_patch_concurrency

__all__ = ("main",)


def main() -> None:
    """Run the command line and exit with its status.

    A green pool asked for with ``-P`` is patched in first, before anything else is imported.
    """
    if "multi" not in sys.argv:  # there -P is an option of the workers it starts
        _patch_for_green_pool()
    from taskq.bin.celery import main as run  # after the patching, and never before

    sys.exit(run())


def _patch_for_green_pool() -> None:
    try:
        maybe_patch_concurrency()
    except ModuleNotFoundError as exc:
        sys.exit(f"Error: the pool needs the package {exc.name}: pip install 'taskq[{exc.name}]'")


if __name__ == "__main__":
    main()
