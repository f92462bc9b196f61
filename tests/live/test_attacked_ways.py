"""Ways back, drills and reconciliations that somebody or something attacks."""

from __future__ import annotations

import datetime as dt
import errno
import multiprocessing
import os
from dataclasses import asdict, replace

import pytest
from sqlalchemy import insert, text
from test_reconcile import faults, reopened, said
from test_rollback import FIRST, GOLD, SECOND, THIRD, Restarter, figures, order_of, second_live, statuses

from registries import ManualClock, Workplace, judged
from stairways.errors import ServiceError, StorageError
from stairways.evaluation.gate_config import GateConfig
from stairways.evaluation.gates import required_names
from stairways.evaluation.trigger_config import TriggerConfig
from stairways.live.incidents import Incident, Incidents
from stairways.live.reconcile import reconcile
from stairways.live.rehearsal import take_up
from stairways.live.rollback import Rollback, go_on, outcome_of, roll_back
from stairways.live.service import Service
from stairways.live.targets import choose_target
from stairways.live.watch import Watch
from stairways.monitoring.log_pager import LogPager
from stairways.operations_config import PerformanceSettings
from stairways.registry import files
from stairways.registry import promotion as promotions
from stairways.registry.connection import writing
from stairways.registry.history_records import PromotionRecord, RollbackRecord, Stage
from stairways.registry.keys import SigningKey
from stairways.registry.registry import Registry, new_operation_id
from stairways.registry.schema import Rollback as RollbackRow
from stairways.registry.stories import differences
from stairways.registry.waivers import make_waiver

read_once = files._read_once


@pytest.fixture
def place(tmp_path) -> Workplace:
    made = second_live(tmp_path)
    yield made
    made.registry.close()


@pytest.fixture
def pager(tmp_path) -> LogPager:
    return LogPager(tmp_path / "pages.jsonl")


def damage(place: Workplace, *digests: str) -> None:
    for digest in digests:
        (place.registry.store.place(digest) / "manifest.json").write_bytes(b"{}")


def test_a_drill_never_stops_the_service(place, pager):
    """With gold damaged a drill leads nowhere: what is live is good and goes on answering."""
    Incidents(place.registry.root).report(Incident("ann", "DRILL", place.clock(), is_drill=True))
    restarter = Restarter()
    manifests = [place.registry.store.place(one.digest) / "manifest.json" for one in (GOLD, FIRST)]
    whole = [manifest.read_bytes() for manifest in manifests]
    damage(place, GOLD.digest, FIRST.digest)
    Watch(place.registry, restarter, pager, TriggerConfig()).look()
    assert restarter.asked == []
    # nor is it gone on with when gold is whole again
    for manifest, content in zip(manifests, whole, strict=True):
        manifest.write_bytes(content)
    assert go_on(place.registry, restarter, pager) == ()
    assert "is live again" in take_up(place.registry, "ann")[0]
    assert place.registry.store.champion() == SECOND.digest
    assert not place.registry.store.is_latched
    assert differences(place.registry) == ()
    reopened(place)
    said(place)
    assert faults(place) == []


def test_a_champion_that_can_not_be_read_for_a_while_is_not_barred(place, pager, monkeypatch):
    """Too many open files say nothing about a model, and stop no service."""

    def full(*_, **__):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(files, "_read_once", full)
    restarter = Restarter()
    watch = Watch(place.registry, restarter, pager, TriggerConfig())
    assert watch.look() is None
    assert restarter.asked == []
    assert not place.registry.store.is_quarantined(SECOND.digest)
    assert any("Too many open files" in line for line in watch.faults)
    # nor is it barred where somebody's rights are in the way: but it goes
    monkeypatch.setattr(files, "_read_once", lambda *_: _refused(SECOND.digest, *_))
    assert watch.look().order.target == FIRST.digest
    assert not place.registry.store.is_quarantined(SECOND.digest)


def _refused(digest, place, *rest):
    if place.name == digest:
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))
    return read_once(place, *rest)


