"""Replay: one account led through sessions in order by the actor, with its controller running.

This is the one loop that judges. Decisions come from the torch-free actor or from a script (a table
of actions, which is how all-hold, buy and hold and the oracle are played), orders fill by the
account's rules, and the tilt's multipliers are carried from session to session.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from stairways.control.actuators import TiltActuator, TiltGains, TiltNumbers
from stairways.control.setpoints import SetPointNumbers, SetPoints
from stairways.control.tilt import (
    HOLD,
    LONGEST_AT_BOUND,
    TILT_STATE,
    TRADE,
    UNTILTED,
    Multipliers,
    advance,
    tilt_state,
)
from stairways.envs.pool import Tape, tape_of
from stairways.errors import ConfigError, MismatchError
from stairways.policies.actor import keyed_uniform
from stairways.policies.decision import NO_TILT_FLOOR, NOT_FINITE, buffers_of, decide, not_finite
from stairways.policies.program import Program
from stairways.trading.actions import leg_table, order_table
from stairways.trading.kernel import (
    COMMISSION,
    FILL_WIDTH,
    IMPACT,
    NAV,
    PRICE,
    QUANTITY,
    SPREAD,
    Accounts,
    flat_accounts,
    flatten,
    mark,
    trade,
)
from stairways.trading.ledger import Mode, SessionLedger
from stairways.trading.observation import ObservedMarket, position_columns
from stairways.trading.rules import RuleNumbers, TradingRules


class Script(NamedTuple):
    """A policy as a table of actions.

    Attributes:
        actions: ``(n_sessions, max_bars, n_positions)`` int8, by joint position.
    """

    actions: NDArray[np.int8]


@dataclass(frozen=True)
class TiltLoop:
    """A running tilt: what it drives, towards what, from where.

    Attributes:
        actuator: Bounds and floor.
        gains: Gains per decision.
        points: Set points.
        start: Multipliers at the first decision.
        anchor: Calibrated hold multiplier, which the actuator's coupling is measured from; None for a
            loop that was never calibrated, whose multipliers act in full.
    """

    actuator: TiltActuator
    gains: TiltGains
    points: SetPoints
    start: Multipliers = UNTILTED
    anchor: float | None = None

    def starting_at(self, calibrated: Multipliers) -> TiltLoop:
        """Return the loop as it is deployed: from calibrated multipliers, anchored there."""
        return replace(self, start=calibrated, anchor=calibrated.hold)


class _Tracks(NamedTuple):
    """What a replay writes, per session and bar."""

    actions: NDArray[np.int8]
    multipliers: NDArray[np.float64]
    nav: NDArray[np.float64]
    fills: NDArray[np.float64]
    forced: NDArray[np.float64]
    round_trips: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Replay:
    """What one account did.

    Attributes:
        market: The sessions it was led through.
        rules: The rules it traded by.
        mode: How actions were chosen.
        actions: ``(n_sessions, max_bars)`` int8 action ids, -1 where no decision was taken.
        multipliers: ``(n_sessions, max_bars, 2)`` float64 tilt in force at each decision.
        nav_usd: ``(n_sessions, max_bars)`` float64 NAV at each bar's end, after forced closes.
        fills: ``(n_sessions, max_bars, n_symbols, 5)`` float64 fills at the open of each bar: signed
            quantity, price, commission, spread and impact; quantity 0 where none.
        forced: ``(n_sessions, n_symbols, 5)`` likewise, the forced closes.
        round_trips: ``(n_sessions, 2)`` int64 positions closed, and those with a profit.
        final_tilt: Multipliers after the last decision.
        longest_at_bound: Longest run of decisions with a multiplier at its bound.
    """

    market: ObservedMarket
    rules: TradingRules
    mode: Mode
    actions: NDArray[np.int8]
    multipliers: NDArray[np.float64]
    nav_usd: NDArray[np.float64]
    fills: NDArray[np.float64]
    forced: NDArray[np.float64]
    round_trips: NDArray[np.int64]
    final_tilt: Multipliers
    longest_at_bound: int

    @cached_property
    def digest(self) -> str:
        """SHA-256 over every action, fill and NAV."""
        content = hashlib.sha256()
        for array in (self.actions, self.fills, self.forced, self.nav_usd):
            content.update(np.ascontiguousarray(array).data)
        return content.hexdigest()

    @cached_property
    def ledger(self) -> SessionLedger:
        """Totals per session."""
        return _summarise(self)

    def trace(self) -> NDArray[np.float64]:
        """Return the multipliers of every decision in order, ``(n_decisions, 2)`` float64."""
        return self.multipliers[self.actions >= 0]


@njit(cache=True, error_model="numpy")
def _book_round_trips(
    fills: NDArray[np.float64],
    shares: NDArray[np.float64],
    basis: NDArray[np.float64],
    counts: NDArray[np.int64],
) -> None:
    for symbol in range(len(shares)):
        quantity = fills[symbol, QUANTITY]
        if quantity == 0.0:
            continue
        basis[symbol] -= quantity * fills[symbol, PRICE] + fills[symbol, COMMISSION]
        if shares[symbol] == 0.0:
            counts[0] += 1
            counts[1] += 1 if basis[symbol] > 0.0 else 0
            basis[symbol] = 0.0


@njit(cache=True, error_model="numpy", nogil=True)
def _replay(
    tape: Tape,
    dates: NDArray[np.int64],
    rules: RuleNumbers,
    program: Program,
    script: Script,
    scripted: bool,
    controlled: bool,
    take_best: bool,
    tilt_numbers: TiltNumbers,
    points: SetPointNumbers,
    run_key: np.uint64,
    legs: NDArray[np.int8],
    order_counts: NDArray[np.int8],
    columns: NDArray[np.int64],
    held: Accounts,
    loop: NDArray[np.float64],
    tracks: _Tracks,
) -> int:
    n_symbols = legs.shape[1]
    hold = (len(legs) - 1) // 2
    basis = np.zeros(n_symbols)
    shares, units = held.shares[0], held.units[0]
    buffers = buffers_of(program, tape.rows.shape[2])
    for s in range(len(tape.n_bars)):
        buffers.recurrent[:] = 0.0
        tracks.nav[s, 0] = held.book[0, NAV]
        last = tape.n_bars[s] - 1
        for b in range(last):
            position = 0
            for symbol in range(n_symbols):
                position = 3 * position + units[symbol] + 1
            strength = 0.0
            if scripted:
                action = int(script.actions[s, b, position])
            else:
                buffers.observation[:] = tape.rows[s, b]
                for symbol in range(n_symbols):
                    buffers.observation[columns[symbol]] = units[symbol]
                action, strength = decide(
                    program,
                    tilt_numbers,
                    points,
                    controlled,
                    take_best,
                    order_counts[position],
                    tape.score[s, b],
                    keyed_uniform(run_key, dates[s], b),
                    loop,
                    buffers,
                )
                if action == NOT_FINITE:
                    return s
            tracks.actions[s, b] = action
            tracks.multipliers[s, b, 0] = strength
            tracks.multipliers[s, b, 1] = loop[TRADE]
            fills = tracks.fills[s, b + 1]
            orders = trade(rules, legs, action, tape, s, b, held, 0, fills)
            _book_round_trips(fills, shares, basis, tracks.round_trips[s])
            if b + 1 == last:
                forced = tracks.forced[s]
                orders += flatten(rules, tape, s, last, held, 0, forced)
                _book_round_trips(forced, shares, basis, tracks.round_trips[s])
            tracks.nav[s, b + 1] = mark(tape, s, b + 1, held, 0)
            if controlled:
                at_rest = 1.0 if action == hold else 0.0
                advance(loop, tilt_numbers, points, tape.score[s, b], at_rest, float(orders))
    return -1


def replay(
    market: ObservedMarket,
    policy: Program | Script,
    rules: TradingRules,
    *,
    mode: Mode = "sampled",
    run_seed: int = 0,
    loop: TiltLoop | None = None,
) -> Replay:
    """Lead one account through every session of a market, in order.

    Args:
        market: Sessions, with what the account sees of them.
        policy: The actor's program, or a script.
        rules: Sizes, bounds and costs.
        mode: ``sampled`` draws each action with the number keyed by (run seed, session, bar);
            ``greedy`` takes the likeliest, the lowest id on a tie.
        run_seed: Seed of the run, any integer of 64 bits.
        loop: The tilt to run; None leaves the policy as it is.

    Raises:
        MismatchError: If the policy was made for other actions or the script for other sessions.
        ArtifactError: If the policy's output is not finite.
        ConfigError: If the account was ruined.
    """
    n_symbols = market.n_symbols
    _check_policy(market, policy)
    scripted = isinstance(policy, Script)
    tracks = _blank_tracks(market)
    state = tilt_state(loop.start, loop.anchor or 0.0) if loop else np.zeros(TILT_STATE)
    tilt_numbers, points = loop_numbers(loop, market.full_session_decisions)
    failed = _replay(
        tape_of(market),
        market.dates.astype("datetime64[D]").astype(np.int64),
        rules.numbers(),
        _empty_program(3**n_symbols) if isinstance(policy, Script) else policy,
        policy if isinstance(policy, Script) else Script(np.zeros((1, 1, 1), np.int8)),
        scripted,
        loop is not None,
        mode == "greedy",
        tilt_numbers,
        points,
        np.uint64(run_seed % 2**64),
        leg_table(n_symbols),
        order_table(n_symbols, rules.long_only),
        position_columns(n_symbols),
        flat_accounts(1, market.n_symbols, rules.initial_nav_usd),
        state,
        tracks,
    )
    if failed >= 0:
        raise not_finite(str(market.dates[failed]))
    _check_solvent(market, tracks.nav)
    return Replay(
        market=market,
        rules=rules,
        mode=mode,
        actions=tracks.actions,
        multipliers=tracks.multipliers,
        nav_usd=tracks.nav,
        fills=tracks.fills,
        forced=tracks.forced,
        round_trips=tracks.round_trips,
        final_tilt=Multipliers(float(state[HOLD]), float(state[TRADE])),
        longest_at_bound=int(state[LONGEST_AT_BOUND]),
    )


def _check_policy(market: ObservedMarket, policy: Program | Script) -> None:
    n_actions = 3**market.n_symbols
    where = f"policy for {','.join(market.symbols)}"
    if isinstance(policy, Program):
        if policy.n_actions != n_actions:
            raise MismatchError(
                f"it has {policy.n_actions} actions, {market.n_symbols} symbols have {n_actions}", where=where
            )
        return
    shape = (*market.score.shape, n_actions)
    if policy.actions.shape != shape:
        raise MismatchError(f"its script has shape {policy.actions.shape}, not {shape}", where=where)
    if policy.actions.size and not 0 <= policy.actions.min() <= policy.actions.max() < n_actions:
        raise MismatchError(f"its script holds actions outside 0..{n_actions - 1}", where=where)


def _check_solvent(market: ObservedMarket, nav_usd: NDArray[np.float64]) -> None:
    bars = np.arange(nav_usd.shape[1])[None, :] < market.n_bars[:, None]
    ruined = np.argwhere(bars & ~(nav_usd > 0.0))
    if len(ruined):
        session, bar = ruined[0].tolist()
        raise ConfigError(
            f"the account was ruined: NAV {nav_usd[session, bar]:.2f} USD at bar {bar}",
            where=str(market.dates[session]),
            remedy="check the bars, or lower unit_fraction, max_gross or the ticket",
        )


def loop_numbers(loop: TiltLoop | None, full_session_decisions: int) -> tuple[TiltNumbers, SetPointNumbers]:
    """Return a loop's gains, bounds and set points for compiled code; without one, such as do nothing."""
    if loop is None:
        untilted = TiltActuator().numbers(TiltGains(), full_session_decisions)
        return (
            untilted._replace(floor=NO_TILT_FLOOR),
            SetPoints().numbers(full_session_decisions),
        )
    numbers = loop.actuator.numbers(loop.gains, full_session_decisions)
    if loop.anchor is None:
        numbers = numbers._replace(coupling=1.0)
    return numbers, loop.points.numbers(full_session_decisions)


