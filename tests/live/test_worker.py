"""The worker: with which settings it answers."""

from __future__ import annotations

import os
import sys

import pytest
from serving import ground, random_model

from stairways.cli.main import run
from stairways.live import supervisor as supervisor_module
from stairways.live import worker as worker_module
from stairways.live.address import Address
from stairways.live.service import Service
from stairways.live.supervisor import PREPARED, Supervisor
from stairways.operations_config import PerformanceSettings

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
