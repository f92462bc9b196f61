"""The service answers as the project itself decides, moves each client once, and never answers unverified."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from serving import (
    DAY,
    LSTM,
    MLP,
    N_INPUTS,
    SwappingStore,
    clients_of,
    ground,
    link_to,
    question,
    random_model,
    service_of,
    tilted,
)

from stairways.control.tilt import TRADE, advance, tilt_state
from stairways.errors import ServiceError
from stairways.evaluation.replay import loop_numbers, replay
from stairways.live import service as service_module
from stairways.live.memory import read_memory, write_memory
from stairways.live.service import BarredError, Service
from stairways.market.dataset import open_sample
from stairways.market.features import build_table, compute_features
from stairways.policies.actor import keyed_uniform
from stairways.policies.decision import buffers_of, decide
from stairways.registry.artifact import Artifact, read_artifact
from stairways.trading.account import Account
from stairways.trading.actions import hold_action, order_table
from stairways.trading.observation import observe, position_columns
from stairways.tuning.shipped import shipped_gold
from stairways.unpacking import Packed, unpack

EPOCH = dt.date(1970, 1, 1)
GOLD = read_artifact(shipped_gold()).artifact
MODELS = {"mlp": random_model(1), "lstm": random_model(2, LSTM)}


def key_of(client: str, seed: int = 7) -> int:
    """Return the key of a client's numbers, as it is documented."""
    return int.from_bytes(hashlib.sha256(f"{seed}|{client}".encode()).digest()[:8], "little")


class Alone:
    """One client's decisions by the function that the replay calls."""

    def __init__(self, packed: Packed, client: str) -> None:
        self._packed, self._loop = packed, packed.loop()
        self._bars = 390 // packed.artifact.interval_minutes
        self._numbers, self._points = loop_numbers(self._loop, self._bars - 1)
        self._buffers = buffers_of(packed.program, N_INPUTS)
        self.state = tilt_state(self._loop.start, self._loop.anchor) if self._loop else np.zeros(7)
        self._key = np.uint64(key_of(client))
        self._session: dt.date | None = None
        self._pending: tuple[float, bool, int] | None = None

    def asked(self, request) -> tuple[int, float, float]:
        """Return action and multipliers."""
        if self._pending is not None and self._loop is not None:
            score, held, planned = self._pending
            orders = planned if request.executed is None else request.executed
            advance(self.state, self._numbers, self._points, score, float(held), float(orders))
        if request.session != self._session:
            self._session, self._buffers.recurrent[:] = request.session, 0.0
        self._buffers.observation[:] = request.observation
        position = 3 * (request.position[0] + 1) + request.position[1] + 1
        orders_of = order_table(2, self._packed.rules.long_only)[position]
        action, strength = decide(
            self._packed.program,
            self._numbers,
            self._points,
            self._loop is not None,
            self._packed.control is not None and self._packed.control.mode == "greedy",
            orders_of,
            request.score,
            keyed_uniform(self._key, (request.session - EPOCH).days, request.bar),
            self.state,
            self._buffers,
        )
        self._pending = request.score, action == hold_action(2), int(orders_of[action])
        return action, strength, float(self.state[TRADE])


@pytest.fixture
def served(tmp_path):
    made = ground(tmp_path, MODELS["mlp"])
    return made, service_of(made.store)


def told(reply) -> tuple[int, float, float]:
    return reply.action, reply.hold_multiplier, reply.trade_multiplier


