"""Switching message signing on."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from kombu.exceptions import ContentDisallowed
from kombu.serialization import dumps, loads, registry

from taskq import TaskQ
from taskq.exceptions import ImproperlyConfigured, SecurityError
from taskq.security import setup_security
from tests.certificates import Keyring


def app_of(settings: dict[str, Any], **changes: Any) -> TaskQ:
    return TaskQ("t", set_as_current=False, changes={**settings, **changes})


def test_messages_are_signed_and_verified(keyring: Keyring) -> None:
    app_of(keyring.settings("alice")).setup_security()
    signed = dumps({"a": 1}, "auth")
    assert loads(signed[2], *signed[:2]) == {"a": 1}


def test_other_content_is_not_read_any_more(keyring: Keyring) -> None:
    app_of(keyring.settings("alice")).setup_security()
    for name in ("json", "pickle", "yaml"):
        content_type, encoding, payload = dumps({"a": 1}, name)
        with pytest.raises(ContentDisallowed):
            loads(payload, content_type, encoding)


def test_but_what_is_allowed(keyring: Keyring) -> None:
    app_of(keyring.settings("alice")).setup_security(allowed_serializers=["json"])
    content_type, encoding, payload = dumps({"a": 1}, "json")
    assert loads(payload, content_type, encoding) == {"a": 1}


def test_arguments_come_before_settings(keyring: Keyring) -> None:
    keyring.add("carol", password=b"secret")
    app = app_of(keyring.settings("alice"), security_digest="sha512", security_key_password=None)
    keys = keyring.settings("carol")
    app.setup_security(
        key=keys["security_key"],
        key_password=b"secret",
        cert=keys["security_certificate"],
        store=f"{keyring.store}/carol.pem",
        digest="sha384",
        serializer="yaml",
    )
    secure = registry._encoders["auth"].encoder.__self__
    assert secure._cert.get_issuer() == "carol Tests"
    assert [cert.get_issuer() for cert in secure._cert_store.itercerts()] == ["carol Tests"]
    assert secure._digest.name == "sha384"
    assert b"application/x-yaml" in __import__("base64").b64decode(dumps(1, "auth")[2])


def test_settings_count_where_no_argument_is_given(keyring: Keyring) -> None:
    keyring.add("carol", password=b"secret")
    setup_security(
        app=app_of(
            keyring.settings("carol"), security_digest="sha512", security_key_password=b"secret"
        )
    )
    secure = registry._encoders["auth"].encoder.__self__
    assert secure._digest.name == "sha512"
    assert secure._cert.get_issuer() == "carol Tests"


@pytest.mark.parametrize("missing", ["key", "certificate", "cert_store"])
def test_a_missing_setting_is_named(keyring: Keyring, missing: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=f"Not set: security_{missing}$"):
        app_of(keyring.settings("alice"), **{f"security_{missing}": None}).setup_security()


@pytest.mark.parametrize(
    "changes",
    [
        {"task_serializer": "json"},
        {"accept_content": ["json"]},
        {"accept_content": ["auth", "json"]},
        {"accept_content": []},
    ],
)
def test_settings_that_defeat_it_are_refused(keyring: Keyring, changes: dict[str, Any]) -> None:
    with pytest.raises(ImproperlyConfigured, match="task_serializer='auth'"):
        app_of(keyring.settings("alice"), **changes).setup_security()
    assert "auth" not in registry._encoders


def test_files_that_are_not_there_are_named(keyring: Keyring) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        app_of(keyring.settings("alice"), security_key="/nowhere/key").setup_security()


def test_a_wrong_password(keyring: Keyring) -> None:
    keyring.add("carol", password=b"secret")
    app = app_of(keyring.settings("carol"), security_key_password=b"hunter2")
    with pytest.raises(SecurityError, match="security_key_password") as raised:
        app.setup_security()
    assert "hunter2" not in str(raised.value)


def test_without_the_library(keyring: Keyring, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("taskq.security.")]:
        monkeypatch.delitem(sys.modules, name)
    for name in [name for name in sys.modules if name.partition(".")[0] == "cryptography"]:
        monkeypatch.delitem(sys.modules, name)

    class Hide:
        def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
            if name == "cryptography":
                raise ModuleNotFoundError("No module named 'cryptography'", name="cryptography")

    monkeypatch.setattr(sys, "meta_path", [Hide(), *sys.meta_path])
    with pytest.raises(ImproperlyConfigured, match=r"pip install 'taskq\[auth\]'"):
        app_of(keyring.settings("alice")).setup_security()
