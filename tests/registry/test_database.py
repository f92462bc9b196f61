import dataclasses
import datetime as dt
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from stairways.errors import StorageError
from stairways.evaluation.verdicts import Group, Verdict
from stairways.registry.connection import sqlite_url
from stairways.registry.database import GateDatabase
from stairways.registry.records import (
    CycleRecord,
    DriftRecord,
    LookRecord,
    ModelRecord,
    RunRecord,
    RunStatus,
    verdict_from_record,
)

NOON = dt.datetime(2025, 7, 1, 12, 0, 0, 123456, tzinfo=dt.UTC)
BARS, OTHER_BARS = "b" * 64, "d" * 64
VERDICTS = (
    Verdict("hold_rate", Group.BEHAVIOUR, True, 0.55, "0.54 to 0.56", 1000, "in its band", (0.54, 0.56)),
    Verdict("skill", Group.SKILL, False, None, "above 0", 0, "not enough sessions"),
)


def make_run(run_id: str = "run", **changes) -> RunRecord:
    values = {
        "run_id": run_id,
        "command": "tune",
        "started_at": NOON,
        "seed": 7,
        "config_digest": "c" * 64,
        "config": {"cycles": 8, "unit_fraction": 0.15},
        "data_digest": BARS,
        "data_source": "SYNTHETIC planted",
        "gold_digest": "a" * 64,
    }
    return RunRecord(**(values | changes))


def make_cycle(cycle_id: int = 1, run_id: str = "run", **changes) -> CycleRecord:
    values = {
        "run_id": run_id,
        "cycle_id": cycle_id,
        "start_ts": NOON,
        "end_ts": NOON + dt.timedelta(seconds=30),
        "sharpe": 1.25,
        "max_dd": 0.004,
        "trades_per_day": 16.5,
        "shadow_pass": True,
        "rel_param_drift": 0.1,
        "gate_passed": False,
        "hold_rate": 0.55,
        "learning_rate": 3e-4,
        "steps": 6000,
        "verdicts": VERDICTS,
        "created_at": NOON,
        "improvement_pct": 1.5,
        "model_hash": f"{cycle_id:064x}",
        "rolling_100_episode_sharpe": 0.75,
        "rolling_share_of_cycle": 0.15,
    }
    return CycleRecord(**(values | changes))


def make_drift(cycle_id: int = 1, run_id: str = "run", **changes) -> DriftRecord:
    values = {
        "run_id": run_id,
        "cycle_id": cycle_id,
        "l2_norm_drift": 1.5,
        "relative_drift": 0.1,
        "threshold_exceeded": False,
        "mean_kl": 0.01,
        "equal_greedy_share": 0.9,
        "timestamp": NOON,
    }
    return DriftRecord(**(values | changes))


def make_model(cycle_id: int = 1, run_id: str = "run", **changes) -> ModelRecord:
    values = {
        "model_id": f"{cycle_id or 0:064x}",
        "model_path": f"cycles/{cycle_id}",
        "performance": {"sharpe": 1.25},
        "role": "candidate",
        "created_at": NOON,
        "run_id": run_id,
        "cycle_id": cycle_id,
    }
    return ModelRecord(**(values | changes))


def make_look(run_id: str = "run", first: int = 1, last: int = 10, **changes) -> LookRecord:
    values = {
        "run_id": run_id,
        "data_digest": BARS,
        "first_date": dt.date(2025, 8, first),
        "last_date": dt.date(2025, 8, last),
        "artifact_digest": "e" * 64,
        "at": NOON,
    }
    return LookRecord(**(values | changes))


def rows(path: Path, query: str) -> list[tuple]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


