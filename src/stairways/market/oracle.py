"""The exact oracle of a planted market: the best that a trader who knows the process can do.

Per symbol the state at a bar's close is (decisions to go, regime, s, position): the drift is in
constant basis points, costs and results are proportional to the unit, and symbols share only the
regime, which no action moves. So the joint optimum is the sum of the symbols' optima and backward
induction finds it. Conditional on the state, one decision earns, in bp of NAV::

    unit * (position_after * drift(regime, s) - cost * |position_after - position_before|)

Weights are constant and shares are not whole: the value is that of the process, not of an account.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Self

import numpy as np
from numba import njit
from numpy.typing import NDArray

from stairways.errors import ConfigError, MismatchError
from stairways.market.planted import PlantedSpec, PlantedTruth, unit_drift_ratio
from stairways.market.samples import SyntheticMarket
from stairways.market.sessions import FULL_SESSION_MINUTES, SESSIONS_PER_YEAR
from stairways.market.synthetic import FloatArray, MarketSpec

POSITIONS = (-1, 0, 1)
SELL, KEEP, BUY = 0, 1, 2
HALF_DAY_MINUTES = 210
# A normal law beyond 6 standard deviations holds 2e-9; 1,201 points give the mean to 1e-6.
GRID_REACH_SD = 6.0
GRID_POINTS = 1201
# Differences below this are ties (closing a unit now or at the session's end, when nothing can come
# any more): the oracle keeps, and rounding decides nothing.
TIE_BPS = 1e-9
# Of the largest entry of a transition; and rows that share the columns above it.
NEGLIGIBLE = 1e-18
ROWS_PER_BLOCK = 64


@dataclass(frozen=True, eq=False)
class OracleSolution:
    """The oracle's policy and its exact value.

    Decisions to go count the decision itself: the last decision of a session has 1. Regime 0 is
    quiet, 1 is active. Position index 0, 1, 2 is -1, 0, +1 unit.

    Attributes:
        symbols: Symbols in the order of the legs.
        interval_minutes: Length of a bar.
        unit_fraction_ratio: One unit, as a fraction of NAV.
        cost_bps: One-way cost, in bp of the traded notional.
        sell_below: ``(n_symbols, n_decisions, 2, 3)`` float64 by [symbol, decisions to go - 1, regime,
            position]: the oracle sells one unit where s lies below; -inf where it never does.
        buy_above: The same for buying one unit where s lies above; +inf where it never does.
        mean_bps: ``(n_symbols, n_decisions + 1)`` float64, exact mean result in bp of NAV of a session
            with that many decisions, flat at the start, s and regime from their stationary laws.
    """

    symbols: tuple[str, ...]
    interval_minutes: int
    unit_fraction_ratio: float
    cost_bps: float
    sell_below: FloatArray
    buy_above: FloatArray
    mean_bps: FloatArray

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray):
                value.setflags(write=False)

    @property
    def n_decisions(self) -> int:
        """Decisions of the longest session that is solved."""
        return int(self.sell_below.shape[1])

    @property
    def full_session_mean_bps(self) -> float:
        """Exact mean of the longest session solved (a full one by default), summed over symbols."""
        return float(self.mean_bps[:, -1].sum())

    @property
    def half_day_mean_bps(self) -> float:
        """Exact mean of a half day, summed over symbols.

        Raises:
            ConfigError: If the solution is too short to hold a half day.
        """
        return self.session_mean_bps(HALF_DAY_MINUTES // self.interval_minutes)

    def session_mean_bps(self, n_bars: int) -> float:
        """Return the exact mean result of a session of ``n_bars`` bars, summed over symbols, in bp."""
        if not 1 <= n_bars <= self.n_decisions + 1:
            raise ConfigError(
                f"a session of {n_bars} bars",
                where="oracle",
                remedy=f"this solution holds sessions of 1 to {self.n_decisions + 1} bars",
            )
        return float(self.mean_bps[:, n_bars - 1].sum())


@dataclass(frozen=True, eq=False)
class OracleRun:
    """The oracle's simulated sessions, ``(n_sessions,)`` each.

    Attributes:
        result_bps: float64, result net of costs in bp of NAV.
        trades: int64, executed orders, forced closes included.
        holds: int64, decisions that kept every leg.
        decisions: int64.
    """

    result_bps: FloatArray
    trades: NDArray[np.int64]
    holds: NDArray[np.int64]
    decisions: NDArray[np.int64]

    @property
    def hold_rate_ratio(self) -> float:
        """Holds over decisions."""
        return float(self.holds.sum() / self.decisions.sum())

    @property
    def trades_per_session(self) -> float:
        """Mean executed orders of a session."""
        return float(self.trades.mean())


def solve_oracle(
    spec: MarketSpec,
    symbols: Sequence[str] = ("NVDA", "MSFT"),
    *,
    interval_minutes: int = 1,
    n_decisions: int | None = None,
    unit_fraction_ratio: float = 0.15,
    cost_bps: float = 1.0,
    n_grid: int = GRID_POINTS,
) -> OracleSolution:
    """Solve a planted market by backward induction.

    With bars of five minutes the state is the one at the bar's last minute and the drift is the
    expected sum of the next bar's five minutes, so the solution is exact there as well.

    Args:
        spec: A market with a planted signal.
        symbols: Symbols in the order of the legs.
        interval_minutes: Length of a bar.
        n_decisions: Decisions of the longest session to solve; None for a full session's.
        unit_fraction_ratio: One unit, as a fraction of NAV.
        cost_bps: One-way cost, in bp of the traded notional.
        n_grid: Points of the grid of s; at least 51.

    Returns:
        The policy and its exact value.

    Raises:
        ConfigError: If the market has no planted signal or a number is out of bounds.
    """
    planted = _planted_of(spec)
    if n_decisions is None:
        n_decisions = FULL_SESSION_MINUTES // interval_minutes - 1
    if n_decisions < 1 or n_grid < 51 or cost_bps < 0.0 or unit_fraction_ratio <= 0.0:
        raise ConfigError(
            f"n_decisions {n_decisions}, n_grid {n_grid}, cost_bps {cost_bps}, unit {unit_fraction_ratio}",
            where="oracle",
            remedy="n_decisions >= 1, n_grid >= 51, cost_bps >= 0 and unit_fraction_ratio > 0 are needed",
        )
    signal = np.linspace(-GRID_REACH_SD, GRID_REACH_SD, n_grid)
    transition = signal_transition(signal, planted.persistence**interval_minutes)
    switch = (1.0 - _stay_contrast(planted) ** interval_minutes) / 2.0
    weights = np.exp(-0.5 * signal**2)
    weights /= weights.sum()
    units = [unit_drift_ratio(spec.symbol(name).realised_volatility_ratio) for name in symbols]
    drift = np.stack([bar_drift_bps(planted, unit, signal, interval_minutes) for unit in units])
    shape = (len(units), n_decisions, 2, len(POSITIONS))
    sell_below, buy_above = np.full(shape, -np.inf), np.full(shape, np.inf)
    mean = np.empty((len(units), n_decisions + 1))
    # A session without a decision ends flat, as it began.
    mean[:, 0] = 0.0
    steps = backward_induction(drift, transition, switch, cost_bps, n_decisions)
    for decision, (values, held) in enumerate(steps):
        # The gain of one more unit rises with s: buy where it beats +cost, sell where it is below -cost.
        gain = held[..., 1:, :] - held[..., :-1, :]
        buy_above[:, decision, :, :-1] = _crossing(gain - cost_bps - TIE_BPS, signal)
        sell_below[:, decision, :, 1:] = _crossing(gain + cost_bps + TIE_BPS, signal)
        # Mean over the stationary regime (one half each) of a flat start.
        mean[:, decision + 1] = (values[..., POSITIONS.index(0), :] @ weights).sum(axis=-1) / 2.0
    return OracleSolution(
        tuple(symbols),
        interval_minutes,
        unit_fraction_ratio,
        cost_bps,
        sell_below,
        buy_above,
        unit_fraction_ratio * mean,
    )


def _planted_of(spec: MarketSpec) -> PlantedSpec:
    if spec.planted is None:
        raise ConfigError(
            f"{spec.name} has no planted signal",
            where="oracle",
            remedy="only planted markets have an exact oracle",
        )
    return spec.planted


def _stay_contrast(planted: PlantedSpec) -> float:
    """Return P(stays) - P(switches) of the regime per minute."""
    return 1.0 - 2.0 * planted.switch_probability


def signal_transition(signal: FloatArray, persistence: float) -> FloatArray:
    """Return the transition matrix of s on an even grid, rows normalised.

    Args:
        signal: ``(n,)`` float64, evenly spaced.
        persistence: phi per step.

    Returns:
        ``(n, n)`` float64; row i holds the normal density around ``phi * signal[i]``.
    """
    deviation = signal[None, :] - persistence * signal[:, None]
    density = np.exp(-0.5 * deviation**2 / (1.0 - persistence**2))
    return np.asarray(density / density.sum(axis=1, keepdims=True), dtype=np.float64)


def bar_drift_bps(
    planted: PlantedSpec, unit_ratio: float, signal: FloatArray, interval_minutes: int
) -> FloatArray:
    """Return the expected return of the next bar by (regime, s), in bp.

    The sum over its minutes k = 0, 1, … of ``b * v0 * phi**k * s * P(active after k | regime)``.

    Args:
        planted: The signal's constants.
        unit_ratio: v0.
        signal: ``(n,)`` float64.
        interval_minutes: Minutes of a bar.

    Returns:
        ``(2, n)`` float64, quiet and active.
    """
    minutes = np.arange(interval_minutes)
    fading = planted.persistence**minutes
    contrast = _stay_contrast(planted) ** minutes
    quiet = float((fading * (1.0 - contrast) / 2.0).sum())
    active = float((fading * (1.0 + contrast) / 2.0).sum())
    return planted.strength * unit_ratio * 1e4 * np.outer([quiet, active], signal)


def backward_induction(
    drift_bps: FloatArray,
    transition: FloatArray,
    switch_probability: float,
    cost_bps: float,
    n_decisions: int,
) -> Iterator[tuple[FloatArray, FloatArray]]:
    """Return the optimal values and the values of each position, for one unit of notional.

    Args:
        drift_bps: ``(..., 2, n)`` float64, expected return of the next bar by (regime, s); symbols, which
            share the transition, may stand in front.
        transition: ``(n, n)`` float64, transition of s.
        switch_probability: Chance that the regime changes from a bar to the next.
        cost_bps: One-way cost; the forced close at the end pays it as well.
        n_decisions: Decisions to solve.

    Yields:
        With 1, 2, … decisions to go: ``(..., 2, 3, n)`` value before the decision by [regime, position, s],
        and the value after it by [regime, position taken, s], the cost of getting there not yet paid;
        both in bp.
    """
    positions = np.array(POSITIONS, dtype=np.float64)[:, None]
    earned = drift_bps[..., None, :] * positions
    values = np.broadcast_to(-cost_bps * np.abs(positions), earned.shape)
    expected = _Expectation.of(transition)
    for _ in range(n_decisions):
        mixed = (1.0 - switch_probability) * values + switch_probability * values[..., ::-1, :, :]
        # One product for all symbols, both regimes and all positions.
        held = earned + expected(mixed.reshape(-1, len(transition))).reshape(mixed.shape)
        values = _best(held, cost_bps)
        yield values, held


@dataclass(frozen=True, eq=False)
class _Expectation:
    """The product with a transition matrix, without the entries that rounding would swallow.

    A row of a normal density is a narrow hill: beyond 9.1 standard deviations an entry is below 1e-18
    of the largest, a hundredth of the last bit of the sum. Rows next to each other share their columns.

    Attributes:
        blocks: Rows, their columns and the entries there, transposed.
    """

    blocks: tuple[tuple[slice, slice, FloatArray], ...]

    @classmethod
    def of(cls, transition: FloatArray) -> Self:
        blocks = []
        for first in range(0, len(transition), ROWS_PER_BLOCK):
            rows = slice(first, first + ROWS_PER_BLOCK)
            kept = np.flatnonzero((transition[rows] > NEGLIGIBLE * transition.max()).any(axis=0))
            columns = slice(int(kept[0]), int(kept[-1]) + 1)
            blocks.append((rows, columns, np.ascontiguousarray(transition[rows, columns].T)))
        return cls(tuple(blocks))

    def __call__(self, values: FloatArray) -> FloatArray:
        """Return ``values @ transition.T``, ``(n_values, n)`` float64."""
        expected = np.empty_like(values)
        for rows, columns, entries in self.blocks:
            expected[:, rows] = values[:, columns] @ entries
        return expected


def _best(held: FloatArray, cost_bps: float) -> FloatArray:
    """Return the best value by position before, when each step of one unit costs ``cost_bps``."""
    best = held.copy()
    best[..., 1:, :] = np.maximum(best[..., 1:, :], held[..., :-1, :] - cost_bps)
    best[..., :-1, :] = np.maximum(best[..., :-1, :], held[..., 1:, :] - cost_bps)
    return best


def _crossing(rising: FloatArray, signal: FloatArray) -> FloatArray:
    """Return where functions that rise with s cross 0, between grid points by a straight line.

    Args:
        rising: ``(..., n)`` float64.
        signal: ``(n,)`` float64.

    Returns:
        ``(...)`` float64; -inf where positive throughout, +inf where never positive.
    """
    above = (rising > 0.0).sum(axis=-1)
    right = np.clip(len(signal) - above, 1, len(signal) - 1)[..., None]
    low = np.take_along_axis(rising, right - 1, axis=-1)[..., 0]
    high = np.take_along_axis(rising, right, axis=-1)[..., 0]
    right = right[..., 0]
    step = signal[1] - signal[0]
    slope = np.where(high > low, high - low, 1.0)
    crossing = signal[right - 1] - low * step / slope
    crossing = np.where(above == 0, np.inf, crossing)
    return np.asarray(np.where(above == len(signal), -np.inf, crossing), dtype=np.float64)


def oracle_actions(
    solution: OracleSolution, market: SyntheticMarket, part: slice = slice(None)
) -> NDArray[np.int8]:
    """Return the oracle's action for every bar and every joint position.

    The position index is the sum over legs of ``(units + 1) * 3**(k - 1 - leg)``; an action id is
    built likewise from the legs' 0 sell, 1 keep, 2 buy. The last bar of a session keeps.

    Args:
        solution: The solved oracle.
        market: A market of the same symbols and interval.
        part: The sessions wanted; all by default.

    Returns:
        ``(n_sessions, max_bars, 3**n_symbols)`` int8.

    Raises:
        MismatchError: If the market is not the one the oracle was solved for.
    """
    truth = _matching_truth(solution, market)
    return np.asarray(
        _joint_actions(
            truth.signal[part],
            truth.active[part],
            market.sessions.n_bars[part],
            solution.sell_below,
            solution.buy_above,
        ),
        dtype=np.int8,
    )


def _matching_truth(solution: OracleSolution, market: SyntheticMarket) -> PlantedTruth:
    sessions = market.sessions
    if market.truth is None:
        raise MismatchError(f"{market.spec.name} has no planted signal", where="oracle")
    for what, wanted, found in (
        ("symbols", solution.symbols, sessions.symbols),
        ("interval_minutes", solution.interval_minutes, sessions.interval_minutes),
    ):
        if wanted != found:
            raise MismatchError(
                f"solved for {what} {wanted}, the market has {found}", where="oracle", remedy="solve it anew"
            )
    if sessions.n_bars.max() - 1 > solution.n_decisions:
        raise MismatchError(
            f"solved for {solution.n_decisions} decisions, a session has {sessions.n_bars.max() - 1}",
            where="oracle",
            remedy="solve it with more decisions",
        )
    return market.truth


@njit(cache=True)
def _joint_actions(
    signal: FloatArray,
    active: NDArray[np.bool_],
    n_bars: NDArray[np.int64],
    sell_below: FloatArray,
    buy_above: FloatArray,
) -> NDArray[np.int8]:
    n_sessions, max_bars, n_symbols = signal.shape
    n_joint = 3**n_symbols
    actions = np.full((n_sessions, max_bars, n_joint), (n_joint - 1) // 2, dtype=np.int8)
    legs = np.empty((n_symbols, 3), dtype=np.int64)
    for session in range(n_sessions):
        for bar in range(n_bars[session] - 1):
            to_go = n_bars[session] - 2 - bar
            regime = 1 if active[session, bar] else 0
            for leg in range(n_symbols):
                for position in range(3):
                    legs[leg, position] = 1
                    if signal[session, bar, leg] < sell_below[leg, to_go, regime, position]:
                        legs[leg, position] = 0
                    elif signal[session, bar, leg] > buy_above[leg, to_go, regime, position]:
                        legs[leg, position] = 2
            for joint in range(n_joint):
                rest, scale, action = joint, 1, 0
                for leg in range(n_symbols - 1, -1, -1):
                    action += scale * legs[leg, rest % 3]
                    rest //= 3
                    scale *= 3
                actions[session, bar, joint] = action
    return actions


def simulate_oracle(solution: OracleSolution, market: SyntheticMarket) -> OracleRun:
    """Run the oracle over a generated market with constant weights and fractional shares.

    Args:
        solution: The solved oracle.
        market: A market of the same symbols and interval.

    Returns:
        Its sessions. Orders fill at the close of their decision's bar, which is the next open.

    Raises:
        MismatchError: If the market is not the one the oracle was solved for.
    """
    sessions = market.sessions
    actions = oracle_actions(solution, market)
    next_return = np.zeros_like(sessions.close)
    next_return[:, :-1] = np.nan_to_num(sessions.close[:, 1:] / sessions.close[:, :-1] - 1.0)
    result, trades, holds = _replay(actions, next_return * 1e4, sessions.n_bars, solution.cost_bps)
    return OracleRun(solution.unit_fraction_ratio * result, trades, holds, sessions.n_bars - 1)


@njit(cache=True)
def _replay(
    actions: NDArray[np.int8], next_return_bps: FloatArray, n_bars: NDArray[np.int64], cost_bps: float
) -> tuple[FloatArray, NDArray[np.int64], NDArray[np.int64]]:
    n_sessions, _, n_symbols = next_return_bps.shape
    hold = (3**n_symbols - 1) // 2
    result = np.zeros(n_sessions)
    trades = np.zeros(n_sessions, dtype=np.int64)
    holds = np.zeros(n_sessions, dtype=np.int64)
    units = np.zeros(n_symbols, dtype=np.int64)
    for session in range(n_sessions):
        units[:] = 0
        for bar in range(n_bars[session] - 1):
            joint = 0
            for leg in range(n_symbols):
                joint = 3 * joint + units[leg] + 1
            action = actions[session, bar, joint]
            holds[session] += action == hold
            for leg in range(n_symbols - 1, -1, -1):
                after = min(max(units[leg] + action % 3 - 1, -1), 1)
                action //= 3
                traded = abs(after - units[leg])
                trades[session] += traded
                result[session] -= cost_bps * traded
                units[leg] = after
                result[session] += after * next_return_bps[session, bar, leg]
        for leg in range(n_symbols):
            trades[session] += abs(units[leg])
            result[session] -= cost_bps * abs(units[leg])
    return result, trades, holds


def net_sharpe(mean_bps: float, result_bps: FloatArray) -> float:
    """Return the annual Sharpe of an exact mean over the standard deviation of simulated sessions.

    Args:
        mean_bps: The exact mean of a full session, in bp.
        result_bps: ``(n_sessions,)`` float64, simulated full sessions, in bp.

    Returns:
        ``mean / sd * sqrt(252)``; a simulated mean would scatter by half a Sharpe in 1,000 sessions.
    """
    return float(mean_bps / np.std(result_bps, ddof=1) * SESSIONS_PER_YEAR**0.5)
