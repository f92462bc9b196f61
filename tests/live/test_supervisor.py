"""The supervisor and its workers, as real processes that are replaced, killed and made to fail."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from contextlib import redirect_stderr
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from serving import LSTM, Ground, as_json, ground, question, random_model, service_of
from supervised import PATIENCE_SECONDS, Supervised, is_alive, kill, listens, supervised, until

from stairways.cli.main import run
from stairways.errors import ConfigError, ServiceError, StorageError
from stairways.live import supervisor as supervisor_module
from stairways.live.address import Address
from stairways.live.client import ServiceClient
from stairways.live.memory import read_memory
from stairways.live.supervisor import Supervisor, service_record, tell_supervisor

MODEL = random_model(2, LSTM)


class Told:
    """A client of the service, and the same questions asked of a service that never ends."""

    def __init__(self, made: Ground, name: str) -> None:
        self.name = name
        self.bar = 0
        self.retried = 0
        self._whole = service_of(made.store)

    def ask(self, client: ServiceClient) -> dict:
        """Ask about the next bar; the answer must be that of the service that never ends."""
        request = question(self.name, self.bar % 78, self.bar // 78)
        (reply,) = client.decide([as_json(request)])
        (expected,) = self._whole.answer([request])
        # a connection may be lost behind the answer; who asks again is told so
        assert reply | {"repeated": False} == as_json(expected)
        self.bar += 1
        return reply


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """A service that runs for all tests that end nothing but workers."""
    root = tmp_path_factory.mktemp("running")
    made = ground(root, MODEL)
    with supervised(made.store.root, Address(path=root / "socket"), root / "run") as one:
        yield made, one


@pytest.fixture
def apart(tmp_path):
    """A store, and what starts services of it."""
    made = ground(tmp_path, MODEL)
    address = Address(path=tmp_path / "socket")

    def start(**options):
        return supervised(made.store.root, address, tmp_path / "run", **options)

    return made, start


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def settled(one: Supervised, told: Told) -> None:
    """Wait until the memory on disk holds a client's last answer."""

    def is_written() -> bool:
        clients = read_memory(one.registry / "service" / "clients.json").get("clients", {})
        return told.name in clients and clients[told.name]["bar"] == told.bar - 1

    until(is_written)


def test_only_its_owner_may_reach_it(running):
    made, one = running
    told = Told(made, "rights")
    with one.client() as client:
        told.ask(client)
    settled(one, told)
    record = service_record(one.registry)
    assert record["pid"] == one.process.pid
    control, folder = Path(record["control"]), one.registry / "service"
    for path in (one.socket, control, folder / "service.json", folder / "clients.json"):
        assert mode_of(path) == 0o600, path
    assert mode_of(control.parent) == 0o700


def test_a_restart_under_load_loses_no_request_and_no_memory(running):
    made, one = running
    stop, failed = threading.Event(), []
    clients = [Told(made, f"load-{number}") for number in range(3)]

    def load(told: Told) -> None:
        try:
            with one.client() as client:
                while not stop.is_set():
                    assert not told.ask(client)["fresh"]
                told.retried = client.retried
        except BaseException as error:
            failed.append(error)
            raise

    threads = [threading.Thread(target=load, args=(told,), daemon=True) for told in clients]
    for thread in threads:
        thread.start()

    def asked_on(bars: list[int]) -> None:
        until(lambda: failed or all(told.bar > bar for told, bar in zip(clients, bars, strict=True)))

    pids, generations = {one.worker()}, []
    for _ in range(2):
        answer = tell_supervisor(one.registry, "restart", PATIENCE_SECONDS)
        pids.add(answer["pid"])
        generations.append(answer["generation"])
        # every client is answered by the new one before it is replaced in its turn
        asked_on([told.bar + 1 for told in clients])
    stop.set()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
    assert not failed
    assert len(pids) == 3
    assert generations[1] == generations[0] + 1
    # counted, and few: who asks again is answered soon
    assert all(told.retried <= told.bar for told in clients)


def test_sighup_replaces_the_worker(running):
    made, one = running
    told, before = Told(made, "hup"), one.worker()
    with one.client() as client:
        told.ask(client)
        one.process.send_signal(signal.SIGHUP)
        until(lambda: one.worker() != before)
        assert not told.ask(client)["fresh"]
    until(lambda: not is_alive(before))