def execute(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "gate.db"


@pytest.fixture(scope="module")
def empty(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("empty") / "gate.db"
    GateDatabase.open(sqlite_url(place)).close()
    return place


SQLITE_ALONE = {"path", "public_folder"}
OF_ITS_FILE = {"test_connection_keeps_its_rules"}


def pytest_generate_tests(metafunc) -> None:
    """Run every test that knows nothing of a file on both databases: one contract."""
    if "database" in metafunc.fixturenames:
        asked = set(metafunc.function.__code__.co_varnames[: metafunc.function.__code__.co_argcount])
        alone = asked & SQLITE_ALONE or metafunc.function.__name__ in OF_ITS_FILE
        metafunc.parametrize("kind", ["sqlite"] if alone else ["sqlite", "postgresql"])


@pytest.fixture
def database(kind, path, empty, request):
    if kind == "sqlite":
        shutil.copy(empty, path)
        url = sqlite_url(path)
    else:
        url = request.getfixturevalue("postgres_url")
    with GateDatabase.open(url) as opened:
        opened.start_run(make_run())
        yield opened


def test_run_comes_back(database):
    assert database.run("run") == make_run()
    ended = NOON + dt.timedelta(hours=1)
    finished = database.finish_run("run", ended_at=ended, status=RunStatus.FINISHED, steps=48_000)
    assert finished == make_run(ended_at=ended, status=RunStatus.FINISHED, steps=48_000)
    assert database.run("run") == finished


def test_resumed_run_keeps_its_start_and_steps(database):
    database.finish_run("run", ended_at=NOON, status=RunStatus.INTERRUPTED, steps=6000)
    resumed = database.start_run(make_run(started_at=NOON + dt.timedelta(days=1)))
    assert resumed == make_run(steps=6000)
    assert database.run("run") == resumed


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seed": 8}, "seed 7, not 8"),
        ({"command": "evaluate"}, "command tune, not evaluate"),
        ({"config_digest": "0" * 64}, "config_digest"),
        ({"data_digest": OTHER_BARS}, "data_digest"),
        ({"gold_digest": None}, "gold_digest"),
    ],
)
def test_other_run_of_the_same_name_is_refused(database, change, words):
    with pytest.raises(StorageError, match=words):
        database.start_run(make_run(**change))
    assert database.run("run") == make_run()


def test_unknown_run_is_refused(database):
    with pytest.raises(StorageError, match="no such run"):
        database.run("other")
    with pytest.raises(StorageError, match="no such run"):
        database.finish_run("other", ended_at=NOON, status=RunStatus.FAILED, steps=0)
    assert database.cycles("other") == ()


def test_cycle_comes_back_whole(database):
    bare = make_cycle(
        2, improvement_pct=None, model_hash=None, rolling_100_episode_sharpe=None, note="n", verdicts=()
    )
    database.record_cycle(make_cycle(), drift=make_drift(), model=make_model())
    database.record_cycle(bare)
    assert database.cycles("run") == (make_cycle(), bare)
    assert database.drifts("run") == (make_drift(),)
    assert database.models("run") == (make_model(),)


def test_cycle_written_again_doubles_nothing(database, path):
    for note in ("first", "again"):
        database.record_cycle(
            make_cycle(note=note, sharpe=2.0),
            drift=make_drift(action_taken=note),
            model=make_model(performance={"note": note}),
        )
    assert database.cycles("run") == (make_cycle(note="again", sharpe=2.0),)
    assert database.drifts("run") == (make_drift(action_taken="again"),)
    assert database.models("run") == (make_model(performance={"note": "again"}),)
    assert rows(path, "SELECT log_id FROM parameter_drift_log") == [(1,)]


@pytest.mark.parametrize("part", ["drift", "model"])
def test_part_of_another_cycle_is_refused(database, part):
    other = {"drift": make_drift(2), "model": make_model(2)}[part]
    with pytest.raises(StorageError, match="cycle 2"):
        database.record_cycle(make_cycle(1), **{part: other})
    assert database.cycles("run") == ()


def test_failure_at_the_last_row_leaves_none(database, path):
    execute(
        path,
        "CREATE TRIGGER broken BEFORE INSERT ON model_registry BEGIN SELECT RAISE(ABORT, 'broken here'); END",
    )
    with pytest.raises(StorageError, match="broken here"):
        database.record_cycle(make_cycle(), drift=make_drift(), model=make_model())
    assert database.cycles("run") == ()
    assert database.drifts("run") == ()


def test_cycle_of_a_run_never_started_is_refused(database):
    with pytest.raises(StorageError, match="record what the row refers to first"):
        database.record_cycle(make_cycle(run_id="other"))


def test_rows_refer_to_what_exists(database):
    with pytest.raises(StorageError, match=r"(?i)foreign key"):
        database.register_model(make_model(3))
    with pytest.raises(StorageError, match=r"(?i)foreign key"):
        database.register_model(make_model(cycle_id=None, run_id="other", model_id="f" * 64))
    with pytest.raises(StorageError, match=r"(?i)foreign key"):
        database.count_look(make_look("other"))


def test_equal_content_is_one_model(database):
    gold = make_model(cycle_id=None, model_id="a" * 64, role="gold", model_path="gold")
    assert database.register_model(gold) == gold
    database.start_run(make_run("second", seed=8))
    again = dataclasses.replace(
        gold, run_id="second", model_path="elsewhere", created_at=NOON + dt.timedelta(days=1)
    )
    assert database.register_model(again) == gold
    moved = dataclasses.replace(gold, model_path="moved", performance={"sharpe": 0.5})
    assert database.register_model(moved) == moved
    assert database.models() == (moved,)
    assert database.models("second") == ()


