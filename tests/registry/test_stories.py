"""Link, database, journal and audit log tell one story, or `registry check` says which do not."""

import datetime as dt

import pytest
from rolling_back import rolled_back
from sqlalchemy import text

from registries import Workplace, candidate_of, gold_artifact, judged, workplace
from stairways.errors import StorageError
from stairways.registry.connection import writing
from stairways.registry.history_records import Stage
from stairways.registry.promotion import recover
from stairways.registry.upkeep import look_after

GOLD = gold_artifact()
FIRST, SECOND = candidate_of(GOLD), candidate_of(GOLD, 1)


@pytest.fixture
def place(tmp_path) -> Workplace:
    """Gold was live, the first is, the second could be."""
    made = workplace(tmp_path)
    made.drilled()
    made.promote(GOLD.digest, Stage.GOLD)
    assert made.promote(made.add(FIRST)).promoted
    made.add(SECOND)
    yield made
    made.registry.close()


def faults(place: Workplace) -> dict[str, str]:
    return {one.name: one.detail for one in look_after(place.registry) if not one.whole}


def sql(place: Workplace, *statements: str) -> None:
    with writing(place.registry.engine) as connection:
        for statement in statements:
            named = statement.replace(":first", FIRST.digest).replace(":second", SECOND.digest)
            connection.execute(text(named))


def test_all_is_well(place):
    assert faults(place) == {}
    assert place.promote(SECOND.digest, Stage.CHALLENGER).promoted
    assert faults(place) == {}


def test_a_champion_made_by_hand_is_found(place):
    """Link and rows agree; only the audit log knows of no promotion."""
    sql(
        place,
        "UPDATE model_registry SET is_production = 0, role = 'challenger' WHERE model_id = ':first'",
        "UPDATE model_registry SET is_production = 1, role = 'champion' WHERE model_id = ':second'",
        "UPDATE tenures SET model_id = ':second' WHERE is_open",
    )
    place.registry.store.swap(SECOND.digest)
    assert place.registry.verify_audit() == ()
    assert SECOND.digest[:12] in faults(place)["history"]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE model_registry SET role = 'gold' WHERE model_id = ':second'",
        "UPDATE model_registry SET role = 'challenger' WHERE model_id = ':second'",
        "UPDATE promotions SET authorized_by = 'mallory' WHERE stage_to = 'champion'",
        "UPDATE promotions SET reason = 'no reason' WHERE stage_to = 'champion'",
        "DELETE FROM promotions WHERE stage_to = 'gold'",
        "DELETE FROM tenures WHERE is_open",
        "UPDATE tenures SET began_at = '2020-01-01 00:00:00.000000' WHERE is_open",
        "UPDATE tenures SET put_by = 'mallory' WHERE is_open",
        "UPDATE tenures SET model_id = ':second' WHERE NOT is_open",
        "UPDATE drills SET passed = 0",
        "DELETE FROM drills",
        "INSERT INTO tenures (model_id, began_at, ended_at, is_open, put_by, cause, operation_id) "
        "SELECT model_id, began_at, ended_at, 0, put_by, cause, 'made up' FROM tenures WHERE NOT is_open",
    ],
)
def test_rows_changed_by_hand_are_found(place, statement):
    sql(place, statement)
    assert place.registry.verify_audit() == ()
    assert "history" in faults(place)


def test_a_model_that_is_let_out_of_quarantine_is_found(place):
    registry = place.registry
    rolled_back(place, FIRST.digest, GOLD.digest)
    assert faults(place) == {}
    (registry.root / "quarantine" / FIRST.digest).unlink()
    assert FIRST.digest[:12] in faults(place)["history"]
    registry.store.quarantine(FIRST.digest, "again")
    sql(place, "UPDATE model_registry SET role = 'challenger' WHERE model_id = ':first'")
    assert FIRST.digest[:12] in faults(place)["history"]


