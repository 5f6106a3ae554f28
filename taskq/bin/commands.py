"""The table of subcommands: name, where it is defined, and its line in ``taskq --help``.

Read by the root command; a new subcommand is a file here and a row in the table.
"""

from __future__ import annotations

from taskq.bin.group import Row

COMMANDS = {
    "amqp": Row("taskq.bin.amqp:amqp", "Work on the broker's queues and exchanges."),
    "beat": Row("taskq.bin.beat:beat", "Send periodic tasks when they are due."),
    "call": Row("taskq.bin.call:call", "Send a task by name."),
    "completion": Row("taskq.bin.completion:completion", "Print a shell's completion script."),
    "control": Row("taskq.bin.control:control", "Change something in running workers."),
    "dead": Row("taskq.bin.dead:dead", "Show, repeat and delete dead letters."),
    "events": Row("taskq.bin.events:events", "Watch workers and tasks."),
    "graph": Row("taskq.bin.graph:graph", "Draw boot steps, workers or a workflow."),
    "inspect": Row("taskq.bin.control:inspect", "Ask running workers about themselves."),
    "list": Row("taskq.bin.list:list_", "Show what the broker has."),
    "logtool": Row("taskq.bin.logtool:logtool", "Find out from logs what became of tasks."),
    "migrate": Row("taskq.bin.migrate:migrate", "Move waiting tasks to another broker."),
    "multi": Row("taskq.bin.multi:multi", "Start and stop several workers on this machine."),
    "purge": Row("taskq.bin.purge:purge", "Delete all messages waiting in the task queues."),
    "repl": Row("taskq.bin.repl:repl", "Type commands at a prompt."),
    "report": Row("taskq.bin.report:report", "Show versions and settings, for bug reports."),
    "result": Row("taskq.bin.result:result", "Print the result of a task."),
    "schedule": Row("taskq.bin.schedule:schedule", "Show and change stored periodic tasks."),
    "shell": Row("taskq.bin.shell:shell", "Start a Python shell with the app loaded."),
    "status": Row("taskq.bin.control:status", "Show which workers are online."),
    "upgrade": Row("taskq.bin.upgrade:upgrade", "Move a project from Celery, or rename settings."),
    "worker": Row("taskq.bin.worker:worker", "Start a worker."),
}