def test_model_without_a_run_is_registered_twice_as_one(database):
    imported = make_model(cycle_id=None, run_id=None, model_id="a" * 64, role="gold")
    database.register_model(imported)
    assert database.register_model(dataclasses.replace(imported, model_path="m")).model_path == "m"
    assert len(database.models()) == 1


def test_one_model_is_in_production(database, path):
    for cycle_id in (1, 2, 3):
        database.record_cycle(make_cycle(cycle_id), model=make_model(cycle_id, is_production=True))
    assert not any(model.is_production for model in database.models())
    promote = "UPDATE model_registry SET is_production = 1 WHERE cycle_id = {}"
    execute(path, promote.format(2))
    with pytest.raises(sqlite3.IntegrityError, match="is_production"):
        execute(path, promote.format(3))
    database.register_model(make_model(2))
    assert [model.cycle_id for model in database.models() if model.is_production] == [2]


def test_looks_are_counted_by_overlap(database):
    assert database.count_look(make_look(first=1, last=10)) == 1
    assert database.count_look(make_look(first=1, last=10)) == 1
    assert database.count_look(make_look(first=10, last=20)) == 2
    assert database.count_look(make_look(first=11, last=20)) == 2
    assert database.count_look(make_look(first=5, last=15)) == 4
    assert database.count_look(make_look(first=21, last=22)) == 1
    assert database.count_look(make_look(first=1, last=31, data_digest=OTHER_BARS)) == 1
    assert database.count_look(make_look(first=1, last=31)) == 6


def test_look_at_another_artifact_counts_and_at_the_same_again_does_not(database):
    database.start_run(make_run("again"))
    first = make_look()
    looks = (first, make_look("again"), make_look(artifact_digest="f" * 64))
    assert [database.count_look(look) for look in looks] == [1, 1, 2]
    resumed = dataclasses.replace(first, at=NOON + dt.timedelta(days=1))
    assert database.count_look(resumed) == 2
    assert database.looks(BARS) == looks
    assert database.looks(OTHER_BARS) == ()


def test_trials_are_counted_over_all_runs_on_the_data(database):
    database.start_run(make_run("second", seed=8))
    database.start_run(make_run("elsewhere", data_digest=OTHER_BARS))
    for run_id, n_cycles in (("run", 3), ("second", 2), ("elsewhere", 1)):
        for cycle_id in range(1, n_cycles + 1):
            database.record_cycle(make_cycle(cycle_id, run_id))
            database.record_cycle(make_cycle(cycle_id, run_id))
    assert database.trial_count(BARS) == 5
    assert database.trial_count(OTHER_BARS) == 1
    assert database.trial_count("0" * 64) == 0


def test_a_repeated_run_is_no_new_trial(database):
    database.start_run(make_run("again", started_at=NOON + dt.timedelta(hours=1)))
    for run_id in ("run", "again"):
        database.record_cycle(make_cycle(1, run_id))
        database.record_cycle(make_cycle(2, run_id, sharpe=None))
    assert database.trial_count(BARS) == 2
    assert database.trial_sharpes(BARS) == (1.25,)
    # the same settings may give another result with other code: that was another try
    database.record_cycle(make_cycle(1, "again", sharpe=1.5))
    assert database.trial_count(BARS) == 3
    assert database.trial_sharpes(BARS) == (1.25, 1.5)


def test_the_sharpe_ratios_of_trials_leave_out_what_has_none(database):
    database.start_run(make_run("second", seed=8, started_at=NOON + dt.timedelta(hours=1)))
    database.start_run(make_run("elsewhere", data_digest=OTHER_BARS))
    database.record_cycle(make_cycle(1, "second", sharpe=-0.5))
    database.record_cycle(make_cycle(1, sharpe=None))
    database.record_cycle(make_cycle(2, sharpe=0.75))
    database.record_cycle(make_cycle(1, "elsewhere", sharpe=3.0))
    assert database.trial_count(BARS) == 3
    assert database.trial_sharpes(BARS) == (0.75, -0.5)
    assert database.trial_sharpes(OTHER_BARS) == (3.0,)
    assert database.trial_sharpes("0" * 64) == ()


def test_times_are_stored_in_utc(database, path):
    tokyo = dt.timezone(dt.timedelta(hours=9))
    database.record_cycle(make_cycle(start_ts=dt.datetime(2025, 7, 1, 3, tzinfo=tokyo)))
    assert rows(path, "SELECT start_ts FROM cycle_metrics") == [("2025-06-30 18:00:00.000000",)]
    (found,) = database.cycles("run")
    assert found.start_ts == dt.datetime(2025, 6, 30, 18, tzinfo=dt.UTC)
    assert found.start_ts.tzinfo is dt.UTC


