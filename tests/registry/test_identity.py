"""Whose database it is: two registries never share one, and one that was exchanged is found out."""

from __future__ import annotations

import shutil

import pytest
from sqlalchemy import text

from registries import ManualClock, candidate_of, gold_artifact, workplace
from stairways.errors import StorageError
from stairways.registry import identity
from stairways.registry.connection import writing
from stairways.registry.history_records import Stage
from stairways.registry.registry import Registry

GOLD = gold_artifact()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path) -> str:
    if request.param == "postgresql":
        return request.getfixturevalue("postgres_url")
    return f"sqlite:///{tmp_path}/shared.db"


def opened(root, url=None, *, create=False) -> Registry:
    return (Registry.create if create else Registry.open)(root, ManualClock(), url)


def test_a_second_registry_on_one_database_is_refused(tmp_path, url):
    opened(tmp_path / "one", url, create=True).close()
    with pytest.raises(StorageError, match="the database is that of registry"):
        opened(tmp_path / "two", url, create=True)
    # one with a name of its own is refused too
    opened(tmp_path / "three", create=True).close()
    with pytest.raises(StorageError, match="give each registry a database of its own"):
        opened(tmp_path / "three", url)
    opened(tmp_path / "one", url).close()


def test_a_database_in_anothers_place_is_found_out(tmp_path):
    for name in ("one", "two"):
        opened(tmp_path / name, create=True).close()
    shutil.copy(tmp_path / "two/gate.db", tmp_path / "one/gate.db")
    with pytest.raises(StorageError, match=r"its database is that of registry \w{8}, not of \w{8}"):
        opened(tmp_path / "one")


def test_an_empty_database_in_its_place_is_found_out(tmp_path, url):
    opened(tmp_path / "one", create=True).close()
    with pytest.raises(StorageError, match="it knows nothing of registry"):
        opened(tmp_path / "one", url)
    # whoever wants an empty one says so
    opened(tmp_path / "one", url, create=True).close()
    opened(tmp_path / "one", url).close()


def test_a_copy_of_the_folder_is_the_same_registry_with_a_database_of_its_own(tmp_path):
    opened(tmp_path / "one", create=True).close()
    shutil.copytree(tmp_path / "one", tmp_path / "two", symlinks=True)
    opened(tmp_path / "two").close()


def test_a_copy_of_the_folder_on_the_same_database_promotes_nothing_once_they_differ(tmp_path, url):
    place = workplace(tmp_path, url=url)
    place.drilled()
    place.promote(GOLD.digest, Stage.GOLD)
    shutil.copytree(place.registry.root, tmp_path / "copy", symlinks=True)
    first, second = (place.add(candidate_of(GOLD, number)) for number in range(2))
    assert place.promote(first).promoted
    shutil.copytree(place.registry.store.place(second), tmp_path / "copy/artifacts" / second)
    original = place.registry
    with Registry.open(tmp_path / "copy", place.clock, url) as copy:
        place.registry = copy
        outcome = place.promote(second)
        assert [check.name for check in outcome.failures()] == ["history"]
        assert "registry reconcile" in outcome.failures()[0].reason
    place.registry = original
    assert place.promote(second).promoted
    original.close()


STOPS = ("before the folder has a name", "before the database has it", "before the folder knows that it has")


@pytest.mark.parametrize("stop", STOPS)
def test_one_that_was_killed_while_it_got_its_name_gets_it_later(tmp_path, url, stop, monkeypatch):
    class KilledError(BaseException):
        pass

    write, n_written = identity._write, 0

    def written(root, record):
        nonlocal n_written
        if stop == STOPS[0] or (stop == STOPS[2] and n_written):
            raise KilledError
        write(root, record)
        n_written += 1
        if stop == STOPS[1]:
            raise KilledError

    monkeypatch.setattr(identity, "_write", written)
    with pytest.raises(KilledError):
        opened(tmp_path / "one", url, create=True)
    monkeypatch.undo()
    opened(tmp_path / "one", url, create=True).close()
    opened(tmp_path / "one", url).close()


@pytest.mark.parametrize("content", ["", "{}", '{"registry":{"bound":true,"id":"ab"},"sha256":"00"}'])
def test_a_damaged_name_is_refused_and_a_way_back_goes_without_the_database(tmp_path, content):
    opened(tmp_path / "one", create=True).close()
    (tmp_path / "one/registry.json").write_text(content)
    with pytest.raises(StorageError, match=r"registry\.json"):
        opened(tmp_path / "one")
    Registry.open(tmp_path / "one", ManualClock(), needs_database=False).close()


def test_a_lost_name_is_refused(tmp_path):
    opened(tmp_path / "one", create=True).close()
    (tmp_path / "one/registry.json").unlink()
    with pytest.raises(StorageError, match=r"the folder has no name; restore registry\.json from a backup"):
        opened(tmp_path / "one")


def test_one_from_before_there_were_names_gets_one(tmp_path):
    registry = opened(tmp_path / "one", create=True)
    with writing(registry.engine) as connection:
        connection.execute(text("DELETE FROM registry_identity"))
    registry.close()
    (tmp_path / "one/registry.json").unlink()
    opened(tmp_path / "one").close()
    assert (tmp_path / "one/registry.json").is_file()
    opened(tmp_path / "one").close()