def test_a_worker_that_is_killed_is_followed_by_one_that_goes_on(running):
    made, one = running
    told, before = Told(made, "killed"), one.worker()
    with one.client() as client:
        for _ in range(3):
            told.ask(client)
        settled(one, told)
        kill(before)
        assert not told.ask(client)["fresh"]
    assert one.worker() != before
    assert "the worker ended with -9; another follows" in one.said


def test_a_worker_that_can_not_get_ready_leaves_the_old_one_serving(running):
    made, one = running
    told, before = Told(made, "broken"), one.worker()
    with one.client() as client:
        told.ask(client)
        fault = one.make("broken")
        with pytest.raises(ServiceError, match="did not get ready"):
            tell_supervisor(one.registry, "restart", PATIENCE_SECONDS)
        told.ask(client)
        assert one.worker() == before
        fault.unlink()
        assert tell_supervisor(one.registry, "restart", PATIENCE_SECONDS)["pid"] != before
        told.ask(client)


def test_a_worker_that_dies_when_it_takes_over_is_followed(running):
    made, one = running
    told = Told(made, "fleeting")
    with one.client() as client:
        told.ask(client)
        one.make("fleeting")
        with pytest.raises(ServiceError, match="died when it took over"):
            tell_supervisor(one.registry, "restart", PATIENCE_SECONDS)
        assert not told.ask(client)["fresh"]


def test_a_new_champion_answers_without_a_new_worker(running):
    made, one = running
    before = one.worker()
    with one.client() as client:
        first = client.ready()
        other = made.champion(random_model(9, LSTM))
        assert client.ready() == other
        (reply,) = client.decide([as_json(question("hot"))])
        assert reply["model"] == other
        made.store.swap(first)
        (reply,) = client.decide([as_json(question("hot", 1))])
        assert (reply["model"], reply["fresh"]) == (first, True)
    assert one.worker() == before


def test_a_damaged_memory_is_told_and_left_behind(running):
    made, one = running
    told = Told(made, "damaged")
    with one.client() as client:
        told.ask(client)
        settled(one, told)
        place = one.registry / "service" / "clients.json"
        one.make("broken")
        kill(one.worker())
        place.write_bytes(place.read_bytes()[:-9])
        (one.folder / "broken").unlink()
        (reply,) = client.decide([as_json(question("damaged", 1))])
    assert reply["fresh"]
    assert "clients.json: is damaged" in one.said


def test_words_it_does_not_know_are_refused_and_silence_is_not_waited_for(running):
    _, one = running
    with pytest.raises(ServiceError, match="is neither restart nor stop"):
        tell_supervisor(one.registry, "dance", PATIENCE_SECONDS)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.connect(service_record(one.registry)["control"])
        assert "pid" in tell_supervisor(one.registry, "restart", PATIENCE_SECONDS)
    assert one.worker()


def second_from_command(registry: Path, path: Path) -> str:
    words = ["serve", "--registry", str(registry), "--socket", str(path)]
    with redirect_stderr(io.StringIO()) as said:
        assert run(words) == 2
    return said.getvalue()


def second_from_module(registry: Path, path: Path) -> str:
    words = [sys.executable, "-m", "stairways.live.supervisor", str(registry), str(path)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)
    assert done.returncode == 2
    return done.stderr


@pytest.mark.parametrize("second", [second_from_command, second_from_module])
def test_a_second_one_is_refused_and_the_first_goes_on(running, tmp_path, second):
    _, one = running
    record = service_record(one.registry)
    said = second(one.registry, tmp_path / "socket")
    line = "another service answers for this registry; stop that one first: `stairways serve --stop`"
    assert said == f"stairways: {one.registry}: {line}\n"
    assert not (tmp_path / "socket").exists()
    # nor does it take the first one's own socket from it
    assert line in second(one.registry, one.socket)
    assert service_record(one.registry) == record
    assert Path(record["control"]).exists()
    assert one.worker()