@pytest.mark.parametrize("batch", [1, 32])
@pytest.mark.parametrize("mode", ["sampled", "greedy"])
@pytest.mark.parametrize("spec", [MLP, LSTM], ids=["mlp", "lstm"])
def test_many_clients_at_once_are_answered_as_each_alone(tmp_path, spec, mode, batch):
    artifact = replace(random_model(3, spec), controller=tilted(GOLD, mode=mode).controller)
    made = ground(tmp_path, artifact)
    service = service_of(made.store, inference_batch=batch)
    packed = unpack(made.store.place(made.store.champion()))
    names = [f"account-{k}" for k in range(37)]
    alone = {name: Alone(packed, name) for name in names}
    seen = set()
    for day, bar in ((0, 0), (0, 1), (0, 2), (0, 9), (1, 0), (1, 1), (3, 5)):
        # some tell what was executed, some leave it to what was asked for
        requests = [question(name, bar, day, executed=(None, 0, 2)[k % 3]) for k, name in enumerate(names)]
        replies = service.answer(requests)
        assert [reply.client for reply in replies] == names
        for request, reply in zip(requests, replies, strict=True):
            assert told(reply) == alone[request.client].asked(request)
            assert (reply.session, reply.bar, reply.model) == (request.session, bar, service.model)
            assert reply.held == (reply.action == hold_action(2))
            assert reply.meaning == GOLD.environment["action_meanings"][reply.action]
            seen.add(reply.action)
    assert len(seen) > 3
    assert service.answered == 7 * len(names)


@pytest.fixture(scope="module")
def sample_market():
    """Sessions of the sample market behind the regime's warm-up, observed as gold does."""
    packed = unpack(shipped_gold())
    sessions = open_sample("planted:1", packed.artifact.symbols, 1).sessions.select(slice(0, 53))
    market = observe(sessions, build_table(compute_features(sessions, packed.regime), packed.constants))
    return market.select(slice(50, 53))


@pytest.mark.parametrize(
    "artifact",
    [
        GOLD,
        tilted(GOLD),
        tilted(GOLD, hold=-2.0, trade=1.0, mode="greedy"),
        replace(random_model(4, LSTM), interval_minutes=1),
    ],
    ids=["gold", "tilted", "greedy", "lstm"],
)
def test_sessions_of_the_sample_market_are_traded_as_the_replay_trades_them(
    tmp_path, sample_market, artifact
):
    market, made = sample_market, ground(tmp_path, artifact)
    service = service_of(made.store)
    packed = unpack(made.store.place(service.ready()))
    mode = "sampled" if packed.control is None else packed.control.mode
    judged = replay(
        market, packed.program, packed.rules, mode=mode, run_seed=key_of("ann"), loop=packed.loop()
    )
    account, columns, executed = Account(packed.rules, 2), position_columns(2), None
    n_sessions, n_bars = market.score.shape
    actions = np.full((n_sessions, n_bars), -1, np.int8)
    multipliers = np.zeros((n_sessions, n_bars, 2))
    for s in range(n_sessions):
        for b in range(int(market.n_bars[s]) - 1):
            row = market.rows[s, b].copy()
            row[columns] = account.units
            (reply,) = service.answer(
                [
                    question(
                        "ann",
                        b,
                        session=market.dates[s].item(),
                        observation=tuple(row.tolist()),
                        score=float(market.score[s, b]),
                        position=tuple(account.units),
                        executed=executed,
                    )
                ]
            )
            actions[s, b] = reply.action
            multipliers[s, b] = reply.hold_multiplier, reply.trade_multiplier
            orders = account.orders(reply.action, market.close[s, b])
            opens, volumes = market.open[s, b + 1], market.volume[s, b + 1]
            fills = [
                account.fill(o, float(opens[o.symbol_index]), float(volumes[o.symbol_index])) for o in orders
            ]
            if b + 2 == market.n_bars[s]:
                fills += account.flatten(market.close[s, b + 1], volumes)
            executed = len(fills)
    np.testing.assert_array_equal(actions, judged.actions)
    np.testing.assert_array_equal(multipliers, judged.multipliers)
    assert len(np.unique(actions)) > 3


@pytest.mark.parametrize("model", MODELS)
def test_what_is_asked_again_is_answered_alike_and_moves_nothing(tmp_path, model):
    made = ground(tmp_path, MODELS[model])
    service = service_of(made.store)
    for bar in range(3):
        first = service.answer([question(bar=bar, executed=1)])[0]
        before = service.memory()
        again = service.answer([question(bar=bar, executed=1)])[0]
        assert again == replace(first, repeated=True)
        assert not first.repeated
        assert service.memory() == before