def test_a_row_of_the_database_leads_no_way_back_to_a_model_of_its_choice(place, pager):
    """Whoever can write rows and has no key must not make live what failed its gate."""
    failing = place.add(THIRD, judged(required_names(GateConfig())[0]))
    at = place.clock()
    forged = RollbackRecord(
        new_operation_id(at), "drawdown", "forged", SECOND.digest, failing, at, None, "x", ()
    )
    with writing(place.registry.engine) as connection:
        connection.execute(insert(RollbackRow).values(asdict(forged)))
    go_on(place.registry, Restarter(), pager)
    assert place.registry.store.champion() in (FIRST.digest, GOLD.digest)


def test_a_way_back_that_was_overtaken_bars_nothing_later(place, pager):
    """The model came back whole: it was overtaken once, and nobody has resumed since."""
    registry = place.registry
    first = order_of(place, target=FIRST.digest, bars=False)
    registry.store.swap(GOLD.digest)
    assert statuses(roll_back(registry, Restarter(), pager, first))["swap"] == "skipped"
    roll_back(registry, Restarter(), pager, order_of(place, failed=GOLD.digest, target=SECOND.digest))
    assert registry.store.champion() == SECOND.digest
    assert go_on(registry, Restarter(), pager) == ()


class Beside:
    """Lets another process do something while the way back tells people, once."""

    def __init__(self, pager: LogPager, work) -> None:
        self.pager, self.work = pager, work

    def send(self, page):
        work, self.work = self.work, lambda: None
        work()
        return self.pager.send(page)


def test_a_way_back_that_is_finished_beside_is_recorded_once(place, pager):
    """Another process had read the journal before the swap, and is as far only now."""

    def finished() -> None:
        ((name, entry),) = place.registry.journal.pending().items()
        outcome = outcome_of(name, entry)
        early = tuple(step for step in outcome.steps if step.name in ("latch", "snapshot"))
        outcome = replace(outcome, steps=early, swapped_at=None)
        assert statuses(Rollback(place.registry, Restarter(), pager, outcome).run())["log"] == "done"

    roll_back(place.registry, Restarter(), Beside(pager, finished), order_of(place))
    assert differences(place.registry) == ()


def test_finish_beside_a_way_back_changes_nothing_of_it(place, pager):
    finish = Beside(pager, lambda: go_on(place.registry, Restarter(), pager))
    roll_back(place.registry, Restarter(), finish, order_of(place))
    assert differences(place.registry) == ()
    assert not place.registry.journal.pending()


def brought_together(place: Workplace, pager: LogPager) -> None:
    """Say what the refusal says: reconcile, finish, reconcile again."""
    with pytest.raises(StorageError, match="finish it: `stairways rollback finish`, then reconcile again"):
        reconcile(place.registry, "ann", "lost")
    with place.registry.store.lock():
        promotions.recover(place.registry)
    go_on(place.registry, Restarter(), pager)
    reconcile(place.registry, "ann", "lost")


def test_a_way_back_without_a_database_that_is_lost_then_is_reconciled(place, pager, monkeypatch):
    """The database goes, a way back is taken without it, and it never comes back."""

    def gone(*_, **__):
        raise StorageError("connection refused")

    monkeypatch.setattr(place.registry.history, "roll_back", gone)
    outcome = roll_back(place.registry, Restarter(), pager, order_of(place))
    assert statuses(outcome)["log"] == "failed"
    reopened(place)
    brought_together(place, pager)
    assert not place.registry.journal.pending()
    assert faults(place) == []
    assert place.registry.store.champion() == GOLD.digest


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("stage", ["candidate", "challenger"])
def test_a_promotion_that_was_killed_before_the_database_was_lost_is_reconciled(
    place, monkeypatch, stage, swapped, pager
):
    digest = place.add(THIRD, figures(1.0))
    if stage == "challenger":
        assert place.promote(digest, Stage.CHALLENGER).promoted

    class KilledError(BaseException):
        pass

    def killed(registry, record, changes):
        if swapped:
            registry.store.swap(record.model_id)
        raise KilledError

    monkeypatch.setattr(promotions, "_carry_out", killed)
    with pytest.raises(KilledError):
        place.promote(digest)
    monkeypatch.undo()
    reopened(place)
    brought_together(place, pager)
    assert not place.registry.journal.pending()
    assert faults(place) == []
    assert place.registry.store.champion() == (digest if swapped else SECOND.digest)


