"""Results in Redis: Celery's keys and values, one round trip, waiting by notification."""

from __future__ import annotations

import json
import os
import ssl
import threading
import time

import pytest
from redis import exceptions

from taskq import TaskQ
from taskq.backends.redis import RedisBackend, SentinelBackend
from taskq.exceptions import BackendStoreError, ImproperlyConfigured, TimeoutError
from tests.integration.redis_support import wait_for


def make_app(url, **settings):
    app = TaskQ("results", broker="memory://", backend=url, set_as_current=False)
    app.conf.update(settings)
    return app


@pytest.fixture
def app(redis_url):
    return make_app(redis_url)


def celery_app(url, **settings):
    from celery import Celery

    app = Celery("results", broker="memory://", backend=url, set_as_current=False)
    app.conf.update(settings)
    return app


def calls(client):
    """Return how often the server was called, by command."""
    return {
        name[8:]: stats["calls"]
        for name, stats in client.info("commandstats").items()
        if name.startswith("cmdstat_")
    }


# -- what is stored ---------------------------------------------------------------


def test_meta_is_the_one_celery_stores(redis_url, app, client):
    theirs = celery_app(redis_url)
    for task_id, each in (("ours", app), ("theirs", theirs)):
        each.backend.store_result(task_id, {"x": 1}, "SUCCESS")
    ours = json.loads(client.get("celery-task-meta-ours"))
    celery = json.loads(client.get("celery-task-meta-theirs"))
    assert list(ours) == list(celery)
    for meta in (ours, celery):
        meta.pop("date_done"), meta.pop("task_id")
    assert ours == celery
    assert client.ttl("celery-task-meta-ours") == pytest.approx(86400, abs=2)


