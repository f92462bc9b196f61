"""What a drill does around the way back; the whole of it is tried by the command's own tests."""

import pytest
from test_rollback import FIRST, GOLD, SECOND, Restarter, order_of, second_live

from registries import Workplace
from stairways.errors import ServiceError, StorageError
from stairways.evaluation.trigger_config import TriggerConfig
from stairways.live import drill as drills
from stairways.live.drill import WayBack, drill
from stairways.live.incidents import Incident, Incidents
from stairways.live.rehearsal import put_back, take_up
from stairways.live.rollback import roll_back
from stairways.live.watch import Watch
from stairways.monitoring.log_pager import LogPager
from stairways.registry.history_records import Stage
from stairways.registry.store import DRILL_LOCK, Store
from stairways.registry.stories import differences

GOOD = {
    "seconds_to_detect": 0.1,
    "seconds_to_swap": 0.2,
    "seconds_to_serving": 0.3,
    "n_answers": 100,
    "n_after_swap": 50,
    "n_wrong": 0,
    "n_dropped": 0,
    "n_retried": 3,
    "failed_steps": (),
}


@pytest.fixture
def place(tmp_path) -> Workplace:
    made = second_live(tmp_path)
    yield made
    made.registry.close()


def test_a_way_back_passes_with_clients_that_asked_again():
    assert WayBack(**GOOD).passed(2.0)


@pytest.mark.parametrize(
    "change",
    [
        {"seconds_to_serving": None},
        {"seconds_to_serving": 2.1},
        {"n_wrong": 1},
        {"n_dropped": 1},
        {"n_after_swap": 0},
        {"failed_steps": ("page",)},
    ],
)
def test_a_way_back_fails_by_each_of_its_conditions(change):
    assert not WayBack(**(GOOD | change)).passed(2.0)


def rolled_back(place: Workplace, tmp_path):
    order = order_of(place, is_drill=True)
    return roll_back(place.registry, Restarter(), LogPager(tmp_path / "pages.jsonl"), order).as_record()


def test_what_was_live_is_live_again(place, tmp_path):
    record = rolled_back(place, tmp_path)
    assert place.registry.store.champion() == GOLD.digest
    put_back(place.registry, record, "ann")
    assert place.registry.store.champion() == SECOND.digest
    assert place.registry.history.find(SECOND.digest).role == Stage.CHAMPION
    assert not place.registry.store.is_latched
    assert place.registry.history.latched() == ()
    assert [tenure.cause for tenure in place.registry.history.tenures()][-2:] == ["drill", "drill"]
    assert place.registry.verify_audit() == ()


def test_a_real_rollback_in_between_is_not_undone(place, tmp_path):
    record = rolled_back(place, tmp_path)
    real = order_of(place, failed=GOLD.digest, target=FIRST.digest, reason="a real one")
    roll_back(place.registry, Restarter(), LogPager(tmp_path / "pages.jsonl"), real)
    with pytest.raises(StorageError, match="a real rollback came between"):
        put_back(place.registry, record, "ann")
    assert place.registry.store.champion() == FIRST.digest
    assert place.registry.store.is_latched


def test_a_latch_of_another_rollback_stays(place, tmp_path):
    pager = LogPager(tmp_path / "pages.jsonl")
    roll_back(place.registry, Restarter(), pager, order_of(place, target=FIRST.digest))
    order = order_of(place, failed=FIRST.digest, is_drill=True)
    record = roll_back(place.registry, Restarter(), pager, order).as_record()
    put_back(place.registry, record, "ann")
    assert place.registry.store.champion() == FIRST.digest
    assert place.registry.store.is_latched
    assert len(place.registry.history.latched()) == 1


STOPS = ("nothing", "swap", "restore", "resume")
"""The last thing that a drill which was killed while it put back what was live had done."""


