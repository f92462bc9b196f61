"""The worker: with which settings it answers, and how it keeps its clients' memory."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import uvicorn
from serving import as_json, ground, question, random_model, service_of
from supervised import until

from stairways.cli.main import run
from stairways.live import supervisor as supervisor_module
from stairways.live import worker as worker_module
from stairways.live.address import Address
from stairways.live.client import ServiceClient
from stairways.live.http_api import make_app
from stairways.live.memory import read_memory, write_memory
from stairways.live.service import Service
from stairways.live.supervisor import PREPARED, Supervisor
from stairways.operations_config import PerformanceSettings

PATIENCE_SECONDS = 60.0
"""A bound on hangs, and no claim."""
SETTINGS = "performance: {inference_batch: 7, prediction_cache_seconds: 2.5}\n"


def words_for_worker(made, address, monkeypatch, **options):
    """Return the words that a supervisor starts its workers with."""
    started = []

    def refused(command, **_):
        started.append(command)
        raise OSError(11, "Resource temporarily unavailable")

    one = Supervisor(made.store.root, address, **options)
    monkeypatch.setattr(supervisor_module.subprocess, "Popen", refused)
    try:
        assert "no worker can be started" in one._replace()["error"]
    finally:
        one._close()
    (command,) = started
    return command[2:]


@pytest.fixture
def prepared(monkeypatch):
    """Start a worker in this process, tell it to go away when it is prepared, and return its service."""
    services = []

    class Kept(Service):
        def __init__(self, *arguments, **options) -> None:
            super().__init__(*arguments, **options)
            services.append(self)

    monkeypatch.setattr(worker_module, "Service", Kept)

    def start(words):
        hear, its_tell = os.pipe()
        its_hear, tell = os.pipe()
        os.close(tell)
        words = [*words, "--hear", its_hear, "--tell", its_tell]
        monkeypatch.setattr(sys, "argv", list(map(str, words)))
        try:
            assert worker_module.main() == 0
            assert os.read(hear, 64) == PREPARED
        finally:
            for descriptor in (hear, its_tell, its_hear):
                os.close(descriptor)
        return services.pop()

    return start


@pytest.mark.parametrize(
    "settings", [None, PerformanceSettings(inference_batch=7, prediction_cache_seconds=2.5)]
)
def test_a_worker_answers_as_its_supervisor_was_told(tmp_path, monkeypatch, prepared, settings):
    made = ground(tmp_path, random_model(1))
    words = words_for_worker(made, Address(path=tmp_path / "socket"), monkeypatch, performance=settings)
    service = prepared(words)
    predictor = service._current().predictor
    expected = settings or PerformanceSettings()
    assert (predictor.batch, predictor.life_seconds) == (
        expected.inference_batch,
        expected.prediction_cache_seconds,
    )


def test_serve_hands_its_settings_on(tmp_path, monkeypatch):
    made = ground(tmp_path)
    file = tmp_path / "settings.yml"
    file.write_text(SETTINGS)
    given = {}

    class Told:
        def __init__(self, registry, address, **options) -> None:
            given.update(options)

        def run(self) -> None:
            """Serve nothing."""

    monkeypatch.setattr(supervisor_module, "Supervisor", Told)
    words = ["serve", "--registry", made.store.root, "--socket", tmp_path / "socket", "--config", file]
    assert run(list(map(str, words))) == 0
    assert given["performance"] == PerformanceSettings(inference_batch=7, prediction_cache_seconds=2.5)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"inference_batch": 0}', "performance.inference_batch: Input should be greater than or equal to 1"),
        ('{"more": 1}', "performance.more: Extra inputs are not permitted"),
        ("{", "performance: Invalid JSON"),
    ],
)
def test_settings_of_no_sense_are_refused_in_words(tmp_path, monkeypatch, capsys, prepared, text, words):
    made = ground(tmp_path)
    given = words_for_worker(made, Address(path=tmp_path / "socket"), monkeypatch)
    with pytest.raises(SystemExit) as caught:
        prepared([*given, "--performance", text])
    assert caught.value.code == 2
    assert words in capsys.readouterr().err


class SlowDisk:
    """Writes memories when it is let; notes what was written, and whether two were written at once."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.go_on = threading.Semaphore(0)
        self.written: list[list[str]] = []
        self.overlaps = 0
        self._writing = threading.Lock()

    def write(self, path, memory) -> None:
        """Write as :func:`write_memory` does, some time."""
        if not self._writing.acquire(blocking=False):
            self.overlaps += 1
            raise AssertionError("two at once")
        self.begun.release()
        assert self.go_on.acquire(timeout=PATIENCE_SECONDS)
        write_memory(path, memory)
        self.written.append(list(memory["clients"]))
        self._writing.release()

    def wait(self) -> None:
        """Wait until a writing began."""
        assert self.begun.acquire(timeout=PATIENCE_SECONDS)


@contextmanager
def serving(service: Service, address: Address, memory) -> Iterator[uvicorn.Server]:
    """Serve in a thread, as a worker does."""
    listener, _ = address.listen()
    hear, its_tell = os.pipe()
    its_hear, tell = os.pipe()
    config = uvicorn.Config(make_app(service, 1), log_level="error", lifespan="off")
    server = worker_module._Server(config, service, memory, hear=its_hear, tell=its_tell)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])))
    thread.start()
    try:
        yield server
    finally:
        server.should_exit = True
        thread.join(PATIENCE_SECONDS)
        listener.close()
        for descriptor in (hear, its_tell, its_hear, tell):
            os.close(descriptor)
        assert not thread.is_alive()


@pytest.fixture
def slow(monkeypatch):
    disk = SlowDisk()
    monkeypatch.setattr(worker_module, "write_memory", disk.write)
    monkeypatch.setattr(worker_module, "_SECONDS_BETWEEN_WRITES", 0.01)
    return disk


def test_a_slow_disk_holds_no_answer_up_and_the_last_state_is_written_last(tmp_path, slow):
    service = service_of(ground(tmp_path, random_model(1)).store)
    address, place = Address(path=tmp_path / "socket"), tmp_path / "clients.json"
    with serving(service, address, place) as server, ServiceClient(address, PATIENCE_SECONDS) as client:
        client.decide([as_json(question("ann"))])
        slow.wait()
        # the write of what ann left stands still from here on
        client.decide([as_json(question("bob"))])
        assert slow.written == []
        slow.go_on.release()
        slow.wait()
        client.decide([as_json(question("eve"))])
        assert slow.written == [["ann"]]
        # it is told to end while the second stands still, and waits for it
        server.should_exit = True
        slow.go_on.release(10)
    assert slow.written[:2] == [["ann"], ["ann", "bob"]]
    assert slow.written[-1] == ["ann", "bob", "eve"]
    assert slow.overlaps == 0
    assert list(read_memory(place)["clients"]) == ["ann", "bob", "eve"]


def test_a_disk_that_refuses_is_told_and_what_comes_later_is_written(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(worker_module, "_SECONDS_BETWEEN_WRITES", 0.01)
    monkeypatch.setattr(worker_module, "_say", said.append)
    service = service_of(ground(tmp_path, random_model(1)).store)
    address, place = Address(path=tmp_path / "socket"), tmp_path / "service" / "clients.json"
    with serving(service, address, place), ServiceClient(address, PATIENCE_SECONDS) as client:
        client.decide([as_json(question("ann"))])
        until(lambda: said)
        assert said[0].startswith(f"{place}: No such file or directory")
        place.parent.mkdir()
    assert list(read_memory(place)["clients"]) == ["ann"]