def _empty_program(n_actions: int) -> Program:
    return Program(np.zeros(0, np.float32), np.zeros((0, 6), np.int64), n_actions, 0, 1)


def _blank_tracks(market: ObservedMarket) -> _Tracks:
    n_sessions, max_bars = market.score.shape
    n_symbols = market.n_symbols
    return _Tracks(
        actions=np.full((n_sessions, max_bars), -1, np.int8),
        multipliers=np.zeros((n_sessions, max_bars, 2)),
        nav=np.zeros((n_sessions, max_bars)),
        fills=np.zeros((n_sessions, max_bars, n_symbols, FILL_WIDTH)),
        forced=np.zeros((n_sessions, n_symbols, FILL_WIDTH)),
        round_trips=np.zeros((n_sessions, 2), np.int64),
    )


def _summarise(run: Replay) -> SessionLedger:
    bars = np.arange(run.nav_usd.shape[1])[None, :] < run.market.n_bars[:, None]
    last = run.market.n_bars - 1
    nav_close = run.nav_usd[np.arange(len(last)), last]
    nav_open = np.concatenate([[run.rules.initial_nav_usd], nav_close[:-1]])
    nav = np.where(bars, run.nav_usd, -np.inf)
    peak = np.maximum(np.maximum.accumulate(nav, axis=1), nav_open[:, None])
    drawdown = np.where(bars, (peak - run.nav_usd) / peak, 0.0)
    hold = (3**run.market.n_symbols - 1) // 2
    every = np.concatenate([run.fills, run.forced[:, None]], axis=1)
    executed = every[..., QUANTITY] != 0.0

    def total(column: int) -> NDArray[np.float64]:
        sums: NDArray[np.float64] = np.where(executed, every[..., column], 0.0).sum(axis=(1, 2))
        return sums

    notional = np.where(executed, np.abs(every[..., QUANTITY]) * every[..., PRICE], 0.0)
    trades = executed.sum(axis=(1, 2))
    tickets = trades * run.rules.costs.ticket_usd
    return SessionLedger(
        initial_nav_usd=run.rules.initial_nav_usd,
        mode=run.mode,
        dates=run.market.dates,
        decisions=last.copy(),
        holds=(run.actions == hold).sum(axis=1),
        trades=trades,
        forced_closes=(run.forced[..., QUANTITY] != 0.0).sum(axis=1),
        nav_open_usd=nav_open,
        nav_close_usd=nav_close,
        max_drawdown_ratio=drawdown.max(axis=1),
        traded_notional_usd=notional.sum(axis=(1, 2)),
        commission_usd=total(COMMISSION) - tickets,
        spread_usd=total(SPREAD),
        impact_usd=total(IMPACT),
        ticket_usd=tickets,
        round_trips=run.round_trips[:, 0],
        winning_round_trips=run.round_trips[:, 1],
    )
