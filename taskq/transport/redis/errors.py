"""What goes wrong with a Redis server, in words that name the server and the remedy.

Errors keep redis-py's classes, because those are what kombu's ``connection_errors`` and
``channel_errors`` are made of: the first make a worker reconnect, the second do not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from redis import exceptions

if TYPE_CHECKING:
    from taskq.transport.redis.resp import ErrorReply

#: First word of the server's error -> exception class, and what to do about it.
_KNOWN: dict[str, tuple[type[exceptions.RedisError], str]] = {
    "NOAUTH": (
        exceptions.AuthenticationError,
        (
            "The server wants a password: put it into the URL, redis://:password@host "
            "or redis://user:password@host."
        ),
    ),
    "WRONGPASS": (
        exceptions.AuthenticationError,
        "The user name or password in the URL is wrong, or the user is disabled.",
    ),
    "NOPERM": (
        exceptions.NoPermissionError,
        (
            "The user of this URL lacks a permission: give it the keys and channels of the queues "
            "and the commands that `ACL LOG` on the server shows as refused."
        ),
    ),
    # A connection error, so that the next connection finds the new primary.
    "READONLY": (
        exceptions.ConnectionError,
        (
            "The server is a read-only replica: use the URL of the primary, or a sentinel:// URL "
            "that finds it."
        ),
    ),
    "MOVED": (
        exceptions.ResponseError,
        (
            "The server is part of a Redis Cluster, which can't hold queues: use a server with "
            "cluster mode off."
        ),
    ),
    "LOADING": (
        exceptions.BusyLoadingError,
        "The server is still loading its data and will be ready soon.",
    ),
    "MASTERDOWN": (
        exceptions.ConnectionError,
        "The server is a replica that lost its primary: use the URL of the primary.",
    ),
    "OOM": (
        exceptions.OutOfMemoryError,
        (
            "The server has reached its maxmemory limit: raise it, or remove data that is not "
            "needed. Nothing was stored."
        ),
    ),
    "MISCONF": (
        exceptions.ResponseError,
        "The server refuses writes because it can't save its data to disk: see its log.",
    ),
    "WRONGTYPE": (
        exceptions.ResponseError,
        (
            "A key with the name of a queue holds something else: rename the queue, or use another "
            "database number or the global_keyprefix option."
        ),
    ),
}
_KNOWN["ASK"] = _KNOWN["CROSSSLOT"] = _KNOWN["CLUSTERDOWN"] = _KNOWN["MOVED"]

#: Parts of texts that do not begin with the word, of redis-py and of scripts -> the word.
_REWORDED = {
    "-READONLY": "READONLY",
    "read only replica": "READONLY",
    "Hash slot not served": "CLUSTERDOWN",
    "'maxmemory'": "OOM",
    "Authentication required": "NOAUTH",
    "invalid username-password pair": "WRONGPASS",
    "invalid password": "WRONGPASS",
    "without any password configured": "NOPASSWORD",
    "Redis is loading the dataset": "LOADING",
}
_KNOWN["NOPASSWORD"] = (
    exceptions.AuthenticationError,
    "The URL has a password, but the server has none: leave it out.",
)


def from_reply(reply: ErrorReply, url: str) -> exceptions.RedisError:
    """Return the exception for an error the server replied with.

    - reply: the error.
    - url: the server's URL, password masked.
    """
    text = str(reply.args[0])
    return _known(text, url) or exceptions.ResponseError(f"{text} ({url})")


def explain(error: exceptions.RedisError, url: str) -> exceptions.RedisError:
    """Return redis-py's *error* with the URL and the remedy, or as it is if there is none."""
    text = str(error)
    return error if url in text else _known(text, url) or error


def _known(text: str, url: str) -> exceptions.RedisError | None:
    """Return the exception with the remedy for what the server said, None if there is none."""
    word = next((known for part, known in _REWORDED.items() if part in text), None)
    known = _KNOWN.get(word or text.partition(" ")[0])
    if known is None:
        return None
    error_class, remedy = known
    return error_class(f"{text} ({url}). {remedy}")


def lost(url: str, cause: BaseException | None = None) -> exceptions.ConnectionError:
    """Return the error for a connection that broke."""
    reason = f": {cause}" if cause is not None else " by the server"
    return exceptions.ConnectionError(f"Connection to {url} was closed{reason}")
