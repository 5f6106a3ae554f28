"""Signed messages between taskq and Celery, both ways."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.certificates import Keyring
from tests.integration.test_security_signed import ANSWERS, answers_of, attack, signed_project


@pytest.mark.parametrize(
    ("client", "worker", "digest"), [("taskq", "celery", "sha512"), ("celery", "taskq", "sha256")]
)
def test_each_reads_what_the_other_signs(
    client: str, worker: str, digest: str, redis_url: str, tmp_path: Path
) -> None:
    keyring = Keyring(tmp_path / "keys")
    keyring.add(client)
    keyring.add(worker)
    keyring.add("stranger", trusted=False)
    calling, serving, stranger = (
        signed_project(tmp_path / name, keyring, name, redis_url, package=package, digest=digest)
        for name, package in ((client, client), (worker, worker), ("stranger", client))
    )
    with serving.worker("-c", "1", command=worker) as process:
        assert answers_of(calling) == ANSWERS
        attack(stranger, "danger.apply_async((1,), task_id='stranger-1')")
        attack(calling, "add.apply_async((3, 4), task_id='calling-2').get(timeout=30)")
        process.wait_for_log("Unknown certificate")
        assert "DANGER" not in process.log
