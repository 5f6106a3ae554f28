"""The terminal screen of ``taskq events``: workers and tasks as they change, and what to do.

Needs the package ``textual`` (``pip install taskq[tui]``).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime
from typing import Any, ClassVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import DataTable, Footer, Input, Label, Static

from taskq import states
from taskq.app import app_or_default
from taskq.events.capture import capture_events

__all__ = ("EventScreen", "evtop")

#: Tasks shown, the newest.
TASKS_SHOWN = 500
#: Seconds between two looks at the state.
REFRESH = 0.5
#: Seconds to wait for the answers of workers.
ANSWER_TIMEOUT = 1.0

STYLES = {
    states.SUCCESS: "green",
    states.FAILURE: "bold red",
    states.REVOKED: "magenta",
    states.REJECTED: "magenta",
    states.RETRY: "yellow",
    states.STARTED: "cyan",
}


class Answer(ModalScreen[None]):
    """Text over the screen, until a key closes it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,enter,q", "dismiss", "Close"),
    ]
    CSS = """
    Answer { align: center middle; }
    Answer VerticalScroll { width: 90%; height: 80%; border: round $primary; padding: 0 1; }
    """

    def __init__(self, title: str, text: str) -> None:
        super().__init__()
        self._title = title
        self._text = text

    def compose(self) -> ComposeResult:
        """The title, the text, the keys."""
        with VerticalScroll() as box:
            box.border_title = self._title
            # Text of tasks is no markup.
            yield Static(Text(self._text))
        yield Footer()


class Question(ModalScreen[str | None]):
    """A line to be filled in; None when it was left with escape."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", "Cancel")]
    CSS = """
    Question { align: center middle; }
    Question Label { width: 60; }
    Question Input { width: 60; }
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text

    def compose(self) -> ComposeResult:
        """The question and the line."""
        yield Label(self._text)
        yield Input()
        yield Footer()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """The line is filled in."""
        self.dismiss(event.value.strip())


