import datetime as dt

import pytest
from sqlalchemy import delete, insert, select, text, update

from registries import HOUR, NOON, trusting
from stairways.errors import SignatureError, StorageError
from stairways.registry import audit
from stairways.registry.audit import AuditEntry, Fault, Head, SignedHead
from stairways.registry.connection import make_engine, prepare, reading, sqlite_url, writing
from stairways.registry.keys import SigningKey
from stairways.registry.schema import AuditHead, AuditLog

N = 12


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request, tmp_path):
    sqlite = request.param == "sqlite"
    url = sqlite_url(tmp_path / "gate.db") if sqlite else request.getfixturevalue("postgres_url")
    engine = make_engine(url)
    prepare(engine)
    yield engine
    engine.dispose()


def add(engine, number: int, at: dt.datetime | None = None) -> AuditEntry:
    with writing(engine) as connection:
        return audit.append(
            connection,
            at=at or NOON + number * HOUR,
            actor=f"person {number}",
            action="model.promoted",
            subject=f"{number:064x}",
            details={"n": number, "share": 0.1 + 0.2, "words": ["é", None, True]},
        )


@pytest.fixture
def log(engine):
    """Twelve rows."""
    for number in range(N):
        add(engine, number)
    return engine


def faults(engine, signed=()) -> tuple[Fault, ...]:
    with reading(engine) as connection:
        return audit.verify(connection, signed)


def change(engine, *statements) -> None:
    with writing(engine) as connection:
        for statement in statements:
            connection.execute(text(statement) if isinstance(statement, str) else statement)


def test_an_empty_log_is_whole(engine):
    assert faults(engine) == ()
    with reading(engine) as connection:
        assert audit.head_of(connection) == Head(0, "0" * 64)
        assert audit.entries(connection) == ()


def test_rows_come_back_and_are_whole(log):
    assert faults(log) == ()
    with reading(log) as connection:
        found = audit.entries(connection)
        assert [entry.seq for entry in found] == list(range(1, N + 1))
        assert found[4].details == {"n": 4, "share": 0.1 + 0.2, "words": ["é", None, True]}
        assert found[4].at == NOON + 4 * HOUR
        assert [a.hash for a in found[:-1]] == [b.previous_hash for b in found[1:]]
        assert audit.head_of(connection) == Head(N, found[-1].hash)
        assert audit.entries(connection, last=3) == found[-3:]
        assert audit.entries(connection, subject=f"{4:064x}") == found[4:5]


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("at", "'2025-01-01 00:00:00.000000'"),
        ("at", "'yesterday'"),
        ("actor", "'nobody'"),
        ("action", "'model.renamed'"),
        ("subject", f"'{'f' * 64}'"),
        ("details", "'{}'"),
        ("details", "'{'"),
        ("details", "'{\"n\": NaN}'"),
        ("previous_hash", f"'{'f' * 64}'"),
        ("hash", f"'{'f' * 64}'"),
    ],
)
@pytest.mark.parametrize("seq", [1, 5, N])
def test_a_changed_row_is_found(log, seq, column, value):
    statement = f"UPDATE audit_log SET {column} = {value} WHERE seq = {seq}"  # noqa: S608
    try:
        change(log, statement)
    except StorageError:
        # PostgreSQL takes nothing that is no JSON or no instant
        assert log.dialect.name == "postgresql"
        assert faults(log) == ()
        return
    found = faults(log)
    assert found
    assert found[0].seq == seq
    assert "was changed" in found[0].what


@pytest.mark.parametrize("seq", range(1, N + 1))
def test_a_deleted_row_is_found(log, seq):
    change(log, delete(AuditLog).where(AuditLog.seq == seq))
    assert Fault(seq, "is missing") in faults(log)


def test_a_log_without_its_end_is_found(log):
    change(log, delete(AuditLog).where(AuditLog.seq > 9))
    assert faults(log) == tuple(Fault(seq, "is missing") for seq in (10, 11, 12))


def row(engine, seq: int) -> dict:
    with reading(engine) as connection:
        query = select(AuditLog.__table__).where(AuditLog.seq == seq)
        return dict(connection.execute(query).mappings().one())


def test_an_inserted_row_is_found(log):
    forged = AuditEntry(**(row(log, N) | {"seq": N + 1, "previous_hash": row(log, N)["hash"]}))
    sealed = vars(forged) | {"hash": forged.expected_hash()}
    change(log, insert(AuditLog).values(sealed))
    assert faults(log) == (Fault(N + 1, "was inserted behind the log's end"),)


