import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

from stairways.errors import StorageError
from stairways.registry import connection as registry_connection
from stairways.registry.connection import KNOWN_REVISIONS, MIGRATIONS_FOLDER, NEWEST_REVISION, sqlite_url
from stairways.registry.database import GateDatabase
from stairways.registry.schema import Base

# The plan's listing of gate.db: columns, and which are NOT NULL (those it gives a default are, too).
PLAN = {
    "cycle_metrics": {
        "cycle_id": True,
        "start_ts": True,
        "end_ts": True,
        "sharpe": False,  # unlike the plan: a Sharpe that was not measured is no number
        "max_dd": True,
        "trades_per_day": True,
        "shadow_pass": True,
        "rel_param_drift": True,
        "improvement_pct": False,
        "gate_passed": True,
        "note": False,
        "model_hash": False,
        "created_at": True,
    },
    "model_registry": {
        "model_id": True,
        "cycle_id": False,
        "model_path": True,
        "performance": True,
        "is_production": True,
        "created_at": True,
    },
    "parameter_drift_log": {
        "log_id": True,
        "cycle_id": True,
        "l2_norm_drift": True,
        "relative_drift": True,
        "threshold_exceeded": True,
        "action_taken": False,
        "timestamp": True,
    },
}


def rows(path: Path, query: str) -> list[tuple]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


def execute(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def refuse_and_leave(path: Path, words: str) -> None:
    before = path.read_bytes()
    with pytest.raises(StorageError, match=words) as raised:
        GateDatabase.open(sqlite_url(path))
    assert str(path) in raised.value.line()
    assert raised.value.remedy
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "gate.db"


@pytest.fixture
def current(path) -> Path:
    GateDatabase.open(sqlite_url(path)).close()
    return path


def test_newest_revision_is_the_one_shipped():
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS_FOLDER))
    scripts = ScriptDirectory.from_config(config)
    assert scripts.get_heads() == [NEWEST_REVISION]
    assert {script.revision for script in scripts.walk_revisions()} == set(KNOWN_REVISIONS)


def test_migrations_lie_in_the_package():
    assert MIGRATIONS_FOLDER.parent == Path(registry_connection.__file__).parent
    assert (MIGRATIONS_FOLDER / "env.py").is_file()
    assert (MIGRATIONS_FOLDER / "script.py.mako").is_file()


def test_migrated_schema_is_the_one_of_the_models(current):
    engine = create_engine(sqlite_url(current))
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
    engine.dispose()


def normal(statement: str) -> str:
    return " ".join(statement.replace('"', "").split())


def test_migration_and_models_write_the_same_tables(current, tmp_path):
    """Autogenerate sees neither names of constraints nor partial indexes: compare the statements too."""
    engine = create_engine(sqlite_url(tmp_path / "models.db"))
    Base.metadata.create_all(engine)
    engine.dispose()
    query = "SELECT name, type FROM sqlite_master WHERE name NOT LIKE '%alembic%' ORDER BY name"
    assert rows(current, query) == rows(tmp_path / "models.db", query)
    query = "SELECT sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL ORDER BY name"
    ours, models = (
        sorted(normal(sql) for (sql,) in rows(place, query)) for place in (current, tmp_path / "models.db")
    )
    assert ours == models
    for table in Base.metadata.tables:
        for columns, pragma in (("*", "table_info"), ('"from", "table", "to"', "foreign_key_list")):
            query = f"SELECT {columns} FROM pragma_{pragma}('{table}')"  # noqa: S608
            ours, models = (
                sorted(map(str, rows(place, query))) for place in (current, tmp_path / "models.db")
            )
            assert ours == models


def test_names_fit_every_database(current):
    names = {name for (name,) in rows(current, "SELECT name FROM sqlite_master")}
    for table in Base.metadata.tables.values():
        names |= {str(constraint.name) for constraint in table.constraints}
    assert max(map(len, names)) <= 63  # the limit of PostgreSQL


@pytest.mark.parametrize("table", PLAN)
def test_columns_of_the_plan_are_there(current, table):
    found = {
        name: bool(required) for _, name, _, required, _, _ in rows(current, f"PRAGMA table_info({table})")
    }
    assert PLAN[table].items() <= found.items()
    assert "run_id" in found


def test_keys_hold_the_run(current):
    def key(table):
        columns = rows(current, f"PRAGMA table_info({table})")
        return [name for _, name, _, _, _, rank in sorted(columns, key=lambda row: row[5]) if rank]

    assert key("cycle_metrics") == ["run_id", "cycle_id"]
    for table in ("model_registry", "parameter_drift_log"):
        links = rows(current, f"PRAGMA foreign_key_list({table})")
        composite = [(source, target) for _, _, to, source, target, *_ in links if to == "cycle_metrics"]
        assert sorted(composite) == [("cycle_id", "cycle_id"), ("run_id", "run_id")]


def test_empty_file_is_filled(path):
    path.touch()
    GateDatabase.open(sqlite_url(path)).close()
    assert rows(path, "SELECT version_num FROM alembic_version") == [(NEWEST_REVISION,)]


