"""The leak detector: features, decisions, fills and NAV up to a moment must not know what came after it.

A pipeline is run on the bars as they are and again on bars whose future, after some moment, is cut off or
strongly changed. Whatever it says about the time up to that moment must be the same, bit for bit. Fills
are held against the tape they were made on as well: an order decided at bar t fills at the open of t + 1,
so its price must follow that open into a changed future, which a fill on the decision's own bar does not.

The detector fails closed: a column that no change of the bars ever moved was not checked, and neither were
fills of a policy that never traded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from stairways.evaluation.leak_fills import Misplaced, audit
from stairways.evaluation.leak_futures import FUTURES, Cut
from stairways.evaluation.replay import Replay, Script, TiltLoop, replay
from stairways.market.features import (
    FEATURE_NAMES,
    FeatureConstants,
    FeatureTable,
    RawFeatures,
    build_table,
    compute_features,
)
from stairways.market.regime import REGIME_INPUTS, RegimeConfig
from stairways.market.sessions import Sessions
from stairways.policies.program import Program
from stairways.trading.kernel import FILL_WIDTH, QUANTITY
from stairways.trading.ledger import Mode
from stairways.trading.observation import ObservedMarket, observe
from stairways.trading.rules import TradingRules

BY_THE_CALENDAR = ("session_time", "neutral")
"""Known ahead: how long a session lasts, and how many sessions were seen."""

SCORE, NEUTRAL, POSITION = "regime.score", "regime.neutral", "position"
DECISION, ORDER, FILL, NAV = "decision", "order", "fill", "nav"


@dataclass(frozen=True, eq=False)
class Trace:
    """What a pipeline made of sessions.

    Attributes:
        market: What an account sees, over all sessions given.
        replay: What the account did over the part asked for; None where there is only a market.
    """

    market: ObservedMarket
    replay: Replay | None


class Pipeline(Protocol):
    """What is under test: from sessions to what is seen and done."""

    def __call__(self, sessions: Sessions, part: slice) -> Trace:
        """Compute features over all sessions and lead an account through the part."""


@dataclass(frozen=True, eq=False)
class ProductPipeline:
    """The product's own way from bars to fills, the one that training, evaluation and tuning take.

    Attributes:
        constants: What standardises the features.
        regime: How the regime score is made.
        policy: The actor's program, or a script.
        rules: Sizes, bounds and costs.
        mode: How actions are chosen.
        run_key: Key of the numbers that decisions are drawn with.
        loop: The tilt; None leaves the policy as it is.
        regime_start: State of a regime detector to go on from; None starts from nothing.
    """

    constants: FeatureConstants
    regime: RegimeConfig
    policy: Program | Script
    rules: TradingRules
    mode: Mode = "sampled"
    run_key: int = 0
    loop: TiltLoop | None = None
    regime_start: Any = None

    def raw(self, sessions: Sessions) -> RawFeatures:
        """Return the features before standardisation."""
        return compute_features(sessions, self.regime, regime_start=self.regime_start)

    def table(self, sessions: Sessions, raw: RawFeatures) -> FeatureTable:
        """Return the standardised table."""
        return build_table(raw, self.constants)

    def tape(self, market: ObservedMarket) -> ObservedMarket:
        """Return the market that orders fill on."""
        return market

    def __call__(self, sessions: Sessions, part: slice) -> Trace:
        """Compute features over all sessions and lead an account through the part."""
        market = observe(sessions, self.table(sessions, self.raw(sessions)))
        done = replay(
            self.tape(market).select(part),
            self.policy,
            self.rules,
            mode=self.mode,
            run_seed=self.run_key,
            loop=self.loop,
        )
        return Trace(market, done)


@dataclass(frozen=True)
class Difference:
    """The first thing in time that knew the future, or that did not happen when it was said to.

    Attributes:
        date: Session date.
        bar: Bar of the session; for an order or a fill the bar it was decided on.
        what: Column, such as ``NVDA.log_volume`` or ``regime.score``, or ``decision``, ``order NVDA``,
            ``fill NVDA``, ``tilt.hold`` or ``nav``.
        with_future: Its value on the bars as they are; for a fill the price it was made from.
        without_future: Its value when the future is another; for a fill the price it should be made from.
        future: ``truncated``, ``perturbed``, or ``as it is`` where the bars alone show it.
        cut_date: Session of the moment after which bars were changed.
        cut_bar: Its bar.
        reason: One sentence for a person.
    """

    date: str
    bar: int
    what: str
    with_future: float
    without_future: float
    future: str
    cut_date: str
    cut_bar: int
    reason: str


class Trial(NamedTuple):
    """One changed future and what it brought to light."""

    cut: Cut
    future: str
    difference: Difference | None


@dataclass(frozen=True)
class LeakReport:
    """What was compared, and what was found.

    Attributes:
        columns: Features and regime columns that were compared.
        reacted: Columns, and ``decision``, that some changed future moved after its moment.
        trials: Every changed future, in order.
        as_it_is: What the bars alone show, one entry at most for each part.
        n_cuts: Moments after which bars were changed.
        n_sessions: Sessions in which decisions were compared.
        n_bars: Their bars.
        n_bar_comparisons: Bars held against each other, over all trials, earlier sessions included.
        n_decisions: Decisions in those sessions.
        n_fills: Fills that were held against changed bars.
    """

    columns: tuple[str, ...]
    reacted: frozenset[str]
    trials: tuple[Trial, ...]
    as_it_is: tuple[Difference, ...]
    n_cuts: int
    n_sessions: int
    n_bars: int
    n_bar_comparisons: int
    n_decisions: int
    n_fills: int

    @property
    def differences(self) -> tuple[Difference, ...]:
        """Every difference, in the order of what it is about."""
        found = [trial.difference for trial in self.trials if trial.difference is not None]
        return tuple(sorted((*self.as_it_is, *found), key=lambda d: (d.date, d.bar)))

    @property
    def first(self) -> Difference | None:
        """The first difference in time; None where there is none."""
        return self.differences[0] if self.differences else None

    @property
    def unchecked(self) -> tuple[str, ...]:
        """What could not be checked: it never moved, so that it would have passed with any leak."""
        moving = [name for name in self.columns if name.rpartition(".")[2] not in BY_THE_CALENDAR]
        wanted = [*moving, DECISION]
        missing = [name for name in wanted if name not in self.reacted]
        missing += [] if self.n_fills else ["fills"]
        return tuple(missing if self.trials else ["everything: no moment could be drawn"])

    @property
    def passed(self) -> bool:
        """Whether everything was checked and nothing was found."""
        return not self.differences and not self.unchecked

    def as_record(self) -> dict[str, Any]:
        """Return the report as plain JSON types."""
        return {
            "passed": self.passed,
            "first_difference": None if self.first is None else asdict(self.first),
            "differing_trials": sum(trial.difference is not None for trial in self.trials),
            "unchecked": list(self.unchecked),
            "sessions": self.n_sessions,
            "bars": self.n_bars,
            "bar_comparisons": self.n_bar_comparisons,
            "cut_points": self.n_cuts,
            "trials": len(self.trials),
            "columns": len(self.columns),
            "decisions": self.n_decisions,
            "fills": self.n_fills,
        }


def pooled(reports: Sequence[LeakReport]) -> LeakReport:
    """Return several reports on the same pipeline as one."""
    if not reports:
        return LeakReport((), frozenset(), (), (), 0, 0, 0, 0, 0, 0)
    return LeakReport(
        columns=reports[0].columns,
        reacted=frozenset().union(*(report.reacted for report in reports)),
        trials=tuple(trial for report in reports for trial in report.trials),
        as_it_is=tuple(found for report in reports for found in report.as_it_is),
        n_cuts=sum(report.n_cuts for report in reports),
        n_sessions=sum(report.n_sessions for report in reports),
        n_bars=sum(report.n_bars for report in reports),
        n_bar_comparisons=sum(report.n_bar_comparisons for report in reports),
        n_decisions=sum(report.n_decisions for report in reports),
        n_fills=sum(report.n_fills for report in reports),
    )


def find_leaks(
    sessions: Sessions,
    pipeline: Pipeline,
    part: slice,
    cuts: Iterable[Cut],
    *,
    seed: np.random.SeedSequence,
    futures: Sequence[str] = tuple(FUTURES),
    follow: Callable[[], None] = lambda: None,
) -> LeakReport:
    """Run a pipeline on changed futures and report what knew them.

    Args:
        sessions: All sessions; those before ``part`` warm features and regime up.
        pipeline: What is under test.
        part: Sessions that an account is led through.
        cuts: Moments after which the bars are changed; within ``part``.
        seed: Seeds the changed bars, each moment by itself.
        futures: How they are changed, names of ``FUTURES``.
        follow: Called after each trial.
    """
    start, stop, _ = part.indices(len(sessions))
    part = slice(start, stop)
    base = pipeline(sessions, part)
    own = None if base.replay is None else audit(base.replay, sessions.select(part))
    trials: list[Trial] = []
    reacted: set[str] = set()
    n_fills = n_compared = 0
    chosen = tuple(cuts)
    for cut in chosen:
        for name in futures:
            trial, trace = _tried(sessions, pipeline, base, part, cut, name, seed)
            trials.append(trial)
            n_compared += int(sessions.n_bars[: cut.session].sum()) + cut.bar + 1
            if name == "perturbed":
                reacted |= _reacting(base, trace, cut, start)
                n_fills += _fills_after(trace, cut, start)
            follow()
    bars = sessions.n_bars[part]
    return LeakReport(
        columns=column_names(base.market),
        reacted=frozenset(reacted),
        trials=tuple(trials),
        as_it_is=() if own is None else (_of_audit(own, sessions, start, "as it is", None),),
        n_cuts=len(chosen),
        n_sessions=len(bars),
        n_bars=int(bars.sum()),
        n_bar_comparisons=n_compared,
        n_decisions=0 if base.replay is None else int((base.replay.actions >= 0).sum()),
        n_fills=n_fills,
    )


def _tried(
    sessions: Sessions,
    pipeline: Pipeline,
    base: Trace,
    part: slice,
    cut: Cut,
    future: str,
    seed: np.random.SeedSequence,
) -> tuple[Trial, Trace]:
    """Run the pipeline on one changed future, and say what of the past it changed or what it misplaced."""
    moment = np.random.SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, cut.session, cut.bar))
    other = FUTURES[future](sessions, cut, np.random.default_rng(moment))
    judged = slice(part.start, min(part.stop, len(other)))
    trace = pipeline(other, judged)
    found = first_change(base, trace, judged, cut, future)
    if found is None and trace.replay is not None:
        misplaced = audit(trace.replay, other.select(judged))
        if misplaced is not None:
            found = _of_audit(misplaced, sessions, part.start, future, cut)
    return Trial(cut, future, found), trace


def column_names(market: ObservedMarket) -> tuple[str, ...]:
    """Return the names of what is compared of a market, in order: features, regime inputs, score."""
    features = [f"{symbol}.{name}" for symbol in market.symbols for name in FEATURE_NAMES]
    return (*features, *(f"regime.{name}" for name in REGIME_INPUTS), SCORE, NEUTRAL)


class _Quantity(NamedTuple):
    """Something with a value at every bar: ``(n_sessions, max_bars, n)``, the names of the n, an offset."""

    names: tuple[str, ...]
    values: NDArray[Any]
    first_session: int


def _seen(market: ObservedMarket) -> list[_Quantity]:
    symbols = [f"{symbol}.{name}" for symbol in market.symbols for name in (*FEATURE_NAMES, POSITION)]
    names = (*symbols, *(f"regime.{name}" for name in REGIME_INPUTS))
    return [
        _Quantity(names, market.rows, 0),
        _Quantity((SCORE,), market.score[..., None], 0),
        _Quantity((NEUTRAL,), market.neutral[..., None], 0),
    ]


def _done(run: Replay, start: int) -> list[_Quantity]:
    """Return what an account did, each at the bar at which it is known."""
    symbols = run.market.symbols
    orders = np.zeros((*run.actions.shape, len(symbols)))
    orders[:, :-1] = run.fills[:, 1:, :, QUANTITY]
    closing = np.zeros_like(run.fills)
    closing[np.arange(len(run.forced)), run.market.n_bars - 1] = run.forced
    flat = (*run.actions.shape, len(symbols) * FILL_WIDTH)
    parts = ("quantity", "price", "commission", "spread", "impact")
    names = tuple(f"{FILL} {symbol} {part}" for symbol in symbols for part in parts)
    return [
        _Quantity(("tilt.hold", "tilt.trade"), run.multipliers, start),
        _Quantity((DECISION,), run.actions[..., None], start),
        _Quantity(tuple(f"{ORDER} {symbol}" for symbol in symbols), orders, start),
        _Quantity(names, run.fills.reshape(flat), start),
        _Quantity(tuple(f"closing {name}" for name in names), closing.reshape(flat), start),
        _Quantity((NAV,), run.nav_usd[..., None], start),
    ]


def first_change(base: Trace, other: Trace, part: slice, cut: Cut, future: str) -> Difference | None:
    """Return the first thing up to a moment that differs between two traces; None where nothing does.

    Args:
        base: On the bars as they are.
        other: On bars that are another from the moment on.
        part: Sessions of ``other``'s replay.
        cut: The moment.
        future: How the bars were changed.
    """
    pairs = list(zip(_seen(base.market), _seen(other.market), strict=True))
    if base.replay is not None and other.replay is not None:
        pairs += list(zip(_done(base.replay, part.start), _done(other.replay, part.start), strict=True))
    best: tuple[int, int, int] | None = None
    for rank, (one, two) in enumerate(pairs):
        found = _first_bar(one, two, cut)
        if found is not None and (best is None or (*found, rank) < best):
            best = (*found, rank)
    if best is None:
        return None
    session, bar, rank = best
    one, two = pairs[rank]
    before, after = (q.values[session - q.first_session, bar] for q in (one, two))
    column = int(np.argmax(_differ(before, after)))
    dates = base.market.dates
    return Difference(
        date=str(dates[session]),
        bar=bar,
        what=one.names[column],
        with_future=float(before[column]),
        without_future=float(after[column]),
        future=future,
        cut_date=str(dates[cut.session]),
        cut_bar=cut.bar,
        reason=f"bars after bar {cut.bar} of {dates[cut.session]} were {future}, and it changed",
    )


def _first_bar(one: _Quantity, two: _Quantity, cut: Cut) -> tuple[int, int] | None:
    """Return the first session and bar up to a moment at which two quantities differ."""
    count = cut.session + 1 - one.first_session
    if count <= 0:
        return None
    differ: NDArray[np.bool_] = np.asarray(_differ(one.values[:count], two.values[:count]).any(axis=2))
    differ[-1, cut.bar + 1 :] = False
    if not differ.any():
        return None
    session, bar = divmod(int(differ.argmax()), differ.shape[1])
    return session + one.first_session, bar


def _differ(one: NDArray[Any], two: NDArray[Any]) -> NDArray[np.bool_]:
    differ: NDArray[np.bool_] = (one != two) & ~(np.isnan(one) & np.isnan(two))
    return differ


def _reacting(base: Trace, other: Trace, cut: Cut, start: int) -> set[str]:
    """Return what another future moved, after its moment: what can be moved can be checked."""
    moved: set[str] = set()
    for one, two in zip(_seen(base.market), _seen(other.market), strict=True):
        differ = _differ(one.values[cut.session :], two.values[cut.session :])
        differ[0, : cut.bar + 1] = False
        moved |= {one.names[column] for column in np.flatnonzero(differ.any(axis=(0, 1))).tolist()}
    if base.replay is not None and other.replay is not None:
        first = cut.session - start
        changed = np.asarray(base.replay.actions[first:] != other.replay.actions[first:])
        changed[0, : cut.bar + 1] = False
        moved |= {DECISION} if changed.any() else set()
    return moved


def _fills_after(trace: Trace, cut: Cut, start: int) -> int:
    """Return how many fills were made on changed bars."""
    if trace.replay is None:
        return 0
    filled = (trace.replay.fills[cut.session - start :, :, :, QUANTITY] != 0.0).sum(axis=2)
    filled[0, : cut.bar + 1] = 0
    return int(filled.sum())


def _of_audit(found: Misplaced, sessions: Sessions, start: int, future: str, cut: Cut | None) -> Difference:
    """Return what a fill audit found, with the moment after which the bars were changed."""
    session = start + found.session
    moment = Cut(session, found.bar) if cut is None else cut
    return Difference(
        date=str(sessions.dates[session]),
        bar=found.bar,
        what=found.what,
        with_future=found.found,
        without_future=found.expected,
        future=future,
        cut_date=str(sessions.dates[moment.session]),
        cut_bar=moment.bar,
        reason=found.reason,
    )