def test_one_of_a_copied_registry_leaves_the_service_it_was_copied_from_alone(running, tmp_path):
    _, one = running
    record = service_record(one.registry)
    shutil.copytree(one.registry, tmp_path / "copy", symlinks=True)
    Supervisor(tmp_path / "copy", Address(path=tmp_path / "socket"))._close()
    assert Path(record["control"]).exists()
    assert "pid" in tell_supervisor(one.registry, "restart", PATIENCE_SECONDS)


def test_one_whose_place_is_taken_leaves_nothing_and_lets_go(running, tmp_path):
    _, one = running
    other = ground(tmp_path / "other", MODEL).store.root
    for _ in range(2):
        with pytest.raises(StorageError, match="somebody listens there already"):
            Supervisor(other, Address(path=one.socket))
    assert not (other / "service" / "service.json").exists()
    assert one.worker()


def test_one_that_no_control_socket_can_be_made_for_leaves_nothing_and_lets_go(tmp_path, monkeypatch):
    registry, far = ground(tmp_path).store.root, tmp_path / ("far" * 40)
    monkeypatch.setattr(tempfile, "tempdir", str(far))
    for _ in range(2):
        far.mkdir(exist_ok=True)
        with pytest.raises(ConfigError, match="a socket's path has 100 at most"):
            Supervisor(registry, Address(path=tmp_path / "socket"))
        assert not (tmp_path / "socket").exists()
        assert list(far.iterdir()) == []


def test_a_killed_supervisor_keeps_no_lock_though_its_worker_lives_on(apart, tmp_path):
    made, start = apart
    with start() as one:
        worker = one.worker()
        held = [str(path.readlink()) for path in Path(f"/proc/{worker}/fd").iterdir() if path.is_symlink()]
        assert str(one.registry / "service") not in held
        os.kill(worker, signal.SIGSTOP)
        try:
            assert one.end(signal.SIGKILL) == -signal.SIGKILL
            assert is_alive(worker)
            Supervisor(made.store.root, Address(path=tmp_path / "other"))._close()
        finally:
            kill(worker)


def left(one: Supervised, record: dict) -> list[Path]:
    """Return what is there of all that a service puts into the world."""
    control = Path(record["control"])
    places = [one.registry / "service" / "service.json", control, control.parent]
    if one.socket is not None:
        places.append(one.socket)
    return [place for place in places if place.exists()]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, "stop"], ids=str)
def test_it_ends_cleanly_and_leaves_nothing_but_memory(apart, how):
    made, start = apart
    told = Told(made, "last")
    with start() as one:
        with one.client() as client:
            told.ask(client)
        worker, record = one.worker(), service_record(one.registry)
        if how == "stop":
            tell_supervisor(one.registry, how, PATIENCE_SECONDS)
            assert one.process.wait(PATIENCE_SECONDS) == 0
        else:
            assert one.end(how) == 0
        assert not is_alive(worker)
        assert left(one, record) == []
        assert "Traceback" not in one.said
    # the very last answer is in it: it was written at the end
    assert list(read_memory(one.registry / "service" / "clients.json")["clients"]) == ["last"]
    with pytest.raises(ServiceError, match="no service is running"):
        tell_supervisor(one.registry, "stop", PATIENCE_SECONDS)


def test_a_supervisor_that_is_killed_takes_its_worker_along_and_the_next_goes_on(apart):
    made, start = apart
    told = Told(made, "orphan")
    with start() as one:
        with one.client() as client:
            told.ask(client)
        worker, record = one.worker(), service_record(one.registry)
        assert one.end(signal.SIGKILL) == -signal.SIGKILL
        until(lambda: not is_alive(worker))
        assert not listens(one.socket)
        # what it left is no obstacle
        assert one.socket.exists()
        assert service_record(one.registry) == record
        with pytest.raises(ServiceError, match="the supervisor does not answer"):
            tell_supervisor(one.registry, "restart", PATIENCE_SECONDS)
    with start() as one, one.client() as client:
        assert not told.ask(client)["fresh"]
        assert not Path(record["control"]).parent.exists()


