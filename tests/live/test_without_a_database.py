"""The way back and the champion when database or disk are gone."""

import subprocess
import sys

import pytest
from test_rollback import FIRST, GOLD, SECOND, BrokenPager, Restarter, figures, order_of, statuses

from registries import ManualClock, Workplace, workplace
from stairways.errors import StorageError
from stairways.evaluation.trigger_config import TriggerConfig
from stairways.live.rollback import go_on, roll_back
from stairways.live.targets import choose_target
from stairways.registry.history_records import Stage
from stairways.registry.registry import Registry

PROMOTE = """
import datetime as dt, resource, signal, sys
from pathlib import Path
from stairways.errors import StairwaysError
from stairways.evaluation.gate_config import GateConfig
from stairways.registry.history_records import Stage
from stairways.registry.promotion import promote
from stairways.registry.registry import Registry
registry = Registry.open(Path(sys.argv[1]), lambda: dt.datetime.fromisoformat(sys.argv[3]))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[4]), resource.RLIM_INFINITY))
try:
    outcome = promote(registry, sys.argv[2], to=Stage.CHAMPION, by="ann", reason="passed", gate=GateConfig(),
                      drill_every=dt.timedelta(days=7))
except StairwaysError as error:
    print(error.line())
    sys.exit(2)
sys.exit(0 if outcome.promoted else 1)
"""


@pytest.fixture
def place(tmp_path) -> Workplace:
    """The first is champion, the second could be."""
    made = workplace(tmp_path)
    made.drilled()
    made.promote(GOLD.digest, Stage.GOLD)
    made.promote(made.add(FIRST, figures(2.0)))
    made.add(SECOND, figures(3.0))
    yield made
    made.registry.close()


def test_a_lost_database_is_not_made_anew(place):
    place.registry.close()
    for path in place.registry.root.glob("gate.db*"):
        path.unlink()
    with pytest.raises(StorageError, match="its database is not there"):
        Registry.open(place.registry.root, ManualClock())
    assert not (place.registry.root / "gate.db").exists()
    assert place.registry.store.champion() == FIRST.digest


def test_the_way_back_goes_without_it_and_is_recorded_later(place):
    place.registry.close()
    kept = {path: path.read_bytes() for path in place.registry.root.glob("gate.db*")}
    for path in kept:
        path.unlink()
    clock = ManualClock(place.clock.at)
    pager = BrokenPager()
    pager.broken = False
    with Registry.open(place.registry.root, clock, needs_database=False) as registry:
        target = choose_target(registry, FIRST.digest, TriggerConfig())
        assert target.digest == GOLD.digest
        order = order_of(place, failed=FIRST.digest, target=target.digest)
        outcome = roll_back(registry, Restarter(), pager, order)
    assert statuses(outcome)["swap"] == statuses(outcome)["page"] == "done"
    assert statuses(outcome)["log"] == "failed"
    assert "its database is not there" in outcome.step("log").detail
    assert place.registry.store.champion() == GOLD.digest
    for path, content in kept.items():
        path.write_bytes(content)
    with Registry.open(place.registry.root, clock) as registry:
        (again,) = go_on(registry, Restarter(), pager)
        assert again.finished
        assert registry.history.live_at(clock()).model_id == GOLD.digest
        assert registry.history.find(FIRST.digest).role == Stage.QUARANTINED
        assert registry.verify_audit() == ()
    assert len(pager.pages) == 1


@pytest.mark.parametrize("most_bytes", [0, 1_000, 20_000])
def test_a_full_disk_leaves_the_champion(place, most_bytes):
    place.registry.close()
    at = place.clock.at.isoformat()
    arguments = [str(place.registry.root), SECOND.digest, at, str(most_bytes)]
    done = subprocess.run(
        [sys.executable, "-c", PROMOTE, *arguments], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stdout.count("\n") == 1
    assert place.registry.store.champion() == FIRST.digest
    with Registry.open(place.registry.root, place.clock) as registry:
        again = Workplace(registry, place.key, place.clock, place.folder)
        assert registry.history.find(SECOND.digest).role == Stage.CANDIDATE
        assert registry.verify_audit() == ()
        assert again.promote(SECOND.digest).promoted


def test_a_database_that_is_no_database_is_told(place):
    place.registry.close()
    (place.registry.root / "gate.db").write_bytes(b"x" * 5_000)
    for path in place.registry.root.glob("gate.db-*"):
        path.unlink()
    with pytest.raises(StorageError):
        Registry.open(place.registry.root, place.clock)
    with Registry.open(place.registry.root, place.clock, needs_database=False) as registry:
        assert choose_target(registry, FIRST.digest, TriggerConfig()).digest == GOLD.digest


def test_names_of_models_are_known_without_it(place):
    place.registry.close()
    for path in place.registry.root.glob("gate.db*"):
        path.unlink()
    with Registry.open(place.registry.root, place.clock, needs_database=False) as registry:
        assert registry.resolve("champion") == FIRST.digest
        with pytest.raises(StorageError, match="its database is not there"):
            registry.resolve("gold")
