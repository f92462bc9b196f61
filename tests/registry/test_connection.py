"""Database URLs as they may be shown."""

import socket
import threading
import time

import pytest
from sqlalchemy import text

from stairways.errors import StorageError
from stairways.registry.connection import make_engine, prepare, reading, without_password, writing
from stairways.registry.schema import AuditHead


def test_a_password_is_hidden():
    shown = without_password("postgresql+psycopg://desk:s3cret@db:5432/gate")
    assert "s3cret" not in shown
    assert shown == "postgresql+psycopg://desk:***@db:5432/gate"


def test_a_url_without_one_stays_as_it_is():
    assert without_password("sqlite:////a/b:c@d.db") == "sqlite:////a/b:c@d.db"
    assert without_password("no url at all") == "no url at all"


def test_a_server_that_is_not_there_is_told():
    engine = make_engine("postgresql://tester@127.0.0.1:1/gate")
    with pytest.raises(StorageError, match="check the database and its URL"):
        prepare(engine)
    engine.dispose()


def test_a_server_that_says_nothing_is_not_waited_for():
    """It accepts a connection and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        engine = make_engine(f"postgresql://tester@127.0.0.1:{port}/gate?connect_timeout=2")
        began = time.monotonic()
        with pytest.raises(StorageError, match="timeout"):
            prepare(engine)
        assert time.monotonic() - began < 60
        engine.dispose()


def test_a_statement_and_a_lock_have_bounds(postgres_url):
    engine = make_engine(postgres_url)
    with reading(engine) as connection:
        bounds = [
            connection.execute(text(f"SHOW {name}")).scalar_one()
            for name in ("lock_timeout", "statement_timeout")
        ]
    assert bounds == ["30s", "2min"]
    engine.dispose()


def test_a_row_that_another_holds_is_told(postgres_url):
    engine = make_engine(postgres_url)
    prepare(engine)
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with writing(engine) as connection:
            connection.execute(text("SELECT * FROM audit_head FOR UPDATE"))
            held.set()
            done.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(30)
    try:
        with pytest.raises(StorageError, match="another process is writing"), writing(engine) as connection:
            connection.execute(text("SET LOCAL lock_timeout = '50ms'"))
            connection.execute(text(f"UPDATE {AuditHead.__tablename__} SET seq = 1"))  # noqa: S608
    finally:
        done.set()
        holder.join()
        engine.dispose()


@pytest.mark.parametrize("url", ["postgresql://nobody@{host}/gate", "postgresql://tester@{host}/missing"])
def test_a_wrong_user_or_name_is_told(postgres_server, url):
    place = postgres_server.partition("?host=")[2]
    engine = make_engine(url.format(host="") + f"?host={place}")
    with pytest.raises(StorageError) as raised:
        prepare(engine)
    assert "\n" not in raised.value.line()
    engine.dispose()
