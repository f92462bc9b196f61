"""Restarting whoever keeps the service up: by the very words of systemd, Docker or one's own command."""

from __future__ import annotations

import json
import os
import socket
import threading
from pathlib import Path

import pytest

from stairways.errors import ServiceError
from stairways.live.restart import SHOWN_LETTERS, CommandRestarter, SupervisorRestarter, restarter_of
from stairways.operations_config import ServiceConfig

PATIENCE_SECONDS = 30.0


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """Return a maker of commands that write down how they were called."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    def make(name: str, then: str = "exit 0") -> Path:
        calls = tmp_path / f"{name}.calls"
        script = folder / name
        script.write_text(f'#!/bin/sh\necho "$0 $*" >> {calls}\n{then}\n')
        script.chmod(0o755)
        return calls

    return make


def called(calls: Path) -> list[str]:
    """Return the words of each call, the command's name first."""
    return [Path(line).name for line in calls.read_text().splitlines()]


@pytest.mark.parametrize(
    ("config", "name", "object_"),
    [
        ({"restart": "systemd", "unit": "answers.service"}, "systemctl", "answers.service"),
        ({"restart": "docker", "container": "answers"}, "docker", "answers"),
    ],
)
def test_systemd_and_docker_are_called_by_name(fake, tmp_path, config, name, object_):
    calls = fake(name)
    restarter = restarter_of(ServiceConfig(**config), tmp_path)
    assert restarter.restart() == f"{name} restart {object_}"
    assert restarter.stop() == f"{name} stop {object_}"
    assert called(calls) == [f"{name} restart {object_}", f"{name} stop {object_}"]


def test_a_command_of_ones_own_gets_its_words_as_they_are(fake, tmp_path):
    calls = fake("mine", 'for word; do echo "[$word]"; done >> "$0.words"')
    config = ServiceConfig(
        restart="command",
        restart_command=("mine", "a b", "$HOME", "; rm -rf x"),
        stop_command=("mine", "off"),
    )
    restarter = restarter_of(config, tmp_path)
    restarter.restart()
    restarter.stop()
    words = (tmp_path / "bin" / "mine.words").read_text().splitlines()
    assert words == ["[a b]", "[$HOME]", "[; rm -rf x]", "[off]"]
    assert len(called(calls)) == 2


def test_what_fails_tells_its_status_and_the_end_of_what_it_said(fake, tmp_path):
    fake("systemctl", f"echo {'x' * 400} >&2\necho no such unit >&2\nexit 5")
    with pytest.raises(ServiceError, match="no such unit") as caught:
        restarter_of(ServiceConfig(restart="systemd"), tmp_path).restart()
    assert caught.value.where == "systemctl restart stairways.service"
    assert caught.value.what.startswith("ended with 5: xxx")
    assert len(caught.value.what) <= SHOWN_LETTERS + len("ended with 5: ")


def test_one_that_dies_by_a_signal_failed(fake, tmp_path):
    fake("docker", "kill -9 $$")
    with pytest.raises(ServiceError, match="ended with -9"):
        restarter_of(ServiceConfig(restart="docker"), tmp_path).restart()


def test_what_it_says_need_not_be_text(fake):
    fake("mine", r"printf '\377\376' >&2; exit 1")
    with pytest.raises(ServiceError, match="ended with 1"):
        CommandRestarter(("mine",), (), PATIENCE_SECONDS).restart()


def test_one_that_does_not_end_is_ended(fake, tmp_path):
    fake("mine", f"echo $$ > {tmp_path / 'pid'}\nexec sleep 600")
    with pytest.raises(ServiceError, match="did not end within 2 s"):
        CommandRestarter(("mine",), (), 2.0).restart()
    pid = int((tmp_path / "pid").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_what_it_leaves_running_is_not_waited_for(fake, tmp_path):
    pid = tmp_path / "pid"
    fake("mine", f"sleep 600 &\necho $! > {pid}\nexit 0")
    try:
        assert CommandRestarter(("mine",), (), PATIENCE_SECONDS).restart() == "mine"
        os.kill(int(pid.read_text()), 0)
    finally:
        os.kill(int(pid.read_text()), 9)


def test_a_command_that_is_missing_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ServiceError, match="docker restart stairways: could not be run"):
        restarter_of(ServiceConfig(restart="docker"), tmp_path).restart()


def test_without_a_command_to_stop_nothing_is_stopped(fake, tmp_path):
    fake("mine")
    restarter = restarter_of(ServiceConfig(restart="command", restart_command=("mine",)), tmp_path)
    assert restarter.restart() == "mine"
    with pytest.raises(ServiceError, match="no command for it is set"):
        restarter.stop()


def test_a_command_must_be_named_to_be_chosen():
    with pytest.raises(ValueError, match="restart: command needs a restart_command"):
        ServiceConfig(restart="command")


class FakeSupervisor:
    """Answers one word at a control socket."""

    def __init__(self, registry: Path, answer: dict | bytes) -> None:
        self.heard = b""
        self._answer = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(registry / "control"))
        self._listener.listen(1)
        (registry / "service").mkdir()
        record = {"address": "unix:/nowhere", "control": str(registry / "control"), "pid": 1}
        (registry / "service" / "service.json").write_text(json.dumps(record))
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> FakeSupervisor:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        with connection:
            while part := connection.recv(64):
                self.heard += part
            connection.sendall(self._answer)


def test_the_supervisor_is_asked_by_default(tmp_path):
    with FakeSupervisor(tmp_path, {"generation": 3, "pid": 77, "seconds": 1.25}) as supervisor:
        said = restarter_of(ServiceConfig(), tmp_path).restart()
    assert (supervisor.heard, said) == (b"restart", "worker 3 (pid 77) after 1.25 s")


def test_the_supervisor_is_told_to_stop(tmp_path):
    with FakeSupervisor(tmp_path, {"stopped": True}) as supervisor:
        assert SupervisorRestarter(tmp_path, PATIENCE_SECONDS).stop() == "the supervisor ends"
    assert supervisor.heard == b"stop"


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        ({"error": "worker 3 did not get ready"}, "supervisor: worker 3 did not get ready"),
        (b"", "the supervisor does not answer"),
        (b"{", "the supervisor does not answer"),
    ],
)
def test_a_supervisor_that_can_not_do_it_says_so(tmp_path, answer, what):
    with FakeSupervisor(tmp_path, answer), pytest.raises(ServiceError, match=what):
        SupervisorRestarter(tmp_path, PATIENCE_SECONDS).restart()


def test_without_a_service_there_is_nothing_to_restart(tmp_path):
    restarter = SupervisorRestarter(tmp_path, PATIENCE_SECONDS)
    with pytest.raises(ServiceError, match="no service is running; start it: `stairways serve`"):
        restarter.restart()
    (tmp_path / "service").mkdir()
    record = {"address": "unix:/nowhere", "control": str(tmp_path / "gone"), "pid": 1}
    (tmp_path / "service" / "service.json").write_text(json.dumps(record))
    with pytest.raises(ServiceError, match="the supervisor does not answer"):
        restarter.restart()
