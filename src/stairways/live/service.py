"""The service: answers questions with the champion, and with nothing else.

The link is looked at before an answer is worked out and again before it is given: what is answered after a
swap comes from the new champion, and a request never pays for more than two readings of a link unless there
was one. What does not verify answers nothing. What a client's next answer depends on (recurrent state, tilt)
is kept here, by client.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stairways.control.tilt import TILT_STATE, TRADE, advance, tilt_state
from stairways.errors import ArtifactError, ServiceError, StairwaysError, StorageError
from stairways.evaluation.replay import loop_numbers
from stairways.live.predictor import Answer, Predictor, Question
from stairways.market.regime_kernels import SCORE_BOUND
from stairways.market.sessions import FULL_SESSION_MINUTES
from stairways.registry.canonical import plain_json
from stairways.trading.actions import action_meanings, hold_action, order_table
from stairways.unpacking import Packed, unpacked

if TYPE_CHECKING:
    from stairways.operations_config import PerformanceSettings
    from stairways.registry.canonical import JsonObject
    from stairways.registry.store import Store

MOST_CLIENTS = 10_000
"""Clients that are remembered; who is forgotten begins with an empty memory, and is told so."""
_WHERE = "service"
_MOST_RELOADS = 5
_LARGEST = float(np.finfo(np.float32).max)
_EPOCH = dt.date(1970, 1, 1)


class BarredError(ServiceError):
    """What is champion is quarantined: a way back is under way, or could not replace the link.

    A model that answered before answers no more from the instant on at which it is barred. Whoever asks again
    a little later is answered by what the way back leads to.

    Args:
        digest: The model.
        where: The champion's link.
    """

    def __init__(self, digest: str, where: str) -> None:
        super().__init__(
            f"the champion {digest[:12]} is quarantined for good",
            where=where,
            remedy="if no way back is under way: `stairways rollback finish`, or `stairways rollback now`",
            status=503,
        )


@dataclass(frozen=True)
class Request:
    """What a client asks at the close of a bar.

    Attributes:
        client: Name of the account.
        session: Exchange date.
        bar: From 0; of the last session that was asked about, or of a later one.
        observation: Features of the bar, ``n_inputs`` of them, normalised.
        score: Regime score, within ±3.
        position: Units of each symbol, -1, 0 or 1.
        executed: Orders of the last answer that were executed, forced closes included; None takes those
            that the answer asked for.
    """

    client: str
    session: dt.date
    bar: int
    observation: tuple[float, ...]
    score: float
    position: tuple[int, ...]
    executed: int | None = None

    def key(self) -> tuple[Any, ...]:
        """Return what tells it from another question about the same bar."""
        return self.observation, self.score, self.position, self.executed


@dataclass(frozen=True)
class Reply:
    """What to do.

    Attributes:
        client: As asked; likewise session and bar.
        session: Exchange date.
        bar: From 0.
        action: Action id.
        meaning: In words.
        held: Whether it is hold.
        model: Digest of the model that answered.
        hold_multiplier: In force, logits.
        trade_multiplier: Likewise.
        fresh: Whether the policy's memory was empty although the session was not at its open: the model
            changed, or the service lost its memory.
        repeated: Whether it was asked before, and this is what was answered then.
    """

    client: str
    session: dt.date
    bar: int
    action: int
    meaning: str
    held: bool
    model: str
    hold_multiplier: float
    trade_multiplier: float
    fresh: bool
    repeated: bool = False


@dataclass(eq=False)
class _Client:
    """What is kept of a client: the tilt before its last answer, the policy's memory after it."""

    session: int
    bar: int
    recurrent: NDArray[np.float32]
    loop: NDArray[np.float64]
    asked: tuple[Any, ...] = ()
    reply: Reply | None = None
    score: float = 0.0
    planned: int = 0

    def as_record(self) -> JsonObject:
        """Return it as JSON; the numbers come back to the bit."""
        reply = None if self.reply is None else vars(self.reply) | {"session": str(self.reply.session)}
        return {
            "asked": plain_json(self.asked),
            "bar": self.bar,
            "loop": self.loop.tolist(),
            "planned": self.planned,
            "recurrent": self.recurrent.tolist(),
            "reply": reply,
            "score": self.score,
            "session": self.session,
        }

    @classmethod
    def parse(cls, record: Mapping[str, Any]) -> _Client:
        """Return the client behind :meth:`as_record`."""
        reply = record["reply"]
        if reply is not None:
            reply = Reply(**(reply | {"session": dt.date.fromisoformat(reply["session"])}))
        return cls(
            session=int(record["session"]),
            bar=int(record["bar"]),
            recurrent=np.array(record["recurrent"], np.float32),
            loop=np.array(record["loop"], np.float64),
            asked=tuple(tuple(part) if isinstance(part, list) else part for part in record["asked"]),
            reply=reply,
            score=float(record["score"]),
            planned=int(record["planned"]),
        )


