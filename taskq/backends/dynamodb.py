"""Results as items in a table of DynamoDB (``dynamodb://key:secret@region/table``).

Table, ids and attributes are Celery's, so both can share a table.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import cached_property
from importlib.util import find_spec
from ipaddress import ip_address
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from kombu.utils.encoding import ensure_bytes
from kombu.utils.url import maybe_sanitize_url

from taskq.backends.aws import error_code, make_client, passes
from taskq.backends.keyvalue import KeyValueStoreBackend
from taskq.exceptions import ImproperlyConfigured

__all__ = ("DynamoDBBackend",)

#: What Celery calls the table, and the region of a server that stands on this machine.
DEFAULT_TABLE = "celery"
DEFAULT_REGION = "us-east-1"
#: Items that one request may ask for.
READ_AT_ONCE = 100
#: Seconds between two requests for what the first did not return.
PAUSE = 0.1


class DynamoDBBackend(KeyValueStoreBackend):
    """Stores each meta as an item of a table, which is made when it is missing.

    Parameters:
        url: ``dynamodb://key:secret@region/table``; ``@`` without a key has boto3 look for one in
            its usual places, and a host (``localhost:8000``) in place of the region is a server
            of your own. Options: ``read`` and ``write``, the capacity of a new table;
            ``ttl_seconds``, after which DynamoDB removes an item.
        table_name: instead of the URL's.

    The setting `dynamodb_endpoint_url` is another address of the service.
    """

    supports_result_compression = True
    implements_incr = True

    #: Attributes of an item.
    _key_field = "id"
    _value_field = "result"
    _timestamp_field = "timestamp"
    _ttl_field = "ttl"
    _count_field = "chord_count"

    def __init__(
        self, url: str | None = None, table_name: str | None = None, *args: Any, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.url = url or "dynamodb://"
        if find_spec("boto3") is None:
            raise self._missing_library("boto3", "dynamodb")
        parts = urlsplit(self.url)
        self._key_id, self._secret = unquote(parts.username or ""), unquote(parts.password or "")
        if bool(self._key_id) != bool(self._secret):
            raise ImproperlyConfigured(
                "The URL of a DynamoDB needs a key and its secret, or neither: "
                + maybe_sanitize_url(self.url)
            )
        host, port = parts.hostname or "", parts.port
        own_server = _is_address(host)
        self.aws_region = DEFAULT_REGION if own_server or not host else host
        self.endpoint_url = f"http://{host}:{port or 8000}" if own_server else None
        self.endpoint_url = self.app.conf.get("dynamodb_endpoint_url") or self.endpoint_url
        self.table_name = table_name or parts.path.strip("/") or DEFAULT_TABLE
        options = dict(parse_qsl(parts.query))
        self.read_capacity_units = self._number(options, "read", 1)
        self.write_capacity_units = self._number(options, "write", 1)
        self.time_to_live_seconds = self._number(options, "ttl_seconds", None)
        self.supports_autoexpire = bool(self.time_to_live_seconds)

    def __reduce__(self, args: Any = (), kwargs: dict[str, Any] | None = None) -> Any:
        named = {"url": self.url, "table_name": self.table_name}
        return super().__reduce__(args, {**(kwargs or {}), **named})

    def _number(self, options: dict[str, str], name: str, default: int | None) -> int | None:
        value = options.get(name)
        if value is None:
            return default
        if not value.isdigit() or not int(value):
            raise ImproperlyConfigured(
                f"{name}={value!r} in the URL of a DynamoDB must be a positive number: "
                + maybe_sanitize_url(self.url)
            )
        return int(value)

    # -- the table ------------------------------------------------------------

    @cached_property
    def _client(self) -> Any:
        client = make_client(
            "dynamodb",
            region=self.aws_region,
            endpoint_url=self.endpoint_url,
            key_id=self._key_id,
            secret=self._secret,
        )
        self._ensure_table(client)
        return client

    def _after_fork(self) -> None:
        super()._after_fork()
        self.__dict__.pop("_client", None)

    def _ensure_table(self, client: Any) -> None:
        """Make the table unless it is there, by us or by somebody quicker."""
        try:
            client.describe_table(TableName=self.table_name)
        except Exception as exc:
            if error_code(exc) != "ResourceNotFoundException":
                raise
            self._create_table(client)
        client.get_waiter("table_exists").wait(
            TableName=self.table_name, WaiterConfig={"Delay": 1, "MaxAttempts": 120}
        )
        if self.time_to_live_seconds:
            self._expire_items(client)

    def _create_table(self, client: Any) -> None:
        try:
            client.create_table(
                TableName=self.table_name,
                KeySchema=[{"AttributeName": self._key_field, "KeyType": "HASH"}],
                AttributeDefinitions=[{"AttributeName": self._key_field, "AttributeType": "S"}],
                ProvisionedThroughput={
                    "ReadCapacityUnits": self.read_capacity_units,
                    "WriteCapacityUnits": self.write_capacity_units,
                },
            )
        except Exception as exc:
            if error_code(exc) != "ResourceInUseException":
                raise

    def _expire_items(self, client: Any) -> None:
        described = client.describe_time_to_live(TableName=self.table_name)
        if described["TimeToLiveDescription"]["TimeToLiveStatus"] in {"ENABLED", "ENABLING"}:
            return
        client.update_time_to_live(
            TableName=self.table_name,
            TimeToLiveSpecification={"Enabled": True, "AttributeName": self._ttl_field},
        )

    # -- items ----------------------------------------------------------------

    def _id(self, key: Any) -> dict[str, Any]:
        # Celery's ids of items are the representations of its keys, which are bytes.
        return {self._key_field: {"S": str(ensure_bytes(key))}}

    def _value(self, item: dict[str, Any] | None) -> Any:
        if not item:
            return None
        if self._value_field in item:
            return item[self._value_field]["B"]
        return item.get(self._count_field, {}).get("N")

    def get(self, key: Any) -> Any:
        """Return the value of the item for `key`, None if there is none."""
        answer = self._client.get_item(
            TableName=self.table_name, Key=self._id(key), ConsistentRead=True
        )
        return self._value(answer.get("Item"))

    def mget(self, keys: Sequence[Any]) -> list[Any]:
        """Return the values of the items for `keys`, in their order, read in as few requests."""
        values: dict[str, Any] = {}
        wanted = list({str(ensure_bytes(key)): self._id(key) for key in keys}.values())
        while wanted:
            asked, wanted = wanted[:READ_AT_ONCE], wanted[READ_AT_ONCE:]
            answer = self._client.batch_get_item(
                RequestItems={self.table_name: {"Keys": asked, "ConsistentRead": True}}
            )
            for item in answer["Responses"].get(self.table_name, ()):
                values[item[self._key_field]["S"]] = self._value(item)
            left = answer.get("UnprocessedKeys", {}).get(self.table_name, {}).get("Keys", [])
            if left:
                wanted.extend(left)
                time.sleep(PAUSE)
        return [values.get(str(ensure_bytes(key))) for key in keys]

    def set(self, key: Any, value: Any) -> None:
        """Write the item for `key`."""
        now = time.time()
        item = {
            **self._id(key),
            self._value_field: {"B": ensure_bytes(value)},
            self._timestamp_field: {"N": str(now)},
        }
        if self.time_to_live_seconds:
            item[self._ttl_field] = {"N": str(int(now + self.time_to_live_seconds))}
        self._client.put_item(TableName=self.table_name, Item=item)

    def delete(self, key: Any) -> None:
        """Remove the item for `key`, if there is one."""
        self._client.delete_item(TableName=self.table_name, Key=self._id(key))

    def incr(self, key: Any) -> int:
        """Add one to the count in the item for `key`, atomically, and return it."""
        answer = self._client.update_item(
            TableName=self.table_name,
            Key=self._id(key),
            UpdateExpression="ADD #count :one",
            ExpressionAttributeNames={"#count": self._count_field},
            ExpressionAttributeValues={":one": {"N": "1"}},
            ReturnValues="UPDATED_NEW",
        )
        return int(answer["Attributes"][self._count_field]["N"])

    def expire(self, key: Any, value: Any) -> None:
        """Let DynamoDB remove the item for `key` in `value` seconds, if the table has a TTL."""
        if not self.time_to_live_seconds:
            return
        self._client.update_item(
            TableName=self.table_name,
            Key=self._id(key),
            UpdateExpression="SET #ttl = :end",
            ExpressionAttributeNames={"#ttl": self._ttl_field},
            ExpressionAttributeValues={":end": {"N": str(int(time.time() + value))}},
        )

    def cleanup(self) -> None:
        """Remove the items that are older than `result_expires`; reads the whole table."""
        if not self.expires:
            return
        pages = self._client.get_paginator("scan").paginate(
            TableName=self.table_name,
            FilterExpression="#timestamp < :oldest",
            ProjectionExpression=self._key_field,
            ExpressionAttributeNames={"#timestamp": self._timestamp_field},
            ExpressionAttributeValues={":oldest": {"N": str(time.time() - self.expires)}},
        )
        for page in pages:
            for item in page["Items"]:
                self._client.delete_item(TableName=self.table_name, Key=item)

    def exception_safe_to_retry(self, exc: BaseException) -> bool:
        """Return True for errors that pass: of the connection, or of a busy service."""
        return passes(exc)


def _is_address(host: str) -> bool:
    """Whether a host is this machine or a number, and not the name of a region."""
    if host == "localhost":
        return True
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