class EventScreen(App[None]):
    """Workers above, tasks below.

    - taskq_app: whose cluster it is; state: the `taskq.events.state.State` to show.
    """

    TITLE = "taskq events"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    #status { height: 1; background: $primary; color: $text; padding: 0 1; }
    #workers { height: auto; max-height: 30%; }
    #tasks { height: 1fr; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("i", "info", "Info"),
        Binding("r", "result", "Result"),
        Binding("t", "traceback", "Traceback"),
        Binding("c", "revoke(False)", "Revoke"),
        Binding("k", "revoke(True)", "Kill"),
        Binding("l", "rate_limit", "Rate limit"),
        Binding("e", "enable_events", "Task events on"),
        Binding("tab", "focus_next", "Workers/tasks"),
        Binding("q", "quit", "Quit"),
    ]

    def __init__(self, taskq_app: Any, state: Any) -> None:
        super().__init__()
        self.cluster = taskq_app
        self.state = state
        self.problem = ""
        self._shown: tuple[Any, ...] = ()

    def compose(self) -> ComposeResult:
        """The parts of the screen."""
        yield Label(id="status")
        yield DataTable[Any](id="workers", cursor_type="none")
        yield DataTable[Any](id="tasks", cursor_type="row")
        yield Footer()

    def on_mount(self) -> None:
        """Set up the tables and begin to look."""
        self.query_one("#workers", DataTable).add_columns(
            "Worker", "Status", "Active", "Processed", "Load", "Heartbeat", "Software"
        )
        self.query_one("#tasks", DataTable).add_columns("Time", "State", "Task", "Worker", "Id")
        self.query_one("#tasks", DataTable).focus()
        self.look()
        self.set_interval(REFRESH, self.look)

    def on_data_table_row_selected(self) -> None:
        """Enter shows what is known of a task."""
        self.action_info()

    # -- what is shown

    def look(self) -> None:
        """Show what has changed."""
        workers = sorted(self.state.workers.values(), key=lambda worker: str(worker.hostname))
        alive = sum(1 for worker in workers if worker.alive)
        seen = (self.state.event_count, len(workers), alive, self.problem)
        if seen == self._shown:
            return
        self._shown = seen
        status = f"events: {seen[0]}  tasks: {self.state.task_count}  workers: {alive}/{seen[1]}"
        problem = f"  {self.problem}" if self.problem else ""
        self.query_one("#status", Label).update(Text(status + problem))
        self._show_workers(workers)
        self._show_tasks()

    def _show_workers(self, workers: list[Any]) -> None:
        table = self.query_one("#workers", DataTable)
        table.clear()
        for worker in workers:
            table.add_row(
                Text(str(worker.hostname)),
                Text(worker.status_string, style="green" if worker.alive else "bold red"),
                _text(worker.active),
                _text(worker.processed),
                Text(" ".join(str(load) for load in worker.loadavg or ())),
                Text(_clock_time(worker.heartbeats[-1] if worker.heartbeats else None)),
                Text(f"{worker.sw_ident or ''} {worker.sw_ver or ''}"),
            )

    def _show_tasks(self) -> None:
        table = self.query_one("#tasks", DataTable)
        selected = self.selected_id
        table.clear()
        for row, (uuid, task) in enumerate(self.state.tasks_by_time(limit=TASKS_SHOWN)):
            table.add_row(
                Text(_clock_time(task.timestamp)),
                Text(task.state, style=STYLES.get(task.state, "")),
                _text(task.name),
                Text(str(task.worker.hostname) if task.worker else ""),
                Text(uuid),
                key=uuid,
            )
            if uuid == selected:
                # The cursor stays on its task while others come above it.
                table.move_cursor(row=row)

    @property
    def selected_id(self) -> str | None:
        """Id of the task under the cursor."""
        table = self.query_one("#tasks", DataTable)
        if not table.row_count:
            return None
        return table.coordinate_to_cell_key(table.cursor_coordinate).row_key.value

    # -- what the keys do

    def action_info(self) -> None:
        """Show what events told of the task."""
        task = self._selected()
        if task is not None:
            fields = task.info(extra=["state", "worker", "sent", "received", "started"])
            lines = [f"{name}: {value}" for name, value in sorted(fields.items())]
            self.push_screen(Answer(f"{task.name} {task.uuid}", "\n".join(lines)))

    def action_traceback(self) -> None:
        """Show the traceback that came with the task's event."""
        task = self._selected()
        if task is not None:
            text = task.traceback or "No event of this task had a traceback."
            self.push_screen(Answer(f"Traceback of {task.uuid}", text))

    def action_result(self) -> None:
        """Show the task's result as the result backend has it."""
        task = self._selected()
        if task is not None:
            result = self.cluster.AsyncResult(task.uuid)
            self._ask(f"Result of {task.uuid}", lambda: f"{result.state}: {result.result!r}")

    def action_revoke(self, terminate: bool) -> None:
        """Revoke the task; kill it if it runs and that is asked for."""
        task = self._selected()
        if task is not None:
            revoke = self.cluster.control.revoke
            self._ask(
                f"{'Killing' if terminate else 'Revoking'} {task.uuid}",
                lambda: _answers(
                    revoke(task.uuid, terminate=terminate, reply=True, timeout=ANSWER_TIMEOUT)
                ),
            )

    def action_rate_limit(self) -> None:
        """Change the rate limit of tasks of this type."""
        task = self._selected()
        if task is None or task.name is None:
            return
        name, limit_of = task.name, self.cluster.control.rate_limit

        def set_limit(limit: str | None) -> None:
            if limit:
                self._ask(
                    f"Rate limit of {name}",
                    lambda: _answers(limit_of(name, limit, reply=True, timeout=ANSWER_TIMEOUT)),
                )

        self.push_screen(Question(f"Rate limit of {name}, such as 10/m (0: none):"), set_limit)

    def action_enable_events(self) -> None:
        """Have the workers send events about tasks."""
        enable = self.cluster.control.enable_events
        self._ask("Task events", lambda: _answers(enable(reply=True, timeout=ANSWER_TIMEOUT)))

    def _selected(self) -> Any:
        uuid = self.selected_id
        return None if uuid is None else self.state.tasks.get(uuid)

    def _ask(self, title: str, question: Callable[[], str]) -> None:
        """Show the answer to a question that takes time; the screen goes on meanwhile."""

        def run() -> None:
            try:
                text = question()
            except Exception as exc:  # whatever broker and backend raise
                text = f"{type(exc).__name__}: {exc}"
            self.call_from_thread(self.push_screen, Answer(title, text))

        threading.Thread(target=run, daemon=True).start()


def _text(value: Any) -> Text:
    return Text("" if value is None else str(value))


def _clock_time(timestamp: float | None) -> str:
    return "" if timestamp is None else datetime.fromtimestamp(timestamp).strftime("%H:%M:%S")


def _answers(replies: Any) -> str:
    """Return the answers of workers, a line for each."""
    lines = [
        f"{node}: {answer.get('ok') or answer.get('error') if isinstance(answer, dict) else answer}"
        for reply in replies or ()
        for node, answer in reply.items()
    ]
    return "\n".join(lines) or "No worker answered."


def evtop(app: Any = None) -> None:
    """Show the screen until it is left.

    - app: the current one by default.
    """
    app = app_or_default(app)
    state = app.events.State()
    screen = EventScreen(app, state)
    receivers: list[Any] = []

    def connected(receiver: Any) -> None:
        screen.problem = ""
        receivers[:] = [receiver]

    def on_error(exc: BaseException, interval: float) -> None:
        screen.problem = f"cannot connect: {exc}"

    def on_lost() -> None:
        screen.problem = "connection lost"

    def capture() -> None:
        try:
            capture_events(
                app,
                {"*": state.event},
                on_error=on_error,
                on_lost=on_lost,
                on_receiver=connected,
            )
        except Exception as exc:  # the screen is the only place to say it
            screen.problem = f"no more events: {type(exc).__name__}: {exc}"

    threading.Thread(target=capture, name="events", daemon=True).start()
    try:
        screen.run()
    finally:
        for receiver in receivers:
            receiver.should_stop = True
