"""Connections as the app makes them."""

from __future__ import annotations

import pytest

from taskq import TaskQ


@pytest.mark.parametrize("url", ["sqlite:///x.db", "redis://localhost:1/0"])
def test_the_lease_of_brokers_of_ours_is_a_setting(url):
    app = TaskQ("lease", broker=url, worker_lease=7, set_as_current=False)
    assert app.connection_for_read().transport_options["lease"] == 7
    app.conf.broker_transport_options = {"lease": 3}
    assert app.connection_for_read().transport_options["lease"] == 3


def test_other_brokers_know_no_lease():
    app = TaskQ("lease", broker="amqp://localhost:1//", worker_lease=7, set_as_current=False)
    assert "lease" not in app.connection_for_read().transport_options