def test_a_killed_promotion_of_what_was_barred_since_holds_nothing_up(place, monkeypatch, pager):
    digest = place.add(THIRD, figures(1.0))

    class KilledError(BaseException):
        pass

    def killed(*_):
        raise KilledError

    monkeypatch.setattr(promotions, "_carry_out", killed)
    with pytest.raises(KilledError):
        place.promote(digest, Stage.CHALLENGER)
    monkeypatch.undo()
    roll_back(place.registry, Restarter(), pager, order_of(place, target=digest))
    roll_back(place.registry, Restarter(), pager, order_of(place, failed=digest, target=GOLD.digest))
    with place.registry.store.lock():
        assert "taken back" in promotions.recover(place.registry)[0]
    assert differences(place.registry) == ()


@pytest.mark.parametrize("forged", ["verdicts", "nothing", "waiver"])
def test_a_forged_entry_of_the_journal_promotes_no_failing_model(place, forged):
    """Whoever can write into the journal and has no key lets no verdict pass by losing the database."""
    name = required_names(GateConfig())[0]
    verdicts = judged() if forged == "verdicts" else judged(name)
    failing = place.add(THIRD, judged(required_names(GateConfig())[0]))
    at = place.clock()
    key = SigningKey.new()
    waiver = make_waiver(
        waiver_id="w", model_id=failing, verdict=name, name="ann", reason="it is all right", at=at, key=key
    )
    record = PromotionRecord(
        operation_id=new_operation_id(at),
        model_id=failing,
        stage_from="candidate",
        stage_to="champion",
        previous_champion=SECOND.digest,
        at=at,
        authorized_by="ann",
        reason="good",
        signer="ann's key",
        verdicts=tuple(verdicts["verdicts"]),
        waivers=(promotions._waiver_record(waiver),) if forged == "waiver" else (),
    )
    place.registry.journal.write(record.operation_id, promotions._journal_record(record, ()))
    place.registry.journal.finish(record.operation_id)
    assert f"operation {record.operation_id} can't be recorded" in said(place)
    assert place.registry.history.promotions(failing) == ()
    assert place.registry.history.find(failing).role == Stage.CANDIDATE
    assert place.registry.store.champion() == SECOND.digest


def _opened(root, url, start, results):
    start.wait()
    try:
        Registry.open(root, ManualClock(), url).close()
        results.put("")
    except Exception as error:  # noqa: BLE001
        results.put(f"{type(error).__name__} {error}")


def test_two_that_open_a_registry_without_a_name_at_once_give_it_one(tmp_path):
    for attempt in range(10):
        root = tmp_path / str(attempt)
        registry = Registry.create(root, ManualClock())
        with writing(registry.engine) as connection:
            connection.execute(text("DELETE FROM registry_identity"))
        registry.close()
        (root / "registry.json").unlink()
        fork = multiprocessing.get_context("fork")
        start, results = fork.Barrier(4), fork.Queue()
        ones = [fork.Process(target=_opened, args=(root, None, start, results)) for _ in range(4)]
        for one in ones:
            one.start()
        for one in ones:
            one.join(60)
        assert [results.get(timeout=5) for _ in ones] == [""] * 4
        Registry.open(root, ManualClock()).close()


def test_a_forged_correction_of_the_clock_is_found_out(place):
    """One that does not stand before its predecessor needs no signature, and would retime tenures."""
    tenure = place.registry.history.present()
    place.registry.history.note(
        place.clock(), "x", "clock.corrected", "clock", {"tenures": [tenure.operation_id]}
    )
    assert place.registry.verify_audit() != ()