def test_opening_again_changes_nothing(current):
    before = rows(current, "SELECT * FROM sqlite_master")
    GateDatabase.open(sqlite_url(current)).close()
    assert rows(current, "SELECT * FROM sqlite_master") == before


def test_interrupted_migration_leaves_nothing_and_begins_again(path, monkeypatch):
    from alembic import op

    create_table = op.create_table

    def broken(name, *columns, **options):
        if name == "looks":
            raise KeyboardInterrupt
        return create_table(name, *columns, **options)

    monkeypatch.setattr(op, "create_table", broken)
    with pytest.raises(KeyboardInterrupt):
        GateDatabase.open(sqlite_url(path))
    assert rows(path, "SELECT name FROM sqlite_master") == []
    monkeypatch.undo()
    GateDatabase.open(sqlite_url(path)).close()
    assert rows(path, "SELECT version_num FROM alembic_version") == [(NEWEST_REVISION,)]


def test_foreign_tables_are_refused(path):
    execute(path, "CREATE TABLE trades (id INTEGER)", "INSERT INTO trades VALUES (1)")
    refuse_and_leave(path, r"holds other tables \(trades\)")


def test_foreign_tables_under_alembic_are_refused(path):
    execute(
        path,
        "CREATE TABLE trades (id INTEGER)",
        "CREATE TABLE alembic_version (version_num TEXT)",
        "INSERT INTO alembic_version VALUES ('0001')",
    )
    refuse_and_leave(path, "other tables")


def test_the_plans_own_tables_without_versions_are_refused(path):
    execute(path, "CREATE TABLE cycle_metrics (cycle_id INTEGER PRIMARY KEY)")
    refuse_and_leave(path, "other tables")


def test_newer_revision_is_refused(current):
    execute(current, "UPDATE alembic_version SET version_num = '9999'")
    refuse_and_leave(current, f"schema revision 9999, newest known {NEWEST_REVISION}; update stairways")


def test_lost_version_is_refused(current):
    execute(current, "DELETE FROM alembic_version")
    refuse_and_leave(current, "schema revision none")


def test_lost_table_is_refused(current):
    execute(current, "DROP TABLE looks")
    refuse_and_leave(current, r"tables are missing \(looks\)")


def made_at(path: Path, revision: str) -> None:
    """Create a database as the release of that revision left it, with a run and a model in it."""
    from alembic import command

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS_FOLDER))
    engine = create_engine(sqlite_url(path))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    engine.dispose()
    execute(
        path,
        "INSERT INTO runs VALUES ('r', 'tune', '2025-07-01 12:00:00.000000', NULL, 1, 'c', '{}', 'd', 's', "
        "NULL, 'running', 0)",
        "INSERT INTO model_registry VALUES ('m', 'r', NULL, '/m', '{}', 'candidate', 0, "
        "'2025-07-01 12:00:00.000000')",
    )


@pytest.mark.parametrize("revision", KNOWN_REVISIONS[:-1])
def test_every_released_schema_is_upgraded_and_keeps_its_rows(path, tmp_path, revision):
    made_at(path, revision)
    GateDatabase.open(sqlite_url(path)).close()
    assert rows(path, "SELECT version_num FROM alembic_version") == [(NEWEST_REVISION,)]
    assert rows(path, "SELECT run_id, status FROM runs") == [("r", "running")]
    assert rows(path, "SELECT model_id, role FROM model_registry") == [("m", "candidate")]
    fresh = tmp_path / "fresh.db"
    GateDatabase.open(sqlite_url(fresh)).close()
    query = "SELECT name, sql FROM sqlite_master ORDER BY name"
    assert rows(path, query) == rows(fresh, query)


def rollback_row(name: str, target: str, swapped_at: str, seconds: str) -> str:
    at = "'2026-07-01 12:00:00.000000'"
    values = f"'{name}', 'drawdown', 'NAV fell', 'm', {target}, {at}, {swapped_at}, 'watch', '[]', {seconds}"
    return f"INSERT INTO rollbacks VALUES ({values}, NULL, 0, NULL, NULL, NULL)"  # noqa: S608


def waiver_row(name: str, model: str = "m") -> str:
    at = "'2026-07-01 12:00:00.000000'"
    values = f"'{name}', '{model}', 'drift', 'ann', 'a good reason', {at}, '{{}}'"
    return f"INSERT INTO waivers VALUES ({values})"  # noqa: S608


def test_ways_back_and_waivers_are_kept_when_their_tables_are_made_anew(path):
    made_at(path, "0002")
    execute(path, rollback_row("o", "'m'", "'2026-07-01 12:00:01.000000'", "0.25"), waiver_row("w"))
    before = {table: rows(path, f"SELECT * FROM {table}") for table in ("rollbacks", "waivers")}  # noqa: S608
    GateDatabase.open(sqlite_url(path)).close()
    assert {table: rows(path, f"SELECT * FROM {table}") for table in before} == before  # noqa: S608
    # what 0002 refused may be now: a way back to nothing, a second waiver of the same verdict
    execute(path, rollback_row("p", "NULL", "NULL", "NULL"), waiver_row("v"))
    with pytest.raises(sqlite3.IntegrityError):
        execute(path, "PRAGMA foreign_keys = ON", waiver_row("u", "nobody"))
