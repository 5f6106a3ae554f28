"""The loader of apps that nobody configured: looks for a configuration module.

Used by the fallback app, and by ``TaskQ(loader="default")``.
"""

from __future__ import annotations

import os
import warnings
from typing import Any

from taskq.exceptions import NotConfigured
from taskq.loaders.base import CONFIG_MODULE_ENV, BaseLoader, _config_module_name
from taskq.utils.collections import DictAttribute
from taskq.utils.serialization import strtobool

__all__ = ("DEFAULT_CONFIG_MODULE", "Loader")

#: Configuration module that is looked for if the environment names none.
DEFAULT_CONFIG_MODULE = "celeryconfig"
#: All that are looked for, the first one first.
DEFAULT_CONFIG_MODULES = ("taskqconfig", DEFAULT_CONFIG_MODULE)

#: Warn also if no configuration module was named and none was found.
C_WNOCONF: Any = strtobool(os.environ.get("C_WNOCONF", False))


class Loader(BaseLoader):
    """Loader that reads a configuration module.

    That is the one named by ``TASKQ_CONFIG_MODULE`` or ``CELERY_CONFIG_MODULE``, else
    ``taskqconfig.py`` or ``celeryconfig.py`` if there is one in the path or the current directory.
    """

    def setup_settings(self, settingsdict: Any) -> DictAttribute:
        """Return settings as a mapping."""
        return DictAttribute(settingsdict)

    def read_configuration(self, fail_silently: Any = True) -> Any:
        """Read the configuration module.

        Parameters:
            fail_silently: warn if the module does not exist, in place of an ImportError.

        An error inside of the module is always raised.
        """
        named = _config_module_name(CONFIG_MODULE_ENV)
        for name in (named,) if named else DEFAULT_CONFIG_MODULES:
            try:
                self._import_config_module(name)
            except ModuleNotFoundError as exc:
                if not _is_or_contains(exc.name, name):
                    raise  # The module is there; one that it imports is not.
            else:
                self.configured = True
                return self.setup_settings(self.import_from_cwd(name))
        missing = named or " or ".join(DEFAULT_CONFIG_MODULES)
        if not fail_silently:
            raise ModuleNotFoundError(f"No module named {missing!r}", name=missing)
        if named or C_WNOCONF:
            warnings.warn(NotConfigured(_not_found(missing, named)), stacklevel=2)
        return self.setup_settings({})


def _is_or_contains(missing: str | None, name: str) -> bool:
    return missing is not None and f"{name}.".startswith(f"{missing}.")


def _not_found(missing: str, named: str | None) -> str:
    remedy = (
        f"Correct {' or '.join(CONFIG_MODULE_ENV)}, or put the module into the Python path."
        if named
        else "Put one into the current directory, or configure the app in code."
    )
    return f"No {missing} module found, so the defaults are used. {remedy}"
