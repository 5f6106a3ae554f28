"""Every setting with its default, type and older name; the one place where they are listed.

Meanings and units stand in ``reference.toml`` beside this file, which only the documentation
reads. Read through ``taskq.app.defaults``.
"""

from __future__ import annotations

import math
from datetime import timedelta

from taskq.app.defaults.option import Namespace, Option

DEFAULT_POOL = "prefork"
DEFAULT_ACCEPT_CONTENT = ("json",)
DEFAULT_SECURITY_DIGEST = "sha256"
DEFAULT_PROCESS_LOG_FMT = "[%(asctime)s: %(levelname)s/%(processName)s] %(message)s"
DEFAULT_TASK_LOG_FMT = (
    "[%(asctime)s: %(levelname)s/%(processName)s] %(task_name)s[%(task_id)s]: %(message)s"
)

#: Patterns of the older names; ``{0}`` is the name within its group.
OLD_NS = {"celery_{0}"}
OLD_NS_BEAT = {"celerybeat_{0}"}
OLD_NS_WORKER = {"celeryd_{0}"}


def old_ns(ns: str) -> set[str]:
    """Return the pattern of the older names of the settings in group *ns*."""
    return {f"{ns}_{{0}}"}


_BEAT = Namespace(
    __old__=OLD_NS_BEAT,
    enable_remote_control=Option(False, type="bool"),
    remote_control_max_tick_age=Option(type="float"),
    max_loop_interval=Option(0, type="float"),
    schedule=Option({}, type="dict"),
    scheduler=Option("taskq.beat:PersistentScheduler"),
    schedule_filename=Option("celerybeat-schedule"),
    sync_every=Option(0, type="int"),
    cron_starting_deadline=Option(type="int"),
)

_BROKER = Namespace(
    url=Option(),
    read_url=Option(),
    write_url=Option(),
    transport=Option(),
    transport_options=Option({}, type="dict"),
    connection_timeout=Option(4, type="float"),
    connection_retry=Option(True, type="bool"),
    connection_retry_on_startup=Option(type="bool"),
    connection_max_retries=Option(100, type="int"),
    channel_error_retry=Option(False, type="bool"),
    failover_strategy=Option(),
    heartbeat=Option(120, type="int"),
    heartbeat_checkrate=Option(3.0, type="float"),
    login_method=Option(),
    native_delayed_delivery_queue_type=Option("quorum"),
    pool_limit=Option(10, type="int"),
    pool_acquire_timeout=Option(type="float"),
    use_ssl=Option(False, type="any"),
    host=Option(),
    port=Option(type="int"),
    user=Option(),
    password=Option(),
    vhost=Option(),
)

_CACHE = Namespace(
    __old__=old_ns("celery_cache"),
    backend=Option(),
    backend_options=Option({}, type="dict"),
)

_CASSANDRA = Namespace(
    entry_ttl=Option(type="float"),
    keyspace=Option(),
    port=Option(type="int"),
    read_consistency=Option(),
    servers=Option(type="list"),
    bundle_path=Option(),
    table=Option(),
    write_consistency=Option(),
    auth_provider=Option(),
    auth_kwargs=Option(type="dict"),
    options=Option({}, type="dict"),
)

_S3 = Namespace(
    access_key_id=Option(),
    secret_access_key=Option(),
    bucket=Option(),
    base_path=Option(),
    endpoint_url=Option(),
    region=Option(),
)

_AZUREBLOCKBLOB = Namespace(
    container_name=Option("celery"),
    retry_initial_backoff_sec=Option(2, type="int"),
    retry_increment_base=Option(2, type="int"),
    retry_max_attempts=Option(3, type="int"),
    base_path=Option(""),
    connection_timeout=Option(20, type="int"),
    read_timeout=Option(120, type="int"),
)

_GCS = Namespace(
    bucket=Option(),
    project=Option(),
    base_path=Option(""),
    ttl=Option(0, type="float"),
)

_CONTROL = Namespace(
    queue_ttl=Option(300.0, type="float"),
    queue_expires=Option(10.0, type="float"),
    queue_exclusive=Option(True, type="bool"),
    queue_durable=Option(False, type="bool"),
    exchange=Option("celery"),
)

_COUCHBASE = Namespace(
    __old__=old_ns("celery_couchbase"),
    backend_settings=Option(type="dict"),
)

_ARANGODB = Namespace(
    __old__=old_ns("celery_arangodb"),
    backend_settings=Option(type="dict"),
)

_MONGODB = Namespace(
    __old__=old_ns("celery_mongodb"),
    backend_settings=Option(type="dict"),
)

_COSMOSDBSQL = Namespace(
    database_name=Option("celerydb"),
    collection_name=Option("celerycol"),
    consistency_level=Option("Session"),
    max_retry_attempts=Option(9, type="int"),
    max_retry_wait_time=Option(30, type="int"),
)

