"""OpenSSF: the same artifact signed in a format that other tools read, by the library model-signing.

A bundle is one file outside the artifact's folder. Its statement names the SHA-256 of every file of the
artifact; ``signature.json``, our own signature, is left out: it is no part of the artifact's identity, and
who signs with an own key after that shall not break the bundle. What verifies here does not ask the trust
list: it believes the one public key that it is given.

The library takes the curves P-256, P-384 and P-521 for plain keys and no Ed25519, so a bundle needs a key of
its own. It works on a private copy of what was read, so that nothing can change between its look and ours.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Self

from stairways.errors import ConfigError, SignatureError, SigningKeyError, StorageError
from stairways.registry.artifact import MAX_FILE_BYTES, LoadedArtifact, load_artifact
from stairways.registry.canonical import parse_json_object
from stairways.registry.files import FolderSnapshot, as_storage_error, read_folder, write_bytes_atomic
from stairways.registry.keys import read_private_bytes, write_key_pair
from stairways.registry.manifest import ALL_FILES, SIGNATURE_FILE, check_folder

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

BUNDLE_SUFFIX = ".sig"
CURVES = ("secp256r1", "secp384r1", "secp521r1")

_STATEMENT = "https://model_signing/signature/v1.0"
_MOST_BYTES = 1024**2
_SHOWN_DIGITS = 16
_NEW_KEY = "make one with `stairways keys new FILE --openssf`"
_SIGN_AGAIN = "sign the artifact anew with `stairways sign --openssf`"


def bundle_beside(folder: Path) -> Path:
    """Return where an artifact's bundle stands by default: ``FOLDER.sig``, beside the folder."""
    place = folder.resolve() if folder.name in ("", "..") else folder
    return place.with_name(place.name + BUNDLE_SUFFIX)


def new_openssf_key(path: Path) -> tuple[str, Path]:
    """Write a fresh key of the curve P-256, and its public part beside it; needs no extra.

    Returns:
        The key's name, and the file of the public part.

    Raises:
        StorageError: If either file stands already or can't be written.
    """
    from cryptography.hazmat.primitives.asymmetric import ec

    private = ec.generate_private_key(ec.SECP256R1())
    beside = write_key_pair(private, path)
    return _hint_of(private.public_key())[:_SHOWN_DIGITS], beside


def sign_openssf(folder: Path, key_file: Path, bundle: Path) -> LoadedArtifact:
    """Sign an artifact in a bundle outside of its folder; a bundle that stands there gives way.

    Args:
        folder: The artifact.
        key_file: PEM file of an EC private key without a password, its owner's alone.
        bundle: Where the bundle shall stand.

    Returns:
        What was signed.

    Raises:
        ConfigError: If the extra is missing.
        ArtifactError: If anything in the artifact is damaged: what is not whole is not signed.
        SigningKeyError: If the key can't be used, or others than its owner may read the file.
        StorageError: If the bundle can't be written, stands inside the folder or would take the place of
            something that is no bundle.
    """
    library = _library()
    _check_private(key_file)
    snapshot = _read(folder)
    loaded = load_artifact(folder, snapshot)
    _check_place(folder, bundle)
    hashing = library.hashing.Config().set_ignored_paths(paths=[SIGNATURE_FILE], ignore_git_paths=False)
    signing = library.signing.Config().set_hashing_config(hashing)
    with _copied(folder, snapshot, ALL_FILES) as (copy, beside):
        made = beside / "bundle"
        signing.use_elliptic_key_signer(private_key=key_file).sign(copy, made)
        content = made.read_bytes()
    write_bytes_atomic(bundle, content)
    return loaded


def verify_openssf(folder: Path, public_key_file: Path, bundle: Path) -> LoadedArtifact:
    """Read an artifact that the owner of a key has signed in a bundle.

    Of what was signed by another the manifest alone is parsed.

    Args:
        folder: The artifact.
        public_key_file: PEM file of the public key that is believed.
        bundle: The bundle.

    Returns:
        What was signed, as it was read.

    Raises:
        ConfigError: If the extra is missing.
        SignatureError: If the bundle is none, of another key or other content, or leaves a file out.
        ArtifactError: If anything in the artifact is damaged, missing or unknown.
        SigningKeyError: If the public key can't be used.
        StorageError: If something can't be read.
    """
    library = _library()
    public, key = _read_public(public_key_file)
    signed = _Bundle.parse(_read_small(bundle), bundle)
    if signed.hint != _hint_of(key):
        raise SignatureError(
            f"signed by key {signed.hint[:_SHOWN_DIGITS]}, and {public_key_file} holds "
            f"{_hint_of(key)[:_SHOWN_DIGITS]}",
            where=str(bundle),
            remedy="name the public key of who signed it",
        )
    _check_coverage(signed.payload, bundle)
    snapshot = _read(folder)
    check_folder(folder, snapshot)
    with _copied(folder, snapshot, snapshot.contents) as (copy, beside):
        (beside / "public").write_bytes(public)
        (beside / "bundle").write_bytes(signed.content)
        _verify_copy(library, copy, beside, bundle)
    return load_artifact(folder, snapshot)