def test_it_ends_while_its_first_worker_hangs(apart):
    made, start = apart
    (made.folder.parent / "run").mkdir()
    (made.folder.parent / "run" / "hanging").touch()
    with start(ready=False) as one:
        until(lambda: listens(one.socket))
        # it has its handlers before it starts a worker, whose arguments tell that it is there
        until(lambda: workers_of(one.process.pid))
        workers = workers_of(one.process.pid)
        assert one.end() == 0
        assert not any(map(is_alive, workers))
        assert not one.socket.exists()


def workers_of(pid: int) -> list[int]:
    """Return the children of a process."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_it_serves_at_a_port_and_without_a_champion(tmp_path):
    made = ground(tmp_path)
    with supervised(made.store.root, Address(port=0), tmp_path / "run") as one, one.client() as client:
        assert service_record(one.registry)["address"].startswith("http://127.0.0.1:")
        with pytest.raises(ServiceError, match="there is no champion"):
            client.ready()
        digest = made.champion(MODEL)
        assert client.ready() == digest
        # a model that does not verify answers nothing, and the service lives
        place = made.store.place(made.add(random_model(9))) / "weights.safetensors"
        place.write_bytes(place.read_bytes()[:-1])
        made.store.swap(place.parent.name)
        with pytest.raises(ServiceError, match="can't be served") as caught:
            client.decide([as_json(question())])
        assert caught.value.status == 503
        before = one.worker()
        assert tell_supervisor(one.registry, "restart", PATIENCE_SECONDS)["pid"] != before
        made.store.swap(digest)
        assert client.ready() == digest


class FakeProcess:
    def __init__(self, returncode: int | None) -> None:
        self.returncode = returncode

    def poll(self) -> int | None:
        return self.returncode


class FakeWorker:
    """A worker that is dead when it is looked at."""

    generation = 1

    def __init__(self, began: float) -> None:
        self.process = FakeProcess(1)
        self.began = began

    def close(self) -> None:
        """Nothing is left of it."""


@pytest.fixture
def paused(tmp_path, monkeypatch):
    """A supervisor that does not run, whose pauses are noted, and its clock."""
    clock = [1_000.0]
    monkeypatch.setattr(supervisor_module, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    one = Supervisor(ground(tmp_path).store.root, Address(path=tmp_path / "socket"))
    pauses: list[float] = []
    one._pause = pauses.append
    one._let_go = lambda worker: True
    yield one, pauses, clock
    one._worker = None
    one._close()


def test_pauses_grow_while_workers_die_young_and_end_with_one_that_does_not(paused):
    one, pauses, clock = paused
    one._prepared = lambda: FakeWorker(clock[0])
    one._follow()
    for _ in range(8):
        one._look()
    assert pauses == [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 5.0, 5.0]
    clock[0] += 11.0
    one._look()
    one._look()
    assert pauses[8:] == [0.0, 0.1]


def test_pauses_grow_while_workers_do_not_get_ready(paused):
    one, pauses, clock = paused
    fates = [ServiceError("worker did not get ready")] * 4 + [FakeWorker(clock[0])]

    def prepared():
        fate = fates.pop(0)
        if isinstance(fate, ServiceError):
            raise fate
        return fate

    one._prepared = prepared
    one._follow()
    assert pauses == [0.1, 0.2, 0.5, 1.0]


def test_a_worker_that_can_not_be_started_is_an_error_and_no_end(paused, monkeypatch):
    one, _, _ = paused

    def refused(*_, **__):
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(supervisor_module.subprocess, "Popen", refused)
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    answer = one._replace()
    assert "no worker can be started" in answer["error"]
    assert len(list(Path("/proc/self/fd").iterdir())) == descriptors


@pytest.mark.parametrize("content", ["", "{", "\xff", "[]", "1", "null", '{"address": "unix:/a"}'])
def test_a_record_that_is_none_is_as_good_as_none(tmp_path, content):
    (tmp_path / "service").mkdir()
    (tmp_path / "service" / "service.json").write_text(content, encoding="latin-1")
    with pytest.raises(ServiceError, match="no service is running"):
        service_record(tmp_path)


def test_the_record_is_json(running):
    _, one = running
    text = (one.registry / "service" / "service.json").read_text()
    assert json.loads(text) == service_record(one.registry)
    assert replace(Address.parse(service_record(one.registry)["address"])).path == one.socket