def test_one_that_is_repeated_stands_among_new_ones(served):
    _, service = served
    first = service.answer([question("ann")])[0]
    replies = service.answer([question("bob"), question("ann"), question("cid")])
    assert [reply.client for reply in replies] == ["bob", "ann", "cid"]
    assert replies[1] == replace(first, repeated=True)
    assert [reply.repeated for reply in replies] == [False, True, False]


@pytest.mark.parametrize(
    ("asked", "what"),
    [
        (question(bar=3), "the last answer was for bar 4 of 2024-05-07; ask about later bars"),
        (question(bar=9), "the last answer was for bar 4 of 2024-05-07"),
        (question(bar=4, day=1, score=0.25), "this bar was answered with other numbers"),
        (question(bar=4, day=1, position=(0, 1)), "this bar was answered with other numbers"),
        (question(bar=4, day=1, observation=(0.5,) * N_INPUTS), "this bar was answered with other numbers"),
        (question(bar=4, day=1, executed=1), "this bar was answered with other numbers"),
    ],
)
def test_the_past_and_other_numbers_for_it_are_refused(served, asked, what):
    _, service = served
    service.answer([question(bar=4, day=1, position=(1, 0))])
    before = service.memory()
    with pytest.raises(ServiceError, match=what) as caught:
        service.answer([question("bob"), asked])
    assert caught.value.status == 409
    assert service.memory() == before


