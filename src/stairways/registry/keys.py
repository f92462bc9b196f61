"""Keys: the private one that signs, the public ones that are believed.

Ed25519 (RFC 8032) through ``cryptography``. A private key is read from a file that nobody but its owner may
read, or from the environment; a trust list says in plain JSON whose public keys count, since when and until
when.
"""

from __future__ import annotations

import datetime as dt
import os
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from stairways.errors import SigningKeyError, StorageError
from stairways.registry.canonical import canonical_json, parse_json_object
from stairways.registry.files import storage_error, write_bytes_atomic, write_private_file

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

KEY_VARIABLE = "STAIRWAYS_SIGNING_KEY"
PUBLIC_SUFFIX = ".pub"
TRUST_VERSION = 1
PUBLIC_BYTES = 32
_KEY_ID_DIGITS = 16
_MOST_KEY_BYTES = 16 * 1024
_MOST_TRUST_BYTES = 4 * 1024**2


def key_id_of(public: bytes) -> str:
    """Return the name of a public key: the first 16 hex digits of its SHA-256."""
    return sha256(public).hexdigest()[:_KEY_ID_DIGITS]


class SigningKey:
    """A private key. It has no form that could be printed.

    Args:
        private: The key.
    """

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.public = private.public_key().public_bytes_raw()

    @classmethod
    def new(cls) -> Self:
        """Return a fresh key from the system's randomness."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def parse(cls, text: bytes, where: str) -> Self:
        """Return the key in a PEM text (PKCS 8, without a password).

        Raises:
            SigningKeyError: If it holds none, or one of another kind.
        """
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        try:
            private = load_pem_private_key(text, password=None)
        except (ValueError, TypeError) as error:
            # the library's own words could repeat part of what it read
            raise SigningKeyError(
                "holds no private key that can be read", where=where, remedy=_NEW_KEY
            ) from error
        if not isinstance(private, Ed25519PrivateKey):
            raise SigningKeyError("the private key is not of Ed25519", where=where, remedy=_NEW_KEY)
        return cls(private)

    @property
    def key_id(self) -> str:
        """Name of the key, by its public part."""
        return key_id_of(self.public)

    def sign(self, message: bytes) -> bytes:
        """Return the 64 bytes of a signature."""
        return self._private.sign(message)

    def write(self, path: Path) -> Path:
        """Write the private key with the owner's rights alone, and its public part beside it.

        Returns:
            The file of the public part.

        Raises:
            StorageError: If either file stands already or can't be written.
        """
        return write_key_pair(self._private, path)


_NEW_KEY = "make one with `stairways keys new`"


def write_key_pair(private: Ed25519PrivateKey | EllipticCurvePrivateKey, path: Path) -> Path:
    """Write a private key as :meth:`SigningKey.write` does, whatever its kind.

    Returns:
        The file of the public part.

    Raises:
        StorageError: If either file stands already or can't be written.
    """
    from cryptography.hazmat.primitives import serialization as to

    secret = private.private_bytes(to.Encoding.PEM, to.PrivateFormat.PKCS8, to.NoEncryption())
    public = private.public_key().public_bytes(to.Encoding.PEM, to.PublicFormat.SubjectPublicKeyInfo)
    beside = path.with_name(path.name + PUBLIC_SUFFIX)
    for taken in (path, beside):
        if taken.exists() or taken.is_symlink():
            raise StorageError(
                "something stands there already", where=str(taken), remedy="choose another file"
            )
    write_private_file(path, secret)
    write_bytes_atomic(beside, public)
    return beside


def read_private_bytes(path: Path) -> bytes:
    """Return what a private key's file holds, whatever its kind.

    Raises:
        SigningKeyError: If others than its owner may read or write it.
        StorageError: If it can't be read.
    """
    return _read_guarded(path, _MOST_KEY_BYTES, private=True)


def read_signing_key(path: Path | None, environment: Mapping[str, str] = os.environ) -> SigningKey:
    """Return the private key in a file, or without one that in ``STAIRWAYS_SIGNING_KEY``.

    Raises:
        SigningKeyError: If there is none, it can't be read, or others than its owner may read the file.
    """
    if path is None:
        text = environment.get(KEY_VARIABLE, "")
        if not text:
            raise SigningKeyError("no private key was given", remedy=f"name its file, or set {KEY_VARIABLE}")
        return SigningKey.parse(text.encode(), KEY_VARIABLE)
    return SigningKey.parse(read_private_bytes(path), str(path))


def read_public_key(path: Path) -> bytes:
    """Return the 32 bytes of a public key's PEM file.

    Raises:
        SigningKeyError: If it holds none of Ed25519.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        public = load_pem_public_key(path.read_bytes()[:_MOST_KEY_BYTES])
    except OSError as error:
        raise storage_error(error, path) from error
    except (ValueError, TypeError) as error:
        raise SigningKeyError(
            "holds no public key that can be read", where=str(path), remedy="name the file that ends in .pub"
        ) from error
    if not isinstance(public, Ed25519PublicKey):
        raise SigningKeyError("the public key is not of Ed25519", where=str(path))
    return public.public_bytes_raw()


@dataclass(frozen=True)
class TrustedKey:
    """A public key that counts, or did.

    Attributes:
        key_id: Its name, by its bytes.
        name: Whose it is.
        public: 64 hex digits.
        added_at: Since when it counts, as ISO 8601 in UTC; the other instants likewise.
        retired_at: What it signed from then on does not count; what it signed before does.
        revoked_at: Since then nothing counts that it ever signed: somebody else may have it, and whoever
            has a key can put any date into a signature.
        reason: Why it was retired or revoked.
    """

    key_id: str
    name: str
    public: str
    added_at: dt.datetime
    retired_at: dt.datetime | None = None
    revoked_at: dt.datetime | None = None
    reason: str | None = None