def test_a_row_put_between_two_is_found(log):
    """Later rows move up by one, as they would have to."""
    change(
        log,
        "UPDATE audit_log SET seq = -seq - 1 WHERE seq > 5",
        "UPDATE audit_log SET seq = -seq WHERE seq < 0",
        insert(AuditLog).values(row(log, 5) | {"seq": 6}),
    )
    found = {fault.seq for fault in faults(log)}
    assert 6 in found
    assert set(range(7, N + 2)) <= found


def test_exchanged_rows_are_found(log):
    change(
        log,
        "UPDATE audit_log SET seq = -1 WHERE seq = 4",
        "UPDATE audit_log SET seq = 4 WHERE seq = 8",
        "UPDATE audit_log SET seq = 8 WHERE seq = -1",
    )
    assert {4, 8} <= {fault.seq for fault in faults(log)}


def test_a_changed_or_lost_end_is_found(log):
    change(log, update(AuditHead).values(hash="f" * 64))
    assert faults(log) == (Fault(N, "is not the row that the log's end names"),)
    change(log, delete(AuditHead))
    assert faults(log) == (Fault(N, "is the last, and the log's end is lost"),)
    with pytest.raises(StorageError, match="its end is lost"):
        add(log, N)
    with reading(log) as connection, pytest.raises(StorageError, match="its end is lost"):
        audit.head_of(connection)


def rewritten(engine, seq: int) -> None:
    """Change one row, and every hash behind it, and the end, as somebody with the code could."""
    rows = [row(engine, number) for number in range(seq, N + 1)]
    rows[0]["actor"] = "nobody"
    before = rows[0]["previous_hash"]
    for values in rows:
        values["previous_hash"] = before
        before = values["hash"] = AuditEntry(**values).expected_hash()
        change(engine, update(AuditLog).where(AuditLog.seq == values["seq"]).values(values))
    change(engine, update(AuditHead).values(hash=before))


def test_a_log_rewritten_whole_is_found_by_a_head_that_was_signed(log, tmp_path):
    key = SigningKey.new()
    with reading(log) as connection:
        signed = SignedHead.of(audit.head_of(connection), key, NOON)
    assert faults(log, [signed.head]) == ()
    rewritten(log, 7)
    assert faults(log) == ()
    assert faults(log, [signed.head]) == (Fault(N, "is not the row that was signed"),)
    change(log, delete(AuditLog).where(AuditLog.seq == N), update(AuditHead).values(row_of_head(log, N - 1)))
    assert faults(log) == ()
    assert faults(log, [signed.head]) == (Fault(N, "was signed and is missing"),)


def row_of_head(engine, seq: int) -> dict:
    return {"seq": seq, "hash": row(engine, seq)["hash"]}


def test_a_signed_head_is_believed_by_its_signature_alone(tmp_path):
    key = SigningKey.new()
    signed = SignedHead.of(Head(3, "a" * 64), key, NOON)
    found = SignedHead.parse(signed.as_record(), "here")
    assert found == signed
    assert found.verify(trusting(key), where="here", now=NOON).key_id == key.key_id
    changed = SignedHead.parse(signed.as_record() | {"seq": 4}, "here")
    with pytest.raises(SignatureError, match="does not fit"):
        changed.verify(trusting(key), where="here", now=NOON)
    with pytest.raises(SignatureError, match="no signed head"):
        SignedHead.parse({"seq": 3}, "here")


def test_a_clock_that_was_set_back_is_refused(log):
    last = NOON + (N - 1) * HOUR
    add(log, N, last - dt.timedelta(seconds=60))
    with pytest.raises(StorageError, match="set the clock"):
        add(log, N, last - dt.timedelta(seconds=121))
    assert faults(log) == ()


def test_what_has_no_json_form_is_refused(engine):
    with pytest.raises(StorageError, match=r"model\.promoted"), writing(engine) as connection:
        audit.append(
            connection, at=NOON, actor="a", action="model.promoted", subject="s", details={"x": float("nan")}
        )
    assert faults(engine) == ()


def test_a_transaction_that_fails_leaves_no_row(engine):
    with pytest.raises(RuntimeError), writing(engine) as connection:
        audit.append(connection, at=NOON, actor="a", action="b", subject="c", details={})
        raise RuntimeError
    assert faults(engine) == ()
    add(engine, 0)
    assert faults(engine) == ()


def test_rows_are_read_in_parts(engine, monkeypatch):
    monkeypatch.setattr(audit, "_ROWS_AT_ONCE", 5)
    for number in range(N):
        add(engine, number)
    assert faults(engine) == ()
    change(engine, "UPDATE audit_log SET actor = 'never' WHERE seq = 7")
    assert [fault.seq for fault in faults(engine)] == [7]
    if engine.dialect.name == "sqlite":
        change(engine, "UPDATE audit_log SET at = 'never' WHERE seq = 7")
        assert [fault.seq for fault in faults(engine)] == [7]