@dataclass(frozen=True)
class _Bundle:
    """A bundle, not yet believed: its bytes, the SHA-256 of the signer's public PEM and the statement."""

    content: bytes
    hint: str
    payload: bytes

    @classmethod
    def parse(cls, content: bytes, where: Path) -> Self:
        try:
            parsed = parse_json_object(content)
            hint = parsed["verificationMaterial"]["publicKey"]["hint"]
            # the library looks at the first signature alone
            [signature] = parsed["dsseEnvelope"]["signatures"]
            payload = _bytes_of(parsed["dsseEnvelope"]["payload"])
            _bytes_of(signature["sig"])
            if not isinstance(hint, str) or not hint:
                raise ValueError("it names no key")  # noqa: TRY301
        except (ValueError, TypeError, KeyError) as error:
            raise SignatureError(
                "is no OpenSSF bundle of one plain key that it names", where=str(where), remedy=_SIGN_AGAIN
            ) from error
        return cls(content, hint, payload)


def _bytes_of(text: str) -> bytes:
    """Decode base64 in its one form: the library overlooks foreign letters and unused bits."""
    decoded = base64.b64decode(text, validate=True)
    if base64.b64encode(decoded).decode("ascii") != text:
        raise ValueError("base64 in another form than its own")
    return decoded


def _verify_copy(library: Any, copy: Path, beside: Path, bundle: Path) -> None:
    from cryptography.exceptions import InvalidSignature

    verifying = library.verifying.Config()
    try:
        verifying.use_elliptic_key_verifier(public_key=beside / "public")
        verifying.verify(copy, beside / "bundle")
    except InvalidSignature as error:
        raise SignatureError(
            "the signature does not fit the statement", where=str(bundle), remedy=_SIGN_AGAIN
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        words = (str(error) or type(error).__name__).splitlines()[0]
        raise SignatureError(
            f"the bundle does not fit the artifact: {words}", where=str(bundle), remedy=_SIGN_AGAIN
        ) from error


def _check_coverage(payload: bytes, bundle: Path) -> None:
    """Refuse a statement that leaves files out: the library believes the signer's own list of them."""
    try:
        statement = parse_json_object(payload)
        predicate = statement["predicate"]
        kinds = (statement["predicateType"], predicate["serialization"]["method"])
        names = {resource["name"] for resource in predicate["resources"]}
    except (ValueError, KeyError, TypeError):
        kinds, names = ("", ""), set()
    if kinds != (_STATEMENT, "files"):
        raise SignatureError(
            "its statement does not list whole files in version 1.0", where=str(bundle), remedy=_SIGN_AGAIN
        )
    missing = sorted(set(ALL_FILES) - names)
    if missing:
        raise SignatureError(
            f"its statement leaves out {', '.join(missing)}", where=str(bundle), remedy=_SIGN_AGAIN
        )


def _library() -> Any:
    try:
        # as Any: it may be missing; it imports OpenSSL, which it does not ask for itself
        return import_module("model_signing")
    except ImportError as error:
        raise ConfigError(
            f"the OpenSSF format needs {error.name}, which is not installed",
            remedy='pip install "stairways[openssf]"',
        ) from error


def _read(folder: Path) -> FolderSnapshot:
    return read_folder(folder, (*ALL_FILES, SIGNATURE_FILE), max_file_bytes=MAX_FILE_BYTES)


def _read_small(path: Path) -> bytes:
    with as_storage_error(path), path.open("rb") as stream:
        return stream.read(_MOST_BYTES)


@contextmanager
def _copied(folder: Path, snapshot: FolderSnapshot, names: Iterable[str]) -> Iterator[tuple[Path, Path]]:
    """Give a copy under the folder's own name, and a place beside it; nobody else may enter either."""
    with as_storage_error(folder), TemporaryDirectory(prefix="stairways-") as made:
        copy = Path(made) / "artifact" / folder.resolve().name
        copy.mkdir(parents=True)
        for name in names:
            (copy / name).write_bytes(snapshot.contents[name])
        yield copy, Path(made)


def _check_place(folder: Path, bundle: Path) -> None:
    with as_storage_error(bundle):
        inside = bundle.resolve().is_relative_to(folder.resolve())
        stands = bundle.exists() or bundle.is_symlink()
    if inside:
        raise StorageError(
            "stands in the artifact's folder, which takes no more files",
            where=str(bundle),
            remedy=f"put it beside: {bundle_beside(folder)}",
        )
    if stands:
        try:
            _Bundle.parse(_read_small(bundle), bundle)
        except SignatureError as error:
            raise StorageError(
                "something that is no bundle stands there", where=str(bundle), remedy="choose another file"
            ) from error


def _check_private(path: Path) -> None:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        private = load_pem_private_key(read_private_bytes(path), password=None)
    except (ValueError, TypeError) as error:
        # the library's own words could repeat part of what it read
        raise SigningKeyError(
            "holds no private key that can be read", where=str(path), remedy=_NEW_KEY
        ) from error
    if not isinstance(private, EllipticCurvePrivateKey) or private.curve.name not in CURVES:
        raise SigningKeyError(f"the private key is not of {_CURVES}", where=str(path), remedy=_NEW_KEY)


_CURVES = "the curves P-256, P-384 or P-521"


def _read_public(path: Path) -> tuple[bytes, EllipticCurvePublicKey]:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    content = _read_small(path)
    try:
        public = load_pem_public_key(content)
    except (ValueError, TypeError) as error:
        raise SigningKeyError("holds no public key that can be read", where=str(path)) from error
    if not isinstance(public, EllipticCurvePublicKey) or public.curve.name not in CURVES:
        raise SigningKeyError(f"the public key is not of {_CURVES}", where=str(path))
    return content, public


def _hint_of(public: EllipticCurvePublicKey) -> str:
    """Return a bundle's name for a key: the SHA-256 of its PEM form."""
    from cryptography.hazmat.primitives import serialization as to

    return sha256(public.public_bytes(to.Encoding.PEM, to.PublicFormat.SubjectPublicKeyInfo)).hexdigest()
