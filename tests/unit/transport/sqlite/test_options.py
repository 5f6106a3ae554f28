"""What a ``sqlite://`` URL means."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from taskq.exceptions import ImproperlyConfigured
from taskq.transport.sqlite.options import parse_url


def test_three_slashes_are_relative_to_the_current_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert parse_url("sqlite:///data/a.db").path == str(tmp_path / "data" / "a.db")


def test_four_slashes_are_absolute() -> None:
    assert parse_url("sqlite:////var/lib/a.db").path == "/var/lib/a.db"


def test_no_path_names_the_default_file_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert parse_url("sqlite:///").path == str(tmp_path / "taskq.db")


def test_escapes_in_the_path() -> None:
    assert parse_url("sqlite:////tmp/my%20queue%3F.db").path == "/tmp/my queue?.db"


def test_options_come_from_the_query() -> None:
    options = parse_url("sqlite:////a.db?synchronous=full&lease=7.5&busy_timeout=2&mode=0660")
    assert options.synchronous == "FULL"
    assert options.lease == 7.5
    assert options.busy_timeout == 2
    assert options.mode == 0o660


def test_the_url_goes_before_defaults() -> None:
    options = parse_url(
        "sqlite:////a.db?lease=5", {"lease": 60, "busy_timeout": 9, "max_retries": 3}
    )
    assert (options.lease, options.busy_timeout) == (5, 9)


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://relative.db",
        "sqlite:///:memory:",
        "sqlite:////tmp/",
        "sqlite:////a.db?lease=0",
        "sqlite:////a.db?lease=soon",
        "sqlite:////a.db?lease=nan",
        "sqlite:////a.db?synchronous=maybe",
        "sqlite:////a.db?mode=rw",
        "sqlite:////a.db?checkpoint=-1",
    ],
)
def test_what_makes_no_sense_is_refused(url: str) -> None:
    with pytest.raises(ImproperlyConfigured):
        parse_url(url)


def test_an_unknown_option_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ImproperlyConfigured, match=r"syncronous.*synchronous"):
        parse_url("sqlite:////a.db?syncronous=FULL")


def test_pathlib_paths_work(tmp_path: Path) -> None:
    assert parse_url(f"sqlite:///{tmp_path}/x.db").path == os.path.join(tmp_path, "x.db")