NAN, INFINITE = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"observation": (0.0,) * 28}, "28 numbers observed, not 29"),
        ({"observation": ()}, "0 numbers observed, not 29"),
        ({"observation": (NAN, *(0.0,) * 28)}, "an observation that is not finite"),
        ({"observation": (*(0.0,) * 28, -INFINITE)}, "an observation that is not finite"),
        ({"observation": (1e39, *(0.0,) * 28)}, "an observation that is not finite"),
        ({"score": NAN}, "a score that is not within ±3"),
        ({"score": INFINITE}, "a score that is not within ±3"),
        ({"score": 3.001}, "a score that is not within ±3"),
        ({"position": (0,)}, "1 positions, not 2"),
        ({"position": (0, 0, 0)}, "3 positions, not 2"),
        ({"position": (0, 2)}, "a position that is not -1, 0 or 1"),
        ({"bar": 78}, "the session has bars 0 to 77"),
        ({"bar": -1}, "the session has bars 0 to 77"),
        ({"executed": -1}, "-1 orders executed"),
        ({"client": "bob"}, "a client asks twice at once"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused_and_nobody_moves(served, changes, what):
    _, service = served
    service.answer([question("ann"), question("bob")])
    before = service.memory()
    asked = replace(question("ann", 1), **changes)
    with pytest.raises(ServiceError, match=what) as caught:
        service.answer([question("bob", 1), asked])
    assert caught.value.status == 422
    assert (service.memory(), service.answered) == (before, 2)
    assert not service.answer([question("bob", 1)])[0].repeated


def test_a_policy_that_overflows_answers_nothing_and_nobody_moves(tmp_path):
    wild = random_model(1)
    weights = {name: array.copy() for name, array in wild.weights.items()}
    weights["policy.0.weight"][0, :2] = 3e38, -3e38
    service = service_of(ground(tmp_path, replace(wild, weights=weights)).store)
    calm, loud = (question(observation=(size,) * N_INPUTS) for size in (0.0, 5.0))
    service.answer([calm])
    before = service.memory()
    with pytest.raises(ServiceError, match="the policy's output is not finite") as caught:
        service.answer([replace(loud, bar=1), replace(calm, client="bob")])
    assert (caught.value.status, service.memory()) == (422, before)


def test_a_tilt_stays_within_its_bounds_whatever_is_said_to_be_executed(served):
    _, service = served
    for bar in range(78):
        reply = service.answer([question(bar=bar, score=(-3.0, 3.0)[bar % 2], executed=100 * (bar % 3))])[0]
        assert abs(reply.hold_multiplier) <= 15.0
        assert -6.0 <= reply.trade_multiplier <= 15.0


def test_a_memory_that_is_empty_behind_the_open_is_told(served):
    _, service = served
    fresh = [
        service.answer([question(bar=bar, day=day)])[0].fresh
        for day, bar in ((0, 0), (0, 1), (1, 0), (2, 3), (2, 4))
    ]
    assert fresh == [False, False, False, True, False]
    assert service.answer([question("late", bar=5)])[0].fresh


def test_a_swap_while_an_answer_is_worked_out_is_answered_by_the_new_champion(tmp_path):
    made = ground(tmp_path, MODELS["lstm"])
    other = made.add(random_model(5, LSTM))
    store = SwappingStore(made.store.root)
    service = service_of(store)
    first = store.champion()
    assert service.answer([question()])[0].model == first
    # the next reading begins an answer, the one behind it ends it
    store.swaps = {store.readings + 2: other}
    replies = service.answer([question(bar=1), question("bob", 1)])
    assert [reply.model for reply in replies] == [other, other]
    assert [reply.fresh for reply in replies] == [True, True]
    assert (service.loads, service.answered) == (2, 3)
    packed = unpack(store.place(other))
    for name in ("ann", "bob"):
        alone = Alone(packed, name)
        for bar in (1, 2):
            if bar == 2:
                reply = service.answer([question(name, bar)])[0]
            else:
                reply = next(one for one in replies if one.client == name)
            assert told(reply) == alone.asked(question(name, bar))
    assert service.memory()["model"] == other


def test_a_link_that_does_not_rest_is_not_followed_for_ever(tmp_path):
    made = ground(tmp_path, MODELS["mlp"])
    digests = [made.store.champion(), made.add(random_model(6))]
    store = SwappingStore(made.store.root)
    service = service_of(store)
    store.swaps = {number: digests[number // 2 % 2] for number in range(1, 100)}
    with pytest.raises(ServiceError, match="the champion changed again and again; ask again") as caught:
        service.answer([question()])
    assert caught.value.status == 503
    assert clients_of(service) == {}
    store.swaps = {}
    assert service.answer([question()])[0].model == store.champion()


def test_a_model_that_comes_back_has_forgotten_its_clients(tmp_path):
    made = ground(tmp_path, MODELS["lstm"])
    before = service_of(made.store)
    before.answer([question(bar=0)])
    service = service_of(made.store)
    service.take_over(before.memory())
    service.answer([question(bar=1)])
    made.champion(MODELS["mlp"])
    assert service.answer([question(bar=2)])[0].fresh
    made.champion(MODELS["lstm"])
    # not from where it stood at bar 0, when the memory was handed over
    reply = service.answer([question(bar=3)])[0]
    alone = Alone(unpack(made.store.place(service.model)), "ann")
    assert reply.fresh
    assert told(reply) == alone.asked(question(bar=3))


def refused(service: Service) -> ServiceError:
    """Return why a service can't answer; every question is refused alike."""
    found = []
    for ask in (lambda: service.answer([question(bar=9)]), service.ready, service.description, service.warm):
        with pytest.raises(ServiceError) as caught:
            ask()
        found.append(caught.value)
    assert len({error.line() for error in found}) == 1
    assert {error.status for error in found} == {503}
    return found[0]


def test_without_a_champion_nothing_is_answered(tmp_path):
    service = service_of(ground(tmp_path).store)
    assert "there is no champion; promote one" in refused(service).line()
    assert (service.model, service.memory()) == (None, {})


@pytest.mark.parametrize("target", ["artifacts/abc", "../elsewhere", f"elsewhere/{'a' * 64}"])
def test_a_link_to_what_is_no_artifact_answers_nothing(served, target):
    made, service = served
    service.answer([question()])
    with link_to(made.store, target):
        assert "no artifact of this registry" in refused(service).line()
    made.store.link.unlink()
    made.store.link.write_text("no link")
    assert "is no link" in refused(service).line()


@pytest.mark.parametrize("name", ["weights.safetensors", "artifact.json", "manifest.json", "signature.json"])
def test_a_champion_with_one_other_byte_answers_nothing_and_nothing_of_it_is_built(served, monkeypatch, name):
    made, service = served
    service.answer([question()])
    other = made.add(random_model(6))
    place = made.store.place(other) / name
    content = bytearray(place.read_bytes())
    content[len(content) // 2] ^= 1
    place.chmod(0o644)
    place.write_bytes(content)
    made.store.swap(other)
    monkeypatch.setattr(service_module, "unpacked", lambda *_: pytest.fail("it was unpacked"))
    for one in (service, service_of(made.store)):
        assert f"the champion {other[:12]} can't be served" in refused(one).line()
        assert one.model != other
    # what was kept stays: it may be needed again
    assert list(clients_of(service)) == ["ann"]


def test_a_champion_whose_signer_does_not_count_answers_nothing(served):
    made, _ = served
    trust = made.store.trust_file.read_text()
    made.store.trust_file.write_text('{"keys":[],"version":1}')
    assert "can't be served" in refused(service_of(made.store)).line()
    made.store.trust_file.write_text(trust)
    assert service_of(made.store).ready() == made.store.champion()


def test_a_quarantined_champion_is_not_loaded(served):
    made, _ = served
    made.store.quarantine(made.store.champion(), "it lost everything")
    assert "is quarantined for good" in refused(service_of(made.store)).line()


def test_a_champion_that_is_quarantined_while_it_answers_answers_no_more(served):
    """Where the link could not be replaced, and the service not stopped, this is what stops it."""
    made, service = served
    service.answer([question()])
    made.store.quarantine(made.store.champion(), "it lost everything")
    loads, kept = service.loads, service.memory()
    error = refused(service)
    assert isinstance(error, BarredError)
    assert error.status == 503
    assert "is quarantined for good" in error.line()
    # what its clients had is there for whoever looks into it, and what goes live next answers
    assert service.memory() == kept
    other = made.add(random_model(7))
    made.store.swap(other)
    assert service.ready() == other
    assert service.loads == loads + 1


def test_what_is_quarantined_while_an_answer_is_worked_out_is_not_given(served, monkeypatch):
    made, service = served
    service.ready()
    work_out = service._work_out

    def barred_meanwhile(*arguments):
        worked_out = work_out(*arguments)
        made.store.quarantine(made.store.champion(), "it lost everything")
        return worked_out

    monkeypatch.setattr(service, "_work_out", barred_meanwhile)
    assert "is quarantined for good" in refused(service).line()
    assert clients_of(service) == {}


@pytest.mark.parametrize(
    "broken",
    [
        replace(GOLD, policy={"kind": "transformer"}),
        replace(GOLD, environment={}),
        replace(GOLD, symbols=("A", "B", "C"), n_actions=27),
    ],
    ids=["unknown policy", "no environment", "a policy of two for three"],
)
def test_a_signed_model_that_can_not_be_built_answers_nothing(tmp_path, broken):
    assert "can't be served" in refused(service_of(ground(tmp_path, broken).store)).line()


def test_what_a_client_must_know_is_told(served):
    made, service = served
    told_ = service.description()
    assert json.loads(json.dumps(told_)) == told_
    assert (told_["model"], told_["n_inputs"], told_["role"]) == (made.store.champion(), 29, "candidate")
    assert (told_["symbols"], told_["interval_minutes"], told_["mode"]) == (["NVDA", "MSFT"], 5, "sampled")
    assert told_["actions"] == GOLD.environment["action_meanings"]


def test_warming_up_remembers_nobody_and_counts_nothing(served):
    _, service = served
    service.warm()
    assert (clients_of(service), service.answered, service.loads) == ({}, 0, 1)


def handed_over(service: Service, to: Service, place) -> None:
    """Hand a memory on as workers do: by a file."""
    write_memory(place, service.memory())
    to.take_over(read_memory(place))


@settings(max_examples=15, deadline=None)
@given(st.data())
@pytest.mark.parametrize("model", MODELS)
def test_a_service_that_takes_over_goes_on_to_the_bit(tmp_path_factory, model, data):
    root = tmp_path_factory.mktemp("registry")
    made = ground(root, MODELS[model])
    one, whole = service_of(made.store), service_of(made.store)
    seen: dict[str, list] = {}
    for _ in range(data.draw(st.integers(1, 8))):
        if data.draw(st.booleans()):
            before, one = one, service_of(made.store)
            if data.draw(st.booleans()):
                one.warm()
            handed_over(before, one, root / "clients.json")
            assert clients_of(one) == clients_of(before)
        name = data.draw(st.sampled_from(["ann", "bob"]))
        asked = seen.setdefault(name, [])
        if not asked or data.draw(st.integers(0, 3)):
            at = asked[-1].bar + 1 if asked else 0
            new_day = data.draw(st.booleans())
            day = (asked[-1].session - DAY).days + new_day if asked else 0
            executed = data.draw(st.none() | st.integers(0, 3))
            asked.append(question(name, 0 if new_day else at, day, executed=executed))
        request = asked[-1]
        assert one.answer([request]) == whole.answer([request])
        assert one.memory() == whole.memory()
    sizes = {len(client["recurrent"]) for client in clients_of(one).values()}
    assert sizes == {64 if model == "lstm" else 0}


def test_another_models_memory_is_not_used(tmp_path):
    made = ground(tmp_path, MODELS["lstm"])
    old = service_of(made.store)
    old.answer([question()])
    made.champion(random_model(9, LSTM))
    service = service_of(made.store)
    service.take_over(old.memory())
    assert service.memory() == old.memory()
    assert service.answer([question(bar=1)])[0].fresh
    assert service.memory()["model"] == service.model == made.store.champion()
    assert list(clients_of(service)) == ["ann"]


def test_memory_waits_for_the_model_it_belongs_to(tmp_path):
    made = ground(tmp_path, MODELS["lstm"])
    other = made.add(random_model(9, LSTM))
    old, service = service_of(made.store), service_of(made.store)
    service.warm()
    made.store.swap(other)
    old.answer([question()])
    # made ready before the swap, it takes over from one that has answered behind it
    service.take_over(old.memory())
    reply = service.answer([question(bar=1)])[0]
    assert (reply.model, reply.fresh) == (other, False)
    assert reply == old.answer([question(bar=1)])[0]


@pytest.mark.parametrize(
    "damage",
    [
        lambda memory: memory.pop("order"),
        lambda memory: memory.update(clients=[]),
        lambda memory: memory["clients"].clear(),
        lambda memory: memory["clients"]["ann"].pop("loop"),
        lambda memory: memory["clients"]["ann"]["reply"].update(more=1),
        lambda memory: memory["clients"]["ann"].update(recurrent="abc"),
    ],
)
def test_a_memory_that_is_not_understood_is_refused_and_not_needed(served, damage):
    made, old = served
    old.answer([question()])
    memory = json.loads(json.dumps(old.memory()))
    damage(memory)
    service = service_of(made.store)
    with pytest.raises(ServiceError, match="clients begin with an empty memory"):
        service.take_over(memory)
    assert service.answer([question(bar=1)])[0].fresh


@pytest.mark.parametrize("hand_over", [False, True])
def test_who_has_not_asked_for_longest_is_forgotten_first(served, monkeypatch, tmp_path, hand_over):
    monkeypatch.setattr(service_module, "MOST_CLIENTS", 3)
    made, service = served
    service.answer([question("zoe"), question("bob"), question("ann")])
    service.answer([question("zoe", 1)])
    if hand_over:
        old, service = service, service_of(made.store)
        handed_over(old, service, tmp_path / "clients.json")
        service.warm()
    service.answer([question("new")])
    assert set(clients_of(service)) == {"ann", "zoe", "new"}
    assert service.answer([question("bob", 1)])[0].fresh
    assert set(clients_of(service)) == {"zoe", "new", "bob"}


def test_each_client_draws_numbers_of_its_own_and_the_seed_moves_them_all(tmp_path):
    untilted: Artifact = replace(random_model(1), role="gold", parent_digest=None, controller=None)
    store = ground(tmp_path, untilted).store
    same = question()
    names = [f"c{k}" for k in range(60)]
    requests = [replace(same, client=name) for name in names]

    def drawn(seed: int) -> list[int]:
        return [reply.action for reply in service_of(store, seed=seed).answer(requests)]

    assert len(set(drawn(7))) > 1
    assert drawn(7) == drawn(7) != drawn(8)