def test_a_latch_that_was_taken_away_is_found(place):
    rolled_back(place, FIRST.digest, GOLD.digest)
    place.registry.store.unlatch()
    assert "latch" in faults(place)["history"]


def test_a_link_that_is_gone_is_found(place):
    place.registry.store.link.unlink()
    assert FIRST.digest[:12] in faults(place)["champion"]


def test_a_promotion_that_was_killed_is_finished_although_other_rows_came_between(place, monkeypatch):
    """Killed behind the link; somebody adds a model an hour later, and follows it up then."""
    journal = place.registry.journal
    promote = place.registry.history.promote

    def killed(record, changes, swap):
        swap()
        raise KeyboardInterrupt

    monkeypatch.setattr(place.registry.history, "promote", killed)
    with pytest.raises(KeyboardInterrupt):
        place.promote(SECOND.digest)
    monkeypatch.setattr(place.registry.history, "promote", promote)
    place.clock.at += dt.timedelta(hours=1)
    place.add(candidate_of(GOLD, 2))
    assert len(journal.pending()) == 1
    recover(place.registry)
    assert journal.pending() == {}
    assert place.registry.verify_audit() == ()
    assert faults(place) == {}


def test_a_promotion_whose_commit_was_not_heard_of_is_told_alike(place, monkeypatch):
    """The server committed and the answer was lost: link and rows must agree all the same."""
    promote = place.registry.history.promote

    def unheard(record, changes, swap):
        promote(record, changes, swap)
        raise StorageError("the connection was lost")

    monkeypatch.setattr(place.registry.history, "promote", unheard)
    assert place.promote(SECOND.digest).promoted
    monkeypatch.setattr(place.registry.history, "promote", promote)
    recover(place.registry)
    assert faults(place) == {}


def test_a_promotion_that_slept_does_not_undo_a_rollback(place, monkeypatch):
    """A rollback waits for a promotion a while, then goes ahead; the promotion wakes up behind it."""
    swap = place.registry.store.swap
    woken = []

    def overtaken(digest):
        if digest == SECOND.digest and not woken:
            woken.append(digest)
        return swap(digest)

    journal = place.registry.journal
    write = journal.write

    def slept(name, record):
        write(name, record)
        if record["kind"] == "promotion":
            monkeypatch.setattr(journal, "write", write)
            monkeypatch.setattr("stairways.live.rollback.LOCK_SECONDS", 0.05)
            rolled_back(place, FIRST.digest, GOLD.digest)

    monkeypatch.setattr(journal, "write", slept)
    monkeypatch.setattr(place.registry.store, "swap", overtaken)
    with pytest.raises(StorageError, match="came between"):
        place.promote(SECOND.digest)
    assert place.registry.store.champion() == GOLD.digest
    assert journal.pending() == {}
    assert faults(place) == {}


@pytest.mark.parametrize("verdicts", [[{"passed": True}], ["net_return"], "all", [{"name": "x"}], {"a": 1}])
def test_a_record_with_odd_verdicts_did_not_pass(place, verdicts):
    digest = place.add(candidate_of(GOLD, 3), judged() | {"verdicts": verdicts})
    assert not place.promote(digest).promoted


def test_a_commit_that_can_not_be_asked_after_is_followed_up(place, monkeypatch):
    """The server committed, and is gone: the champion before stays until it can be asked."""
    history = place.registry.history
    promote, promotions = history.promote, history.promotions

    def unheard(record, changes, swap):
        promote(record, changes, swap)
        raise StorageError("the connection was lost")

    def lost(*_):
        raise StorageError("the connection was lost")

    monkeypatch.setattr(history, "promote", unheard)
    monkeypatch.setattr(history, "promotions", lost)
    with pytest.raises(StorageError):
        place.promote(SECOND.digest)
    assert place.registry.store.champion() == FIRST.digest
    monkeypatch.setattr(history, "promote", promote)
    monkeypatch.setattr(history, "promotions", promotions)
    recover(place.registry)
    assert place.registry.store.champion() == SECOND.digest
    assert faults(place) == {}
