"""What the process that trades writes down reaches the triggers."""

import json

import pytest
from test_rollback import FIRST, GOLD, SECOND, Restarter, figures

from registries import Workplace, workplace
from stairways.errors import StorageError
from stairways.evaluation.gate_config import GateConfig
from stairways.evaluation.trigger_config import TriggerConfig
from stairways.live.evidence_file import EvidenceFile
from stairways.live.watch import Watch
from stairways.monitoring.log_pager import LogPager
from stairways.registry.history_records import Stage

DATES = ("2026-06-26", "2026-06-29", "2026-06-30")


@pytest.fixture
def place(tmp_path) -> Workplace:
    made = workplace(tmp_path)
    made.drilled()
    made.promote(GOLD.digest, Stage.GOLD)
    for artifact in (FIRST, SECOND):
        assert made.promote(made.add(artifact, figures())).promoted
    yield made
    made.registry.close()


def session(date: str, **changes) -> dict:
    values = {
        "date": date,
        "n_bars": 78,
        "net_return_ratio": 0.001,
        "max_drawdown_ratio": 0.004,
        "trades": 16,
        "hold_rate_ratio": 0.55,
        "closed": True,
    }
    return values | changes


def evidence(place: Workplace, tmp_path, **changes) -> EvidenceFile:
    values = {"model": SECOND.digest, "sessions": [session(date) for date in DATES], "controller_alerts": []}
    path = tmp_path / "evidence.json"
    path.write_text(json.dumps(values | changes))
    return EvidenceFile(place.registry, path, GateConfig())


def looked(place: Workplace, known: EvidenceFile, tmp_path):
    pager = LogPager(tmp_path / "pages.jsonl")
    watch = Watch(place.registry, Restarter(), pager, TriggerConfig(), known)
    return watch.look(), {trip.name: str(trip.outcome) for trip in watch.trips}


def test_where_all_is_well_nothing_happens(place, tmp_path):
    outcome, trips = looked(place, evidence(place, tmp_path), tmp_path)
    assert outcome is None
    assert trips["drawdown"] == trips["trades_run"] == trips["drift_and_gate"] == "healthy"
    assert trips["controller_alerts"] == trips["integrity"] == "healthy"


@pytest.mark.parametrize(
    ("change", "trigger"),
    [
        ({"sessions": [session(d, max_drawdown_ratio=0.021) for d in DATES]}, "drawdown"),
        ({"sessions": [session(d, trades=4) for d in DATES]}, "trades_run"),
        ({"sessions": [session(d, trades=26) for d in DATES]}, "trades_run"),
        ({"controller_alerts": [f"2026-06-30T1{h}:00:00+00:00" for h in range(4)]}, "controller_alerts"),
    ],
)
def test_what_trips_rolls_back(place, tmp_path, change, trigger):
    outcome, _ = looked(place, evidence(place, tmp_path, **change), tmp_path)
    assert outcome.order.trigger == trigger
    assert place.registry.store.champion() == FIRST.digest


def test_evidence_of_another_model_does_not_count(place, tmp_path):
    bad = [session(date, max_drawdown_ratio=0.5) for date in DATES]
    known = evidence(place, tmp_path, model=FIRST.digest, sessions=bad)
    outcome, trips = looked(place, known, tmp_path)
    assert outcome is None
    assert trips["drawdown"] == "not enough data"


def test_a_session_that_is_missing_is_a_gap(place, tmp_path):
    known = evidence(place, tmp_path, sessions=[session(DATES[0]), session(DATES[2])])
    _, trips = looked(place, known, tmp_path)
    assert trips["drawdown"] == "could not be measured"


def test_without_a_file_the_record_alone_speaks(place, tmp_path):
    _, trips = looked(place, EvidenceFile(place.registry, None, GateConfig()), tmp_path)
    assert trips["drift_and_gate"] == "healthy"
    assert trips["controller_alerts"] == "could not be measured"


@pytest.mark.parametrize(
    "change",
    [
        {"sessions": [{"date": "2026-06-26"}]},
        {"sessions": [session("2026-06-27")]},
        {"sessions": [session("yesterday")]},
        {"sessions": 3},
        {"controller_alerts": ["2026-06-30T10:00:00"]},
    ],
)
def test_what_is_no_evidence_is_told(place, tmp_path, change):
    with pytest.raises(StorageError, match="is no evidence"):
        evidence(place, tmp_path, **change)()


def test_a_file_that_is_gone_is_told(place, tmp_path):
    known = EvidenceFile(place.registry, tmp_path / "none.json", GateConfig())
    with pytest.raises(StorageError):
        known()
