"""The store: artifacts by digest, and the link that says which of them is live.

::

    REGISTRY/
      artifacts/DIGEST/     signed artifacts; none is ever changed
      champion              a link to one of them
      trust.json            whom we believe; trust.pending.json is there while that changes
      quarantine/DIGEST     models that never go live again, and why
      latched.json          there while promotions wait for a person
      .lock                 held while something is promoted or rolled back
      .rollback             held by whoever leads a way back; .watch and .drill likewise

The link is replaced in one step (``os.replace``) and the folder brought to the disk: readers see the old
champion or the new, never none.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from stairways.errors import ArtifactError, StorageError
from stairways.registry.artifact import MAX_FILE_BYTES
from stairways.registry.canonical import canonical_json
from stairways.registry.files import (
    read_folder,
    read_json_object,
    remove_stale,
    storage_error,
    sync_folder,
    write_bytes_atomic,
    write_folder_atomic,
)
from stairways.registry.keys import TrustList, read_trust, write_trust
from stairways.registry.manifest import ALL_FILES, MANIFEST_FILE, SIGNATURE_FILE, is_digest
from stairways.registry.signatures import TrustedArtifact, read_trusted, trusted

ARTIFACTS_FOLDER = "artifacts"
CHAMPION_LINK = "champion"
TRUST_FILE = "trust.json"
QUARANTINE_FOLDER = "quarantine"
LATCH_FILE = "latched.json"
LOCK_FILE = ".lock"
WATCH_LOCK = ".watch"
ROLLBACK_LOCK = ".rollback"
"""Held by whoever leads a way back, so that nobody takes it up beside; it never makes one wait."""
DRILL_LOCK = ".drill"
"""Held while a drill runs: only one that does not is put right by others."""
_HOLDERS = {
    DRILL_LOCK: "another `stairways rollback drill` runs",
    WATCH_LOCK: "another `stairways watch` watches it",
}
LOCK_SECONDS = 30.0
_LOCK_PAUSE_SECONDS = 0.01
_REPAIR = "remove it, then `stairways registry reconcile`"
_LINK_PREFIX, _LINK_SUFFIX = f".{CHAMPION_LINK}.", ".link"


@dataclass(frozen=True, eq=False)
class Intake:
    """An artifact that was taken in.

    Attributes:
        artifact: As it stands.
        replaced: Whether it took the place of one that no longer verified, or that another key had signed.
    """

    artifact: TrustedArtifact
    replaced: bool


class Store:
    """Artifacts on disk and the champion's link.

    Args:
        root: Folder of the registry.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.artifacts = root / ARTIFACTS_FOLDER
        self.link = root / CHAMPION_LINK
        self.trust_file = root / TRUST_FILE

    def create(self) -> None:
        """Make the folders and an empty trust list; what is there stays.

        Raises:
            StorageError: If they can't be made.
        """
        try:
            self.artifacts.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise storage_error(error, self.artifacts) from error
        if not self.trust_file.exists():
            write_trust(self.trust_file, TrustList())

    def require(self) -> None:
        """Refuse a folder that is no registry.

        Raises:
            StorageError: With how to make one.
        """
        if not self.artifacts.is_dir() or not self.trust_file.is_file():
            raise StorageError(
                "is no registry", where=str(self.root), remedy="make one with `stairways registry create`"
            )

    def trust(self) -> TrustList:
        """Return whom we believe.

        Raises:
            SigningKeyError: If the list is missing, damaged or open to others.
        """
        return read_trust(self.trust_file)

    def place(self, digest: str) -> Path:
        """Return where the artifact of a digest stands, or would.

        Raises:
            ArtifactError: If it is no digest.
        """
        if not is_digest(digest):
            raise ArtifactError(f"{digest!r} is no digest of an artifact", where=str(self.root))
        return self.artifacts / digest

    def add(self, folder: Path, now: datetime) -> Intake:
        """Take an artifact in: a copy of the very bytes that were verified.

        An artifact that is there already stays, unless it no longer verifies, or the copy is the same to the
        byte and another key signed it: then that takes its place. So a key can be exchanged before it is
        revoked.

        Raises:
            SignatureError: If it is not signed by somebody who counts.
            ArtifactError: If it is damaged.
            StorageError: If it can't be written.
        """
        snapshot = read_folder(folder, (*ALL_FILES, SIGNATURE_FILE), max_file_bytes=MAX_FILE_BYTES)
        found = trusted(folder, snapshot, self.trust(), now)
        place = self.place(found.loaded.digest)
        standing, stood = self._standing(place, now), place.exists()
        if standing is not None:
            same = _content_of(place / MANIFEST_FILE) == snapshot.contents[MANIFEST_FILE]
            if not same or standing.signer.key_id == found.signer.key_id:
                return Intake(standing, replaced=False)
        files = {name: snapshot.contents[name] for name in (*ALL_FILES, SIGNATURE_FILE)}
        write_folder_atomic(place, files, replace=stood)
        return Intake(read_trusted(place, self.trust(), now), replaced=stood)

    def read(self, digest: str, now: datetime | None = None) -> TrustedArtifact:
        """Return an artifact, every byte and its signature checked.

        Args:
            digest: Which.
            now: The present instant, to refuse a signature from the future; it was held against the clock
                when the artifact was taken in, and without one is not again.

        Raises:
            SignatureError: If its signature no longer counts.
            ArtifactError: If there is none, it is damaged, or it stands under another's name.
        """
        place = self.place(digest)
        if not place.is_dir():
            raise ArtifactError(
                "no such artifact", where=str(place), remedy="add it with `stairways registry add`"
            )
        found = read_trusted(place, self.trust(), now)
        if found.loaded.digest != digest:
            raise ArtifactError(
                f"holds the artifact {found.loaded.digest[:12]}",
                where=str(place),
                remedy="take a whole copy of the artifact",
            )
        return found

    def digests(self) -> tuple[str, ...]:
        """Return the digests of every artifact there is, sorted."""
        try:
            return tuple(sorted(path.name for path in self.artifacts.iterdir() if is_digest(path.name)))
        except OSError as error:
            raise storage_error(error, self.artifacts) from error

    def champion(self) -> str | None:
        """Return the digest that the link names, None before the first champion.

        Raises:
            StorageError: If it is no link of ours.
        """
        try:
            target = os.readlink(self.link)  # noqa: PTH115 - the text, unresolved; called for each request
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno == errno.EINVAL:
                raise StorageError("is no link", where=str(self.link), remedy=_REPAIR) from error
            raise storage_error(error, self.link) from error
        folder, _, digest = target.rpartition("/")
        if folder != ARTIFACTS_FOLDER or not is_digest(digest):
            raise StorageError(
                f"names {target}, no artifact of this registry",
                where=str(self.link),
                remedy=_REPAIR,
            )
        return digest

    def swap(self, digest: str) -> None:
        """Make an artifact the champion, in one step that no power cut undoes.

        Raises:
            ArtifactError: If there is no such artifact.
            StorageError: If the link can't be written; the old one stands then. If the folder alone can't be
                brought to the disk the new one does: :meth:`champion` says which.
        """
        if not self.place(digest).is_dir():
            raise ArtifactError("no such artifact", where=str(self.place(digest)))
        if self.is_quarantined(digest):
            raise ArtifactError(
                "it is quarantined for good", where=str(self.place(digest)), remedy="choose another model"
            )
        staged = self.root / f"{_LINK_PREFIX}{secrets.token_hex(8)}{_LINK_SUFFIX}"
        try:
            staged.symlink_to(f"{ARTIFACTS_FOLDER}/{digest}")
            try:
                staged.replace(self.link)
            except OSError:
                with suppress(OSError):
                    staged.unlink()
                raise
            sync_folder(self.root)
        except OSError as error:
            raise storage_error(error, self.link) from error

    def restore(self, digest: str | None) -> None:
        """Put back what was live before a swap that was taken back; None removes the link.

        Raises:
            StorageError: If the link can't be written.
        """
        if digest is not None:
            self.swap(digest)
            return
        try:
            self.link.unlink(missing_ok=True)
            sync_folder(self.root)
        except OSError as error:
            raise storage_error(error, self.link) from error

    def quarantine(self, digest: str, reason: str) -> None:
        """Bar a model for good; the file is what counts, whatever becomes of the database.

        Raises:
            StorageError: If it can't be written.
        """
        folder = self.root / QUARANTINE_FOLDER
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise storage_error(error, folder) from error
        write_bytes_atomic(folder / self.place(digest).name, canonical_json({"reason": reason}))

    def is_quarantined(self, digest: str) -> bool:
        """Return whether a model is barred.

        Raises:
            StorageError: If that can't be seen: no folder stands there, or the disk fails.
        """
        place = self.root / QUARANTINE_FOLDER / self.place(digest).name
        try:
            place.lstat()
        except FileNotFoundError:
            return False
        except OSError as error:
            raise storage_error(error, place) from error
        return True

    def quarantined(self) -> tuple[str, ...]:
        """Return the digests of every model that is barred, sorted.

        Raises:
            StorageError: If they can't be listed.
        """
        folder = self.root / QUARANTINE_FOLDER
        try:
            return tuple(sorted(path.name for path in folder.iterdir() if is_digest(path.name)))
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise storage_error(error, folder) from error

    def latch(self, operation_id: str, reason: str) -> None:
        """Make promotions wait until :meth:`unlatch`.

        Raises:
            StorageError: If it can't be written.
        """
        content = {"operation_id": operation_id, "reason": reason}
        write_bytes_atomic(self.root / LATCH_FILE, canonical_json(content))

    def unlatch(self) -> None:
        """Let promotions go on.

        Raises:
            StorageError: If it can't be written.
        """
        try:
            (self.root / LATCH_FILE).unlink(missing_ok=True)
            sync_folder(self.root)
        except OSError as error:
            raise storage_error(error, self.root / LATCH_FILE) from error

    def latched_by(self) -> str | None:
        """Return the name of the rollback after which promotions wait; None where that can't be told."""
        try:
            name = read_json_object(self.root / LATCH_FILE, remedy="").get("operation_id")
        except StorageError:
            return None
        return name if isinstance(name, str) else None

    @property
    def is_latched(self) -> bool:
        """Whether promotions wait."""
        return os.path.lexists(self.root / LATCH_FILE)

    def clean(self) -> None:
        """Remove what killed writers left; the caller holds the lock.

        Raises:
            StorageError: If it can't be removed.
        """
        for folder in (self.root, self.artifacts, self.root / QUARANTINE_FOLDER):
            remove_stale(folder)
        try:
            for staged in self.root.glob(f"{_LINK_PREFIX}*{_LINK_SUFFIX}"):
                staged.unlink(missing_ok=True)
        except OSError as error:
            raise storage_error(error, self.root) from error

    @contextmanager
    def lock(self, seconds: float = LOCK_SECONDS, name: str = LOCK_FILE) -> Iterator[None]:
        """Hold the registry for one writer, or one watch; the lock dies with its process.

        Args:
            seconds: How long to wait for another.
            name: Which lock.

        Raises:
            StorageError: If another held it all the time, or the folder can't be written.
        """
        place = self.root / name
        try:
            descriptor = os.open(place, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o644)
        except OSError as error:
            raise storage_error(error, place) from error
        try:
            _wait_for(descriptor, place, seconds, _HOLDERS.get(name))
            yield
        finally:
            os.close(descriptor)

    @contextmanager
    def lock_if_free(self, name: str) -> Iterator[bool]:
        """Hold a lock if nobody else does, and tell whether it is held; nobody is waited for.

        A folder that can't be written counts as held by another.
        """
        with ExitStack() as held:
            try:
                held.enter_context(self.lock(0.0, name))
                free = True
            except StorageError:
                free = False
            yield free

    def _standing(self, place: Path, now: datetime) -> TrustedArtifact | None:
        if not place.exists():
            return None
        try:
            return read_trusted(place, self.trust(), now)
        except ArtifactError:
            return None


def _content_of(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise storage_error(error, file) from error


def _wait_for(descriptor: int, place: Path, seconds: float, holder: str | None) -> None:
    until = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                raise StorageError(
                    holder or f"another process has held it for {seconds:g} s",
                    where=str(place if holder is None else place.parent),
                    remedy="stop that one first" if holder else "try again when it has finished",
                ) from None
            time.sleep(_LOCK_PAUSE_SECONDS)
        else:
            return
