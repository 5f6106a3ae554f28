"""The report that goes with a bug: versions, platform, and the settings with secrets masked.

Printed by ``taskq report`` and returned by ``app.bugreport()``.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import taskq
from taskq.app.censoring import sanitize_url

BUGREPORT_INFO = """
software -> taskq:{taskq_v} (as celery:{celery_v}) kombu:{kombu_v} py:{py_v}
            billiard:{billiard_v} {driver_v}
platform -> system:{system} arch:{arch}
            kernel version:{kernel_version} imp:{implementation}
loader   -> {loader}
settings -> transport:{transport} results:{results}

{human_settings}
"""


def appstr(app: Any) -> str:
    """Return how an app is named in logs: its main name and its address in memory."""
    return f"{app.main or '__main__'} at {id(app):#x}"


def bugreport(app: Any) -> str:
    """Return what somebody who helps with a problem needs to know about *app*, as text."""
    told = facts(app)
    software, system = told["software"], told["platform"]
    return BUGREPORT_INFO.format(
        **{f"{name}_v": version for name, version in software.items()},
        **system,
        loader=told["loader"],
        transport=told["transport"],
        results=told["results"],
        human_settings=app.conf.humanize(),
    )


def facts(app: Any) -> dict[str, Any]:
    """Return what the report tells, by name."""
    # Asked for rarely, and not cheap to import.
    import platform

    import billiard
    import kombu

    connection = app.connection()
    return {
        "software": {
            "taskq": taskq.VERSION_BANNER,
            "celery": taskq.CELERY_COMPAT,
            "kombu": kombu.__version__,
            "py": platform.python_version(),
            "billiard": billiard.__version__,
            "driver": _driver(connection),
        },
        "platform": {
            "system": platform.system(),
            "arch": ", ".join(part for part in platform.architecture() if part),
            "kernel_version": platform.release() if os.name == "posix" else platform.version(),
            "implementation": sys.implementation.name,
        },
        "loader": _qualname(type(app.loader)),
        "transport": connection.transport_cls or "amqp",
        "results": sanitize_url(app.conf.result_backend) or "disabled",
        "settings": app.conf.table(with_defaults=False),
    }


def _driver(connection: Any) -> str:
    """Return name and version of the broker's client library; empty if it is not installed."""
    try:
        transport = connection.transport
    except ImportError as exc:
        return f"(no client: {exc})"
    return f"{transport.driver_name}:{transport.driver_version()}"


def _qualname(cls: type[Any]) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"
