"""A two-leg policy on three symbols: through its pairs, each with a third of the capital.

Every pair is a market of its own: its features and its regime are computed as the policy was made for,
its account trades by the policy's rules, and its tilt runs for itself from the saved multipliers. A pair's
legs stand in the order of the symbols. Constants belong to symbols, wherever they stand: a symbol the
artifact was made for keeps its own; a new one gets constants of its own earlier sessions, fitted in the
range the others were fitted on (where that range is not there: on all sessions before those judged), and
never on sessions that are judged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stairways.errors import ConfigError, InputError, RangeError
from stairways.market.dataset import Dataset
from stairways.market.features import FeatureConstants, compute_features
from stairways.trading.ledger import SessionLedger
from stairways.trading.observation import ObservedMarket, observe

if TYPE_CHECKING:
    from stairways.evaluation.replay import Replay
    from stairways.market.sessions import Sessions
    from stairways.unpacking import Packed

LEAST_FITTED_SESSIONS = 20


@dataclass(frozen=True)
class Fitted:
    """Constants of a symbol that the artifact was not made for.

    Attributes:
        symbol: The symbol.
        first: First session they were fitted on.
        last: Last one.
        n_sessions: How many.
        in_range: Whether they lie in the range that the artifact's own constants were fitted on.
    """

    symbol: str
    first: str
    last: str
    n_sessions: int
    in_range: bool


@dataclass(frozen=True, eq=False)
class Pair:
    """One pair of symbols, ready for a policy of two legs.

    Attributes:
        symbols: Its two symbols, in the order of the legs.
        dataset: All sessions with the pair's own features and regime; with the truth of a planted market.
        market: The same, as the policy sees it.
    """

    symbols: tuple[str, str]
    dataset: Dataset
    market: ObservedMarket

    @property
    def name(self) -> str:
        """The symbols with a hyphen between."""
        return "-".join(self.symbols)


def pair_legs(n_symbols: int) -> tuple[tuple[int, int], ...]:
    """Return the pairs of so many symbols, each in the order of the symbols: 3 of 3."""
    return tuple(combinations(range(n_symbols), 2))


def of_symbols(dataset: Dataset, legs: Sequence[int]) -> Dataset:
    """Return a market of some of its symbols, with features and regime of their own.

    The regime is that of these symbols alone; it warms up on every earlier session, like any other.

    Args:
        dataset: The market.
        legs: Indices of the symbols, in the order wanted.
    """
    chosen = list(legs)
    sessions = _sessions_of(dataset.sessions, chosen)
    raw = compute_features(sessions, dataset.raw.regime.config)
    synthetic = dataset.synthetic
    if synthetic is not None:
        truth = synthetic.truth
        if truth is not None:
            drift = np.array(truth.unit_drift_ratio[chosen])
            truth = replace(truth, signal=np.array(truth.signal[..., chosen]), unit_drift_ratio=drift)
        synthetic = replace(synthetic, sessions=sessions, truth=truth)
    return Dataset(sessions, raw, dataset.quality, synthetic)


def _sessions_of(sessions: Sessions, legs: list[int]) -> Sessions:
    def part(values: NDArray[Any]) -> NDArray[Any]:
        return np.ascontiguousarray(values[..., legs])

    return replace(
        sessions,
        symbols=tuple(sessions.symbols[leg] for leg in legs),
        open=part(sessions.open),
        high=part(sessions.high),
        low=part(sessions.low),
        close=part(sessions.close),
        volume=part(sessions.volume),
        filled=part(sessions.filled),
    )


def make_pairs(
    packed: Packed, dataset: Dataset, judged: slice
) -> tuple[tuple[Pair, ...], tuple[Fitted, ...]]:
    """Return the pairs of a market's symbols, and what was fitted for symbols that are new.

    Args:
        packed: An artifact of two legs.
        dataset: All sessions of three symbols.
        judged: The sessions that will be judged: nothing is fitted on them or behind them.

    Raises:
        ConfigError: If the artifact does not have two legs.
        RangeError: If there are fewer than 20 earlier sessions to fit a new symbol on.
    """
    if len(packed.artifact.symbols) != 2:
        raise ConfigError(
            f"the artifact has {len(packed.artifact.symbols)} legs, pairs are for two",
            where=f"artifact {packed.digest[:12]}",
        )
    known, fitted = _constants_by_symbol(packed, dataset, judged)
    pairs = []
    for legs in pair_legs(dataset.sessions.n_symbols):
        own = of_symbols(dataset, legs)
        first, second = own.sessions.symbols
        constants = FeatureConstants(
            symbols=(first, second),
            mean=np.stack([known[first][0], known[second][0]]),
            scale=np.stack([known[first][1], known[second][1]]),
        )
        pairs.append(Pair((first, second), own, observe(own.sessions, own.table(constants))))
    return tuple(pairs), fitted


def _constants_by_symbol(
    packed: Packed, dataset: Dataset, judged: slice
) -> tuple[dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]], tuple[Fitted, ...]]:
    own = packed.constants
    known = {symbol: (own.mean[leg], own.scale[leg]) for leg, symbol in enumerate(own.symbols)}
    new = [symbol for symbol in dataset.sessions.symbols if symbol not in known]
    if not new:
        return known, ()
    part, in_range = _earlier_sessions(packed, dataset.sessions, judged)
    again = FeatureConstants.fit(dataset.raw, dataset.sessions, part)
    dates = dataset.sessions.dates[part]
    for symbol in new:
        leg = dataset.sessions.symbols.index(symbol)
        known[symbol] = (again.mean[leg], again.scale[leg])
    first, last = str(dates[0]), str(dates[-1])
    return known, tuple(Fitted(symbol, first, last, len(dates), in_range) for symbol in new)


def _earlier_sessions(packed: Packed, sessions: Sessions, judged: slice) -> tuple[slice, bool]:
    """Return what a new symbol's constants are fitted on, and whether the artifact's own range holds it."""
    stated = packed.seen[0] if packed.seen else None
    if stated is not None:
        first, last = (np.datetime64(date, "D") for date in (stated.first, stated.last))
        start = int(np.searchsorted(sessions.dates, first, "left"))
        stop = min(int(np.searchsorted(sessions.dates, last, "right")), judged.start)
        if stop - start >= LEAST_FITTED_SESSIONS:
            return slice(start, stop), True
    if judged.start < LEAST_FITTED_SESSIONS:
        raise RangeError(
            f"{judged.start} sessions stand before those judged, {LEAST_FITTED_SESSIONS} are needed for the "
            "constants of a new symbol",
            where=sessions.source,
            remedy="give bars that reach further back, or judge later sessions",
        )
    return slice(0, judged.start), False


def whole_nav(replays: Mapping[str, Replay]) -> NDArray[np.float64]:
    """Return the NAV of all pairs together at each bar's end, ``(n_sessions, max_bars)`` float64, USD."""
    return np.asarray(np.sum([run.nav_usd for run in replays.values()], axis=0), dtype=np.float64)


