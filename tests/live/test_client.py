"""A client of the service: asks again where no answer came, and nowhere else, and not for ever."""

from __future__ import annotations

import gc
import json
import socket
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from serving import DAY

from stairways.errors import ServiceError
from stairways.live.address import Address
from stairways.live.client import ServiceClient

PATIENCE_SECONDS = 60.0
SHORT_SECONDS = 0.4


def answer(status: int, content: object) -> bytes:
    """Return an answer as a server sends it."""
    body = json.dumps(content).encode() if not isinstance(content, bytes) else content
    head = f"HTTP/1.1 {status} Word\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


CUT = answer(200, {"model": "a" * 64})[:-9]
NO_JSON = answer(200, b"<html>")
NOTHING = b""


class Scripted:
    """A server that gives each request the next answer of a list, and the last for ever.

    Args:
        listener: Listening socket.
        answers: Bytes; the connection is closed behind each.
    """

    def __init__(self, listener: socket.socket, answers: list[bytes]) -> None:
        self.asked: list[tuple[str, bytes]] = []
        self._listener = listener
        self._answers = answers
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        connection.settimeout(PATIENCE_SECONDS)
        with connection.makefile("rb") as stream:
            first = stream.readline().decode()
            if not first:
                return
            length = 0
            while (line := stream.readline().strip()) != b"":
                name, _, value = line.partition(b":")
                if name.lower() == b"content-length":
                    length = int(value)
            self.asked.append((first.rsplit(" ", 1)[0], stream.read(length)))
        number = min(len(self.asked), len(self._answers)) - 1
        connection.sendall(self._answers[number])

    def close(self) -> None:
        """Stop."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(PATIENCE_SECONDS)


@contextmanager
def scripted(place: Address, *answers: bytes, seconds: float = PATIENCE_SECONDS) -> Iterator:
    """Run a server and a client of it."""
    listener, address = place.listen()
    server = Scripted(listener, list(answers))
    try:
        with ServiceClient(address, seconds) as client:
            yield server, client
    finally:
        server.close()


@pytest.fixture(params=["socket", "port"])
def place(request, tmp_path):
    return Address(path=tmp_path / "socket") if request.param == "socket" else Address()


@pytest.mark.parametrize(
    ("name", "asked", "content", "expected"),
    [
        ("health", "GET /healthz", {"pid": 5}, {"pid": 5}),
        ("ready", "GET /readyz", {"model": "ab"}, "ab"),
        ("model", "GET /v1/model", {"symbols": ["A"]}, {"symbols": ["A"]}),
        ("memory", "GET /v1/memory", {}, {}),
    ],
)
def test_each_question_has_its_place(place, name, asked, content, expected):
    with scripted(place, answer(200, content)) as (server, client):
        assert getattr(client, name)() == expected
        assert server.asked == [(asked, b"")]
        assert client.retried == 0


def test_numbers_and_days_are_sent_as_they_are(place):
    request = {"session": DAY, "observation": [0.1, -0.0, 1 / 3, np.float64(5e-324)], "score": -2.5}
    with scripted(place, answer(200, {"replies": [{"action": 4}]})) as (server, client):
        assert client.decide([request]) == [{"action": 4}]
    ((asked, body),) = server.asked
    assert asked == "POST /v1/decide"
    expected = {"session": "2024-05-06", "observation": [0.1, -0.0, 1 / 3, 5e-324], "score": -2.5}
    assert repr(json.loads(body)) == repr({"requests": [expected]})


def later(status: int = 503) -> bytes:
    """Return the answer of a service whose model was barred."""
    return answer(status, {"error": "barred"}).replace(b"\r\n", b"\r\nretry-after: 1\r\n", 1)


def test_a_service_that_will_answer_a_little_later_is_asked_again(place):
    good = answer(200, {"replies": [{"action": 4}]})
    with scripted(place, later(), later(), good) as (server, client):
        assert client.decide([{"score": 0.5}]) == [{"action": 4}]
        assert client.retried == 2
    assert len(set(server.asked)) == 1


def test_a_service_that_never_answers_again_is_told_when_the_time_is_over(place):
    with (
        scripted(place, later(), seconds=SHORT_SECONDS) as (server, client),
        pytest.raises(ServiceError, match="barred") as raised,
    ):
        client.ready()
    assert raised.value.status == 503
    assert len(server.asked) > 1


@pytest.mark.parametrize("lost", [NOTHING, CUT, NO_JSON], ids=["nothing", "cut", "no json"])
def test_what_got_no_answer_is_asked_again_in_the_same_words(place, lost):
    good = answer(200, {"replies": [{"action": 4}]})
    with scripted(place, lost, lost, good) as (server, client):
        assert client.decide([{"score": 0.5}]) == [{"action": 4}]
        assert client.retried == 2
    assert len(server.asked) == 3
    assert len(set(server.asked)) == 1


@pytest.mark.parametrize("status", [400, 409, 413, 422, 500, 503])
def test_what_was_refused_is_not_asked_again(place, status):
    with scripted(place, answer(status, {"error": "client ann: it makes\nno sense"})) as (server, client):
        with pytest.raises(ServiceError, match="client ann: it makes no sense") as caught:
            client.decide([{}])
        assert (caught.value.status, client.retried, len(server.asked)) == (status, 0, 1)


@pytest.mark.parametrize(("status", "told"), [(404, 404), (200, 400)])
def test_somebody_else_at_that_address_is_told(place, status, told):
    with scripted(place, answer(status, ["hello"])) as (_, client):
        with pytest.raises(ServiceError, match=r"is no service of ours: it says \['hello'\]") as caught:
            client.health()
        assert caught.value.status == told


def test_what_has_no_json_form_is_not_sent(place):
    with scripted(place, answer(200, {})) as (server, client):
        for wrong in (float("nan"), float("inf"), [1.0, float("-inf")]):
            with pytest.raises(ServiceError, match="the request has no JSON form") as caught:
                client.decide([{"score": wrong}])
            assert caught.value.status == 422
        assert server.asked == []


@pytest.mark.parametrize("words", [NOTHING, NO_JSON], ids=["nothing", "no json"])
def test_it_gives_up_when_its_time_is_over(place, words):
    with scripted(place, words, seconds=SHORT_SECONDS) as (server, client):
        with pytest.raises(ServiceError, match="no answer within") as caught:
            client.ready()
        assert caught.value.status == 503
        assert len(server.asked) == client.retried + 1 > 1


def test_a_server_that_hears_and_never_answers_is_given_up(tmp_path):
    listener, address = Address(path=tmp_path / "socket").listen()
    client = ServiceClient(address, SHORT_SECONDS)
    with listener, client, pytest.raises(ServiceError, match=r"no answer within 0.4 s \(ReadTimeout\)"):
        client.health()


@pytest.fixture
def unreached():
    """Collect here the sockets that the HTTP library does not close where a connection is refused."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        yield
        gc.collect()


