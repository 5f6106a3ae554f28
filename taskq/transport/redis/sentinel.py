"""Redis behind Sentinel: ``sentinel://host:port;sentinel://host:port`` with a ``master_name``.

kombu's channel finds the primary; everything else is as on a single server.
"""

from __future__ import annotations

from kombu.transport import redis as kombu_redis

from taskq.transport.redis.channel import Channel
from taskq.transport.redis.transport import Transport


class SentinelChannel(Channel, kombu_redis.SentinelChannel):
    """A channel on the primary that the sentinels name.

    Options beside those of `Channel` (``transport_options``): ``master_name``, the name of the
    group; ``sentinel_kwargs``, parameters of the connections to the sentinels;
    ``min_other_sentinels``; ``sentinel_fanout_compat``.
    """

    from_transport_options = (*kombu_redis.SentinelChannel.from_transport_options, "lease")


class SentinelTransport(Transport):
    """Redis as a broker, found through Sentinel."""

    default_port = 26379
    Channel = SentinelChannel
