"""How late beat sends, beside Celery's, and what a tick costs with many entries.

Run: ``python tests/benchmarks/bench_beat.py [seconds]``. Needs a Redis: ``TASKQ_TEST_REDIS_URL``,
an empty database of one by default.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
REDIS = os.environ.get("TASKQ_TEST_REDIS_URL", "redis://127.0.0.1:6379/15")
PACKAGES = ("taskq", "celery")
ENTRIES = 50
MANY = 100_000

PROJECT = """
import time
from {package} import Celery
from {package}.signals import before_task_publish
app = Celery("p", broker={redis!r}, backend=None)
app.conf.update(task_default_queue="bench-beat-{package}", result_expires=None)
app.conf.beat_schedule = {{
    f"e{{n}}": {{"task": "t", "schedule": 1.0, "args": (n,)}} for n in range({entries})
}}
@before_task_publish.connect
def note(headers=None, **kwargs):
    with open("{package}.times", "a") as out:
        out.write(f"{{time.time()}} {{headers['argsrepr']}}\\n")
"""


def run_beats(seconds: float, directory: Path) -> None:
    """Run a beat of each for a while, side by side: what disturbs one disturbs the other."""
    beats = []
    for package in PACKAGES:
        source = PROJECT.format(package=package, redis=REDIS, entries=ENTRIES)
        (directory / f"p_{package}.py").write_text(source)
        command = str(Path(sys.executable).parent / package)
        beats.append(
            subprocess.Popen(
                [command, "-A", f"p_{package}", "beat", "-s", package],
                cwd=directory,
                env={**os.environ, "PYTHONPATH": f"{directory}:{ROOT}"},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        )
    time.sleep(seconds)
    for beat in beats:
        beat.terminate()
        beat.wait()


def lateness(package: str, directory: Path) -> dict[str, float]:
    """Return how late sends were, in milliseconds, against each entry's rhythm since its first.

    Drift is what the last send is late by: lateness that adds up. Lost are the seconds without a
    send.
    """
    times: dict[str, list[float]] = {}
    for line in (directory / f"{package}.times").read_text().splitlines():
        at, _, entry = line.partition(" ")
        times.setdefault(entry, []).append(float(at))
    late = []
    drifts = []
    lost = 0
    for sent in times.values():
        ahead = [at - number for number, at in enumerate(sent)]
        drifts.append((ahead[-1] - ahead[0]) * 1000)
        lost += round(sent[-1] - sent[0]) + 1 - len(sent)
        late += [(phase - min(ahead)) * 1000 for phase in ahead[1:]]
    return {
        "sends_per_entry": statistics.median(map(len, times.values())),
        "median_ms": round(statistics.median(late), 1),
        "worst_ms": round(max(late), 1),
        "drift_ms": round(statistics.median(drifts), 1),
        "lost": lost,
    }


def tick_cost(package: str) -> float:
    """Return the microseconds of a tick that sends nothing, with many entries."""
    script = f"""
import time
from {package} import Celery
from {package}.beat import Scheduler
from {package}.schedules import crontab
app = Celery("p", broker="memory://", backend="cache+memory://")
scheduler = Scheduler(app)
yearly = crontab(0, 0, day_of_month=1, month_of_year=1)
scheduler.update_from_dict(
    {{str(n): {{"task": "t", "schedule": yearly}} for n in range({MANY})}}
)
scheduler.tick()
begun = time.perf_counter()
for _ in range(20):
    scheduler.tick()
print((time.perf_counter() - begun) / 20 * 1e6)
"""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, check=True)
    return round(float(done.stdout), 1)


def main() -> None:
    """Print the figures of both as JSON."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 180.0
    figures: dict[str, Any] = {"entries": ENTRIES, "seconds": seconds, "entries_of_tick": MANY}
    with tempfile.TemporaryDirectory() as directory:
        run_beats(seconds, Path(directory))
        for package in PACKAGES:
            figures[package] = {
                **lateness(package, Path(directory)),
                "tick_us": tick_cost(package),
            }
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