def test_a_clock_that_had_run_ahead_and_a_lost_database(place, pager):
    place.clock.at += dt.timedelta(days=365)
    digest = place.add(THIRD, figures(1.0))
    place.drilled()
    assert place.promote(digest).promoted
    place.clock.at -= dt.timedelta(days=365)
    place.registry.correct_clock("ann", "the battery", place.key)
    # a way back in the right time
    roll_back(place.registry, Restarter(), pager, order_of(place, failed=digest, target=SECOND.digest))
    assert differences(place.registry) == ()
    assert place.registry.store.champion() == SECOND.digest
    reopened(place)
    # what was barred before it was promoted, by the clock, is not promoted again
    assert "can't be recorded" in said(place)
    assert faults(place) == []


def test_a_way_back_from_a_damaged_model_is_reconciled_too(place, pager, monkeypatch):
    """No row can refer to a model that is not known, and what is damaged can't be taken in."""

    def gone(*_, **__):
        raise StorageError("connection refused")

    monkeypatch.setattr(place.registry.history, "roll_back", gone)
    weights = place.registry.store.place(SECOND.digest) / "weights.safetensors"
    weights.write_bytes(b"x")
    assert Watch(place.registry, Restarter(), pager, TriggerConfig()).look().order.trigger == "integrity"
    reopened(place)
    brought_together(place, pager)
    assert not place.registry.journal.pending()
    assert [fault.split(":")[0] for fault in faults(place)] == [f"artifact {SECOND.digest[:12]}"]
    assert place.registry.store.champion() == FIRST.digest
    assert place.registry.history.find(SECOND.digest).role == Stage.QUARANTINED


def test_what_stands_in_the_place_of_the_quarantine_lets_no_barred_model_answer(place, pager):
    service = Service(place.registry.store, PerformanceSettings())
    (place.registry.root / "quarantine").write_text("")
    with pytest.raises(ServiceError, match="quarantine"):
        service.ready()
    restarter = Restarter()
    target = choose_target(place.registry, SECOND.digest, TriggerConfig()).digest
    roll_back(place.registry, restarter, pager, order_of(place, target=target))
    assert restarter.asked == ["stop"]


def test_another_gold_is_gone_to_where_gold_was_barred(place, pager):
    """What is barred is barred for good, gold too: the service is stopped until there is another."""
    registry = place.registry
    registry.store.quarantine(FIRST.digest, "x")
    for failed, target in ((SECOND, GOLD.digest), (GOLD, None)):
        roll_back(registry, Restarter(), pager, order_of(place, failed=failed.digest, target=target))
    (still,) = go_on(registry, Restarter(), pager)
    assert "add another gold" in still.step("swap").detail
    other = place.add(replace(GOLD, data_source="SYNTHETIC another"), judged())
    (outcome,) = go_on(registry, Restarter(), pager)
    assert outcome.finished
    assert registry.store.champion() == other
    assert not registry.journal.pending()


def test_what_is_live_by_a_way_back_stays_its_target_in_the_records(place, pager, monkeypatch):
    """The link was replaced and not brought to the disk, and then the target is damaged."""
    real = place.registry.store.swap

    def half(digest):
        real(digest)
        raise StorageError("input/output error")

    monkeypatch.setattr(place.registry.store, "swap", half)
    outcome = roll_back(place.registry, Restarter(), pager, order_of(place, target=FIRST.digest))
    assert (statuses(outcome)["swap"], outcome.swapped_at is None) == ("failed", False)
    monkeypatch.undo()
    damage(place, FIRST.digest)
    (again,) = go_on(place.registry, Restarter(), pager)
    assert again.order.target == FIRST.digest
    assert place.registry.store.champion() == FIRST.digest
    assert differences(place.registry) == ()
    # the damaged one goes by a way back of its own, and then the first is over
    Watch(place.registry, Restarter(), pager, TriggerConfig()).look()
    assert place.registry.store.champion() == GOLD.digest
    go_on(place.registry, Restarter(), pager)
    assert not place.registry.journal.pending()
    assert differences(place.registry) == ()
