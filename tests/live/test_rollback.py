"""The way back: every step once, whatever fails, and whoever was killed in the middle."""

import datetime as dt
import json
from dataclasses import replace

import pytest
from sqlalchemy import text

from registries import Workplace, candidate_of, gold_artifact, judged, workplace
from stairways.errors import PagingError, ServiceError, StorageError
from stairways.evaluation.gate_config import GateConfig
from stairways.evaluation.trigger_config import TriggerConfig
from stairways.live.incidents import Incident, Incidents
from stairways.live.live_evidence import LiveEvidence
from stairways.live.rollback import (
    RollbackOrder,
    RollbackOutcome,
    go_on,
    journal_record,
    resume,
    roll_back,
)
from stairways.live.targets import choose_target, figures_of
from stairways.live.watch import WATCH, Watch
from stairways.monitoring.log_pager import LogPager
from stairways.registry.connection import writing
from stairways.registry.history_records import Stage

GOLD = gold_artifact()
FIRST, SECOND, THIRD = (candidate_of(GOLD, number) for number in range(3))
STEPS = ["latch", "snapshot", "swap", "serve", "restart", "page", "log"]


class Restarter:
    """Notes what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def restart(self) -> str:
        self.asked.append("restart")
        return "restarted"

    def stop(self) -> str:
        self.asked.append("stop")
        return "stopped"


class BrokenPager:
    """Reaches nobody."""

    def __init__(self) -> None:
        self.broken = True
        self.pages: list = []

    def send(self, page):
        if self.broken:
            raise PagingError("nobody can be reached")
        self.pages.append(page)
        return type("Delivery", (), {"outcome": "delivered", "reason": ""})()

    def flush(self):
        raise NotImplementedError


def figures(sharpe: float = 1.0, **changes) -> dict:
    values = {
        "drift_ratio": 0.05,
        "max_intraday_drawdown_ratio": 0.01,
        "n_sessions": 60,
        "sharpe": sharpe,
        "sharpe_standard_error": 0.5,
        "trades_per_session": 16.0,
    }
    return judged() | {"figures": values | changes}


def second_live(folder, url: str | None = None) -> Workplace:
    """Return a registry in which gold was live, then the first, and the second is live."""
    made = workplace(folder, url=url)
    made.drilled()
    made.promote(GOLD.digest, Stage.GOLD)
    for artifact, sharpe in ((FIRST, 2.0), (SECOND, 3.0)):
        assert made.promote(made.add(artifact, figures(sharpe))).promoted
    return made


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request, tmp_path) -> Workplace:
    url = request.getfixturevalue("postgres_url") if request.param == "postgresql" else None
    made = second_live(tmp_path, url)
    yield made
    made.registry.close()


@pytest.fixture
def pager(tmp_path) -> LogPager:
    return LogPager(tmp_path / "pages.jsonl")


def order_of(place: Workplace, **changes) -> RollbackOrder:
    values = {
        "trigger": "drawdown",
        "reason": "NAV fell by 3 %",
        "ordered_by": WATCH,
        "failed": SECOND.digest,
        "target": GOLD.digest,
        "detected_at": place.clock(),
    }
    return RollbackOrder(**(values | changes))


def statuses(outcome: RollbackOutcome) -> dict[str, str]:
    return {step.name: step.status for step in outcome.steps}


def test_the_whole_way(place, pager, tmp_path):
    restarter = Restarter()
    order = order_of(place)
    outcome = roll_back(place.registry, restarter, pager, order)
    assert [step.name for step in outcome.steps] == STEPS
    # no service runs here: what would act on one has nothing to do
    assert statuses(outcome) == dict.fromkeys(STEPS, "done") | dict.fromkeys(
        ("snapshot", "serve", "restart"), "skipped"
    )
    assert outcome.finished
    registry = place.registry
    assert registry.store.champion() == GOLD.digest
    assert registry.store.is_quarantined(SECOND.digest)
    assert registry.store.is_latched
    assert registry.history.find(SECOND.digest).role == Stage.QUARANTINED
    assert registry.history.live_at(place.clock()).model_id == GOLD.digest
    (record,) = registry.history.rollbacks()
    assert (record.trigger, record.reason, record.ordered_by) == ("drawdown", "NAV fell by 3 %", WATCH)
    assert [step["name"] for step in record.steps] == [name for name in STEPS if name != "log"]
    assert registry.journal.pending() == {}
    assert registry.verify_audit() == ()
    (page,) = [json.loads(line) for line in (tmp_path / "pages.jsonl").read_text().splitlines()]
    assert "NAV fell by 3 %" in json.dumps(page)
    assert SECOND.digest[:12] in json.dumps(page)
    assert restarter.asked == []


def test_promotions_wait_until_a_person_resumes(place, pager):
    third = place.add(THIRD, figures())
    roll_back(place.registry, Restarter(), pager, order_of(place))
    assert [check.name for check in place.promote(third).failures()] == ["latch"]
    with pytest.raises(StorageError, match="who resumes"):
        resume(place.registry, " ", "mended")
    assert len(resume(place.registry, "dora", "cause found")) == 1
    assert not place.registry.store.is_latched
    assert [check.name for check in place.promote(SECOND.digest).failures()] == ["stage"]
    assert place.promote(third).promoted


def test_a_latch_holds_without_the_database(place, pager):
    third = place.add(THIRD, figures())
    roll_back(place.registry, Restarter(), pager, order_of(place))
    with writing(place.registry.engine) as connection:
        connection.execute(text("DELETE FROM rollbacks"))
        connection.execute(text("UPDATE model_registry SET role = 'challenger' WHERE role = 'quarantined'"))
    assert [check.name for check in place.promote(third).failures()] == ["latch"]
    place.registry.store.unlatch()
    assert [check.name for check in place.promote(SECOND.digest).failures()] == ["stage"]


def test_a_drill_quarantines_nothing(place, pager, tmp_path):
    roll_back(place.registry, Restarter(), pager, order_of(place, is_drill=True))
    assert not place.registry.store.is_quarantined(SECOND.digest)
    assert place.registry.history.find(SECOND.digest).role == Stage.CHALLENGER
    assert place.registry.history.tenures()[-1].cause == "drill"
    assert "DRILL" in (tmp_path / "pages.jsonl").read_text()


def test_a_pager_that_reaches_nobody_stops_nothing(place):
    pager = BrokenPager()
    outcome = roll_back(place.registry, Restarter(), pager, order_of(place))
    assert statuses(outcome)["page"] == "failed"
    assert statuses(outcome)["log"] == "done"
    assert not outcome.finished
    assert place.registry.store.champion() == GOLD.digest
    assert list(place.registry.journal.pending()) == [outcome.operation_id]
    with pytest.raises(StorageError, match="not finished"):
        resume(place.registry, "dora", "cause found")
    pager.broken = False
    (again,) = go_on(place.registry, Restarter(), pager)
    assert again.finished
    assert len(pager.pages) == 1
    assert place.registry.journal.pending() == {}
    assert len(place.registry.history.rollbacks()) == 1
    assert {step["name"]: step["status"] for step in place.registry.history.rollbacks()[0].steps}[
        "page"
    ] == "done"
    assert resume(place.registry, "dora", "cause found") == (outcome.operation_id,)


def test_a_database_that_is_lost_stops_nothing(place, pager, monkeypatch):
    def lost(*_):
        raise StorageError("the database is lost")

    monkeypatch.setattr(place.registry.history, "roll_back", lost)
    outcome = roll_back(place.registry, Restarter(), pager, order_of(place))
    assert statuses(outcome)["log"] == "failed"
    assert place.registry.store.champion() == GOLD.digest
    monkeypatch.undo()
    (again,) = go_on(place.registry, Restarter(), pager)
    assert again.finished
    assert again.swapped_at == outcome.swapped_at
    assert place.registry.history.tenures()[-1].began_at == outcome.swapped_at


def test_a_link_that_can_not_be_replaced_stops_the_service(place, pager, monkeypatch):
    def broken(digest):
        raise StorageError("read-only file system")

    restarter = Restarter()
    monkeypatch.setattr(place.registry.store, "swap", broken)
    outcome = roll_back(place.registry, restarter, pager, order_of(place))
    assert restarter.asked == ["stop"]
    assert statuses(outcome)["swap"] == "failed"
    assert statuses(outcome)["page"] == statuses(outcome)["log"] == "done"
    assert place.registry.history.tenures()[-1].model_id == SECOND.digest
    monkeypatch.undo()
    (again,) = go_on(place.registry, restarter, pager)
    assert statuses(again)["swap"] == "done"
    assert place.registry.store.champion() == GOLD.digest
    assert place.registry.history.tenures()[-1].model_id == GOLD.digest


def test_a_target_that_does_not_verify_is_not_made_live(place, pager):
    path = place.registry.store.place(GOLD.digest) / "weights.safetensors"
    path.write_bytes(path.read_bytes() + b"x")
    restarter = Restarter()
    outcome = roll_back(place.registry, restarter, pager, order_of(place))
    assert statuses(outcome)["swap"] == "failed"
    assert place.registry.store.champion() == SECOND.digest
    assert restarter.asked == ["stop"]


def test_a_folder_that_can_not_be_written_is_told(public_folder, without_rights):
    place = workplace(public_folder / "deep")
    place.promote(GOLD.digest, Stage.GOLD)
    place.drilled()
    place.promote(place.add(SECOND, figures()))
    restarter, pager = Restarter(), BrokenPager()
    pager.broken = False
    with without_rights(place.registry.root):
        outcome = roll_back(place.registry, restarter, pager, order_of(place))
    assert statuses(outcome)["journal"] == statuses(outcome)["latch"] == statuses(outcome)["swap"] == "failed"
    assert statuses(outcome)["page"] == "done"
    assert restarter.asked == ["stop"]
    assert len(pager.pages) == 1
    place.registry.close()


def test_a_journal_comes_back_whole(place, pager):
    outcome = roll_back(place.registry, Restarter(), BrokenPager(), order_of(place))
    (entry,) = place.registry.journal.pending().values()
    assert entry == journal_record(outcome)


def test_the_target_is_the_best_earlier_champion_that_would_not_trip_itself(place):
    registry, triggers = place.registry, TriggerConfig()
    target = choose_target(registry, SECOND.digest, triggers)
    assert target.digest == FIRST.digest
    assert "2.00" in target.reason
    third = place.add(THIRD, figures(2.5))
    assert place.promote(third).promoted
    assert choose_target(registry, third, triggers).digest == SECOND.digest
    registry.store.quarantine(SECOND.digest, "failed")
    assert choose_target(registry, third, triggers).digest == FIRST.digest
    path = registry.store.place(FIRST.digest) / "weights.safetensors"
    path.write_bytes(b"x")
    assert choose_target(registry, third, triggers).digest == GOLD.digest


@pytest.mark.parametrize(
    "change",
    [
        {"trades_per_session": 4.9},
        {"trades_per_session": 25.1},
        {"max_intraday_drawdown_ratio": 0.021},
        {"max_intraday_drawdown_ratio": None},
        {"trades_per_session": None},
        {"sharpe": None},
    ],
)
def test_a_model_that_would_trip_itself_is_no_target(tmp_path, change):
    place = workplace(tmp_path)
    place.drilled()
    place.promote(GOLD.digest, Stage.GOLD)
    for artifact, record in ((FIRST, figures(**change)), (SECOND, figures())):
        assert place.promote(place.add(artifact, record)).promoted
    target = choose_target(place.registry, SECOND.digest, TriggerConfig())
    assert target.digest == GOLD.digest
    assert "no earlier champion" in target.reason
    place.registry.close()


def test_a_record_without_figures_says_nothing():
    found = figures_of({}, GateConfig())
    assert (found.trades_per_session, found.max_intraday_drawdown_ratio, found.gate) == (None, None, None)


def test_without_a_database_the_target_is_gold(place, monkeypatch):
    def lost(*_):
        raise StorageError("lost")

    monkeypatch.setattr(place.registry.history, "models", lost)
    assert choose_target(place.registry, SECOND.digest, TriggerConfig()).digest == GOLD.digest


def watch_of(place: Workplace, pager) -> Watch:
    return Watch(place.registry, Restarter(), pager, TriggerConfig())


def test_a_watch_sees_nothing_where_all_is_well(place, pager):
    watch = watch_of(place, pager)
    assert watch.look() is None
    assert {trip.name: str(trip.outcome) for trip in watch.trips}["integrity"] == "healthy"


@pytest.mark.parametrize("name", ["weights.safetensors", "artifact.json", "record.json", "signature.json"])
def test_a_flipped_byte_of_the_champion_rolls_it_back(place, pager, name):
    path = place.registry.store.place(SECOND.digest) / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    watch = watch_of(place, pager)
    outcome = watch.look()
    assert outcome.order.trigger == "integrity"
    assert outcome.order.target == FIRST.digest
    assert place.registry.store.champion() == FIRST.digest
    assert watch.look() is None


def test_a_person_rolls_back_once(place, pager):
    incidents = Incidents(place.registry.root)
    incidents.report(Incident("dora", "it buys at every open", place.clock()))
    watch = watch_of(place, pager)
    outcome = watch.look()
    assert (outcome.order.trigger, outcome.order.ordered_by) == ("person", "dora")
    assert "it buys at every open" in outcome.order.reason
    assert not outcome.order.is_drill
    assert incidents.open() == {}
    assert watch.look() is None
    assert place.registry.store.champion() == FIRST.digest


def test_an_incident_that_can_not_be_put_aside_rolls_back_once(place, pager, monkeypatch):
    Incidents(place.registry.root).report(Incident("dora", "it buys at every open", place.clock()))
    watch = watch_of(place, pager)
    monkeypatch.setattr(Incidents, "close", lambda self, name: None)
    assert watch.look() is not None
    assert watch.look() is None
    assert place.registry.store.champion() == FIRST.digest


def test_a_real_fault_during_a_drill_is_no_drill(place, pager):
    Incidents(place.registry.root).report(Incident("ann", "DRILL", place.clock(), is_drill=True))
    path = place.registry.store.place(SECOND.digest) / "weights.safetensors"
    path.write_bytes(b"x")
    outcome = watch_of(place, pager).look()
    by_name = {"person": outcome.order.is_drill, "integrity": not outcome.order.is_drill}
    assert by_name[outcome.order.trigger]


@pytest.mark.parametrize(
    "content", [b"", b"{}", b'{"at": "x", "is_drill": true, "name": "a", "reason": "b"}', b"[1]"]
)
def test_what_is_no_incident_is_told(place, pager, content):
    incidents = Incidents(place.registry.root)
    incidents.report(Incident("ann", "r", place.clock()))
    (path,) = incidents.folder.glob("*.json")
    path.write_bytes(content)
    watch = watch_of(place, pager)
    assert watch.look() is None
    assert "is no incident" in watch.faults[0]
    assert {trip.name: str(trip.outcome) for trip in watch.trips}["integrity"] == "healthy"


def test_a_watch_that_can_not_see_goes_on_and_says_so_once(place, pager, tmp_path):
    """A fault is paged once; the integrity of what is live is watched meanwhile."""
    looks = iter([False, False, False, True])

    def unreadable() -> LiveEvidence:
        raise StorageError("no evidence can be read")

    watch = Watch(place.registry, Restarter(), pager, TriggerConfig(), unreadable)
    path = place.registry.store.place(SECOND.digest) / "weights.safetensors"
    warned, told = [], []

    def stop() -> bool:
        if not told and warned:
            path.write_bytes(b"x")
        return next(looks)

    watch.run(0.0, stop, told.append, warned.append)
    assert warned == ["no evidence can be read"]
    assert [outcome.order.trigger for outcome in told] == ["integrity"]
    pages = [json.loads(line) for line in (tmp_path / "pages.jsonl").read_text().splitlines()]
    assert sum("can't see everything" in json.dumps(page) for page in pages) == 1


def test_orders_and_incidents_come_back(place):
    order = order_of(place, is_drill=True)
    assert RollbackOrder.parse(json.loads(json.dumps(order.as_record()))) == order
    incident = Incident("ann", "why", place.clock(), is_drill=True)
    assert Incident.parse(json.loads(json.dumps(incident.as_record()))) == incident
    with pytest.raises(ValueError, match="time zone"):
        naive = dt.datetime(2026, 7, 1)
        Incident.parse(replace(incident, at=naive).as_record())


def test_a_restart_that_fails_is_told(place, pager, monkeypatch):
    class Broken(Restarter):
        def restart(self) -> str:
            raise ServiceError("no such unit")

    monkeypatch.setattr("stairways.live.rollback.Rollback._service", lambda self, seconds: _Nobody())
    outcome = roll_back(place.registry, Broken(), pager, order_of(place))
    assert statuses(outcome)["restart"] == "failed"
    assert statuses(outcome)["log"] == "done"
    assert outcome.step("serve").status == "done"


class _Nobody:
    """A service that answers with gold at once."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def close(self):
        return None

    def ready(self):
        return GOLD.digest

    def health(self):
        return {}

    def memory(self):
        return {}
