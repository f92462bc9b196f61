"""What every test folder shares: builders beside this file, compiled code cached by its sources."""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from stairways.compiled_cache import use_own_cache

use_own_cache()
sys.path.insert(0, str(Path(__file__).resolve().parent))

import postgres  # noqa: E402 - beside this file

# a loaded machine must not fail a property, and a property that fails there must fail here again
settings.register_profile(
    "ci", derandomize=True, database=None, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
if os.environ.get("CI"):
    settings.load_profile("ci")

NOBODY = 65534


@contextmanager
def _without_rights(folder: Path) -> Iterator[None]:
    root = os.geteuid() == 0
    folder.chmod(0o555)
    if root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
        folder.chmod(0o755)


@pytest.fixture
def without_rights():
    """Context manager: the folder can be read and not written, for root too."""
    return _without_rights


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A folder that every user can reach; pytest's own are closed to others."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """URL of a real PostgreSQL server; a database for each test comes from :func:`postgres_url`."""
    folder = postgres.programs()
    if folder is None:
        if os.environ.get("CI"):
            pytest.fail("CI installs PostgreSQL, and there is none")
        pytest.skip("no PostgreSQL here: install the Debian package postgresql")
    with postgres.server(folder) as url:
        yield url


@pytest.fixture
def postgres_url(postgres_server, request) -> Iterator[str]:
    """URL of an empty database of its own."""
    import psycopg

    name = f"t{abs(hash(request.node.nodeid)) % 10**12}"
    place = postgres_server.partition("?host=")[2]
    with psycopg.connect(f"host={place} user=tester dbname=postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    yield postgres_server.replace("/postgres?", f"/{name}?")
    with psycopg.connect(f"host={place} user=tester dbname=postgres", autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
