"""The signals: things that happen in clients, workers and beat that user code can listen to.

Whoever makes a thing happen sends its signal; user code connects receivers.
"""

from __future__ import annotations

from taskq.utils.dispatch import Signal

__all__ = (
    "after_setup_logger",
    "after_setup_task_logger",
    "after_task_publish",
    "beat_embedded_init",
    "beat_init",
    "before_task_publish",
    "celeryd_after_setup",
    "celeryd_init",
    "eventlet_pool_apply",
    "eventlet_pool_postshutdown",
    "eventlet_pool_preshutdown",
    "eventlet_pool_started",
    "heartbeat_sent",
    "setup_logging",
    "task_failure",
    "task_internal_error",
    "task_postrun",
    "task_prerun",
    "task_received",
    "task_rejected",
    "task_retry",
    "task_revoked",
    "task_success",
    "task_unknown",
    "worker_before_create_process",
    "worker_init",
    "worker_process_init",
    "worker_process_shutdown",
    "worker_ready",
    "worker_shutdown",
    "worker_shutting_down",
)

# -- publishing (in the client; sender: the task's name)

#: A task message is about to be sent; receivers may change headers and properties.
before_task_publish = Signal(
    name="before_task_publish",
    providing_args={
        "body",
        "exchange",
        "routing_key",
        "headers",
        "properties",
        "declare",
        "retry_policy",
    },
)
#: A task message was handed to the broker.
after_task_publish = Signal(
    name="after_task_publish",
    providing_args={"body", "exchange", "routing_key"},
)

# -- tasks (in the worker; sender: the task, or the consumer for received/rejected/unknown)

#: A task's message arrived and became a request.
task_received = Signal(name="task_received", providing_args={"request"})
#: A task is about to run.
task_prerun = Signal(name="task_prerun", providing_args={"task_id", "task", "args", "kwargs"})
#: A task has run, whatever the outcome.
task_postrun = Signal(
    name="task_postrun",
    providing_args={"task_id", "task", "args", "kwargs", "retval"},
)
#: A task returned; ``runtime`` is in seconds.
task_success = Signal(name="task_success", providing_args={"result", "runtime"})
#: A task will be tried again.
task_retry = Signal(name="task_retry", providing_args={"request", "reason", "einfo"})
#: A task raised.
task_failure = Signal(
    name="task_failure",
    providing_args={"task_id", "exception", "args", "kwargs", "traceback", "einfo"},
)
#: taskq itself failed while it handled a task.
task_internal_error = Signal(
    name="task_internal_error",
    providing_args={"task_id", "args", "kwargs", "request", "exception", "traceback", "einfo"},
)
#: A task was revoked, terminated, or had expired.
task_revoked = Signal(
    name="task_revoked",
    providing_args={"request", "terminated", "signum", "expired"},
)
#: A message was rejected that is no task's, or that could not be read.
task_rejected = Signal(name="task_rejected", providing_args={"message", "exc"})
#: A message names a task that no module registers.
task_unknown = Signal(name="task_unknown", providing_args={"message", "exc", "name", "id"})
#: Old name of :data:`after_task_publish`, with the arguments of message protocol 1.
task_sent = Signal(
    name="task_sent",
    providing_args={"task_id", "task", "args", "kwargs", "eta", "taskset"},
)

# -- the worker's life

#: The worker's modules are about to be imported (sender: the app).
import_modules = Signal(name="import_modules")
#: A worker is being set up, before anything is configured (sender: its node name).
celeryd_init = Signal(name="celeryd_init", providing_args={"instance", "conf", "options"})
#: A worker is set up, with queues chosen, and not started.
celeryd_after_setup = Signal(name="celeryd_after_setup", providing_args={"instance", "conf"})
#: Before the worker starts.
worker_init = Signal(name="worker_init")
#: In the main process, before a pool process is made.
worker_before_create_process = Signal(name="worker_before_create_process")
#: In every pool process, when it starts: receivers must be quick.
worker_process_init = Signal(name="worker_process_init")
#: In every pool process, before it exits.
worker_process_shutdown = Signal(name="worker_process_shutdown")
#: The worker accepts work.
worker_ready = Signal(name="worker_ready")
#: The worker stops taking work and begins to shut down.
worker_shutting_down = Signal(name="worker_shutting_down")
#: The worker is about to exit.
worker_shutdown = Signal(name="worker_shutdown")
#: A worker heartbeat event was sent.
heartbeat_sent = Signal(name="heartbeat_sent")

# -- logging

#: Logging is about to be set up: with a receiver connected, taskq sets up nothing itself.
setup_logging = Signal(
    name="setup_logging",
    providing_args={"loglevel", "logfile", "format", "colorize"},
)
#: The global loggers were set up.
after_setup_logger = Signal(
    name="after_setup_logger",
    providing_args={"logger", "loglevel", "logfile", "format", "colorize"},
)
#: The task logger was set up.
after_setup_task_logger = Signal(
    name="after_setup_task_logger",
    providing_args={"logger", "loglevel", "logfile", "format", "colorize"},
)

# -- beat

#: Beat starts as a program of its own.
beat_init = Signal(name="beat_init")
#: Beat starts inside a worker.
beat_embedded_init = Signal(name="beat_embedded_init")

# -- eventlet pool

eventlet_pool_started = Signal(name="eventlet_pool_started")
eventlet_pool_preshutdown = Signal(name="eventlet_pool_preshutdown")
eventlet_pool_postshutdown = Signal(name="eventlet_pool_postshutdown")
eventlet_pool_apply = Signal(
    name="eventlet_pool_apply",
    providing_args={"target", "args", "kwargs"},
)

# -- the command line

#: The global command-line options were parsed.
user_preload_options = Signal(name="user_preload_options", providing_args={"app", "options"})