@dataclass(frozen=True, eq=False)
class _Memory:
    """What is kept of the clients of a model, who has not asked for longest first."""

    model: str
    clients: Mapping[str, _Client]

    def as_record(self) -> JsonObject:
        """Return it as JSON."""
        clients = {name: client.as_record() for name, client in self.clients.items()}
        return {"clients": clients, "model": self.model, "order": list(clients)}

    @classmethod
    def parse(cls, record: Mapping[str, Any]) -> _Memory:
        """Return the memory behind :meth:`as_record`.

        Raises:
            ServiceError: If it is none.
        """
        try:
            clients = {name: _Client.parse(record["clients"][name]) for name in record["order"]}
            return cls(str(record["model"]), clients)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ServiceError(
                f"the memory handed over is not understood ({error!r})",
                where=_WHERE,
                remedy="clients begin with an empty memory",
            ) from error


@dataclass(eq=False)
class _Model:
    """A champion ready to answer."""

    digest: str
    packed: Packed
    predictor: Predictor
    orders: NDArray[np.int8]
    meanings: tuple[str, ...]
    hold: int
    start: NDArray[np.float64]
    numbers: Any
    points: Any
    controlled: bool
    clients: dict[str, _Client] = field(default_factory=dict)

    @property
    def n_symbols(self) -> int:
        """Symbols it trades."""
        return len(self.packed.artifact.symbols)


