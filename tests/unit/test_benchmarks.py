"""The table of the benchmarks: what is in it, and how it is written. Nothing is measured here."""

from __future__ import annotations

import pytest

from tests.benchmarks import report
from tests.benchmarks.__main__ import run_all
from tests.benchmarks.catalogue import Brokers, measurements
from tests.benchmarks.rows import Measurement, Row

RATIO = Row("rate", "drain", "tasks/s", 10)


@pytest.fixture(autouse=True)
def _redis_version(monkeypatch):
    monkeypatch.setattr(report, "redis_version", lambda: "7")


def test_every_measurement_has_a_name_of_its_own_and_rows():
    every = measurements(Brokers("redis://", "amqp://"))
    names = [each.name for each in every]
    assert len(set(names)) == len(names)
    assert all(each.rows and "taskq" in each.packages for each in every)
    compared = [row for each in every for row in each.rows if row.ratio and row.goal is not None]
    assert compared  # goals that are ratios are of measurements that have both sides
    assert all(
        "celery" in each.packages
        for each in every
        for row in each.rows
        if row.ratio and row.goal is not None
    )


@pytest.mark.parametrize(
    ("row", "figures", "reached"),
    [
        (RATIO, {"taskq": 100.0, "celery": 10.0}, True),
        (RATIO, {"taskq": 99.0, "celery": 10.0}, False),
        (RATIO, {}, None),
        (Row("p50", "get", "ms", 0.6, more=False), {"taskq": 1.0, "celery": 2.0}, True),
        (Row("p50", "get", "ms", 0.6, more=False), {"taskq": 2.0, "celery": 2.0}, False),
        (Row("rate", "SQLite", "tasks/s", 3000, ratio=False), {"taskq": 2999.0}, False),
        (Row("rate", "no goal", "tasks/s"), {"taskq": 1.0, "celery": 2.0}, None),
    ],
)
def test_whether_a_goal_is_reached(row, figures, reached):
    assert report.Line(row, figures, 5).reached is reached


def test_table_goes_between_the_comments(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    lines = [
        report.Line(RATIO, {"taskq": 12_345.6, "celery": 1_000.0}, 5),
        report.Line(Row("cpu", "few", "µs"), {"taskq": 0.1234}, 2),
        report.Line(RATIO, {"taskq": 5.0, "celery": 1.0, "rq": 2.0}, 3),
    ]
    report.write(page, lines, rounds=5)
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "old" not in text
    assert "| drain | tasks/s | 12,346 | 1,000 | 12.35× | ≥ 10× | yes |" in text
    assert "| few [^fewer] | µs | 0.123 | – |" in text
    assert "| rq | " in text
    page.write_text("nothing")
    with pytest.raises(ValueError, match="no <!-- table"):
        report.write(page, lines, rounds=5)


def test_rounds_that_fail_are_left_out(capsys):
    asked = []

    def measure(package):
        asked.append(package)
        if package == "celery" or len(asked) == 3:
            raise TimeoutError(f"{package} has not worked its queue off")
        return {"rate": float(len(asked))}

    (line,) = run_all([Measurement("drain", measure, (RATIO,))], 4)
    # taskq's second round failed, and Celery was not tried a third time.
    assert asked == ["taskq", "celery", "taskq", "celery", "taskq", "taskq"]
    assert line.figures == {"taskq": 5.0}
    assert line.rounds == 3
    assert capsys.readouterr().err.count("has not worked its queue off") == 3
