"""The registry: store, history, journal and clock together, as every command opens them."""

from __future__ import annotations

import datetime as dt
import secrets
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from sqlalchemy import Engine

from stairways.errors import SignatureError, StorageError
from stairways.registry.audit import AuditEntry, Fault, SignedHead
from stairways.registry.canonical import canonical_json
from stairways.registry.connection import make_engine, prepare, sqlite_url
from stairways.registry.files import read_json_object, storage_error, write_bytes_atomic
from stairways.registry.history import ModelHistory
from stairways.registry.history_records import Stage
from stairways.registry.identity import FIND_DATABASE, bind
from stairways.registry.journal import Journal
from stairways.registry.keys import SigningKey, TrustList
from stairways.registry.records import ModelRecord
from stairways.registry.signatures import TrustedArtifact
from stairways.registry.store import Store
from stairways.registry.trust_changes import change_trust

DATABASE_FILE = "gate.db"
HEADS_FOLDER = "audit-heads"

Clock = Callable[[], dt.datetime]


class Registry:
    """Everything that is known about models.

    Args:
        root: Its folder.
        engine: Its database, with a current schema; or why there is none.
        clock: Tells the time, aware.
    """

    def __init__(self, root: Path, engine: Engine | StorageError, clock: Clock) -> None:
        self.root = root
        self.clock = clock
        self.store = Store(root)
        self.history = ModelHistory(engine)
        self.journal = Journal(root)
        self._database = engine

    @classmethod
    def create(cls, root: Path, clock: Clock, url: str | None = None) -> Self:
        """Make a registry; one that is there stays as it is.

        Raises:
            StorageError: If it can't be made, or the database is another registry's.
        """
        Store(root).create()
        engine = make_engine(url or sqlite_url(root / DATABASE_FILE))
        _prepare(engine, root, clock(), anew=True)
        return cls(root, engine, clock)

    @classmethod
    def open(cls, root: Path, clock: Clock, url: str | None = None, *, needs_database: bool = True) -> Self:
        """Open a registry; its database is migrated if need be, and never made anew.

        Args:
            root: Its folder.
            clock: Tells the time.
            url: Of the database; by default ``gate.db`` in the folder.
            needs_database: Whether to refuse when the database can't be used; a way back goes without it.

        Raises:
            StorageError: If the folder is no registry, or the database can't be used or is another's.
        """
        Store(root).require()
        try:
            return cls(root, _opened(root, url, clock()), clock)
        except StorageError as error:
            if needs_database:
                raise
            return cls(root, error, clock)

    @property
    def engine(self) -> Engine:
        """The database.

        Raises:
            StorageError: If there is none that can be used.
        """
        if isinstance(self._database, StorageError):
            raise self._database
        return self._database

    def close(self) -> None:
        """Close every connection."""
        if not isinstance(self._database, StorageError):
            self._database.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def read(self, digest: str, now: dt.datetime | None = None) -> TrustedArtifact:
        """Return an artifact of the store, verified; see :meth:`Store.read`."""
        return self.store.read(digest, now)

    def add(self, folder: Path, by: str) -> ModelRecord:
        """Take a signed artifact in; one that is known stays, under another's signature if it has one.

        Raises:
            SignatureError: If it is not signed by somebody who counts.
            ArtifactError: If it is damaged.
            StorageError: If it can't be stored.
        """
        taken = self.store.add(folder, self.clock())
        model, signer = self._record(taken.artifact, by), taken.artifact.signer
        if taken.replaced:
            details = {"key_id": signer.key_id, "signer": signer.name}
            self.history.note(self.clock(), by, "model.signed", model.model_id, details)
        return model

    def record(self, digest: str, by: str) -> ModelRecord:
        """Record an artifact that stands in the store; one that is known stays what it is.

        Raises:
            ArtifactError: If there is none, it is damaged or its signature no longer counts.
            StorageError: If it can't be recorded.
        """
        return self._record(self.read(digest), by)

    def _record(self, found: TrustedArtifact, by: str) -> ModelRecord:
        role = found.loaded.artifact.role
        record = ModelRecord(
            model_id=found.loaded.digest,
            model_path=str(self.store.place(found.loaded.digest)),
            performance=found.loaded.record,
            role=Stage.GOLD if role == "gold" else Stage.CANDIDATE,
            created_at=self.clock(),
        )
        return self.history.add(record, by)

    def resolve(self, name: str) -> str:
        """Return the digest that a name means: ``champion``, ``gold``, a digest, or its first digits.

        Raises:
            StorageError: If nothing or more than one thing is called that.
        """
        if name == "champion":
            champion = self.store.champion()
            if champion is None:
                raise StorageError("there is no champion yet", where=str(self.root))
            return champion
        models = self.history.models()
        if not name:
            found = []
        elif name == Stage.GOLD:
            found = [model.model_id for model in models if model.role == Stage.GOLD]
        else:
            found = [model.model_id for model in models if model.model_id.startswith(name)]
        if len(found) != 1:
            many = f"{len(found)} models" if found else "no model"
            raise StorageError(
                f"{many} called {name or 'nothing'}",
                where=str(self.root),
                remedy="see `stairways registry list`",
            )
        return found[0]

    def change_trust(
        self, change: Callable[[TrustList], TrustList], by: str, action: str, key_id: str
    ) -> None:
        """Change the trust list and note it in the audit log, or do neither.

        Raises:
            SigningKeyError: If the change makes no sense.
            StorageError: If it can't be written; see :func:`.trust_changes.change_trust`.
        """
        with self.store.lock():
            change_trust(self.store, self.history, self.clock, change, by, action, key_id)

    def sign_audit(self, key: SigningKey) -> SignedHead:
        """Sign where the audit log ends, and keep that beside the database; copies belong elsewhere.

        Raises:
            StorageError: If it can't be written.
        """
        signed = SignedHead.of(self.history.audit_head(), key, self.clock())
        folder = self.root / HEADS_FOLDER
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise storage_error(error, folder) from error
        place = folder / f"{signed.head.seq:012d}-{key.key_id}.json"
        write_bytes_atomic(place, canonical_json(signed.as_record(), indent=2))
        return signed

    def verify_audit(self, more: tuple[Path, ...] = ()) -> tuple[Fault, ...]:
        """Return every fault of the audit log, held against each head that was ever signed.

        Args:
            more: Files of signed heads that were kept elsewhere.

        Raises:
            SignatureError: If a head is not signed by somebody who counts: that is a fault too, and not one
                to go on with.
        """
        trust, now = self.store.trust(), self.clock()
        signed = []
        for path in (*sorted((self.root / HEADS_FOLDER).glob("*.json")), *more):
            record = read_json_object(path, remedy="restore it from a copy")
            head = SignedHead.parse(record, str(path))
            head.verify(trust, where=str(path), now=now)
            signed.append(head.head)
        by_row: dict[int, str] = {}
        for one in signed:
            if by_row.setdefault(one.seq, one.hash) != one.hash:
                raise SignatureError(
                    f"two heads of row {one.seq} are signed and differ", where=str(self.root / HEADS_FOLDER)
                )
        return self.history.verify_audit(signed, trust)

    def correct_clock(self, by: str, reason: str, key: SigningKey) -> AuditEntry:
        """Say, signed, that the clock had run ahead and is right now; see :meth:`ModelHistory.correct_clock`.

        Raises:
            SignatureError: If the key is not one that counts.
            StorageError: If nobody or nothing is named, or no row is of a later instant.
        """
        if not by.strip() or not reason.strip():
            raise StorageError("a correction needs a name and a reason", where="audit clock")
        known = self.store.trust().find(key.key_id)
        if known is None or known.revoked_at is not None or known.retired_at is not None:
            raise SignatureError(
                f"key {key.key_id} does not count here",
                where=str(self.store.trust_file),
                remedy="sign with a key that is trusted: `stairways keys list`",
            )
        with self.store.lock():
            return self.history.correct_clock(self.clock(), by, reason, key)


def _opened(root: Path, url: str | None, now: dt.datetime) -> Engine:
    place = root / DATABASE_FILE
    if url is None and not (place.is_file() and place.stat().st_size):
        # an empty one in its place would have forgotten what was live, and every latch
        raise StorageError(
            "its database is not there",
            where=str(place),
            remedy=FIND_DATABASE,
        )
    engine = make_engine(url or sqlite_url(place))
    _prepare(engine, root, now)
    return engine


def _prepare(engine: Engine, root: Path, now: dt.datetime, *, anew: bool = False) -> None:
    try:
        prepare(engine)
        bind(root, engine, now, anew=anew)
    except BaseException:
        engine.dispose()
        raise


def new_operation_id(at: dt.datetime) -> str:
    """Return a name for an operation; names sort by their instants."""
    return f"{at.astimezone(dt.UTC):%Y%m%dT%H%M%S.%f}-{secrets.token_hex(4)}"
