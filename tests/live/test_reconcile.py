"""A database that was lost or restored: what the folder knows is written down again, and nothing else."""

from __future__ import annotations

import shutil

import pytest
from sqlalchemy import text
from test_rollback import FIRST, GOLD, SECOND, THIRD, Restarter, figures, order_of, second_live

from registries import Workplace
from stairways.errors import StorageError
from stairways.live.reconcile import reconcile
from stairways.live.rehearsal import put_back
from stairways.live.rollback import resume, roll_back
from stairways.monitoring.log_pager import LogPager
from stairways.registry import promotion as promotions
from stairways.registry.connection import writing
from stairways.registry.history_records import Stage
from stairways.registry.registry import Registry
from stairways.registry.stories import differences
from stairways.registry.upkeep import back_up, look_after

REASON = "the disk of the database was lost"


@pytest.fixture
def place(tmp_path) -> Workplace:
    made = second_live(tmp_path)
    yield made
    made.registry.close()


def pager(place: Workplace) -> LogPager:
    return LogPager(place.folder / "pages.jsonl")


def gone_back(place: Workplace, **changes):
    order = order_of(place, **({"target": FIRST.digest} | changes))
    return roll_back(place.registry, Restarter(), pager(place), order).as_record()


def reopened(place: Workplace, *, database=None) -> Workplace:
    """Lose the database, or put an older copy in its place."""
    root = place.registry.root
    place.registry.close()
    for file in root.glob("gate.db*"):
        file.unlink()
    if database is not None:
        shutil.copy(database, root / "gate.db")
    place.registry = Registry.create(root, place.clock)
    return place


def copied(place: Workplace, tmp_path):
    back_up(place.registry, tmp_path / "backup")
    return tmp_path / "backup/gate.db"


def said(place: Workplace) -> str:
    return "\n".join(reconcile(place.registry, "ann", REASON))


def tenures(place: Workplace) -> list[tuple]:
    return [(one.model_id, one.began_at, one.cause) for one in place.registry.history.tenures()]


def faults(place: Workplace) -> list[str]:
    return [f"{one.name}: {one.detail}" for one in look_after(place.registry) if not one.whole]


def test_where_all_agrees_nothing_is_written(place):
    before = place.registry.history.audit_head()
    assert reconcile(place.registry, "ann", REASON) == ()
    assert place.registry.history.audit_head() == before


def test_a_lost_database_is_made_again_from_the_folder(place):
    put_back(place.registry, gone_back(place, is_drill=True, target=GOLD.digest), "ann")
    gone_back(place)
    before = tenures(place)
    promoted = [one.operation_id for one in place.registry.history.promotions()]
    reopened(place)
    assert "is recorded again" in said(place)
    registry = place.registry
    assert [one.operation_id for one in registry.history.promotions()] == promoted
    # what a drill put back has its instant from its last step, a little earlier than it was
    assert [(model, cause) for model, _, cause in tenures(place)] == [(m, c) for m, _, c in before]
    assert [at for _, at, cause in tenures(place) if cause != "drill"] == [
        at for _, at, cause in before if cause != "drill"
    ]
    assert registry.store.champion() == FIRST.digest
    assert registry.history.find(SECOND.digest).role == Stage.QUARANTINED
    assert registry.history.find(FIRST.digest).is_production
    assert registry.history.latched()
    assert registry.store.is_latched
    assert faults(place) == []
    # and again it finds nothing
    assert said(place) == ""
    # all goes on, once a person resumed and a drill was gone again
    resume(registry, "ann", "reconciled")
    place.drilled()
    assert place.promote(place.add(THIRD, figures(1.0))).promoted
    assert differences(registry) == ()


def test_an_older_copy_is_brought_up_to_what_was_done_since(place, tmp_path):
    older = copied(place, tmp_path)
    gone_back(place)
    before = tenures(place)
    reopened(place, database=older)
    assert any("the link names" in line for line in faults(place))
    assert "rollback" in said(place)
    assert tenures(place) == before
    assert faults(place) == []


def test_a_resumed_rollback_latches_again_until_a_person_says_so(place, tmp_path):
    older = copied(place, tmp_path)
    gone_back(place)
    resume(place.registry, "ann", "mended")
    reopened(place, database=older)
    assert "promotions wait after" in said(place)
    assert place.registry.store.is_latched
    assert faults(place) == []


def test_a_promotion_that_was_taken_back_is_not_recorded(place, monkeypatch):
    digest = place.add(THIRD, figures(1.0))

    def full(*_):
        raise StorageError("no space left on device")

    monkeypatch.setattr(place.registry.store, "swap", full)
    with pytest.raises(StorageError):
        place.promote(digest)
    monkeypatch.undo()
    reopened(place)
    said(place)
    assert place.registry.store.champion() == SECOND.digest
    assert place.registry.history.promotions(digest) == ()
    assert faults(place) == []


