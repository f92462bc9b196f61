"""The way back where everything around it is damaged, hostile, late or begun twice."""

import json
import os

import pytest
from sqlalchemy import text
from test_rollback import FIRST, GOLD, SECOND, Restarter, figures, order_of, second_live, statuses, watch_of

from registries import Workplace, workplace
from stairways.errors import StorageError
from stairways.evaluation.trigger_config import TriggerConfig
from stairways.live.incidents import Incident, Incidents
from stairways.live.rehearsal import put_back
from stairways.live.rollback import Rollback, go_on, roll_back
from stairways.live.targets import choose_target, ensure_target
from stairways.monitoring.log_pager import LogPager
from stairways.registry.connection import writing
from stairways.registry.history_records import Stage
from stairways.registry.promotion import recover


@pytest.fixture
def place(tmp_path) -> Workplace:
    made = second_live(tmp_path)
    yield made
    made.registry.close()


@pytest.fixture
def pager(tmp_path) -> LogPager:
    return LogPager(tmp_path / "pages.jsonl")


def live_in(place: Workplace) -> list[str]:
    return [model.model_id for model in place.registry.history.models() if model.is_production]


ODD_FIGURES = [[], "high", {"sharpe": "high"}, {"sharpe": 10**400}, {"sharpe": [1]}, None]


@pytest.mark.parametrize("odd", ODD_FIGURES)
def test_an_earlier_champion_with_an_odd_record_does_not_stand_in_the_way(tmp_path, odd):
    place = workplace(tmp_path)
    place.drilled()
    place.promote(GOLD.digest, Stage.GOLD)
    odd = figures()["figures"] | odd if isinstance(odd, dict) else odd
    for artifact, record in ((FIRST, figures() | {"figures": odd}), (SECOND, figures())):
        assert place.promote(place.add(artifact, record)).promoted
    assert choose_target(place.registry, SECOND.digest, TriggerConfig()).digest == GOLD.digest
    place.registry.close()


def test_a_row_of_the_database_that_can_not_be_parsed_does_not_stand_in_the_way(place, pager):
    with writing(place.registry.engine) as connection:
        connection.execute(text("UPDATE model_registry SET created_at = 'long ago'"))
    target = choose_target(place.registry, SECOND.digest, TriggerConfig())
    outcome = roll_back(place.registry, Restarter(), pager, order_of(place, target=target.digest))
    assert statuses(outcome)["swap"] == "done"
    assert place.registry.store.champion() == GOLD.digest


def test_a_snapshot_that_has_no_json_form_does_not_stand_in_the_way(place, pager, monkeypatch):
    class Odd:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

        def health(self):
            return json.loads('{"seconds": NaN}')

        def memory(self):
            return {}

        def ready(self):
            return GOLD.digest

        def close(self):
            return None

    monkeypatch.setattr(Rollback, "_service", lambda self, seconds: Odd())
    outcome = roll_back(place.registry, Restarter(), pager, order_of(place))
    assert statuses(outcome)["snapshot"] == "failed"
    assert place.registry.store.champion() == GOLD.digest


def test_a_record_of_the_service_that_is_nested_without_end_does_not_stand_in_the_way(place, pager):
    folder = place.registry.root / "service"
    folder.mkdir()
    (folder / "service.json").write_text("[" * 200_000)
    outcome = roll_back(place.registry, Restarter(), pager, order_of(place))
    assert statuses(outcome)["swap"] == "done"
    assert place.registry.store.champion() == GOLD.digest


def test_an_incident_without_a_name_does_not_blind_the_watch(place, pager):
    incidents = Incidents(place.registry.root)
    name = incidents.report(Incident("ann", "r", place.clock()))
    path = incidents.folder / f"{name}.json"
    path.write_text(path.read_text().replace('"ann"', '""'))
    weights = place.registry.store.place(SECOND.digest) / "weights.safetensors"
    weights.write_bytes(b"x")
    watch = watch_of(place, pager)
    outcome = watch.look()
    assert outcome.order.trigger == "integrity"
    assert "is no incident" in watch.faults[0]


def test_a_damaged_incident_does_not_hide_what_another_person_reports(place, pager):
    incidents = Incidents(place.registry.root)
    incidents.report(Incident("ann", "first", place.clock()))
    (path,) = incidents.folder.glob("*.json")
    path.write_bytes(b"{")
    incidents.report(Incident("dora", "it buys at every open", place.clock()))
    watch = watch_of(place, pager)
    outcome = watch.look()
    assert outcome.order.ordered_by == "dora"
    assert "is no incident" in watch.faults[0]
    assert watch.look() is None


