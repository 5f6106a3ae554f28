"""Signed messages: the ``auth`` serializer and what it takes to switch it on.

`TaskQ.setup_security` calls `setup_security` here. The format of what is signed is in
`taskq.security.serialization`.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from kombu.serialization import disable_insecure_serializers

from taskq._state import get_current_app
from taskq.exceptions import ImproperlyConfigured

__all__ = ("disable_untrusted_serializers", "setup_security")

#: Names under which `accept_content` lists the serializer.
AUTH_NAMES = frozenset({"auth", "application/data"})

E_NOT_INSTALLED = (
    "Signed messages need the package 'cryptography', which is not installed: "
    "pip install 'taskq[auth]'"
)

E_SETTINGS = (
    "Signed messages need security_key (path of the private key), security_certificate (path of "
    "its certificate) and security_cert_store (directory or pattern of the certificates that are "
    "trusted). Not set: {missing}"
)

E_SERIALIZER = (
    "setup_security() needs task_serializer='auth', or nothing is signed, and "
    "accept_content=['auth'], or messages without a signature are run as well. "
    "They are task_serializer={serializer!r}, accept_content={accept!r}"
)


def setup_security(
    allowed_serializers: Collection[str] | None = None,
    key: str | None = None,
    key_password: str | bytes | None = None,
    cert: str | None = None,
    store: str | None = None,
    digest: str | None = None,
    serializer: str = "json",
    app: Any = None,
) -> None:
    """Sign what this process sends, and take only what a trusted certificate's owner signed.

    It works on the whole process, whatever the number of apps.

    Parameters:
        allowed_serializers: serializers (or their content types) that stay usable to read with
            besides ``auth``.
        key: path of the private key; the `security_key` setting by default.
        key_password: password of the key; `security_key_password` by default.
        cert: path of the certificate that belongs to the key; `security_certificate` by default.
        store: directory, or pattern of paths, of the certificates to trust;
            `security_cert_store` by default.
        digest: hash function of the signatures; `security_digest` by default.
        serializer: what turns a body into the bytes that are signed.
        app: whose settings to use; the current app by default.

    Raises:
        ImproperlyConfigured: a setting is missing, or tasks would not be signed and verified, or
            ``cryptography`` is not installed.
        SecurityError: a key or a certificate can't be used.
        OSError: a file can't be read.
    """
    conf = (app or get_current_app()).conf
    if conf.task_serializer != "auth" or not _only_auth(conf.accept_content):
        raise ImproperlyConfigured(
            E_SERIALIZER.format(serializer=conf.task_serializer, accept=conf.accept_content)
        )
    paths = {
        "security_key": key or conf.security_key,
        "security_certificate": cert or conf.security_certificate,
        "security_cert_store": store or conf.security_cert_store,
    }
    missing = [name for name, path in paths.items() if not path]
    if missing:
        raise ImproperlyConfigured(E_SETTINGS.format(missing=", ".join(missing)))
    try:
        # An optional dependency of this one feature.
        from taskq.security.serialization import register_auth
    except ModuleNotFoundError as exc:
        if exc.name is None or exc.name.partition(".")[0] != "cryptography":
            raise
        raise ImproperlyConfigured(E_NOT_INSTALLED) from exc
    disable_untrusted_serializers(allowed_serializers)
    register_auth(
        key=Path(paths["security_key"]).read_bytes(),
        key_password=key_password or conf.security_key_password,
        cert=Path(paths["security_certificate"]).read_bytes(),
        store=paths["security_cert_store"],
        digest=digest or conf.security_digest,
        serializer=serializer,
    )


def disable_untrusted_serializers(whitelist: Collection[str] | None = None) -> None:
    """Read no content type any more but those in ``whitelist``, names or content types.

    Where a reader says itself what it accepts (tasks, results, events and remote control all
    do), that list is what counts.
    """
    disable_insecure_serializers(allowed=whitelist)


def _only_auth(accept: Any) -> bool:
    return bool(accept) and set(accept) <= AUTH_NAMES
