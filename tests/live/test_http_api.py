"""The HTTP API on real sockets: every answer is JSON with a status that fits, whatever is sent."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import uvicorn
from hypothesis import given, settings
from hypothesis import strategies as st
from serving import N_INPUTS, as_json, clients_of, ground, question, random_model, service_of

from stairways.live import http_api
from stairways.live.address import Address
from stairways.live.http_api import MOST_BODY_BYTES, MOST_REQUESTS, make_app
from stairways.live.service import Service

PATIENCE_SECONDS = 60.0
JSON_TYPE = {"content-type": "application/json"}


class UnixConnection(http.client.HTTPConnection):
    """A connection to a Unix socket."""

    def connect(self) -> None:
        """Connect."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.host)


@contextmanager
def running(service: Service, address: Address, generation: int = 3) -> Iterator[Address]:
    """Serve in a thread."""
    listener, found = address.listen()
    config = uvicorn.Config(make_app(service, generation), log_level="error", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])))
    thread.start()
    try:
        yield found
    finally:
        server.should_exit = True
        thread.join(PATIENCE_SECONDS)
        listener.close()
        assert not thread.is_alive()


def connection(address: Address) -> http.client.HTTPConnection:
    if address.path is not None:
        return UnixConnection(str(address.path), timeout=PATIENCE_SECONDS)
    return http.client.HTTPConnection(address.host, address.port, timeout=PATIENCE_SECONDS)


def ask(
    address: Address, method: str, path: str, body=None, headers=JSON_TYPE, **options
) -> tuple[int, dict]:
    """Return status and JSON of an answer."""
    with_ = connection(address)
    try:
        with_.request(method, path, body, headers, **options)
        answer = with_.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        with_.close()