@pytest.mark.parametrize(
    ("make", "change", "words"),
    [
        (make_cycle, {"start_ts": dt.datetime(2025, 7, 1)}, r"CycleRecord\.start_ts: .*no timezone"),
        (make_cycle, {"sharpe": float("nan")}, r"CycleRecord\.sharpe: nan is not finite"),
        (make_cycle, {"sharpe_standard_error": float("inf")}, "inf is not finite"),
        (make_drift, {"mean_kl": float("nan")}, r"DriftRecord\.mean_kl"),
        (make_run, {"config": {"a": float("nan")}}, r"RunRecord\.config: \$\.a"),
        (make_run, {"seed": 2**63}, "64 bits"),
        (make_model, {"performance": {"a": object()}}, "no JSON form"),
        (make_model, {"run_id": None}, "without a run"),
        (make_look, {"last_date": dt.date(2025, 7, 1)}, "ends before it starts"),
        (
            make_cycle,
            {"verdicts": (dataclasses.replace(VERDICTS[0], observed=float("nan")),)},
            r"CycleRecord\.verdicts",
        ),
    ],
)
def test_what_a_row_cant_hold_is_refused(make, change, words):
    with pytest.raises(StorageError, match=words):
        make(**change)


def test_verdict_comes_back():
    assert tuple(verdict_from_record(verdict.as_record()) for verdict in VERDICTS) == VERDICTS


def test_file_is_one_after_closing_and_safe_while_open(path):
    with GateDatabase.open(sqlite_url(path)) as database:
        database.start_run(make_run())
        assert rows(path, "PRAGMA journal_mode") == [("wal",)]
    assert [entry.name for entry in path.parent.iterdir()] == ["gate.db"]
    assert rows(path, "PRAGMA integrity_check") == [("ok",)]


def test_connection_keeps_its_rules(database):
    with database._engine.connect() as connection:
        found = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("foreign_keys", "synchronous", "busy_timeout", "journal_mode")
        }
    assert found == {"foreign_keys": 1, "synchronous": 1, "busy_timeout": 30_000, "journal_mode": "wal"}


def test_odd_path_is_one_file(tmp_path):
    folder = tmp_path / "a b?c%41#d&é"
    folder.mkdir()
    with GateDatabase.open(sqlite_url(folder / "gate.db")) as database:
        database.start_run(make_run())
    assert [entry.name for entry in folder.iterdir()] == ["gate.db"]


@pytest.mark.parametrize("url", ["", "gate.db", "oracle9://x/y", "sqlite://", "sqlite:///:memory:"])
def test_url_of_no_database_is_refused(url, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StorageError, match="sqlite:///PATH"):
        GateDatabase.open(url)
    assert list(tmp_path.iterdir()) == []


def test_missing_folder_is_refused(tmp_path):
    with pytest.raises(StorageError, match="the folder is not there"):
        GateDatabase.open(sqlite_url(tmp_path / "missing" / "gate.db"))


def test_read_only_folder_is_refused(public_folder, without_rights, database):
    with without_rights(public_folder), pytest.raises(StorageError, match="write to"):
        GateDatabase.open(sqlite_url(public_folder / "gate.db"))
    assert list(public_folder.iterdir()) == []


def test_read_only_file_is_refused_and_stays(public_folder, without_rights):
    place = public_folder / "gate.db"
    with GateDatabase.open(sqlite_url(place)) as database:
        database.start_run(make_run())
    place.chmod(0o444)
    before = place.read_bytes()
    with without_rights(public_folder), pytest.raises(StorageError, match="write to"):
        GateDatabase.open(sqlite_url(place)).start_run(make_run("second"))
    assert place.read_bytes() == before