@dataclass(frozen=True)
class TrustList:
    """Public keys by name; every change gives a new list, and no entry ever leaves one.

    Attributes:
        keys: In the order they were added.
    """

    keys: tuple[TrustedKey, ...] = ()

    def find(self, key_id: str) -> TrustedKey | None:
        """Return the key of that name, None for an unknown one."""
        return next((key for key in self.keys if key.key_id == key_id), None)

    def added(self, public: bytes, name: str, at: dt.datetime) -> TrustList:
        """Return the list with one more key.

        Raises:
            SigningKeyError: If the key is in it, or has no name.
        """
        if not name.strip():
            raise SigningKeyError("a key needs the name of its owner", where="trust list")
        known = self.find(key_id_of(public))
        if known is not None:
            raise SigningKeyError(f"the key is there already, as {known.name}", where=f"key {known.key_id}")
        key = TrustedKey(key_id=key_id_of(public), name=name.strip(), public=public.hex(), added_at=at)
        return TrustList((*self.keys, key))

    def retired(self, key_id: str, reason: str, at: dt.datetime) -> TrustList:
        """Return the list with a key that signs nothing new.

        Raises:
            SigningKeyError: If there is no such key, or it no longer counts.
        """
        return self._changed(key_id, retired_at=at, reason=reason)

    def revoked(self, key_id: str, reason: str, at: dt.datetime) -> TrustList:
        """Return the list with a key that nothing counts of.

        Raises:
            SigningKeyError: If there is no such key, or it is revoked.
        """
        return self._changed(key_id, revoked_at=at, reason=reason)

    def _changed(self, key_id: str, **change: Any) -> TrustList:
        key = self.find(key_id)
        if key is None:
            raise SigningKeyError("no such key in the trust list", where=f"key {key_id}", remedy=_LIST_KEYS)
        if key.revoked_at is not None or (key.retired_at is not None and "retired_at" in change):
            raise SigningKeyError("it no longer counts already", where=f"key {key_id} of {key.name}")
        return TrustList(tuple(replace(k, **change) if k is key else k for k in self.keys))

    def encode(self) -> bytes:
        """Return the one form that a trust list has on disk."""
        rows = [{name: _plain(value) for name, value in asdict(key).items()} for key in self.keys]
        return canonical_json({"keys": rows, "version": TRUST_VERSION}, indent=2)


_LIST_KEYS = "see `stairways keys list`"


def read_trust(path: Path) -> TrustList:
    """Return the trust list in a file.

    Raises:
        SigningKeyError: If it is missing, damaged, or others than its owner may write it.
    """
    content = _read_guarded(path, _MOST_TRUST_BYTES, private=False)
    try:
        parsed = parse_json_object(content)
        rows = parsed["keys"] if parsed.get("version") == TRUST_VERSION else None
        trust = TrustList(tuple(_parse_row(row) for row in rows))  # type: ignore[union-attr]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise SigningKeyError("is no trust list", where=str(path), remedy="restore it from a copy") from error
    if trust.encode() != content:
        raise SigningKeyError("is no trust list in its canonical form", where=str(path), remedy=_USE_KEYS)
    return trust


_USE_KEYS = "change it by `stairways keys` alone"


def write_trust(path: Path, trust: TrustList) -> None:
    """Write a trust list in one piece.

    Raises:
        StorageError: If it can't be written; what stood there stays.
    """
    write_bytes_atomic(path, trust.encode())


def _parse_row(row: dict[str, Any]) -> TrustedKey:
    if set(row) != {field.name for field in fields(TrustedKey)}:
        raise ValueError("unknown or missing fields")
    public = bytes.fromhex(row["public"])
    if len(public) != PUBLIC_BYTES or key_id_of(public) != row["key_id"]:
        raise ValueError("a key that is not the one its name says")
    instants = {name: _instant(row[name]) for name in ("added_at", "retired_at", "revoked_at")}
    if instants["added_at"] is None:
        raise ValueError("a key that was never added")
    return TrustedKey(**(row | instants))


def _instant(text: str | None) -> dt.datetime | None:
    if text is None:
        return None
    instant = dt.datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise ValueError(f"{text} has no time zone")
    return instant


def _plain(value: object) -> object:
    return value.astimezone(dt.UTC).isoformat() if isinstance(value, dt.datetime) else value


def _read_guarded(path: Path, most_bytes: int, *, private: bool) -> bytes:
    """Read a small file whose rights say that only its owner could have written it, or read it too."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError as error:
        raise storage_error(error, path) from error
    try:
        _check_rights(path, os.fstat(descriptor), private=private)
        with os.fdopen(descriptor, "rb", closefd=False) as stream:
            return stream.read(most_bytes)
    finally:
        os.close(descriptor)


def _check_rights(path: Path, status: os.stat_result, *, private: bool) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise SigningKeyError("is no regular file", where=str(path))
    if status.st_uid in (os.geteuid(), 0) and not status.st_mode & (0o077 if private else 0o022):
        return
    rights = f"(rights {stat.S_IMODE(status.st_mode):o}, owner {status.st_uid})"
    if private:
        raise SigningKeyError(
            f"others than its owner may read or write it {rights}",
            where=str(path),
            remedy="chmod 600 it, and make a new key if somebody may have read it",
        )
    raise SigningKeyError(
        f"others than its owner may write it {rights}",
        where=str(path),
        remedy="chmod 644 it, and check what it says",
    )
