"""Results as objects in a bucket of S3 or of a service with its interface (``s3://``).

The objects are named as Celery names them, so both can share a bucket. There is no counting in
S3: chords are polled.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from importlib.util import find_spec
from typing import Any

from kombu.utils.encoding import bytes_to_str, ensure_bytes

from taskq.backends.aws import error_code, make_client, passes
from taskq.backends.keyvalue import KeyValueStoreBackend
from taskq.exceptions import ImproperlyConfigured

__all__ = ("S3Backend",)

#: Objects that one request may delete.
DELETED_AT_ONCE = 1000


class S3Backend(KeyValueStoreBackend):
    """Stores each meta as an object.

    Settings: `s3_bucket`, `s3_base_path` (a prefix of the names), `s3_region`, `s3_endpoint_url`,
    `s3_access_key_id` and `s3_secret_access_key`. The account needs to list the bucket as well:
    otherwise S3 calls a missing object a forbidden one.

    Raises ImproperlyConfigured without a bucket, or without the library.
    """

    supports_result_compression = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        conf = self.app.conf
        self.bucket_name = conf.s3_bucket
        self.base_path = conf.s3_base_path or ""
        self.endpoint_url = conf.s3_endpoint_url
        self.aws_region = conf.s3_region
        if not self.bucket_name:
            raise ImproperlyConfigured(
                "The S3 result backend needs the name of a bucket in s3_bucket"
            )
        if bool(conf.s3_access_key_id) != bool(conf.s3_secret_access_key):
            raise ImproperlyConfigured(
                "Set s3_access_key_id and s3_secret_access_key both, or neither: then boto3 looks "
                "for credentials in its usual places"
            )
        if find_spec("boto3") is None:
            raise self._missing_library("boto3", "s3")

    @cached_property
    def _client(self) -> Any:
        conf = self.app.conf
        return make_client(
            "s3",
            region=self.aws_region,
            endpoint_url=self.endpoint_url,
            key_id=conf.s3_access_key_id,
            secret=conf.s3_secret_access_key,
        )

    def _after_fork(self) -> None:
        super()._after_fork()
        self.__dict__.pop("_client", None)

    def _name(self, key: Any) -> str:
        return f"{self.base_path}{bytes_to_str(key)}"

    def get(self, key: Any) -> bytes | None:
        """Return the content of the object for `key`, None if there is none."""
        try:
            answer = self._client.get_object(Bucket=self.bucket_name, Key=self._name(key))
        except Exception as exc:
            if error_code(exc) in {"NoSuchKey", "404"}:
                return None
            raise
        return answer["Body"].read()  # type: ignore[no-any-return]

    def mget(self, keys: Sequence[Any]) -> list[bytes | None]:
        """Return the contents of the objects for `keys`, in their order, one by one."""
        return [self.get(key) for key in keys]

    def set(self, key: Any, value: Any) -> None:
        """Write the object for `key`."""
        self._client.put_object(
            Bucket=self.bucket_name, Key=self._name(key), Body=ensure_bytes(value)
        )

    def delete(self, key: Any) -> None:
        """Remove the object for `key`, if there is one."""
        self._client.delete_object(Bucket=self.bucket_name, Key=self._name(key))

    def cleanup(self) -> None:
        """Remove the objects of tasks and groups that are older than `result_expires`.

        It lists them all; a lifecycle rule of the bucket costs less.
        """
        if not self.expires:
            return
        oldest = datetime.now(UTC) - timedelta(seconds=self.expires)
        pages = self._client.get_paginator("list_objects_v2")
        for prefix in (self.task_keyprefix, self.group_keyprefix):
            for page in pages.paginate(
                Bucket=self.bucket_name,
                Prefix=self._name(prefix),
                PaginationConfig={"PageSize": DELETED_AT_ONCE},
            ):
                old = [
                    {"Key": found["Key"]}
                    for found in page.get("Contents", ())
                    if found["LastModified"] < oldest
                ]
                if old:
                    self._client.delete_objects(
                        Bucket=self.bucket_name, Delete={"Objects": old, "Quiet": True}
                    )

    def exception_safe_to_retry(self, exc: BaseException) -> bool:
        """Return True for errors that pass: of the connection, or of a busy service."""
        return passes(exc)