def test_full_disk_is_told_and_leaves_no_half_row(database, path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    log_bytes = path.with_name("gate.db-wal").stat().st_size
    note = "x" * 100_000
    resource.setrlimit(resource.RLIMIT_FSIZE, (log_bytes + 50_000, hard))
    try:
        with pytest.raises(StorageError, match="free some space"):
            database.record_cycle(
                make_cycle(), drift=make_drift(), model=make_model(performance={"note": note})
            )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert database.cycles("run") == ()
    database.record_cycle(make_cycle(), drift=make_drift(), model=make_model())
    assert database.cycles("run") == (make_cycle(),)
    assert rows(path, "PRAGMA integrity_check") == [("ok",)]


def test_file_that_is_no_database_is_refused_and_stays(path):
    path.write_bytes(b"time,open,high,low,close\n" * 100)
    before = path.read_bytes()
    with pytest.raises(StorageError, match="a file that is not there yet"):
        GateDatabase.open(sqlite_url(path))
    assert path.read_bytes() == before


def child(code: str, *arguments: object) -> subprocess.Popen[str]:
    prelude = (
        "import os, sys, time\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from test_database import *\n"
    )
    command = [sys.executable, "-c", prelude + code, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


KILLED_INSIDE = """
from sqlalchemy import Engine, event

database = GateDatabase.open(sqlite_url(Path(sys.argv[1])))
database.record_cycle(make_cycle(1), drift=make_drift(1), model=make_model(1))

@event.listens_for(Engine, "after_cursor_execute")
def kill(connection, cursor, statement, parameters, context, executemany):
    if statement.startswith("INSERT INTO " + sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)

database.record_cycle(make_cycle(2), drift=make_drift(2), model=make_model(2))
"""


@pytest.mark.parametrize("table", ["cycle_metrics", "parameter_drift_log", "model_registry"])
def test_kill_inside_a_transaction_leaves_no_half_row(path, table):
    with GateDatabase.open(sqlite_url(path)) as database:
        database.start_run(make_run())
    with child(KILLED_INSIDE, path, table) as process:
        errors = process.communicate()[1]
    assert process.returncode == -signal.SIGKILL, errors
    with GateDatabase.open(sqlite_url(path)) as database:
        assert database.cycles("run") == (make_cycle(1),)
        assert database.drifts("run") == (make_drift(1),)
        assert database.models("run") == (make_model(1),)
        database.record_cycle(make_cycle(2), drift=make_drift(2), model=make_model(2))
        assert database.cycles("run") == (make_cycle(1), make_cycle(2))
    assert rows(path, "PRAGMA integrity_check") == [("ok",)]
    assert rows(path, "PRAGMA foreign_key_check") == []


WRITER = """
while not os.path.exists(sys.argv[3]):
    time.sleep(0.001)
name = sys.argv[2]
with GateDatabase.open(sqlite_url(Path(sys.argv[1]))) as database:
    database.start_run(make_run(name, config_digest=name.rjust(64, "0")))
    database.start_run(make_run("both"))
    for cycle_id in range(1, 26):
        model = make_model(cycle_id, name, model_id=name.rjust(60) + f"{cycle_id:04d}")
        database.record_cycle(make_cycle(cycle_id, name), drift=make_drift(cycle_id, name), model=model)
        database.record_cycle(make_cycle(cycle_id, "both"), drift=make_drift(cycle_id, "both"))
        database.count_look(make_look(name, first=1 + cycle_id % 20, last=31))
"""


def test_processes_writing_at_once_lose_nothing(path):
    """The database isn't there yet, so that creating it is part of the race."""
    go, names = path.with_name("go"), ("one", "two", "three")
    writers = [child(WRITER, path, name, go) for name in names]
    go.touch()
    for writer in writers:
        errors = writer.communicate()[1]
        assert writer.returncode == 0, errors
    with GateDatabase.open(sqlite_url(path)) as database:
        for name in (*names, "both"):
            assert [cycle.cycle_id for cycle in database.cycles(name)] == list(range(1, 26))
            assert [drift.cycle_id for drift in database.drifts(name)] == list(range(1, 26))
        assert len(database.models()) == 75
        assert len(database.looks(BARS)) == 60
        assert database.trial_count(BARS) == 100


def test_writer_that_waits_in_vain_says_so(database, path):
    with database._engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA busy_timeout = 20")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageError, match="another process is writing"):
            database.record_cycle(make_cycle())
        assert database.cycles("run") == ()
        other.execute("ROLLBACK")
    database.record_cycle(make_cycle())
    assert database.cycles("run") == (make_cycle(),)


def test_current_database_opens_without_alembic(path):
    GateDatabase.open(sqlite_url(path)).close()
    code = "GateDatabase.open(sqlite_url(Path(sys.argv[1]))).close(); sys.exit('alembic' in sys.modules)"
    with child(code, path) as process:
        errors = process.communicate()[1]
    assert process.returncode == 0, errors


def test_methods_read_no_clock():
    for module in ("database", "records", "schema", "connection"):
        source = (Path(sys.modules[f"stairways.registry.{module}"].__file__)).read_text()
        assert ".now(" not in source
        assert "utcnow" not in source
        assert "CURRENT_TIMESTAMP" not in source
