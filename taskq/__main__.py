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
        maybe_patch_concurrency()
    from taskq.bin.celery import main as run  # after the patching, and never before

    sys.exit(run())


if __name__ == "__main__":
    main()