def whole_ledger(replays: Mapping[str, Replay]) -> SessionLedger:
    """Return what all pairs did together: sums, and the drawdown of the summed NAV.

    A decision is a pair's decision: holds, decisions and trades are those of the pairs, added up.

    Args:
        replays: What each pair did; the same sessions, in the same mode.

    Raises:
        InputError: If there is none, or they are of different sessions or modes.
    """
    runs = list(replays.values())
    if not runs:
        raise InputError("there is no pair to add up")
    first = runs[0].ledger
    for run in runs[1:]:
        if not np.array_equal(run.ledger.dates, first.dates) or run.mode != first.mode:
            raise InputError("pairs of different sessions or modes can't be added up")
    ledgers = [run.ledger for run in runs]

    def total(name: str) -> NDArray[np.float64]:
        return np.asarray(np.sum([getattr(ledger, name) for ledger in ledgers], axis=0), dtype=np.float64)

    def count(name: str) -> NDArray[np.int64]:
        return np.asarray(np.sum([getattr(ledger, name) for ledger in ledgers], axis=0), dtype=np.int64)

    nav_open = total("nav_open_usd")
    return SessionLedger(
        initial_nav_usd=sum(ledger.initial_nav_usd for ledger in ledgers),
        mode=first.mode,
        dates=first.dates,
        decisions=count("decisions"),
        holds=count("holds"),
        trades=count("trades"),
        forced_closes=count("forced_closes"),
        nav_open_usd=nav_open,
        nav_close_usd=total("nav_close_usd"),
        max_drawdown_ratio=intraday_drawdowns(whole_nav(replays), nav_open, runs[0].market.n_bars),
        traded_notional_usd=total("traded_notional_usd"),
        commission_usd=total("commission_usd"),
        spread_usd=total("spread_usd"),
        impact_usd=total("impact_usd"),
        ticket_usd=total("ticket_usd"),
        round_trips=count("round_trips"),
        winning_round_trips=count("winning_round_trips"),
    )


def intraday_drawdowns(
    nav_usd: NDArray[np.float64], nav_open_usd: NDArray[np.float64], n_bars: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return each session's largest (peak - NAV) / peak, the peak counted from the session's open.

    Args:
        nav_usd: ``(n_sessions, max_bars)`` float64, NAV at each bar's end.
        nav_open_usd: ``(n_sessions,)`` float64, NAV at the close before.
        n_bars: ``(n_sessions,)`` int64.
    """
    inside = np.arange(nav_usd.shape[1]) < n_bars[:, None]
    marks = np.where(inside, nav_usd, -np.inf)
    peaks = np.maximum(np.maximum.accumulate(marks, axis=1), nav_open_usd[:, None])
    drawdowns: NDArray[np.float64] = np.where(inside, (peaks - nav_usd) / peaks, 0.0).max(axis=1)
    return drawdowns


def largest_drawdown(
    nav_usd: NDArray[np.float64],
    nav_before_usd: float,
    n_bars: NDArray[np.int64],
    horizon_sessions: int | None = None,
) -> float:
    """Return the largest fall from a peak over every bar's mark, sessions joined.

    Args:
        nav_usd: ``(n_sessions, max_bars)`` float64, NAV at each bar's end.
        nav_before_usd: NAV before the first session.
        n_bars: ``(n_sessions,)`` int64.
        horizon_sessions: A fall counts from a peak in the same session or in so many less one before it,
            so that no window of this length falls further; None counts from any peak before.
    """
    reach = len(n_bars) if horizon_sessions is None else horizon_sessions - 1
    peaks: list[float] = []
    before, worst = nav_before_usd, 0.0
    for session, count in enumerate(n_bars.tolist()):
        marks = np.concatenate([[before], nav_usd[session, :count]])
        start = max(peaks[max(0, session - reach) : session], default=-np.inf)
        running = np.maximum(np.maximum.accumulate(marks), start)
        worst = max(worst, float(((running - marks) / running).max()))
        peaks.append(float(marks.max()))
        before = float(marks[-1])
    return worst
