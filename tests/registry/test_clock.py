"""A clock that had run ahead: what was written then, and how it goes on when the clock is right again."""

from __future__ import annotations

import datetime as dt

import pytest
from sqlalchemy import delete, select, update

from registries import NOON, WEEK, Workplace, candidate_of, gold_artifact, workplace
from stairways.errors import SignatureError, StorageError
from stairways.registry.connection import writing
from stairways.registry.history_records import Stage
from stairways.registry.keys import SigningKey
from stairways.registry.schema import AuditHead, AuditLog
from stairways.registry.stories import differences

GOLD = gold_artifact()
FIRST, SECOND = candidate_of(GOLD), candidate_of(GOLD, 1)
AHEAD = NOON.replace(year=2031)
REASON = "the time server was wrong until noon"


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request, tmp_path) -> Workplace:
    """Gold went live at noon; the first while the clock stood in 2031."""
    url = request.getfixturevalue("postgres_url") if request.param == "postgresql" else None
    made = workplace(tmp_path, url=url)
    made.drilled()
    made.promote(GOLD.digest, Stage.GOLD)
    made.add(FIRST)
    made.add(SECOND)
    back = made.clock.at
    made.clock.at = AHEAD
    made.drilled()
    assert made.promote(FIRST.digest).promoted
    made.clock.at = back
    yield made
    made.registry.close()


def corrected(place: Workplace):
    return place.registry.correct_clock("ann", REASON, place.key)


def test_until_it_is_said_nothing_goes_on(place):
    with pytest.raises(StorageError, match=r"the last row is of 2031.*stairways audit clock"):
        place.promote(SECOND.digest)
    assert place.registry.store.champion() == FIRST.digest


def test_when_it_is_said_all_goes_on(place):
    entry = corrected(place)
    assert (entry.action, entry.actor, entry.details["reason"]) == ("clock.corrected", "ann", REASON)
    assert entry.details["last_at"].startswith("2031-07-01T12:00")
    registry = place.registry
    assert registry.verify_audit() == ()
    assert differences(registry) == ()
    assert place.promote(SECOND.digest).promoted
    assert registry.verify_audit() == ()
    assert differences(registry) == ()


def test_what_was_live_is_told_from_the_present_on(place):
    before = place.clock.at
    at = corrected(place).at
    history = place.registry.history
    assert history.live_at(before).model_id == GOLD.digest
    assert history.live_at(at).model_id == FIRST.digest
    assert history.live_at(AHEAD + WEEK).model_id == FIRST.digest
    gold, first = history.tenures()
    assert (gold.ended_at, first.began_at, first.ended_at) == (at, at, None)
    # the promotion keeps what was written down
    (promotion,) = history.promotions(FIRST.digest)
    assert promotion.at.year == 2031


def test_a_drill_from_the_time_ahead_stands_in_no_ones_way(place):
    corrected(place)
    place.drilled()
    place.clock.at += WEEK / 2
    assert place.promote(SECOND.digest).promoted


def test_there_is_nothing_to_correct_where_the_clock_is_right(place):
    corrected(place)
    with pytest.raises(StorageError, match="no row is of a later instant"):
        corrected(place)


def test_a_key_that_does_not_count_corrects_nothing(place):
    with pytest.raises(SignatureError, match="does not count here"):
        place.registry.correct_clock("eve", REASON, SigningKey.new())
    with pytest.raises(StorageError, match="a name and a reason"):
        place.registry.correct_clock("ann", " ", place.key)


def test_a_correction_that_nobody_signed_is_found(place):
    """Whoever can write to the database can write a row; the signature is what they have not."""
    corrected(place)
    registry = place.registry
    last = registry.history.audit_head().seq
    with writing(registry.engine) as connection:
        connection.execute(delete(AuditLog).filter_by(seq=last))
        before = connection.execute(select(AuditLog.hash).filter_by(seq=last - 1)).scalar()
        connection.execute(update(AuditHead).values(seq=last - 1, hash=before, at=None))
    registry.history.note(place.clock(), "eve", "clock.corrected", "clock", {"reason": "none", "after": 1})
    (fault,) = registry.verify_audit()
    assert fault.seq == last
    assert "corrects the clock, and that does not count" in fault.what


def test_a_row_of_another_kind_that_runs_back_is_found(place):
    with writing(place.registry.engine) as connection:
        connection.execute(update(AuditHead).values(at=None))
    place.registry.history.note(place.clock(), "eve", "model.added", "x", {})
    (fault,) = place.registry.verify_audit()
    assert "stands before the row before it in time" in fault.what


def test_a_correction_by_a_key_that_was_revoked_counts_no_more(place):
    corrected(place)
    key_id = place.key.key_id
    place.registry.change_trust(
        lambda trust: trust.revoked(key_id, "stolen", place.clock()), "dora", "key.revoked", key_id
    )
    assert any("corrects the clock" in fault.what for fault in place.registry.verify_audit())


def test_a_later_jump_is_corrected_too(place):
    corrected(place)
    back = place.clock.at
    place.clock.at = AHEAD + dt.timedelta(days=1)
    place.drilled()
    assert place.promote(SECOND.digest).promoted
    place.clock.at = back + dt.timedelta(hours=1)
    at = corrected(place).at
    assert place.registry.history.live_at(at).model_id == SECOND.digest
    assert place.registry.verify_audit() == ()
    assert differences(place.registry) == ()
