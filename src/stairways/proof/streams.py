"""Accounts led through steps of their set points by the tilt, each beside a twin that is settled already.

What a policy does in a session depends on the session: with the market's regime a skilled policy's hold
rate moves by 17 points from one to the next, and at the open it is half of what it is later. A twin meets
the same sessions with the same numbers drawn, but stands at the multipliers that were calibrated for the
new set points on other sessions. The difference of both is the transient alone; what the sessions do is in
both and drops out (common random numbers).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from stairways.control.setpoints import SetPoints
from stairways.control.tilt import UNTILTED, Multipliers, settle
from stairways.evaluation.calibration import calibrate
from stairways.evaluation.replay import Replay, TiltLoop, replay
from stairways.trading.actions import hold_action
from stairways.trading.kernel import QUANTITY
from stairways.trading.ledger import Mode

if TYPE_CHECKING:
    from stairways.control.actuators import TiltActuator
    from stairways.policies.program import Program
    from stairways.trading.observation import ObservedMarket
    from stairways.trading.rules import TradingRules

Quantity = Literal["hold", "trades"]
MODES: tuple[Mode, ...] = ("sampled", "greedy")


@dataclass(frozen=True)
class Step:
    """One step of the set points.

    Attributes:
        name: Its name.
        hold_rate_ratio: Set point of the hold rate.
        trades_per_session: Set point of the trades.
        after: Name of the step it follows; None for the first.
        moved: Which set points moved; the first step counts as both.
    """

    name: str
    hold_rate_ratio: float
    trades_per_session: float
    after: str | None
    moved: tuple[Quantity, ...]

    @property
    def points(self) -> SetPoints:
        """The set points as the controller reads them."""
        return SetPoints(hold_rate_ratio=self.hold_rate_ratio, trades_per_session=self.trades_per_session)

    def target(self, quantity: Quantity) -> float:
        """Return one of both set points."""
        return self.hold_rate_ratio if quantity == "hold" else self.trades_per_session


STEPS = (
    Step("start", 0.55, 16.5, None, ("hold", "trades")),
    Step("hold_up", 0.75, 16.5, "start", ("hold",)),
    Step("hold_down", 0.35, 16.5, "hold_up", ("hold",)),
    Step("trades_down", 0.55, 8.0, "start", ("trades",)),
    Step("trades_up", 0.55, 24.0, "trades_down", ("trades",)),
)
"""Hold rate 0.55 -> 0.75 -> 0.35 with 16.5 trades, and trades 16.5 -> 8 -> 24 with a hold rate of 0.55: two
courses that share their first step."""


@dataclass(frozen=True)
class Lengths:
    """How long each step lasts, in sessions.

    Attributes:
        start: The first step, in which both quantities are far off.
        hold: A step of the hold rate.
        trades: A step of the trades.
    """

    start: int
    hold: int
    trades: int

    def of(self, step: Step) -> int:
        """Return the sessions of a step."""
        if step.after is None:
            return self.start
        return self.hold if step.moved == ("hold",) else self.trades

    @property
    def longest(self) -> int:
        """Sessions of the longer course."""
        return self.start + 2 * max(self.hold, self.trades)


@dataclass(frozen=True, eq=False)
class Account:
    """Where one account runs.

    Attributes:
        first: Index of its first session.
        key: Key of its decisions.
    """

    first: int
    key: int


@dataclass(frozen=True, eq=False)
class Course:
    """What accounts did in one step; series are cut at the shortest account.

    Attributes:
        held: ``(n_accounts, n_decisions)`` float64, 1 where an account held.
        orders: Likewise the orders placed, forced closes with the session's last decision.
        twin_held: ``held`` of the settled twins; likewise ``twin_orders``.
        twin_orders: Orders of the settled twins.
    """

    held: NDArray[np.float64]
    orders: NDArray[np.float64]
    twin_held: NDArray[np.float64]
    twin_orders: NDArray[np.float64]


def accounts_of(
    seed: np.random.SeedSequence, n_accounts: int, span: slice, n_sessions: int
) -> tuple[Account, ...]:
    """Return accounts with sessions and decision keys of their own, spread over a range.

    Each starts at a random session of its share of the range, so that no two see the same session at the
    same time.

    Args:
        seed: Where starts and keys are drawn from.
        n_accounts: Number of accounts.
        span: Sessions that may be used.
        n_sessions: Sessions that an account needs in a row.
    """
    room = span.stop - span.start - n_sessions
    if room < n_accounts:
        raise ValueError(f"{n_accounts} accounts of {n_sessions} sessions do not fit {span}")
    rng = np.random.default_rng(seed)
    shares = (np.arange(n_accounts) + rng.random(n_accounts)) / n_accounts
    keys = rng.integers(0, 2**63, n_accounts)
    return tuple(
        Account(span.start + int(share * room), int(key)) for share, key in zip(shares, keys, strict=True)
    )


def decision_series(run: Replay) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return holds and orders of every decision of a replay, in order, both ``(n_decisions,)`` float64."""
    decided = run.actions >= 0
    filled = (run.fills[..., QUANTITY] != 0.0).sum(axis=2)
    # a decision's order fills at the open of the next bar
    orders = np.zeros(decided.shape)
    orders[:, :-1] = filled[:, 1:]
    last = run.market.n_bars - 2
    orders[np.arange(len(last)), last] += (run.forced[..., QUANTITY] != 0.0).sum(axis=1)
    held = (run.actions == hold_action(run.market.n_symbols)).astype(np.float64)
    return held[decided], orders[decided]