def decide(address: Address, *requests: dict, **more) -> tuple[int, dict]:
    body = json.dumps({"requests": list(requests), **more})
    return ask(address, "POST", "/v1/decide", body)


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A service that runs at a Unix socket: the service, and where."""
    root = tmp_path_factory.mktemp("served")
    service = service_of(ground(root, random_model(1)).store)
    with running(service, Address(path=root / "socket")) as address:
        yield service, address


@pytest.fixture(params=["socket", "port"])
def anywhere(request, tmp_path):
    """A service of its own, at a socket and at a port."""
    made = ground(tmp_path, random_model(1))
    service = service_of(made.store)
    address = Address(path=tmp_path / "socket") if request.param == "socket" else Address()
    with running(service, address) as found:
        yield made, service, found


def test_every_endpoint_tells_what_the_service_knows(anywhere):
    made, service, address = anywhere
    status, health = ask(address, "GET", "/healthz")
    assert (status, health["pid"], health["generation"]) == (200, os.getpid(), 3)
    assert (health["answered"], health["loads"], health["model"]) == (0, 0, None)
    digest = made.store.champion()
    assert ask(address, "GET", "/readyz") == (200, {"model": digest})
    assert ask(address, "GET", "/v1/model") == (200, service.description())
    status, answer = decide(address, as_json(question("ann")), as_json(question("bob")))
    assert status == 200
    other = service_of(made.store)
    expected = [as_json(reply) for reply in other.answer([question("ann"), question("bob")])]
    assert answer == {"replies": expected}
    assert ask(address, "GET", "/v1/memory") == (200, other.memory())
    _, health = ask(address, "GET", "/healthz")
    assert (health["answered"], health["loads"], health["model"]) == (2, 1, digest)


def test_what_is_sent_keeps_its_bits(served):
    service, address = served
    exact = question("exact", observation=(0.1, -0.0, 1 / 3, 5e-324, 1e-7) + (2.5,) * 24, score=-0.1)
    decide(address, as_json(exact))
    _, memory = ask(address, "GET", "/v1/memory")
    kept = memory["clients"]["exact"]["asked"]
    assert repr(kept) == repr([list(exact.observation), exact.score, list(exact.position), None])
    assert kept == clients_of(service)["exact"]["asked"]


def test_without_a_champion_it_lives_and_is_not_ready(tmp_path):
    service = service_of(ground(tmp_path).store)
    with running(service, Address(path=tmp_path / "socket")) as address:
        assert ask(address, "GET", "/healthz")[0] == 200
        for answer in (
            ask(address, "GET", "/readyz"),
            ask(address, "GET", "/v1/model"),
            decide(address, as_json(question())),
        ):
            assert answer == (
                503,
                {"error": "service: there is no champion; promote one: `stairways promote`"},
            )
        assert ask(address, "GET", "/v1/memory") == (200, {})


def test_a_champion_that_was_barred_says_when_to_ask_again(tmp_path):
    store = ground(tmp_path, random_model(1)).store
    with running(service_of(store), Address(path=tmp_path / "socket")) as address:
        assert decide(address, as_json(question()))[0] == 200
        store.quarantine(store.champion(), "it lost everything")
        with_ = connection(address)
        with_.request("GET", "/readyz")
        answer = with_.getresponse()
        assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
        assert "is quarantined for good" in json.loads(answer.read())["error"]
        with_.close()


def test_a_broken_link_is_no_fault_of_whoever_asks(tmp_path):
    store = ground(tmp_path, random_model(1)).store
    store.link.unlink()
    store.link.symlink_to("elsewhere")
    with running(service_of(store), Address(path=tmp_path / "socket")) as address:
        status, answer = ask(address, "GET", "/readyz")
        assert status == 503
        assert "names elsewhere, no artifact of this registry" in answer["error"]


def with_(**changes) -> dict:
    return as_json(question("changed")) | changes


HUGE = 10**400
REFUSED = {
    "unknown field": with_(more=1),
    "missing field": {key: value for key, value in with_().items() if key != "score"},
    "no name": with_(client=""),
    "long name": with_(client="a" * 65),
    "name with a line": with_(client="ann\n"),
    "name with a space": with_(client="a b"),
    "no day": with_(session="2024-02-30"),
    "negative bar": with_(bar=-1),
    "bar behind the end": with_(bar=999),
    "huge bar": with_(bar=HUGE),
    "bar and a half": with_(bar=1.5),
    "huge number": with_(observation=[HUGE] * N_INPUTS),
    "number that is none in single precision": with_(observation=[1e300] * N_INPUTS),
    "text": with_(observation=["a"] * N_INPUTS),
    "null": with_(observation=[None] * N_INPUTS),
    "an object": with_(observation={"0": 1.0}),
    "too few": with_(observation=[0.0]),
    "too many": with_(observation=[0.0] * 257),
    "score outside": with_(score=1e308),
    "no unit": with_(position=[0, 2]),
    "huge position": with_(position=[0, HUGE]),
    "too many positions": with_(position=[0] * 9),
    "executed below zero": with_(executed=-1),
    "executed above all": with_(executed=101),
    "a list": [],
    "a number": 1,
}


@pytest.mark.parametrize("sent", REFUSED.values(), ids=REFUSED)
def test_what_makes_no_sense_is_refused_in_one_line(served, sent):
    service, address = served
    # which test comes first on a worker must not matter: the memory names the model once it is loaded
    service.ready()
    before = service.memory()
    status, answer = decide(address, as_json(question("beside")), sent)
    assert (status, list(answer)) == (422, ["error"])
    assert answer["error"]
    assert "\n" not in answer["error"]
    assert service.memory() == before


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"requests": []},
        {"requests": None},
        {"requests": [with_()], "more": 1},
        {"requests": [with_()] * 2},
        {"requests": [with_(client=f"c{k}") for k in range(MOST_REQUESTS + 1)]},
        [],
        1,
        None,
        "text",
    ],
    ids=lambda body: str(body)[:30],
)
def test_bodies_of_another_form_are_refused(served, body):
    _, address = served
    status, answer = ask(address, "POST", "/v1/decide", json.dumps(body))
    assert (status, list(answer)) == (422, ["error"])


def test_as_many_requests_as_there_may_be_are_answered(served):
    _, address = served
    status, answer = decide(address, *(as_json(question(f"many-{k}")) for k in range(MOST_REQUESTS)))
    assert status == 200
    assert [reply["client"] for reply in answer["replies"]] == [f"many-{k}" for k in range(MOST_REQUESTS)]


MALFORMED = {
    "cut": b'{"requests": [',
    "no json": b"requests=1",
    "no text": b"\xff\xfe\x00",
    "deep": b"[" * 200_000,
    "many digits": b'{"requests": ' + b"9" * 5_000 + b"}",
}


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED)
def test_what_is_no_json_is_refused(served, body):
    _, address = served
    status, answer = ask(address, "POST", "/v1/decide", body)
    assert (status, list(answer)) == (400, ["error"])


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
@pytest.mark.parametrize("field", ["score", "observation", "bar"])
def test_numbers_that_are_not_finite_are_refused(served, field, word):
    _, address = served
    value = "[" + ", ".join([word] * N_INPUTS) + "]" if field == "observation" else word
    body = json.dumps({"requests": [with_(**{field: "HERE"})]}).replace('"HERE"', value)
    status, answer = ask(address, "POST", "/v1/decide", body)
    assert (status, list(answer)) == (422, ["error"])


@pytest.mark.parametrize("text", ["\\ud800", "\\n", "\\u0000", "a" * 10_000])
def test_names_that_can_not_be_told_are_told_legibly(served, text):
    _, address = served
    status, answer = ask(address, "POST", "/v1/decide", f'{{"{text}": 1, "requests": [{{"{text}": 2}}]}}')
    assert (status, list(answer)) == (422, ["error"])
    assert len(answer["error"].splitlines()) == 1
    assert len(answer["error"]) <= 300


def test_the_past_is_a_conflict(served):
    _, address = served
    assert decide(address, as_json(question("past", 5)))[0] == 200
    status, answer = decide(address, as_json(question("past", 4)))
    assert status == 409
    assert "the last answer was for bar 5 of 2024-05-06; ask about later bars" in answer["error"]
    assert decide(address, as_json(question("past", 5)))[1]["replies"][0]["repeated"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/healthz", 405),
        ("PUT", "/v1/decide", 405),
        ("GET", "/v1/decide", 405),
        ("DELETE", "/v1/memory", 405),
        ("GET", "/", 404),
        ("GET", "/docs", 404),
        ("GET", "/v1/../../etc/passwd", 404),
    ],
)
def test_other_ways_are_refused_as_json(served, method, path, status):
    _, address = served
    found, answer = ask(address, method, path, "{}")
    assert (found, list(answer)) == (status, ["error"])


@pytest.mark.parametrize("kind", [{}, {"content-type": "text/plain"}, {"content-type": "a; b; ="}])
def test_a_body_that_is_not_said_to_be_json_is_refused(served, kind):
    _, address = served
    status, answer = ask(address, "POST", "/v1/decide", json.dumps({"requests": [with_()]}), kind)
    assert (status, list(answer)) == (422, ["error"])


TOO_LARGE = {"error": f"body: more than {MOST_BODY_BYTES} bytes"}


def padded(size: int) -> bytes:
    """Return a sound body of so many bytes."""
    body = json.dumps({"requests": [as_json(question("padded"))]}).encode()
    return body + b" " * (size - len(body))


def test_a_body_as_large_as_may_be_is_answered(served):
    _, address = served
    assert ask(address, "POST", "/v1/decide", padded(MOST_BODY_BYTES))[0] == 200
    parts = (padded(MOST_BODY_BYTES)[at : at + 2**16] for at in range(0, MOST_BODY_BYTES, 2**16))
    assert ask(address, "POST", "/v1/decide", parts, encode_chunked=True)[0] == 200


@pytest.mark.parametrize("declared", [str(MOST_BODY_BYTES + 1), str(10**12)])
def test_a_body_that_is_declared_too_large_is_not_read(served, declared):
    _, address = served
    headers = JSON_TYPE | {"content-length": declared}
    assert ask(address, "POST", "/v1/decide", b"{", headers) == (413, TOO_LARGE)


def test_a_body_that_turns_out_too_large_is_not_read_to_its_end(served, monkeypatch):
    service, address = served
    monkeypatch.setattr(http_api, "MOST_BODY_BYTES", 1_000)
    before = service.memory()
    parts = (b" " * 600 for _ in range(2))
    status, answer = ask(
        address,
        "POST",
        "/v1/decide",
        parts,
        JSON_TYPE | {"transfer-encoding": "chunked"},
        encode_chunked=True,
    )
    assert (status, answer) == (413, TOO_LARGE)
    assert service.memory() == before


def test_answers_go_on_behind_every_refusal_on_one_connection(served):
    _, address = served
    line = connection(address)
    for number, body in enumerate((b"{", b"[]", json.dumps({"requests": [as_json(question("line"))]}))):
        line.request("POST", "/v1/decide", body, JSON_TYPE)
        answer = line.getresponse()
        assert answer.status == (400, 422, 200)[number]
        answer.read()
    line.close()


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**80), 2**80)
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["2024-05-06", "ann", "1e400", -1, 0, 1, 1e300, "NaN", 1714953600, -1e18])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)
LISTS = st.lists(st.floats(width=32) | st.integers(-2, 2), min_size=N_INPUTS, max_size=N_INPUTS)
NEARLY = st.fixed_dictionaries(
    {},
    optional={
        "client": st.sampled_from(["ann", "bob"]) | VALUES,
        "session": st.dates().map(str) | VALUES,
        "bar": st.integers(-1, 80) | VALUES,
        "observation": LISTS | VALUES,
        "score": st.floats(-4, 4) | VALUES,
        "position": st.lists(st.integers(-2, 2), min_size=2, max_size=2) | VALUES,
        "executed": st.integers(-1, 101) | VALUES,
    },
).map(lambda changes: as_json(question("ann")) | changes)


@settings(max_examples=100, deadline=None)
@given(
    st.one_of(
        st.fixed_dictionaries({"requests": st.lists(NEARLY, max_size=3)}).map(json.dumps),
        st.fixed_dictionaries({"requests": VALUES}).map(json.dumps),
        VALUES.map(json.dumps),
        st.binary(max_size=50),
    )
)
def test_no_body_ends_in_an_error_of_ours(served, body):
    service, address = served
    status, answer = ask(address, "POST", "/v1/decide", body)
    assert status in {200, 400, 409, 422}
    if status == 200:
        assert len(answer["replies"]) >= 1
    else:
        assert list(answer) == ["error"]
    # what is kept can be handed over at any time
    json.dumps(service.memory(), allow_nan=False)
