"""Keys, certificates and stores."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from taskq.exceptions import ImproperlyConfigured, SecurityError, SecurityWarning
from taskq.security.certificate import Certificate, CertStore, FSCertStore
from taskq.security.key import PrivateKey
from taskq.security.utils import get_digest_algorithm, reraise_errors
from tests.certificates import Keyring, certificate_pem, elliptic_key, key_pem

SHA256 = hashes.SHA256()
EXPIRED = timedelta(seconds=-1)


class TestKeys:
    def test_a_signature_is_verified_with_the_certificate_of_its_key(self) -> None:
        signature = PrivateKey(key_pem("alice")).sign("text", SHA256)
        Certificate(certificate_pem("alice")).verify("text", signature, SHA256)

    @pytest.mark.parametrize(
        ("signer", "text", "digest"),
        [("bob", "text", SHA256), ("alice", "other", SHA256), ("alice", "text", hashes.SHA512())],
    )
    def test_any_other_is_refused(
        self, signer: str, text: str, digest: hashes.HashAlgorithm
    ) -> None:
        signature = PrivateKey(key_pem(signer)).sign(text, digest)
        with pytest.raises(SecurityError, match="Bad signature"):
            Certificate(certificate_pem("alice")).verify("text", signature, SHA256)

    @pytest.mark.parametrize("password", [b"secret", "secret"])
    def test_an_encrypted_key_opens_with_its_password(self, password: str | bytes) -> None:
        PrivateKey(key_pem("alice", b"secret"), password)

    @pytest.mark.parametrize(
        ("encrypted_with", "password"), [(b"secret", b"wrong"), (b"secret", None), (None, b"given")]
    )
    def test_the_wrong_password_names_the_settings_and_not_itself(
        self, encrypted_with: bytes | None, password: bytes | None
    ) -> None:
        with pytest.raises(SecurityError, match="security_key_password") as raised:
            PrivateKey(key_pem("alice", encrypted_with), password)
        assert "wrong" not in str(raised.value)

    @pytest.mark.parametrize("text", ["", "garbage", certificate_pem("alice")])
    def test_what_is_no_key(self, text: str | bytes) -> None:
        with pytest.raises(SecurityError, match="security_key"):
            PrivateKey(text)

    def test_keys_of_another_kind(self) -> None:
        key = elliptic_key()
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        with pytest.raises(SecurityError, match="must be an RSA key"):
            PrivateKey(pem)


class TestCertificates:
    def test_it_is_known_by_issuer_and_number(self) -> None:
        certificate = Certificate(certificate_pem("alice", serial=12))
        assert certificate.get_issuer() == "alice Tests"
        assert certificate.get_serial_number() == 12
        assert certificate.get_id() == "alice Tests 12"

    def test_it_expires(self) -> None:
        assert Certificate(certificate_pem("alice", ends=EXPIRED)).has_expired()
        assert not Certificate(certificate_pem("alice")).has_expired()

    @pytest.mark.parametrize("text", ["", "garbage", key_pem("alice")])
    def test_what_is_no_certificate(self, text: str | bytes) -> None:
        with pytest.raises(SecurityError, match="Invalid certificate"):
            Certificate(text)


class TestStores:
    def test_a_certificate_is_found_by_its_id(self) -> None:
        store = CertStore()
        certificate = Certificate(certificate_pem("alice"))
        store.add_cert(certificate)
        assert store["alice Tests 7"] is store[b"alice Tests 7"] is certificate
        assert list(store.itercerts()) == [certificate]

    @pytest.mark.parametrize("id", ["bob Tests 7", b"\xff\xfe"])
    def test_unknown_ids_are_refused(self, id: str | bytes) -> None:
        with pytest.raises(SecurityError, match="Unknown certificate"):
            CertStore()[id]

    def test_two_of_one_id_are_refused(self) -> None:
        store = CertStore()
        store.add_cert(Certificate(certificate_pem("alice")))
        with pytest.raises(SecurityError, match="Duplicate certificate: 'alice Tests 7'"):
            store.add_cert(Certificate(certificate_pem("alice")))

    @pytest.mark.parametrize("pattern", ["", "*.pem"])
    def test_files_are_a_directory_or_a_pattern(self, keyring: Keyring, pattern: str) -> None:
        store = FSCertStore(str(keyring.store / pattern))
        assert [cert.get_issuer() for cert in store.itercerts()] == ["alice Tests", "bob Tests"]

    def test_an_expired_file_is_named(self, keyring: Keyring) -> None:
        keyring.add("old", ends=EXPIRED)
        with pytest.raises(SecurityError, match=r"Expired certificate: 'old Tests 7'.*old\.pem"):
            FSCertStore(keyring.store)

    def test_a_file_that_is_no_certificate_is_named(self, keyring: Keyring) -> None:
        (keyring.store / "README").write_text("hello")
        with pytest.raises(SecurityError, match=r"Invalid certificate.*README"):
            FSCertStore(keyring.store)

    def test_an_empty_store_is_worth_a_warning(self, tmp_path: Path) -> None:
        with pytest.warns(SecurityWarning, match="no certificate in"):
            FSCertStore(tmp_path / "nowhere")


class TestDigests:
    def test_names(self) -> None:
        assert isinstance(get_digest_algorithm(), hashes.SHA256)
        assert isinstance(get_digest_algorithm("sha3_512"), hashes.SHA3_512)

    @pytest.mark.parametrize("name", ["rot13", "", "hashalgorithm", "annotations"])
    def test_others_are_refused(self, name: str) -> None:
        with pytest.raises(ImproperlyConfigured, match="security_digest"):
            get_digest_algorithm(name)

    def test_broken_ones_are_worth_a_warning(self) -> None:
        with pytest.warns(SecurityWarning, match="sha256"):
            get_digest_algorithm("sha1")


def test_errors_of_a_block_become_security_errors() -> None:
    with pytest.raises(SecurityError, match="said no") as raised:
        with reraise_errors("said {0}", errors=(KeyError, ZeroDivisionError)):
            raise ZeroDivisionError("no")
    assert isinstance(raised.value.__cause__, ZeroDivisionError)
    with pytest.raises(LookupError), reraise_errors():
        raise LookupError