_EVENT = Namespace(
    __old__=old_ns("celery_event"),
    queue_expires=Option(60.0, type="float"),
    queue_ttl=Option(5.0, type="float"),
    queue_prefix=Option("celeryev"),
    queue_exclusive=Option(True, type="bool"),
    queue_durable=Option(False, type="bool"),
    serializer=Option("json"),
    exchange=Option("celeryev"),
)

_REDIS = Namespace(
    __old__=old_ns("celery_redis"),
    backend_use_ssl=Option(type="dict"),
    db=Option(type="int"),
    host=Option(),
    max_connections=Option(type="int"),
    username=Option(),
    password=Option(),
    port=Option(type="int"),
    socket_timeout=Option(120.0, type="float"),
    socket_connect_timeout=Option(type="float"),
    retry_on_timeout=Option(False, type="bool"),
    socket_keepalive=Option(False, type="bool"),
)

_RESULT = Namespace(
    __old__=old_ns("celery_result"),
    backend=Option(),
    cache_max=Option(-1, type="int", old={"celery_max_cached_results"}),
    compression=Option(),
    exchange=Option("celeryresults"),
    exchange_type=Option("direct"),
    expires=Option(timedelta(days=1), type="float", old={"celery_task_result_expires"}),
    chord_expires=Option(type="float"),
    failure_expires=Option(type="float"),
    persistent=Option(type="bool"),
    extended=Option(False, type="bool"),
    serializer=Option("json"),
    backend_transport_options=Option({}, type="dict"),
    chord_retry_interval=Option(1.0, type="float"),
    chord_join_timeout=Option(3.0, type="float"),
    backend_max_sleep_between_retries_ms=Option(10000, type="int"),
    backend_max_retries=Option(math.inf, type="float"),
    backend_base_sleep_between_retries_ms=Option(10, type="int"),
    backend_always_retry=Option(False, type="bool"),
)

_ELASTICSEARCH = Namespace(
    __old__=old_ns("celery_elasticsearch"),
    retry_on_timeout=Option(type="bool"),
    max_retries=Option(type="int"),
    timeout=Option(type="float"),
    save_meta_as_text=Option(True, type="bool"),
)

_SECURITY = Namespace(
    __old__=old_ns("celery_security"),
    certificate=Option(),
    cert_store=Option(),
    key=Option(),
    key_password=Option(type="bytes"),
    digest=Option(DEFAULT_SECURITY_DIGEST),
)

_DATABASE = Namespace(
    url=Option(old={"celery_result_dburi"}),
    engine_options=Option(
        {"pool_pre_ping": True, "pool_recycle": 3600},
        type="dict",
        old={"celery_result_engine_options"},
    ),
    engine_callback=Option(type="any"),
    short_lived_sessions=Option(False, type="bool", old={"celery_result_db_short_lived_sessions"}),
    table_schemas=Option(type="dict"),
    table_names=Option(type="dict", old={"celery_result_db_tablenames"}),
    create_tables_at_setup=Option(True, type="bool"),
)

_TASK = Namespace(
    __old__=OLD_NS,
    acks_late=Option(False, type="bool"),
    acks_on_failure_or_timeout=Option(
        True,
        type="bool",
        deprecate_by="6.0",
        remove_by="7.0",
        alt="task_acks_on_failure and task_acks_on_timeout",
    ),
    acks_on_failure=Option(type="bool"),
    acks_on_timeout=Option(type="bool"),
    always_eager=Option(False, type="bool"),
    annotations=Option(type="any"),
    compression=Option(old={"celery_message_compression"}),
    create_missing_queues=Option(True, type="bool"),
    create_missing_queue_type=Option("classic"),
    create_missing_queue_exchange_type=Option(),
    inherit_parent_priority=Option(False, type="bool"),
    default_delivery_mode=Option(2, type="any"),
    default_queue=Option("celery"),
    default_queue_type=Option("classic"),
    default_exchange=Option(),
    default_exchange_type=Option("direct"),
    default_routing_key=Option(),
    default_rate_limit=Option(),
    default_priority=Option(type="int"),
    eager_propagates=Option(False, type="bool", old={"celery_eager_propagates_exceptions"}),
    ignore_result=Option(False, type="bool"),
    store_eager_result=Option(False, type="bool"),
    protocol=Option(2, type="int", old={"celery_task_protocol"}),
    publish_retry=Option(True, type="bool", old={"celery_task_publish_retry"}),
    publish_retry_policy=Option(
        {"max_retries": 3, "interval_start": 0, "interval_max": 1, "interval_step": 0.2},
        type="dict",
        old={"celery_task_publish_retry_policy"},
    ),
    queues=Option(type="any"),
    queue_max_priority=Option(type="int"),
    reject_on_worker_lost=Option(type="bool"),
    retry_on_worker_lost=Option(False, type="bool"),
    remote_tracebacks=Option(False, type="bool"),
    repr_maxlevels=Option(3, type="int"),
    routes=Option(type="any"),
    send_sent_event=Option(False, type="bool", old={"celery_send_task_sent_event"}),
    serializer=Option("json", old={"celery_task_serializer"}),
    soft_time_limit=Option(type="float", old={"celeryd_task_soft_time_limit"}),
    time_limit=Option(type="float", old={"celeryd_task_time_limit"}),
    store_errors_even_if_ignored=Option(False, type="bool"),
    track_started=Option(False, type="bool"),
    allow_error_cb_on_chord_header=Option(False, type="bool"),
)

