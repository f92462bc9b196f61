"""The audit log: what happened to models, each row with the hash of the one before.

A row's hash covers all of the row and the hash before it, and one row of ``audit_head`` says where the log
ends. Whoever changes, deletes, inserts or reorders rows is found out by :func:`verify`, which names the row.
Whoever rewrites the whole log from there on, head and all, is found out by a head that was signed before and
kept elsewhere.

Rows follow each other in time. Where a clock had run ahead, a person who is trusted signs a row that says so
(:func:`correct_clock`), and the log goes on from the present.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from sqlalchemy import Connection, RowMapping, Select, insert, select, update

from stairways.errors import SignatureError, StorageError
from stairways.registry.canonical import JsonObject, canonical_json, plain_json
from stairways.registry.schema import AuditHead, AuditLog
from stairways.registry.signatures import Signature

if TYPE_CHECKING:
    from stairways.registry.keys import SigningKey, TrustedKey, TrustList

NO_HASH = "0" * 64
"""What stands before the first row."""
HEAD_DOMAIN = "stairways audit head"
CLOCK_DOMAIN = "stairways audit clock"
CLOCK_CORRECTED = "clock.corrected"
"""Action of the one kind of row that may stand before its predecessor in time."""
CLOCK_TOLERANCE = dt.timedelta(seconds=60)
"""How far a clock may have been set back since the last row."""

_ROW_DOMAIN = b"stairways audit row\n"
_ROWS_AT_ONCE = 1_000


@dataclass(frozen=True)
class AuditEntry:
    """One row.

    Attributes:
        seq: From 1, without a gap.
        at: When, aware.
        actor: Who: a person, or the part of the product that acted.
        action: What, as ``noun.verb``.
        subject: To what: the digest of an artifact, the name of a key.
        details: Anything else, JSON.
        previous_hash: Hash of the row before.
        hash: SHA-256 of all of this, in hex.
    """

    seq: int
    at: dt.datetime
    actor: str
    action: str
    subject: str
    details: JsonObject
    previous_hash: str
    hash: str

    def expected_hash(self) -> str:
        """Return the hash that this row should have."""
        content = {
            "action": self.action,
            "actor": self.actor,
            "at": self.at.astimezone(dt.UTC).isoformat(),
            "details": self.details,
            "previous_hash": self.previous_hash,
            "seq": self.seq,
            "subject": self.subject,
        }
        return hashlib.sha256(_ROW_DOMAIN + canonical_json(content)).hexdigest()


@dataclass(frozen=True)
class Head:
    """Where the log ends, or ended when somebody signed it.

    Attributes:
        seq: Last row, 0 for none.
        hash: Its hash.
    """

    seq: int
    hash: str

    def encode(self) -> bytes:
        """Return the bytes that are signed."""
        return canonical_json({"hash": self.hash, "seq": self.seq})


@dataclass(frozen=True)
class SignedHead:
    """A head with a signature, to be kept where the database's owner can't reach.

    Attributes:
        head: Where the log ended.
        signature: Whose word it is.
    """

    head: Head
    signature: Signature

    @classmethod
    def of(cls, head: Head, key: SigningKey, at: dt.datetime) -> Self:
        """Sign a head."""
        return cls(head, Signature.of(HEAD_DOMAIN, head.encode(), key, at))

    def as_record(self) -> JsonObject:
        """Return it as JSON."""
        return {"hash": self.head.hash, "seq": self.head.seq, "signature": self.signature.as_record()}

    @classmethod
    def parse(cls, record: Any, where: str) -> Self:
        """Return the signed head in a JSON object.

        Raises:
            SignatureError: If it is none.
        """
        try:
            head = Head(int(record["seq"]), str(record["hash"]))
            found = cls(head, Signature.parse(record["signature"], where))
            if found.as_record() != record:
                raise ValueError("it is not in its canonical form")  # noqa: TRY301
        except (ValueError, TypeError, KeyError) as error:
            raise SignatureError(f"is no signed head of an audit log: {error}", where=where) from error
        return found

    def verify(self, trust: TrustList, *, where: str, now: dt.datetime) -> TrustedKey:
        """Return whose word it is.

        Raises:
            SignatureError: If it is nobody's who counts.
        """
        return self.signature.verify(HEAD_DOMAIN, self.head.encode(), trust, where=where, now=now)


@dataclass(frozen=True)
class Fault:
    """Something that is not as it was written.

    Attributes:
        seq: The row.
        what: What is wrong with it.
    """

    seq: int
    what: str


def append(
    connection: Connection, *, at: dt.datetime, actor: str, action: str, subject: str, details: JsonObject
) -> AuditEntry:
    """Add a row, in the caller's write transaction.

    Raises:
        StorageError: If the clock stands before the last row's, or ``details`` has no JSON form.
    """
    head = _locked_end(connection)
    if head["at"] is not None and at < head["at"] - CLOCK_TOLERANCE:
        raise StorageError(
            f"the clock says {at.isoformat()}, and the last row is of {head['at'].isoformat()}",
            where="audit log",
            remedy="set the clock; if it is right and had run ahead, say so: `stairways audit clock`",
        )
    return _added(connection, head, at, actor, action, subject, details)


def correct_clock(
    connection: Connection, *, at: dt.datetime, actor: str, reason: str, details: JsonObject, key: SigningKey
) -> AuditEntry:
    """Say that the clock had run ahead when the last row was written: the log goes on from the present.

    Args:
        connection: In the caller's write transaction.
        at: What the clock says now.
        actor: Who says so.
        reason: Why.
        details: Anything else, JSON.
        key: The key of somebody who is trusted.

    Raises:
        StorageError: If the clock does not stand before the last row, so that nothing needs to be corrected.
    """
    head = _locked_end(connection)
    if head["at"] is None or at >= head["at"] - CLOCK_TOLERANCE:
        raise StorageError(
            f"the clock says {at.isoformat()}, and no row is of a later instant",
            where="audit log",
            remedy="there is nothing to correct",
        )
    said = details | {"after": head["seq"], "last_at": head["at"].isoformat(), "reason": reason}
    signature = Signature.of(CLOCK_DOMAIN, _clock_content(actor, at, head["hash"], said), key, at)
    said |= {"signature": signature.as_record()}
    return _added(connection, head, at, actor, CLOCK_CORRECTED, "clock", said)


def _clock_content(actor: str, at: dt.datetime, previous_hash: str, details: JsonObject) -> bytes:
    content = {
        "actor": actor,
        "at": at.astimezone(dt.UTC).isoformat(),
        "details": {name: value for name, value in details.items() if name != "signature"},
        "previous_hash": previous_hash,
    }
    return canonical_json(content)


def _locked_end(connection: Connection) -> RowMapping:
    """Return the row that says where the log ends: it is the lock, two can't both add behind one row."""
    head = connection.execute(select(AuditHead.__table__).with_for_update()).mappings().one_or_none()
    if head is None:
        raise StorageError("its end is lost", where="audit log", remedy="restore the database from a backup")
    return head