class Service:
    """Answers with whatever is champion.

    Args:
        store: Where the champion stands.
        performance: Batch and memory of the answers.
        seed: Of the numbers that actions are drawn with; each client has its own.
    """

    def __init__(
        self,
        store: Store,
        performance: PerformanceSettings,
        *,
        seed: int = 0,
    ) -> None:
        self.store = store
        self.answered = 0
        self.loads = 0
        self._performance = performance
        self._seed = seed
        self._model: _Model | None = None
        self._handed_over: _Memory | None = None

    @property
    def model(self) -> str | None:
        """Digest of the model that is loaded, None before the first."""
        return None if self._model is None else self._model.digest

    def ready(self) -> str:
        """Load the champion if need be, and return its digest.

        Raises:
            ServiceError: If there is none, or it does not verify.
        """
        return self._current().digest

    def warm(self) -> None:
        """Load the champion and the compiled code, so that the first answer waits for neither.

        Raises:
            ServiceError: If there is no champion, or it does not verify.
        """
        model = self._current()
        nothing = Request(
            client="",
            session=_EPOCH,
            bar=0,
            observation=(0.0,) * model.packed.spec.n_observed,
            score=0.0,
            position=(0,) * model.n_symbols,
        )
        client = self._going_on(model, nothing)
        _answers(model, [self._question(model, nothing, client)])
        if model.controlled:
            advance(client.loop, model.numbers, model.points, 0.0, 1.0, 0.0)

    def description(self) -> JsonObject:
        """Return what a client must know to ask.

        Raises:
            ServiceError: If there is no champion, or it does not verify.
        """
        model = self._current()
        artifact = model.packed.artifact
        return {
            "actions": list(model.meanings),
            "features": artifact.features,
            "interval_minutes": artifact.interval_minutes,
            "mode": model.predictor.mode,
            "model": model.digest,
            "n_inputs": model.packed.spec.n_observed,
            "role": artifact.role,
            "symbols": list(artifact.symbols),
        }

    def answer(self, requests: Sequence[Request]) -> list[Reply]:
        """Answer requests, each of another client, all of them with one model.

        Raises:
            ServiceError: If there is no champion, it does not verify, or a request makes no sense; no
                client's memory has moved then.
        """
        for _ in range(_MOST_RELOADS):
            model = self._current()
            replies, moves = self._work_out(model, requests)
            if self._champion() == model.digest:
                for move in moves:
                    move()
                self.answered += len(replies)
                return replies
        raise ServiceError(
            "the champion changed again and again", where=_WHERE, status=503, remedy="ask again"
        )

    def memory(self) -> JsonObject:
        """Return what is kept of every client, JSON: to be handed to the process that follows."""
        if self._model is not None and (self._model.clients or self._handed_over is None):
            return _Memory(self._model.digest, self._model.clients).as_record()
        return {} if self._handed_over is None else self._handed_over.as_record()

    def take_over(self, memory: Mapping[str, Any]) -> None:
        """Go on from another process's memory; of another model nothing of it is used.

        It is used once: by the model that is loaded, or else by the next that is.

        Raises:
            ServiceError: If it is not understood; clients begin with an empty memory then.
        """
        handed_over = _Memory.parse(memory) if memory else None
        self._handed_over = handed_over
        if self._model is not None and handed_over is not None and handed_over.model == self.model:
            self._use_handed_over(self._model)

    def _use_handed_over(self, model: _Model) -> None:
        # once: a model that comes back later must not go on from where its clients stood long ago
        if self._handed_over is not None:
            _remember(model, self._handed_over)
        self._handed_over = None

    def _champion(self) -> str | None:
        try:
            digest = self.store.champion()
            barred = digest is not None and self.store.is_quarantined(digest)
        except StorageError as error:
            raise ServiceError(error.what, where=error.where, remedy=error.remedy, status=503) from error
        if digest is not None and barred:
            raise BarredError(digest, str(self.store.link))
        return digest

    def _current(self) -> _Model:
        digest = self._champion()
        if digest is None:
            raise ServiceError(
                "there is no champion", where=_WHERE, status=503, remedy="promote one: `stairways promote`"
            )
        if self._model is None or self._model.digest != digest:
            self._model = self._load(digest)
        return self._model

    def _load(self, digest: str) -> _Model:
        try:
            trusted = self.store.read(digest)
            model = self._made(digest, unpacked(trusted.loaded, self.store.place(digest)))
        except StairwaysError as error:
            raise ServiceError(
                f"the champion {digest[:12]} can't be served: {error.line()}",
                where=_WHERE,
                status=503,
                remedy="roll back: `stairways rollback now`",
            ) from error
        self._use_handed_over(model)
        self.loads += 1
        return model

    def _made(self, digest: str, packed: Packed) -> _Model:
        symbols, loop = packed.artifact.symbols, packed.loop()
        mode = "sampled" if packed.control is None else packed.control.mode
        max_bars = FULL_SESSION_MINUTES // packed.artifact.interval_minutes
        numbers, points = loop_numbers(loop, max_bars - 1)
        start = np.zeros(TILT_STATE) if loop is None else tilt_state(loop.start, loop.anchor or 0.0)
        predictor = Predictor.of(
            self._performance,
            packed.program,
            packed.rules,
            n_symbols=len(symbols),
            n_inputs=packed.spec.n_observed,
            mode=mode,
            loop=loop,
            max_bars=max_bars,
            clock=time.monotonic,
        )
        return _Model(
            digest=digest,
            packed=packed,
            predictor=predictor,
            orders=order_table(len(symbols), packed.rules.long_only),
            meanings=tuple(action_meanings(len(symbols))),
            hold=hold_action(len(symbols)),
            start=start,
            numbers=numbers,
            points=points,
            controlled=loop is not None,
        )

    def _work_out(
        self, model: _Model, requests: Sequence[Request]
    ) -> tuple[list[Reply], list[Callable[[], None]]]:
        """Return replies, and what is to be called when they are given."""
        names = [request.client for request in requests]
        if len(set(names)) < len(names):
            raise ServiceError("a client asks twice at once", where=_WHERE, status=422)
        known: dict[int, Reply] = {}
        asked: list[tuple[int, Question, _Client]] = []
        for number, request in enumerate(requests):
            _check(model, request)
            repeated = _repeated(model.clients.get(request.client), request)
            if repeated is not None:
                known[number] = repeated
            else:
                client = self._going_on(model, request)
                asked.append((number, self._question(model, request, client), client))
        moves: list[Callable[[], None]] = []
        answers = _answers(model, [question for _, question, _ in asked])
        for (number, question, client), answer in zip(asked, answers, strict=True):
            request = requests[number]
            reply = self._reply(model, request, client, answer.action, answer.strength)
            known[number] = reply
            client.recurrent, client.asked, client.reply = answer.recurrent.copy(), request.key(), reply
            client.score = request.score
            client.planned = int(model.orders[question.position, answer.action])
            moves.append(_moving(model, request.client, client))
        return [known[number] for number in range(len(requests))], moves

    def _going_on(self, model: _Model, request: Request) -> _Client:
        """Return a client as it stands before a new question: the loop moved by its last answer."""
        session = (request.session - _EPOCH).days
        before = model.clients.get(request.client)
        if before is None:
            empty = np.zeros(model.packed.program.state_size, np.float32)
            return _Client(session, request.bar, empty, model.start.copy())
        loop = before.loop.copy()
        if model.controlled and before.reply is not None:
            executed = before.planned if request.executed is None else request.executed
            held = 1.0 if before.reply.held else 0.0
            advance(loop, model.numbers, model.points, before.score, held, float(executed))
        recurrent = before.recurrent if before.session == session else np.zeros_like(before.recurrent)
        return _Client(session, request.bar, recurrent, loop)

    def _question(self, model: _Model, request: Request, client: _Client) -> Question:
        position = 0
        for units in request.position:
            position = 3 * position + units + 1
        return Question(
            date=client.session,
            bar=request.bar,
            position=position,
            score=request.score,
            observation=np.array(request.observation, np.float32),
            recurrent=client.recurrent,
            loop=client.loop,
            run_seed=_key(self._seed, request.client),
        )

    def _reply(self, model: _Model, request: Request, client: _Client, action: int, strength: float) -> Reply:
        before = model.clients.get(request.client)
        return Reply(
            client=request.client,
            session=request.session,
            bar=request.bar,
            action=action,
            meaning=model.meanings[action],
            held=action == model.hold,
            model=model.digest,
            hold_multiplier=strength,
            trade_multiplier=float(client.loop[TRADE]),
            fresh=request.bar > 0 and (before is None or before.session != client.session),
        )


