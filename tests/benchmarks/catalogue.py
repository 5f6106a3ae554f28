"""The table of contents: every measurement, in the order of the table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from tests.benchmarks import coroutines, drains, latency, payloads, publishing, resources
from tests.benchmarks.rows import Figures, Measurement, Row
from tests.benchmarks.sides import Side, side

TASKQ = ("taskq",)


@dataclass(frozen=True)
class Brokers:
    """Where brokers are: URLs. The Redis database is emptied again and again."""

    redis: str
    amqp: str

    def on(
        self, broker: str, measure: Callable[[Side], Figures], *, results: bool = False
    ) -> Callable[[str], Figures]:
        """Return a function of a package that measures it on a broker."""

        def run(package: str) -> Figures:
            with self.side(package, broker, results=results) as it:
                return measure(it)

        return run

    @contextmanager
    def side(self, package: str, broker: str, *, results: bool) -> Iterator[Side]:
        """Yield one side on one of the brokers."""
        with side(package, broker, results=results, redis=self.redis, amqp=self.amqp) as it:
            yield it


def measurements(brokers: Brokers) -> list[Measurement]:
    """Return everything that can be measured, what matters most first."""
    return [
        *_drains(brokers),
        *_publishing(brokers),
        *_latency(brokers),
        *_resources(brokers),
        *_scale(brokers),
        *(replace(each, rounds=3) for each in _coroutines(brokers)),
    ]


def _drains(brokers: Brokers) -> list[Measurement]:
    on = brokers.on

    def with_prefetch(it: Side) -> Figures:
        return drains.drain(it.with_options(BENCH_PREFETCH=64))

    def with_prefetch_results(it: Side) -> Figures:
        return drains.add_call(it.with_options(BENCH_PREFETCH=64))

    return [
        Measurement(
            "drain",
            on("redis", drains.drain),
            (
                Row("rate", "drain, no-op, Redis, prefork -c 2", "tasks/s", 10),
                Row("cpu", "processor time per task, all processes", "µs", 0.12, more=False),
            ),
        ),
        Measurement(
            "drain-64",
            on("redis", with_prefetch),
            (Row("rate", "the same, prefetch multiplier 64", "tasks/s", 10),),
        ),
        Measurement(
            "results",
            on("redis", drains.add_call, results=True),
            (
                Row("rate", "drain with results in Redis", "tasks/s", 8),
                Row("cpu", "processor time per task, with results", "µs", more=False),
            ),
        ),
        Measurement(
            "results-64",
            on("redis", with_prefetch_results, results=True),
            (Row("rate", "the same, prefetch multiplier 64", "tasks/s", 8),),
        ),
        Measurement(
            "threads",
            on("redis", lambda it: drains.drain(it, "-P", "threads")),
            (Row("rate", "drain, Redis, threads -c 2", "tasks/s", 10),),
        ),
        Measurement(
            "solo",
            on("redis", lambda it: drains.drain(it, "-P", "solo")),
            (Row("rate", "drain, Redis, solo", "tasks/s", 10),),
        ),
        Measurement(
            "drain-amqp",
            on("amqp", lambda it: drains.drain(it, count=6_000)),
            (Row("rate", "drain, RabbitMQ, prefork -c 2", "tasks/s", 3),),
        ),
        Measurement(
            "drain-sqlite",
            on("sqlite", lambda it: drains.add_call(it, count=6_000), results=True),
            (Row("rate", "drain with results, SQLite, one file", "tasks/s", 3_000, ratio=False),),
            TASKQ,
        ),
    ]


def _publishing(brokers: Brokers) -> list[Measurement]:
    on = brokers.on

    def loop(broker: str, goal: float, *, ratio: bool = True) -> Measurement:
        name = {"redis": "Redis", "amqp": "RabbitMQ", "sqlite": "SQLite"}[broker]
        row = Row("rate", f"delay() loop, {name}", "messages/s", goal, ratio=ratio)
        packages = ("taskq", "celery") if ratio else TASKQ
        return Measurement(f"delay-{broker}", on(broker, publishing.delay), (row,), packages)

    return [
        loop("redis", 3.5),
        loop("amqp", 2),
        loop("sqlite", 5_000, ratio=False),
        Measurement(
            "dispatch",
            on("redis", publishing.dispatch, results=True),
            (
                Row("group", "group of 1,000 built and sent", "ms", 0.1, more=False),
                Row("chord", "chord of 1,000 built and sent", "ms", 0.1, more=False),
            ),
        ),
        Measurement(
            "bulk",
            on("redis", publishing.bulk),
            (
                Row("group", "group(…) sent, Redis", "messages/s", 40_000, ratio=False),
                Row("bulk", "task.map_async(…), Redis", "messages/s", 40_000, ratio=False),
            ),
        ),
    ]


def _latency(brokers: Brokers) -> list[Measurement]:
    on = brokers.on
    return [
        Measurement(
            "latency",
            on("redis", latency.results, results=True),
            (
                Row("p50", "delay().get(), Redis, p50", "ms", 0.6, more=False),
                Row("p99", "delay().get(), Redis, p99", "ms", 0.6, more=False),
                Row("group", "group of 1,000, to the last result", "ms", 0.3, more=False),
                Row("chain", "chain of 100, to the last result", "ms", 0.5, more=False),
                Row("chord", "chord of 500, to its result", "ms", 0.5, more=False),
            ),
        ),
        Measurement(
            "long",
            on("redis", latency.long_tasks),
            (Row("efficiency", "50 ms tasks, -c 8, of the ideal", "%", 97, ratio=False),),
            rounds=3,
        ),
        Measurement(
            "mixed",
            on("redis", latency.mixed_tasks),
            (
                Row(
                    "short",
                    "200 tasks of 1 ms strewn among 1 s tasks, -c 8: last short one done",
                    "ms",
                    900,
                    more=False,
                    ratio=False,
                ),
            ),
        ),
    ]


def _coroutines(brokers: Brokers) -> list[Measurement]:
    on = brokers.on
    return [
        Measurement(
            "naps",
            on("redis", coroutines.drain),
            (Row("rate", "10 ms naps, -P asyncio -c 500", "tasks/s", 6_000, ratio=False),),
        ),
        Measurement(
            "naps-2",
            on("redis", lambda it: coroutines.drain(it, number=2)),
            (Row("rate", "the same, two processes", "tasks/s", 10_000, ratio=False),),
        ),
        Measurement(
            "naps-results",
            on("redis", coroutines.drain, results=True),
            (
                Row(
                    "rate", "the same, one process, results in Redis", "tasks/s", 4_000, ratio=False
                ),
            ),
        ),
        Measurement(
            "naps-amqp",
            on("amqp", coroutines.drain),
            (Row("rate", "10 ms naps, RabbitMQ, -P asyncio -c 500", "tasks/s"),),
        ),
        Measurement(
            "in-flight",
            on("redis", coroutines.in_flight),
            (Row("memory", "10,000 naps of 5 s in flight", "MB", 300, more=False, ratio=False),),
            TASKQ,
        ),
        Measurement(
            "awaited",
            on("redis", coroutines.latency, results=True),
            (
                Row("p50", "await adelay() to await result, Redis, p50", "ms", more=False),
                Row("blocking", "delay().get() with the same worker, p50", "ms", more=False),
            ),
            TASKQ,
        ),
    ]


def _resources(brokers: Brokers) -> list[Measurement]:
    on = brokers.on

    def etas(broker: str, name: str, *, celery: bool) -> Measurement:
        def measure(it: Side) -> Figures:
            return resources.far_etas(it, 100_000 if it.package == "taskq" else 5_000)

        what = f"100,000 far ETAs, {name}"
        return Measurement(
            f"etas-{broker}",
            on(broker, measure, results=True),
            (
                Row("growth", f"{what}: memory", "MB", 5, more=False, ratio=False),
                Row("slower", f"{what}: round trip, against none", "×", more=False, ratio=False),
            ),
            ("taskq", "celery") if celery else TASKQ,
            rounds=2,
        )

    return [
        etas("redis", "Redis", celery=True),
        etas("sqlite", "SQLite", celery=False),
        Measurement(
            "idle",
            on("redis", resources.idle),
            (
                Row("memory", "idle worker -c 2: memory (PSS)", "MB", 0.8, more=False),
                Row("cpu", "idle worker: processor time per second", "ms", 0.5, more=False),
                Row("wakeups", "idle worker: wakeups per second", "", 0.5, more=False),
            ),
        ),
        Measurement(
            "startup",
            on("redis", resources.startup),
            (
                Row("help", "--help", "ms", 0.35, more=False),
                Row("import", "import the app class", "ms", 0.5, more=False),
                Row("first", "worker start to first task", "ms", 0.5, more=False),
            ),
        ),
    ]


def _scale(brokers: Brokers) -> list[Measurement]:
    def scale(package: str) -> Figures:
        with brokers.side(package, "redis", results=False) as it:
            return drains.scale(it.cleared)

    def growth(figure: str, what: str) -> Row:
        return Row(figure, f"cost per task: {what}", "×", 1.2, more=False, ratio=False)

    payload_rows: list[Row] = []
    for size in ("10", "100", "1000"):
        payload_rows += (
            Row(size, f"drain, arguments of {size} kB", "MB/s"),
            Row(f"{size}-share", f"{size} kB: share of RPOP alone in one process", "%"),
        )
    return [
        Measurement(
            "payloads", brokers.on("redis", payloads.payloads), tuple(payload_rows), rounds=3
        ),
        Measurement(
            "scale",
            scale,
            (
                growth("children", "24 children against 2"),
                growth("workers", "8 workers against 1"),
                growth("queues", "200 queues against 1"),
                growth("tasks", "10,000 registered tasks, 500 of them called, against 7"),
            ),
            rounds=3,
        ),
    ]