@pytest.mark.parametrize("last", STOPS)
def test_a_drill_that_was_killed_is_ended_by_whoever_looks_next(place, tmp_path, last, monkeypatch):
    registry = place.registry
    record = rolled_back(place, tmp_path)

    class KilledError(BaseException):
        pass

    def killed(*_, **__):
        raise KilledError

    monkeypatch.setattr(
        *{
            "nothing": (registry.store, "swap", killed),
            "swap": (registry.history, "restore", killed),
            "restore": (registry.history, "resume", killed),
            "resume": (registry.store, "unlatch", killed),
        }[last]
    )
    with pytest.raises(KilledError):
        put_back(registry, record, "ann")
    monkeypatch.undo()
    take_up(registry, "stairways watch")
    assert registry.store.champion() == SECOND.digest
    assert registry.history.find(SECOND.digest).role == Stage.CHAMPION
    assert registry.history.tenures()[-1].model_id == SECOND.digest
    assert registry.history.latched() == ()
    assert not registry.store.is_latched
    assert differences(registry) == ()
    assert registry.verify_audit() == ()
    # done again it does nothing
    before = registry.history.audit_head()
    assert take_up(registry, "stairways watch") == ()
    assert registry.history.audit_head() == before


def test_the_watch_ends_a_drill_that_was_killed_and_says_so_once(place, tmp_path):
    rolled_back(place, tmp_path)
    watch = Watch(place.registry, Restarter(), LogPager(tmp_path / "pages.jsonl"), TriggerConfig())
    assert watch.look() is None
    assert any(f"{SECOND.digest[:12]} is live again" in line for line in watch.faults)
    assert place.registry.store.champion() == SECOND.digest
    assert watch.look() is None
    assert watch.faults == ()


def test_a_drill_that_runs_is_left_alone(place, tmp_path):
    rolled_back(place, tmp_path)
    other = Store(place.registry.root)
    with other.lock(0.0, DRILL_LOCK):
        assert take_up(place.registry, "ann") == ()
        assert place.registry.store.champion() == GOLD.digest
    (line,) = take_up(place.registry, "ann")
    assert "is live again" in line


def test_a_real_rollback_latches_on_after_a_killed_drill_was_looked_for(place, tmp_path):
    pager = LogPager(tmp_path / "pages.jsonl")
    roll_back(place.registry, Restarter(), pager, order_of(place, target=FIRST.digest))
    assert take_up(place.registry, "ann") == ()
    assert place.registry.store.is_latched
    assert place.registry.store.champion() == FIRST.digest


def test_what_a_killed_drill_reported_is_withdrawn_when_the_watch_begins(place, tmp_path):
    incidents = Incidents(place.registry.root)
    incidents.report(Incident("ann", "DRILL", place.clock(), is_drill=True))
    kept = incidents.report(Incident("ann", "trades nonsense", place.clock()))
    watch = Watch(place.registry, Restarter(), LogPager(tmp_path / "pages.jsonl"), TriggerConfig())
    watch.take_up()
    assert list(incidents.open()) == [kept]


def test_two_drills_at_once_are_refused(place, tmp_path, monkeypatch):
    monkeypatch.setattr(drills, "service_record", lambda root: {"address": "http://127.0.0.1:1"})
    monkeypatch.setattr(drills, "LOCK_SECONDS", 0.05)
    with (
        Store(place.registry.root).lock(0.0, DRILL_LOCK),
        pytest.raises(StorageError, match="another `stairways rollback drill` runs"),
    ):
        drilled(place, tmp_path)


def drilled(place: Workplace, tmp_path):
    watch = Watch(place.registry, Restarter(), LogPager(tmp_path / "pages.jsonl"), TriggerConfig())
    options = {"by": "ann", "repeat": 1, "most_seconds": 2.0, "watch_seconds": 0.01, "on_sample": False}
    return drill(place.registry, watch, **options)


def test_without_a_service_nothing_is_drilled(place, tmp_path):
    with pytest.raises(ServiceError, match="no service is running"):
        drilled(place, tmp_path)
    assert place.registry.store.champion() == SECOND.digest
    assert len(place.registry.history.drills()) == 1


def test_gold_has_nothing_to_go_back_from(place, tmp_path, monkeypatch):
    assert place.promote(GOLD.digest, Stage.GOLD).promoted
    monkeypatch.setattr(drills, "service_record", lambda root: {"address": "http://127.0.0.1:1"})
    with pytest.raises(StorageError, match="what is live is gold"):
        drilled(place, tmp_path)