_WORKER = Namespace(
    __old__=OLD_NS_WORKER,
    agent=Option(),
    autoscaler=Option("taskq.worker.autoscale:Autoscaler"),
    cancel_long_running_tasks_on_connection_loss=Option(False, type="bool"),
    soft_shutdown_timeout=Option(0.0, type="float"),
    enable_soft_shutdown_on_idle=Option(False, type="bool"),
    concurrency=Option(type="any"),
    consumer=Option("taskq.worker.consumer:Consumer"),
    direct=Option(False, type="bool", old={"celery_worker_direct"}),
    disable_rate_limits=Option(False, type="bool", old={"celery_disable_rate_limits"}),
    deduplicate_successful_tasks=Option(False, type="bool"),
    enable_remote_control=Option(True, type="bool", old={"celery_enable_remote_control"}),
    hijack_root_logger=Option(True, type="bool"),
    log_color=Option(type="bool"),
    log_datefmt=Option(),
    log_format=Option(DEFAULT_PROCESS_LOG_FMT),
    lost_wait=Option(10.0, type="float", old={"celeryd_worker_lost_wait"}),
    max_memory_per_child=Option(type="int"),
    max_tasks_per_child=Option(type="int"),
    pool=Option(DEFAULT_POOL),
    pool_putlocks=Option(True, type="bool"),
    pool_restarts=Option(False, type="bool"),
    pool_start_method=Option("fork"),
    proc_alive_timeout=Option(4.0, type="float"),
    prefetch_multiplier=Option(4, type="int"),
    eta_task_limit=Option(type="int"),
    enable_prefetch_count_reduction=Option(True, type="bool"),
    disable_prefetch=Option(False, type="bool"),
    redirect_stdouts=Option(True, type="bool", old={"celery_redirect_stdouts"}),
    redirect_stdouts_level=Option("WARNING", old={"celery_redirect_stdouts_level"}),
    send_task_events=Option(False, type="bool", old={"celery_send_events"}),
    state_db=Option(),
    task_log_datefmt=Option(),
    task_log_format=Option(DEFAULT_TASK_LOG_FMT),
    timer=Option(),
    timer_precision=Option(1.0, type="float"),
    detect_quorum_queues=Option(True, type="bool"),
)

#: Settings that Celery does not have, by group.
TASKQ_SETTINGS: dict[str, dict[str, Option]] = {
    "beat": Namespace(
        __old__=OLD_NS_BEAT,
        leader_lease=Option(0, type="float"),
        leader_name=Option(),
        schedule_database=Option(),
    ),
    "task": Namespace(
        __old__=OLD_NS,
        delivery_limit=Option(type="int"),
        dead_letter_queue=Option(),
        dead_letter_reasons=Option(
            ("failed", "rejected", "delivery-limit", "invalid"), type="tuple"
        ),
        dead_letter_max=Option(10_000, type="int"),
        dead_letter_expires=Option(14 * 86_400.0, type="float"),
        max_decompressed_size=Option(256 * 1024**2, type="int"),
    ),
    "worker": Namespace(
        __old__=OLD_NS_WORKER,
        control_commands_allowed=Option(type="list"),
        lease=Option(15.0, type="float"),
        defer_eta=Option(10.0, type="float"),
    ),
}

#: Group, or setting outside the groups, by name.
NAMESPACES: dict[str, Option | dict[str, Option]] = {
    "accept_content": Option(DEFAULT_ACCEPT_CONTENT, type="list", old={"celery_accept_content"}),
    "result_accept_content": Option(type="list"),
    "enable_utc": Option(True, type="bool"),
    "imports": Option((), type="tuple", old={"celery_imports"}),
    "include": Option((), type="tuple", old={"celery_include"}),
    "timezone": Option(old={"celery_timezone"}),
    "beat": _BEAT | TASKQ_SETTINGS["beat"],
    "broker": _BROKER,
    "cache": _CACHE,
    "cassandra": _CASSANDRA,
    "s3": _S3,
    "azureblockblob": _AZUREBLOCKBLOB,
    "gcs": _GCS,
    "control": _CONTROL,
    "couchbase": _COUCHBASE,
    "arangodb": _ARANGODB,
    "mongodb": _MONGODB,
    "cosmosdbsql": _COSMOSDBSQL,
    "event": _EVENT,
    "redis": _REDIS,
    "result": _RESULT,
    "elasticsearch": _ELASTICSEARCH,
    "security": _SECURITY,
    "database": _DATABASE,
    "task": _TASK | TASKQ_SETTINGS["task"],
    "worker": _WORKER | TASKQ_SETTINGS["worker"],
}