def test_a_pipe_and_a_name_that_is_no_text_do_not_hold_the_watch_up(place, pager, tmp_path):
    incidents = Incidents(place.registry.root)
    incidents.report(Incident("dora", "it buys at every open", place.clock()))
    os.mkfifo(incidents.folder / "0-first.json")
    (incidents.folder / os.fsdecode(b"0-\xff.json")).touch()
    watch, told, warned = watch_of(place, pager), [], []
    watch.run(0.0, lambda: bool(told), told.append, warned.append)
    assert told[0].order.ordered_by == "dora"
    assert [line.partition("is no incident")[2] != "" for line in warned] == [True, True]
    assert (tmp_path / "pages.jsonl").read_text().count("can't see everything") == 2


def test_a_rollback_that_a_later_one_overtook_is_not_gone_again(place, pager, monkeypatch):
    """Its record comes late: the database and the link must not tell different stories then."""

    def lost(*_):
        raise StorageError("the database is lost")

    monkeypatch.setattr(place.registry.history, "roll_back", lost)
    roll_back(place.registry, Restarter(), pager, order_of(place, target=FIRST.digest))
    monkeypatch.undo()
    later = order_of(place, failed=FIRST.digest, target=GOLD.digest)
    assert roll_back(place.registry, Restarter(), pager, later).finished
    (again,) = go_on(place.registry, Restarter(), pager)
    assert again.finished
    assert place.registry.store.champion() == GOLD.digest
    assert live_in(place) == [GOLD.digest]
    tenures = place.registry.history.tenures()
    assert [tenure.ended_at is None for tenure in tenures].count(True) == 1
    assert next(t.model_id for t in tenures if t.ended_at is None) == GOLD.digest
    assert place.registry.history.find(FIRST.digest).role == Stage.QUARANTINED


def test_a_rollback_that_failed_is_not_taken_up_over_a_later_one(place, pager, monkeypatch):
    def broken(digest):
        raise StorageError("read-only file system")

    monkeypatch.setattr(place.registry.store, "swap", broken)
    roll_back(place.registry, Restarter(), pager, order_of(place, target=FIRST.digest))
    monkeypatch.undo()
    assert roll_back(place.registry, Restarter(), pager, order_of(place)).finished
    restarter = Restarter()
    (again,) = go_on(place.registry, restarter, pager)
    assert statuses(again)["swap"] == "skipped"
    assert again.finished
    assert restarter.asked == []
    assert place.registry.store.champion() == GOLD.digest
    assert live_in(place) == [GOLD.digest]


@pytest.mark.parametrize("target", [SECOND.digest, FIRST.digest, "ab" * 32])
def test_a_way_back_that_leads_nowhere_is_refused_before_it_begins(place, target):
    """What is live, what is quarantined, what is not there: all would only stop the service."""
    place.registry.store.quarantine(FIRST.digest, "failed before")
    with pytest.raises(StorageError, match="leads nowhere"):
        ensure_target(place.registry, SECOND.digest, target)
    ensure_target(place.registry, SECOND.digest, GOLD.digest)


def test_a_page_does_not_say_rolled_back_where_nothing_was(place, pager, tmp_path, monkeypatch):
    def broken(digest):
        raise StorageError("read-only file system")

    monkeypatch.setattr(place.registry.store, "swap", broken)
    roll_back(place.registry, Restarter(), pager, order_of(place))
    assert "NOT rolled back" in json.loads((tmp_path / "pages.jsonl").read_text())["summary"]


def damage(place: Workplace, digest: str) -> None:
    (place.registry.store.place(digest) / "weights.safetensors").write_bytes(b"x")


def test_what_really_trips_during_a_drill_is_no_drill(place, pager):
    """A drill puts back what it went back from: a damaged model must not come back by that."""
    Incidents(place.registry.root).report(Incident("ann", "DRILL", place.clock(), is_drill=True))
    damage(place, SECOND.digest)
    outcome = watch_of(place, pager).look()
    assert (outcome.order.trigger, outcome.order.is_drill) == ("integrity", False)
    assert place.registry.store.is_quarantined(SECOND.digest)


def test_a_drill_does_not_undo_a_real_rollback_whose_quarantine_failed(place, pager, monkeypatch):
    def full(digest, reason):
        raise StorageError("no space left on device")

    monkeypatch.setattr(place.registry.store, "quarantine", full)
    outcome = roll_back(place.registry, Restarter(), pager, order_of(place))
    assert statuses(outcome)["latch"] == "failed"
    with pytest.raises(StorageError, match="real rollback"):
        put_back(place.registry, outcome.as_record(), "ann")
    assert place.registry.store.champion() == GOLD.digest