def _added(
    connection: Connection,
    head: RowMapping,
    at: dt.datetime,
    actor: str,
    action: str,
    subject: str,
    details: JsonObject,
) -> AuditEntry:
    try:
        plain: JsonObject = plain_json(details)
    except ValueError as error:
        raise StorageError(str(error), where=f"audit log, {action}") from error
    unsealed = AuditEntry(head["seq"] + 1, at, actor, action, subject, plain, head["hash"], "")
    entry = AuditEntry(**{**vars(unsealed), "hash": unsealed.expected_hash()})
    connection.execute(insert(AuditLog).values(vars(entry)))
    connection.execute(update(AuditHead).values(seq=entry.seq, hash=entry.hash, at=at))
    return entry


def head_of(connection: Connection) -> Head:
    """Return where the log says it ends.

    Raises:
        StorageError: If that was lost.
    """
    row = connection.execute(select(AuditHead.seq, AuditHead.hash)).one_or_none()
    if row is None:
        raise StorageError("its end is lost", where="audit log", remedy="restore the database from a backup")
    return Head(*row)


def entries(
    connection: Connection, *, subject: str | None = None, last: int | None = None
) -> tuple[AuditEntry, ...]:
    """Return rows in order: all, those about one subject, or the last so many."""
    query = select(AuditLog.__table__).order_by(AuditLog.seq.desc())
    if subject is not None:
        query = query.filter_by(subject=subject)
    if last is not None:
        query = query.limit(last)
    return tuple(AuditEntry(**row) for row in connection.execute(query).mappings())[::-1]


