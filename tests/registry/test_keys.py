import json
import os
import stat

import pytest
from cryptography.hazmat.primitives import serialization as to
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from registries import HOUR, NOON, trusting
from stairways.errors import SigningKeyError, StorageError
from stairways.registry.keys import (
    KEY_VARIABLE,
    SigningKey,
    TrustList,
    read_public_key,
    read_signing_key,
    read_trust,
    write_trust,
)


@pytest.fixture
def key() -> SigningKey:
    return SigningKey.new()


@pytest.fixture
def path(tmp_path, key):
    key.write(tmp_path / "key.pem")
    return tmp_path / "key.pem"


def test_a_written_key_is_read_and_signs_the_same(key, path):
    found = read_signing_key(path)
    assert found.key_id == key.key_id
    assert found.sign(b"x") == key.sign(b"x")
    Ed25519PublicKey.from_public_bytes(key.public).verify(found.sign(b"x"), b"x")
    assert read_public_key(path.with_name("key.pem.pub")) == key.public


def test_only_the_owner_may_read_it(path):
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for mode in (0o640, 0o604, 0o660, 0o602):
        path.chmod(mode)
        with pytest.raises(SigningKeyError, match=rf"rights {mode:o},.*chmod 600"):
            read_signing_key(path)


def test_rights_do_not_depend_on_the_umask(tmp_path, key):
    before = os.umask(0)
    try:
        key.write(tmp_path / "open.pem")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "open.pem").stat().st_mode) == 0o600


@pytest.mark.parametrize("taken", ["key.pem", "key.pem.pub"])
def test_nothing_is_written_over(tmp_path, key, taken):
    (tmp_path / taken).write_text("mine")
    with pytest.raises(StorageError, match="stands there already"):
        key.write(tmp_path / "key.pem")
    assert [entry.name for entry in tmp_path.iterdir()] == [taken]
    assert (tmp_path / taken).read_text() == "mine"


def test_a_key_comes_from_the_environment(key, path):
    found = read_signing_key(None, {KEY_VARIABLE: path.read_text()})
    assert found.key_id == key.key_id
    for environment in ({}, {KEY_VARIABLE: ""}):
        with pytest.raises(SigningKeyError, match=KEY_VARIABLE):
            read_signing_key(None, environment)


def test_what_is_no_key_is_refused_and_not_repeated(tmp_path, path):
    secret = path.read_text().splitlines()[1]
    path.write_text(f"-----BEGIN PRIVATE KEY-----\n{secret[:-5]}\n-----END PRIVATE KEY-----\n")
    with pytest.raises(SigningKeyError, match="no private key") as raised:
        read_signing_key(path)
    assert secret[:10] not in raised.value.line()
    other = ec.generate_private_key(ec.SECP256R1())
    path.write_bytes(other.private_bytes(to.Encoding.PEM, to.PrivateFormat.PKCS8, to.NoEncryption()))
    with pytest.raises(SigningKeyError, match="not of Ed25519"):
        read_signing_key(path)
    for place in (tmp_path, tmp_path / "none"):
        with pytest.raises((SigningKeyError, StorageError)):
            read_signing_key(place)


def test_a_key_does_not_print_itself(key, path):
    assert path.read_text().splitlines()[1] not in f"{key!r} {key} {vars(key)}"


def test_a_trust_list_comes_back(tmp_path):
    first, second = SigningKey.new(), SigningKey.new()
    trust = trusting(first, second).retired(first.key_id, "rotated", NOON + HOUR)
    trust = trust.revoked(second.key_id, "laptop lost", NOON + 2 * HOUR)
    write_trust(tmp_path / "trust.json", trust)
    assert read_trust(tmp_path / "trust.json") == trust
    assert trust.find(first.key_id).retired_at == NOON + HOUR
    assert trust.find(second.key_id).reason == "laptop lost"
    assert trust.find("0" * 16) is None


def test_changes_that_make_no_sense_are_refused(key):
    trust = trusting(key)
    with pytest.raises(SigningKeyError, match="there already, as signer 0"):
        trust.added(key.public, "again", NOON)
    with pytest.raises(SigningKeyError, match="name of its owner"):
        TrustList().added(key.public, " ", NOON)
    with pytest.raises(SigningKeyError, match="no such key"):
        trust.retired("0" * 16, "r", NOON)
    retired = trust.retired(key.key_id, "r", NOON)
    with pytest.raises(SigningKeyError, match="no longer counts"):
        retired.retired(key.key_id, "r", NOON)
    revoked = retired.revoked(key.key_id, "r", NOON)
    with pytest.raises(SigningKeyError, match="no longer counts"):
        revoked.revoked(key.key_id, "r", NOON)


def test_a_trust_list_that_others_may_write_is_refused(tmp_path, key):
    path = tmp_path / "trust.json"
    write_trust(path, trusting(key))
    for mode in (0o664, 0o646):
        path.chmod(mode)
        with pytest.raises(SigningKeyError, match="others than its owner may write it"):
            read_trust(path)


def test_a_damaged_trust_list_is_refused(tmp_path, key):
    path = tmp_path / "trust.json"
    write_trust(path, trusting(key))
    whole = path.read_bytes()
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        try:
            found = read_trust(path)
        except SigningKeyError:
            continue
        # text for people may be another; the key is never
        assert found.keys[0].public == key.public.hex()
        assert found.keys[0].key_id == key.key_id


def test_a_key_under_another_name_is_refused(tmp_path, key):
    path = tmp_path / "trust.json"
    record = json.loads(trusting(key).encode())
    record["keys"][0]["key_id"] = "0" * 16
    path.write_text(json.dumps(record, indent=2, sort_keys=True))
    with pytest.raises(SigningKeyError, match="is no trust list"):
        read_trust(path)
