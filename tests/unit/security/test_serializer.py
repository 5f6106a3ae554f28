"""The ``auth`` serializer: what it writes, and what it refuses to read."""

from __future__ import annotations

import base64
import time
from datetime import timedelta
from typing import Any

import pytest
from kombu.exceptions import DecodeError, EncodeError
from kombu.serialization import dumps, loads

from taskq.exceptions import SecurityError
from taskq.security.certificate import Certificate, CertStore
from taskq.security.key import PrivateKey
from taskq.security.serialization import SecureSerializer, register_auth
from tests.certificates import Keyring, certificate_pem, key_pem

SEPARATOR = b"\x00\x01"


def serializer_of(name: str, *trusted: str, **options: Any) -> SecureSerializer:
    store = CertStore()
    for friend in trusted:
        store.add_cert(Certificate(certificate_pem(friend)))
    return SecureSerializer(
        PrivateKey(key_pem(name)), Certificate(certificate_pem(name)), store, **options
    )


alice = serializer_of("alice", "alice", "bob")
bob = serializer_of("bob", "alice", "bob")
mallory = serializer_of("mallory", "mallory")

BODIES = [None, 1, "text ä", b"\x00\x01\xff", {"a": [1, {"b": None}]}, [[1], {}, {"chain": None}]]


def fields_of(message: str) -> list[bytes]:
    return base64.b64decode(message).split(SEPARATOR, 4)


def message_of(*fields: bytes) -> str:
    return base64.b64encode(SEPARATOR.join(fields)).decode()


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("serializer", ["json", "pickle"])
@pytest.mark.parametrize("digest", ["sha256", "sha3_512"])
def test_what_one_signs_the_other_reads(body: Any, serializer: str, digest: str) -> None:
    sender = serializer_of("alice", serializer=serializer, digest=digest)
    receiver = serializer_of("bob", "alice", serializer=serializer, digest=digest)
    assert receiver.deserialize(sender.serialize(body)) == body


def test_the_fields_of_a_message() -> None:
    signer, signature, content_type, encoding, body = fields_of(alice.serialize({"a": 1}))
    assert base64.b64decode(signer) == b"alice Tests 7"
    assert len(base64.b64decode(signature)) == 256
    assert (content_type, encoding, body) == (b"application/json", b"utf-8", b'{"a": 1}')


def test_messages_of_strangers_are_refused() -> None:
    with pytest.raises(SecurityError, match="Unknown certificate: 'mallory Tests 7'"):
        alice.deserialize(mallory.serialize(1))


def test_a_certificate_with_the_id_of_a_trusted_one_helps_nobody() -> None:
    forged = SecureSerializer(PrivateKey(key_pem("mallory")), Certificate(certificate_pem("bob")))
    with pytest.raises(SecurityError, match="Bad signature"):
        alice.deserialize(forged.serialize(1))


def test_another_digest_is_refused() -> None:
    with pytest.raises(SecurityError, match="security_digest"):
        alice.deserialize(serializer_of("bob", digest="sha512").serialize(1))


@pytest.mark.parametrize("position", [0, 1, 2, 4])
def test_a_field_that_was_changed(position: int) -> None:
    fields = fields_of(alice.serialize({"a": 1}))
    fields[position] = [
        base64.b64encode(b"bob Tests 7"),
        base64.b64encode(bytes(256)),
        b"application/x-python-serialize",
        b"no-such-encoding",
        b'{"a": 2}',
    ][position]
    with pytest.raises(SecurityError):
        bob.deserialize(message_of(*fields))


def test_the_name_of_the_encoding_changes_nothing() -> None:
    fields = fields_of(alice.serialize({"a": "ä"}))
    fields[3] = b"utf-16"
    assert bob.deserialize(message_of(*fields)) == {"a": "ä"}


@pytest.mark.parametrize(
    "message",
    ["", "x", "====", b"\xff", None, base64.b64encode(b"a").decode(), message_of(*4 * [b"x"])],
)
def test_what_is_no_signed_message(message: Any) -> None:
    with pytest.raises(SecurityError, match="Not a signed message"):
        alice.deserialize(message)


def test_a_signed_pickle_is_not_opened_unless_pickle_is_chosen() -> None:
    message = serializer_of("bob", serializer="pickle").serialize({1: 2})
    with pytest.raises(SecurityError, match="x-python-serialize"):
        alice.deserialize(message)
    chosen = serializer_of("alice", "bob", serializer="pickle")
    assert chosen.deserialize(message) == {1: 2}
    assert chosen.deserialize(bob.serialize({"1": 2})) == {"1": 2}, "json is always read"


def test_a_certificate_that_expires_after_the_store_was_read() -> None:
    store = CertStore()
    store.add_cert(Certificate(certificate_pem("bob", ends=timedelta(seconds=3))))
    reader = SecureSerializer(cert_store=store)
    message = bob.serialize(1)
    (certificate,) = store.itercerts()
    while not certificate.has_expired():
        time.sleep(0.05)
    with pytest.raises(SecurityError, match="Expired certificate: 'bob Tests 7'"):
        reader.deserialize(message)


def test_without_a_key_or_a_store() -> None:
    with pytest.raises(SecurityError, match="private key"):
        SecureSerializer().serialize(1)
    with pytest.raises(SecurityError, match="store of trusted"):
        SecureSerializer().deserialize(alice.serialize(1))


def test_an_unknown_inner_serializer() -> None:
    with pytest.raises(SecurityError, match="'nope'"):
        SecureSerializer(serializer="nope")


class TestRegistered:
    def test_kombu_uses_it(self, keyring: Keyring) -> None:
        register_auth(key_pem("alice"), None, certificate_pem("alice"), keyring.store)
        content_type, encoding, payload = dumps({"a": 1}, "auth")
        assert (content_type, encoding) == ("application/data", "utf-8")
        assert loads(payload, content_type, encoding, accept=["auth"]) == {"a": 1}
        with pytest.raises(DecodeError, match="Unknown certificate"):
            loads(mallory.serialize(1), content_type, encoding, accept=["auth"])

    def test_what_the_inner_serializer_can_not_write(self, keyring: Keyring) -> None:
        register_auth(key_pem("alice"), None, certificate_pem("alice"), keyring.store)
        with pytest.raises(EncodeError):
            dumps(object(), "auth")

    def test_a_key_that_is_not_the_certificates(self, keyring: Keyring) -> None:
        with pytest.raises(SecurityError, match="not that of certificate 'alice Tests 7'"):
            register_auth(key_pem("bob"), None, certificate_pem("alice"), keyring.store)