def _check(model: _Model, request: Request) -> None:
    """Refuse what the policy can't be asked."""
    where = f"client {request.client}, {request.session}, bar {request.bar}"
    n_inputs = model.packed.spec.n_observed
    bars = FULL_SESSION_MINUTES // model.packed.artifact.interval_minutes
    n_observed, n_positions = len(request.observation), len(request.position)
    faults = (
        (n_observed != n_inputs, f"{n_observed} numbers observed, not {n_inputs}"),
        (n_positions != model.n_symbols, f"{n_positions} positions, not {model.n_symbols}"),
        (not all(units in (-1, 0, 1) for units in request.position), "a position that is not -1, 0 or 1"),
        # as float32, which is what the policy sees: 1e300 is finite, and is not
        (not all(abs(x) <= _LARGEST for x in request.observation), "an observation that is not finite"),
        # beyond it the fast lane would push the wrong way
        (not abs(request.score) <= SCORE_BOUND, f"a score that is not within ±{SCORE_BOUND:g}"),
        (not 0 <= request.bar < bars, f"the session has bars 0 to {bars - 1}"),
        (request.executed is not None and request.executed < 0, f"{request.executed} orders executed"),
    )
    for wrong, what in faults:
        if wrong:
            raise ServiceError(what, where=where, status=422)


def _repeated(client: _Client | None, request: Request) -> Reply | None:
    """Return the answer that was given before; refuse the past, and other numbers for the same bar."""
    if client is None:
        return None
    at = (request.session - _EPOCH).days, request.bar
    where = f"client {request.client}, {request.session}, bar {request.bar}"
    if at < (client.session, client.bar):
        raise ServiceError(
            f"the last answer was for bar {client.bar} of {_EPOCH + dt.timedelta(client.session)}",
            where=where,
            status=409,
            remedy="ask about later bars",
        )
    if at > (client.session, client.bar) or client.reply is None:
        return None
    if client.asked != request.key():
        raise ServiceError(
            "this bar was answered with other numbers",
            where=where,
            status=409,
            remedy="a bar that was decided on can't change",
        )
    return Reply(**{**vars(client.reply), "repeated": True})


def _moving(model: _Model, name: str, client: _Client) -> Callable[[], None]:
    def move() -> None:
        # the last to have asked stands last, and who has not for longest is forgotten first
        model.clients.pop(name, None)
        model.clients[name] = client
        while len(model.clients) > MOST_CLIENTS:
            del model.clients[next(iter(model.clients))]

    return move


def _remember(model: _Model, memory: _Memory) -> None:
    """Take clients from another process's memory of the same model, in its order."""
    if memory.model != model.digest:
        return
    shapes = (model.packed.program.state_size,), (TILT_STATE,)
    for name, client in memory.clients.items():
        if (client.recurrent.shape, client.loop.shape) == shapes:
            _moving(model, name, client)()


def _answers(model: _Model, questions: Sequence[Question]) -> list[Answer]:
    try:
        return model.predictor.answer(questions)
    except ArtifactError as error:
        # its weights are finite: every artifact's are
        raise ServiceError(error.what, where=_WHERE, remedy="check the observations", status=422) from error


def _key(seed: int, client: str) -> int:
    """Return a client's own key, so that two accounts don't draw the same numbers."""
    return int.from_bytes(hashlib.sha256(f"{seed}|{client}".encode()).digest()[:8], "little")