def test_a_drill_does_not_put_back_what_no_longer_verifies(place, pager):
    outcome = roll_back(place.registry, Restarter(), pager, order_of(place, is_drill=True))
    damage(place, SECOND.digest)
    with pytest.raises(StorageError, match="does not verify"):
        put_back(place.registry, outcome.as_record(), "ann")
    assert place.registry.store.champion() == GOLD.digest


def test_a_latch_that_can_not_be_written_leaves_the_quarantine(place, pager):
    (place.registry.root / "latched.json").mkdir()
    outcome = roll_back(place.registry, Restarter(), pager, order_of(place))
    assert statuses(outcome)["latch"] == "failed"
    assert place.registry.store.is_quarantined(SECOND.digest)


def test_a_watch_goes_on_with_what_it_could_not_finish(place, pager, monkeypatch, tmp_path):
    """Neither is an order forgotten whose link could not be replaced, nor paged and begun at each look."""

    def broken(digest):
        raise StorageError("read-only file system")

    Incidents(place.registry.root).report(Incident("dora", "it buys at every open", place.clock()))
    watch = watch_of(place, pager)
    monkeypatch.setattr(place.registry.store, "swap", broken)
    assert statuses(watch.look())["swap"] == "failed"
    for _ in range(3):
        watch.look()
    assert len((tmp_path / "pages.jsonl").read_text().splitlines()) == 1
    assert len(place.registry.history.rollbacks()) == 1
    monkeypatch.undo()
    outcome = watch.look()
    assert statuses(outcome)["swap"] == "done"
    assert place.registry.store.champion() == FIRST.digest
    assert outcome.finished
    assert watch.look() is None


def test_a_watch_takes_up_what_a_killed_one_had_begun(place, pager, monkeypatch):
    """The order was in the journal and the model quarantined; what tripped may be gone by now."""

    def killed(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(Rollback, "_swap", killed)
    with pytest.raises(KeyboardInterrupt):
        roll_back(place.registry, Restarter(), pager, order_of(place))
    monkeypatch.undo()
    assert place.registry.store.champion() == SECOND.digest
    outcome = watch_of(place, pager).look()
    assert outcome.finished
    assert place.registry.store.champion() == GOLD.digest
    assert len(place.registry.history.rollbacks()) == 1


def test_a_report_whose_way_back_was_finished_by_another_rolls_back_once(place, pager, monkeypatch):
    """The watch was killed before it put the report aside, and somebody finished what it had begun."""

    def killed(self):
        raise KeyboardInterrupt

    incidents = Incidents(place.registry.root)
    incidents.report(Incident("dora", "it buys at every open", place.clock()))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Rollback, "_swap", killed)
        watch_of(place, pager).look()
    (outcome,) = go_on(place.registry, Restarter(), pager)
    assert outcome.finished
    assert incidents.open() == {}
    assert watch_of(place, pager).look() is None
    assert place.registry.store.champion() == FIRST.digest


def test_a_watch_chooses_again_where_the_target_is_lost(place, pager, monkeypatch):
    def killed(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(Rollback, "_swap", killed)
    with pytest.raises(KeyboardInterrupt):
        roll_back(place.registry, Restarter(), pager, order_of(place, target=FIRST.digest))
    monkeypatch.undo()
    damage(place, FIRST.digest)
    outcome = watch_of(place, pager).look()
    assert outcome.finished
    assert place.registry.store.champion() == outcome.order.target == GOLD.digest


def test_a_journal_that_is_damaged_does_not_end_the_watch_that_begins(place, pager):
    place.registry.journal.write("20260701T120000.000000-00000000", {"kind": "rollback"})
    Incidents(place.registry.root).report(Incident("dora", "it buys at every open", place.clock()))
    told, warned = [], []
    watch_of(place, pager).run(0.0, lambda: bool(told), told.append, warned.append)
    assert place.registry.store.champion() == FIRST.digest
    assert any("is no rollback that is understood" in line for line in warned)


def test_a_link_that_is_gone_is_told(place, pager):
    place.registry.store.link.unlink()
    watch = watch_of(place, pager)
    assert watch.look() is None
    assert "link" in watch.faults[0]


@pytest.mark.parametrize(
    "entry", [{"kind": "rollback"}, {"kind": "promotion"}, {"kind": "rollback", "order": 1}]
)
def test_a_journal_of_another_shape_is_one_line(place, pager, entry):
    place.registry.journal.write("20260701T120000.000000-00000000", entry)
    with pytest.raises(StorageError, match="is no"):
        if entry["kind"] == "promotion":
            recover(place.registry)
        else:
            go_on(place.registry, Restarter(), pager)