def verify(
    connection: Connection, signed: Iterable[Head] = (), trust: TrustList | None = None
) -> tuple[Fault, ...]:
    """Return every fault of the log; none means that it is as it was written.

    Args:
        connection: A connection that reads one state of the database.
        signed: Heads of this log that were signed once, and whose signatures were checked.
        trust: Who may say that the clock had run ahead; by default nobody.
    """
    known = {head.seq: head.hash for head in signed}
    faults, expected, before = [], 1, NO_HASH
    latest: dt.datetime | None = None
    seen: dict[int, str] = {0: NO_HASH}
    for entry in _stream(connection):
        faults += [Fault(seq, "is missing") for seq in range(expected, entry.seq)]
        if isinstance(entry, Fault):
            faults.append(entry)
            expected, before = entry.seq + 1, ""
            continue
        if entry.hash != entry.expected_hash():
            faults.append(Fault(entry.seq, "was changed: its hash is not that of its content"))
        if entry.seq == expected and before and entry.previous_hash != before:
            faults.append(Fault(entry.seq, "does not follow from the row before it"))
        before_its_time = latest is not None and entry.at < latest - CLOCK_TOLERANCE
        if before_its_time or entry.action == CLOCK_CORRECTED:
            faults += _faults_of_clock(entry, trust)
        latest = entry.at
        if entry.seq in known:
            seen[entry.seq] = entry.hash
        expected, before = entry.seq + 1, entry.hash
    head = connection.execute(select(AuditHead.seq, AuditHead.hash)).one_or_none()
    faults += _faults_of_end(expected - 1, before, None if head is None else Head(*head))
    faults += [
        Fault(seq, "is not the row that was signed" if seq in seen else "was signed and is missing")
        for seq, digest in known.items()
        if seen.get(seq) != digest
    ]
    return tuple(faults)


def _faults_of_clock(entry: AuditEntry, trust: TrustList | None) -> list[Fault]:
    """Return what is wrong with a row that stands before its predecessor in time, or lets others do so."""
    if entry.action != CLOCK_CORRECTED:
        return [Fault(entry.seq, "stands before the row before it in time, and nobody signed for that")]
    content = _clock_content(entry.actor, entry.at, entry.previous_hash, entry.details)
    where = f"audit row {entry.seq}"
    try:
        signature = Signature.parse(entry.details.get("signature"), where)
        if trust is None:
            raise SignatureError("nobody is trusted", where=where)  # noqa: TRY301
        signature.verify(CLOCK_DOMAIN, content, trust, where=where, now=None)
    except SignatureError as error:
        return [Fault(entry.seq, f"corrects the clock, and that does not count: {error.what}")]
    return []


def _faults_of_end(last: int, last_hash: str, head: Head | None) -> list[Fault]:
    if head is None:
        return [Fault(last, "is the last, and the log's end is lost")]
    if head.seq > last:
        return [Fault(seq, "is missing") for seq in range(last + 1, head.seq + 1)]
    if head.seq < last:
        return [Fault(seq, "was inserted behind the log's end") for seq in range(head.seq + 1, last + 1)]
    return [] if last_hash in (head.hash, "") else [Fault(last, "is not the row that the log's end names")]


def _stream(connection: Connection) -> Iterator[AuditEntry | Fault]:
    """Yield every row in order; one whose fields can't even be read as a fault."""
    last = 0
    while seqs := connection.execute(_seqs_behind(last)).scalars().all():
        last = seqs[-1]
        try:
            yield from _rows(connection, seqs[0], last)
        except _UNREADABLE:
            for seq in seqs:
                try:
                    yield from _rows(connection, seq, seq)
                except _UNREADABLE:
                    yield Fault(seq, "was changed: it can't be read")


_UNREADABLE = (ValueError, TypeError, AttributeError)


def _seqs_behind(last: int) -> Select[int]:
    return select(AuditLog.seq).where(AuditLog.seq > last).order_by(AuditLog.seq).limit(_ROWS_AT_ONCE)


def _rows(connection: Connection, first: int, last: int) -> list[AuditEntry]:
    query = select(AuditLog.__table__).where(AuditLog.seq.between(first, last)).order_by(AuditLog.seq)
    found = [AuditEntry(**row) for row in connection.execute(query).mappings()]
    for entry in found:
        canonical_json(entry.details)
    return found