@dataclass(frozen=True, eq=False)
class Deployment:
    """A policy in its conditions of deployment.

    Attributes:
        market: All sessions.
        program: The policy.
        rules: Sizes, bounds and costs.
        mode: How actions are chosen.
        actuator: Gains and bounds of the tilt.
        anchor: Calibrated hold multiplier that the actuator's coupling is measured from; None for a loop
            that was never calibrated.
    """

    market: ObservedMarket
    program: Program
    rules: TradingRules
    mode: Mode
    actuator: TiltActuator
    anchor: float | None = None

    def calibrated(self, span: slice, points: SetPoints, key: int) -> Multipliers:
        """Return the multipliers at which the policy stands at set points, found on a range of sessions."""
        loop = TiltLoop(self.actuator, self.actuator.live, points)
        market = self.market.select(span)
        found = calibrate(market, self.program, self.rules, loop, mode=self.mode, run_seed=key)
        if self.anchor is None:
            return found
        # a calibration has no anchor; an anchored loop stands elsewhere
        return settle(self.run(span.start, span.stop - span.start, points, found, key).trace())

    def run(self, first: int, n_sessions: int, points: SetPoints, start: Multipliers, key: int) -> Replay:
        """Lead one account through sessions under the live gains."""
        loop = TiltLoop(self.actuator, self.actuator.live, points, start, self.anchor)
        part = self.market.select(slice(first, first + n_sessions))
        return replay(part, self.program, self.rules, mode=self.mode, run_seed=key, loop=loop)


def respond(
    deployment: Deployment,
    accounts: Sequence[Account],
    lengths: Lengths,
    settled: Mapping[str, Multipliers],
    begin: Multipliers = UNTILTED,
) -> dict[str, Course]:
    """Lead accounts through every step.

    A later step goes on where the step before it ended, with the multipliers that the account had then.

    Args:
        deployment: The policy and how it acts.
        accounts: The accounts.
        lengths: Sessions of each step.
        settled: Calibrated multipliers of each step, where the twins start.
        begin: Multipliers at the first decision of the first step.

    Returns:
        What happened, by name of the step.
    """
    ends: dict[str | None, list[tuple[int, Multipliers]]] = {
        None: [(account.first, begin) for account in accounts]
    }
    courses: dict[str, Course] = {}
    for step in STEPS:
        n_sessions = lengths.of(step)
        series: list[list[NDArray[np.float64]]] = [[], [], [], []]
        ends[step.name] = []
        for account, (first, start) in zip(accounts, ends[step.after], strict=True):
            run = deployment.run(first, n_sessions, step.points, start, account.key)
            twin = deployment.run(first, n_sessions, step.points, settled[step.name], account.key)
            for kept, part in zip(series, (*decision_series(run), *decision_series(twin)), strict=True):
                kept.append(part)
            ends[step.name].append((first + n_sessions, run.final_tilt))
        shortest = min(len(part) for part in series[0])
        courses[step.name] = Course(*(np.array([part[:shortest] for part in kept]) for kept in series))
    return courses