@pytest.mark.parametrize("serializer", ["json", "pickle", "yaml", "msgpack"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_either_side_reads_the_other(redis_url, serializer, compression):
    settings = {
        "result_serializer": serializer,
        "result_compression": compression,
        "result_accept_content": [serializer],
        "accept_content": [serializer],
    }
    ours, theirs = make_app(redis_url, **settings), celery_app(redis_url, **settings)
    for number, (writer, reader) in enumerate([(ours, theirs), (theirs, ours)]):
        writer.backend.store_result(f"ok-{number}", [1, "zwei"], "SUCCESS")
        writer.backend.store_result(f"bad-{number}", KeyError("x"), "FAILURE", traceback="tb")
        assert reader.AsyncResult(f"ok-{number}").get(timeout=5) == [1, "zwei"]
        failed = reader.AsyncResult(f"bad-{number}")
        with pytest.raises(KeyError):
            failed.get(timeout=5)
        assert failed.traceback == "tb"


@pytest.mark.parametrize("later", ["STARTED", "RETRY", "FAILURE", "SUCCESS", "REVOKED", "CUSTOM"])
@pytest.mark.parametrize("serializer", ["json", "pickle"])
def test_success_stays(redis_url, serializer, later):
    app = make_app(redis_url, result_serializer=serializer, accept_content=["json", "pickle"])
    app.backend.store_result("id", "first", "SUCCESS")
    failed = later in ("RETRY", "FAILURE", "REVOKED")
    app.backend.store_result("id", ValueError("x") if failed else "later", later)
    assert app.backend.get_task_meta("id", cache=False)["result"] == "first"


def test_success_stored_by_another_serializer_stays(redis_url):
    writer = make_app(redis_url, result_serializer="json", result_compression="zlib")
    app = make_app(redis_url, result_serializer="json")
    writer.backend.store_result("id", "first", "SUCCESS")
    app.backend.store_result("id", "second", "FAILURE")
    assert app.backend.get_task_meta("id", cache=False)["result"] == "first"


def test_other_states_follow_each_other(app):
    for state in ("STARTED", "RETRY", "FAILURE", "STARTED", "SUCCESS"):
        result = ValueError("x") if state in ("RETRY", "FAILURE") else {"at": state}
        app.backend.store_result("id", result, state)
        assert app.backend.get_task_meta("id", cache=False)["status"] == state


def test_storing_is_one_round_trip(app, client):
    app.backend.store_result("warm", 1, "SUCCESS")
    before = calls(client)
    app.backend.store_result("id", 1, "SUCCESS")
    after = calls(client)
    made = {name: after[name] - before.get(name, 0) for name in after}
    assert made["evalsha"] == 1
    assert made["setex"] == made["publish"] == made["get"] == 1  # inside the script


def test_expiry_settings(redis_url, client):
    app = make_app(redis_url, result_expires=None, result_failure_expires=60)
    app.backend.store_result("ok", 1, "SUCCESS")
    app.backend.store_result("bad", ValueError(), "FAILURE")
    assert client.ttl("celery-task-meta-ok") == -1
    assert 0 < client.ttl("celery-task-meta-bad") <= 60


def test_global_key_prefix(redis_url, client):
    app = make_app(redis_url, result_backend_transport_options={"global_keyprefix": "us_"})
    app.backend.store_result("id", 1, "SUCCESS")
    assert client.keys("*") == [b"us_celery-task-meta-id"]
    assert app.AsyncResult("id").get(timeout=5) == 1


def test_forget(app, client):
    app.backend.store_result("id", 1, "SUCCESS")
    app.AsyncResult("id").forget()
    assert client.keys("*") == []


def test_groups(app, redis_url, client):
    group = app.GroupResult("gid", [app.AsyncResult("a"), app.AsyncResult("b")])
    group.save()
    assert celery_app(redis_url).GroupResult.restore("gid").id == "gid"
    assert [each.id for each in app.GroupResult.restore("gid").results] == ["a", "b"]
    group.delete()
    assert client.keys("*") == []


def test_too_long_value_is_refused(app, monkeypatch):
    monkeypatch.setattr("taskq.backends.redis.backend.LARGEST_VALUE", 1000)
    with pytest.raises(BackendStoreError, match="stores no more than 1000"):
        app.backend.store_result("id", "x" * 2000, "SUCCESS")


# -- waiting ------------------------------------------------------------------------


def channels(client):
    """Return what is subscribed to, but for what Celery has not cleaned up yet."""
    return client.pubsub_channels("celery-task-meta-mine-*")


def subscribers(client):
    """Return the number of connections that are subscribed to anything."""
    return sum(int(each.get("sub", 0)) > 0 for each in client.client_list())


def later(function, *args, after=0.2, **kwargs):
    timer = threading.Timer(after, function, args, kwargs)
    timer.start()
    return timer


@pytest.mark.parametrize("writer", ["ours", "theirs"])
def test_get_wakes_up_at_once(app, redis_url, writer):
    storing = app if writer == "ours" else celery_app(redis_url)
    stored = []

    def store():
        stored.append(time.monotonic())
        storing.backend.store_result("id", 42, "SUCCESS")

    storing.backend.store_result("warm", 1, "SUCCESS")
    later(store)
    assert app.AsyncResult("id").get(timeout=10) == 42
    assert time.monotonic() - stored[0] < 0.3


def test_celery_waits_for_what_we_store(app, redis_url):
    later(app.backend.store_result, "id", 42, "SUCCESS")
    assert celery_app(redis_url).AsyncResult("id").get(timeout=10) == 42


def test_every_state_is_seen(app):
    seen = []

    def work():
        for state in ("STARTED", "PROGRESS", "SUCCESS"):
            app.backend.store_result("id", {"at": state}, state)
            time.sleep(0.05)

    later(work)
    app.AsyncResult("id").get(timeout=10, on_message=lambda meta: seen.append(meta["status"]))
    assert seen == ["STARTED", "PROGRESS", "SUCCESS"]


def test_timeout_and_nothing_left_behind(app, client):
    with pytest.raises(TimeoutError):
        app.AsyncResult("mine-never").get(timeout=0.1)
    wait_for(lambda: channels(client) == [])


def test_no_subscription_outlives_its_result(app, client):
    for number in range(5):
        later(app.backend.store_result, f"mine-{number}", number, "SUCCESS", after=0.02)
        assert app.AsyncResult(f"mine-{number}").get(timeout=10) == number
    wait_for(lambda: channels(client) == [])


def test_many_at_once(app, client):
    ids = [f"mine-{number}" for number in range(2500)]
    for task_id in ids[:2000]:
        app.backend.store_result(task_id, task_id, "SUCCESS")
    before = calls(client)

    def store_rest():
        for task_id in ids[2000:]:
            app.backend.store_result(task_id, task_id, "SUCCESS")

    later(store_rest)
    results = app.ResultSet([app.AsyncResult(task_id) for task_id in ids])
    assert results.get(timeout=30) == ids
    made = calls(client)
    assert made["mget"] - before.get("mget", 0) <= 5
    assert made["subscribe"] - before.get("subscribe", 0) <= 5
    wait_for(lambda: channels(client) == [])


def test_many_threads_share_one_connection(app, client):
    ids = [f"mine-{number % 10}" for number in range(40)]
    got = []
    before = subscribers(client)

    def wait(task_id):
        got.append(app.AsyncResult(task_id).get(timeout=20))

    threads = [threading.Thread(target=wait, args=(task_id,)) for task_id in ids]
    for thread in threads:
        thread.start()
    wait_for(lambda: len(channels(client)) == 10)
    assert subscribers(client) - before == 1
    for number in range(10):
        app.backend.store_result(f"mine-{number}", number, "SUCCESS")
    for thread in threads:
        thread.join(20)
    assert sorted(got) == sorted(list(range(10)) * 4)


def test_waiting_survives_a_killed_connection(app, client):
    def kill_then_store():
        client.client_kill_filter(_type="pubsub")
        app.backend.store_result("id", 1, "SUCCESS")

    later(kill_then_store)
    assert app.AsyncResult("id").get(timeout=10) == 1


def test_waiting_survives_a_restarted_server(server):
    app = make_app(server.url)

    def restart_then_store():
        server.stop()
        server.start()
        app.backend.store_result("id", 1, "SUCCESS")

    later(restart_then_store)
    assert app.AsyncResult("id").get(timeout=20) == 1


def test_storing_survives_a_restarted_server(server):
    app = make_app(server.url)
    app.backend.store_result("one", 1, "SUCCESS")
    server.stop()
    later(server.start, after=0.5)
    app.backend.store_result("two", 2, "SUCCESS")
    assert app.AsyncResult("one").get(timeout=5) == 1
    assert app.AsyncResult("two").get(timeout=5) == 2


def test_retries_end_as_the_policy_says(server):
    policy = {"max_retries": 2, "interval_start": 0, "interval_step": 0.05, "interval_max": 0.1}
    app = make_app(server.url, result_backend_transport_options={"retry_policy": policy})
    assert app.backend.retry_policy == policy
    server.stop()
    with pytest.raises(exceptions.ConnectionError, match=str(server.port)):
        app.backend.store_result("id", 1, "SUCCESS")
    server.start()


def test_wrong_password_is_not_retried(server):
    server.client().config_set("requirepass", "secret")
    app = make_app(server.url.replace("://", "://:guess@"))
    started = time.monotonic()
    with pytest.raises(exceptions.AuthenticationError) as error:
        app.backend.store_result("id", 1, "SUCCESS")
    assert time.monotonic() - started < 2
    assert "guess" not in str(error.value)


def test_forked_child_uses_connections_of_its_own(app):
    app.backend.store_result("parent", 1, "SUCCESS")
    assert app.AsyncResult("parent").get(timeout=5) == 1
    pid = os.fork()
    if not pid:
        try:
            app.backend.store_result("child", 2, "SUCCESS")
            app.AsyncResult("parent").get(timeout=5)
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    assert app.AsyncResult("child").get(timeout=5) == 2
    app.backend.store_result("parent-2", 3, "SUCCESS")
    assert app.AsyncResult("parent-2").get(timeout=5) == 3


def test_connection_limit_makes_calls_wait(redis_url, client):
    app = make_app(redis_url, redis_max_connections=2)
    before = client.info("stats")["total_connections_received"]
    threads = [
        threading.Thread(target=app.backend.store_result, args=(f"id-{n}", n, "SUCCESS"))
        for n in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(client.keys("celery-task-meta-*")) == 20
    assert client.info("stats")["total_connections_received"] - before <= 2


# -- parameters -----------------------------------------------------------------------


def parameters(url=None, cls=RedisBackend, **settings):
    app = make_app("disabled://", **settings)
    return cls(app=app, url=url)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://", {"host": "localhost", "port": 6379, "db": 0, "password": None}),
        ("redis://h:1234/5", {"host": "h", "port": 1234, "db": 5}),
        ("redis://:p%40ss@h/2", {"password": "p@ss", "db": 2}),
        ("redis://u:pw@h?db=7", {"username": "u", "password": "pw", "db": 7}),
        ("redis://h//3", {"db": 3}),
        ("redis://h?socket_timeout=3&health_check_interval=5&max_connections=9",
         {"socket_timeout": 3.0, "health_check_interval": 5, "max_connections": 9}),
        ("socket:///tmp/r.sock?virtual_host=/3", {"path": "/tmp/r.sock", "db": 3}),
        ("redis+socket:///tmp/r.sock", {"path": "/tmp/r.sock", "db": 0}),
        ("rediss://h?ssl_cert_reqs=required&ssl_ca_certs=%2Fa&ssl_check_hostname=false",
         {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_ca_certs": "/a", "ssl_check_hostname": False}),
    ],
)  # fmt: skip
def test_parameters_of_urls(url, expected):
    connparams = parameters(url).connparams
    assert {name: connparams.get(name) for name in expected} == expected


def test_parameters_of_settings():
    backend = parameters(
        redis_host="h", redis_port=5, redis_db=3, redis_username="u", redis_password="p",
        redis_max_connections=7, redis_socket_timeout=1.5, redis_socket_connect_timeout=2.5,
        redis_retry_on_timeout=True, redis_socket_keepalive=True,
    )  # fmt: skip
    expected = {
        "host": "h", "port": 5, "db": 3, "username": "u", "password": "p", "max_connections": 7,
        "socket_timeout": 1.5, "socket_connect_timeout": 2.5, "retry_on_timeout": True,
        "socket_keepalive": True,
    }  # fmt: skip
    assert {name: backend.connparams[name] for name in expected} == expected


def test_tls_settings():
    tls = {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_ca_certs": "/a"}
    connparams = parameters("redis://h", redis_backend_use_ssl=tls).connparams
    assert connparams["ssl_ca_certs"] == "/a"
    assert connparams["connection_class"].__name__ == "SSLConnection"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("rediss://h", r"add \?ssl_cert_reqs=required"),
        ("rediss://h?ssl_cert_reqs=bogus", "It says 'bogus'"),
        ("redis://h?ssl_cert_reqs=none", "begin it with rediss://"),
        ("redis://h/abc", "must be a number, not 'abc'"),
    ],
)
def test_bad_urls(url, message):
    with pytest.raises(ImproperlyConfigured, match=message):
        parameters(url)


def test_unchecked_certificates_are_warned_about(caplog):
    parameters("rediss://h?ssl_cert_reqs=none")
    assert "not checked (ssl_cert_reqs=none)" in caplog.text


def test_password_is_masked():
    assert "pw" not in parameters("redis://u:pw@h/1").as_uri()
    assert parameters("redis://u:pw@h/1").as_uri(include_password=True) == "redis://u:pw@h/1"
    sentinel = parameters("sentinel://:pw@a:1;sentinel://:pw@b:2", SentinelBackend)
    assert "pw" not in sentinel.as_uri()


def test_sentinel_parameters():
    url = "sentinel://a:1/2;sentinel://b:2/2"
    backend = parameters(url, SentinelBackend)
    hosts = [(host["host"], host["port"]) for host in backend.connparams["hosts"]]
    assert hosts == [("a", 1), ("b", 2)]
    with pytest.raises(ImproperlyConfigured, match="master_name"):
        backend.get("x")


def test_backend_can_be_pickled(app):
    import pickle

    app.set_current()
    again = pickle.loads(pickle.dumps(app.backend))
    assert again.url == app.backend.url
    again.store_result("id", 1, "SUCCESS")
    assert app.AsyncResult("id").get(timeout=5) == 1


def test_reading_after_a_restart_succeeds_at_once(server):
    app = make_app(server.url)
    app.backend.store_result("id", 1, "SUCCESS")
    server.stop()
    server.start()
    assert app.backend.get_task_meta("id", cache=False)["result"] == 1