def test_a_promotion_that_was_killed_and_taken_back_is_not_recorded(place, monkeypatch):
    digest = place.add(THIRD, figures(1.0))

    class KilledError(BaseException):
        pass

    def killed(*_):
        raise KilledError

    monkeypatch.setattr(promotions, "_carry_out", killed)
    with pytest.raises(KilledError):
        place.promote(digest)
    monkeypatch.undo()
    with place.registry.store.lock():
        assert "taken back" in promotions.recover(place.registry)[0]
    reopened(place)
    said(place)
    assert place.registry.history.promotions(digest) == ()


def test_a_lost_link_is_made_again_from_the_database(place):
    place.registry.store.link.unlink()
    assert f"the link names {SECOND.digest[:12]} again" in said(place)
    assert place.registry.store.champion() == SECOND.digest
    assert faults(place) == []


def test_a_link_that_somebody_replaced_counts_and_is_recorded(place):
    place.registry.store.swap(FIRST.digest)
    assert "is live by the link" in said(place)
    present = place.registry.history.present()
    assert (present.model_id, present.cause, present.put_by) == (FIRST.digest, "reconciliation", "ann")
    assert place.registry.history.find(SECOND.digest).role == Stage.CHALLENGER
    assert faults(place) == []


def test_without_a_journal_the_link_alone_is_recorded(place):
    shutil.rmtree(place.registry.root / "journal")
    reopened(place)
    assert "nothing was by the database" in said(place)
    assert place.registry.history.find(SECOND.digest).role == Stage.CHAMPION
    assert place.registry.history.present().model_id == SECOND.digest
    assert faults(place) == []


def test_what_is_barred_in_one_place_is_barred_in_both(place):
    place.registry.store.quarantine(FIRST.digest, "by hand")
    assert "is quarantined in the database too" in said(place)
    assert place.registry.history.find(FIRST.digest).role == Stage.QUARANTINED
    (place.registry.root / "quarantine" / FIRST.digest).unlink()
    assert "is quarantined in the folder too" in said(place)
    assert place.registry.store.is_quarantined(FIRST.digest)
    assert faults(place) == []


def test_heads_of_rows_that_are_gone_are_void_and_are_named(place, tmp_path):
    older = copied(place, tmp_path)
    gone_back(place)
    signed = place.registry.sign_audit(place.key)
    reopened(place, database=older)
    assert any("was signed and is missing" in line for line in faults(place))
    lines = said(place)
    assert f"row {signed.head.seq} was signed ({signed.head.hash[:12]})" in lines
    assert place.registry.verify_audit() == ()
    assert len(list((place.registry.root / "audit-heads/void").iterdir())) == 1
    entry = place.registry.history.audit_entries(last=1)[0]
    assert (entry.action, entry.details["reason"]) == ("registry.reconciled", REASON)
    assert lines.splitlines() == entry.details["lines"]


def test_a_log_that_was_rewritten_is_no_restored_one(place):
    """Only heads behind the end of the log are void: what contradicts a row stays a fault."""
    place.registry.sign_audit(place.key)
    with writing(place.registry.engine) as connection:
        connection.execute(text("UPDATE audit_log SET hash = 'ab' WHERE seq = (SELECT seq FROM audit_head)"))
    said(place)
    assert any("is not the row that was signed" in fault.what for fault in place.registry.verify_audit())


def test_what_is_under_way_comes_first(place):
    place.registry.journal.write("20260701T120000.000000-aa", {"kind": "rollback"})
    with pytest.raises(StorageError, match="is not finished; finish it"):
        reconcile(place.registry, "ann", REASON)


@pytest.mark.parametrize(("by", "reason"), [(" ", "x"), ("ann", " ")])
def test_nobody_reconciles_without_a_reason(place, by, reason):
    with pytest.raises(StorageError, match="who reconciles, and why"):
        reconcile(place.registry, by, reason)


def test_an_artifact_that_does_not_verify_is_named_and_left(place):
    reopened(place)
    (place.registry.store.place(SECOND.digest) / "manifest.json").write_bytes(b"{}")
    lines = said(place)
    assert f"model {SECOND.digest[:12]} can't be taken in" in lines
    assert f"{SECOND.digest[:12]} is live and can't be served" in lines


def test_a_damaged_entry_of_the_journal_is_named_and_hides_no_other(place):
    reopened(place)
    first = place.registry.journal.finished()[0]
    (place.registry.journal.done / f"{first}.json").write_text("{")
    lines = said(place)
    assert f"operation {first} can't be recorded" in lines
    assert lines.count("is recorded again") == 2
    assert place.registry.history.present().model_id == SECOND.digest
