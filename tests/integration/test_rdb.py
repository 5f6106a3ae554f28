"""The debugger over TCP, in a task of a real worker."""

from __future__ import annotations

import re
import socket

CODE = """
from taskq.contrib import rdb

@app.task
def debugged(secret):
    rdb.set_trace()
    return secret
"""


def test_a_session_in_a_task(make_project, sqlite_url):
    project = make_project(CODE, broker=sqlite_url, backend=sqlite_url)
    with project.worker("-c", "1") as worker:
        result = project.proj.debugged.delay(42)
        worker.wait_for_log("Ready to connect: telnet")
        found = re.search(r"telnet 127\.0\.0\.1 (\d+)", worker.log)
        assert found is not None
        with socket.create_connection(("127.0.0.1", int(found[1])), timeout=10) as client:
            client.sendall(b"p secret + 1\nsecret = 7\nc\n")
            said = b""
            while part := client.recv(4096):
                said += part
        assert b"43" in said
        assert result.get(timeout=10) == 7
        worker.wait_for_log("ended.")