@pytest.mark.usefixtures("unreached")
def test_where_nobody_listens_is_told(tmp_path):
    path = tmp_path / "socket"
    with ServiceClient(Address(path=path), SHORT_SECONDS) as client:
        with pytest.raises(ServiceError, match="see whether `stairways serve` runs") as caught:
            client.health()
        assert (caught.value.where, caught.value.status) == (f"unix:{path}", 503)
        assert client.retried > 0


@pytest.mark.usefixtures("unreached")
def test_it_waits_for_a_service_that_comes_up(tmp_path):
    place = Address(path=tmp_path / "socket")
    found = []

    def ask() -> None:
        with ServiceClient(place, PATIENCE_SECONDS) as client:
            found.append((client.ready(), client.retried))

    thread = threading.Thread(target=ask)
    thread.start()
    time.sleep(0.1)
    server = Scripted(place.listen()[0], [answer(200, {"model": "ab"})])
    thread.join(PATIENCE_SECONDS)
    server.close()
    ((model, retried),) = found
    assert model == "ab"
    assert retried > 0


def test_surroundings_of_the_process_lead_it_nowhere_else(place, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with scripted(place, answer(200, {"pid": 5})) as (_, client):
        assert client.health() == {"pid": 5}


def test_addresses_of_a_socket_may_hold_any_letters(tmp_path):
    place = Address(path=Path(tmp_path / "a b:é%41?#"))
    with scripted(place, answer(200, {"pid": 5})) as (_, client):
        assert client.health() == {"pid": 5}
