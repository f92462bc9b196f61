"""Every figure that is printed of a policy, computed from its ledger in one place.

Intervals are two-sided 95 %: mean ± t(n - 1) x a standard error that allows for autocorrelation between
sessions (Newey and West 1987, automatic lag of Newey and West 1994). They cover 93, 94 and 94 % of fat-tailed
means at 20, 60 and 250 sessions (5,000 series each), and 91, 93 and 94 % with a moving average of 0.15. A
comparison of two policies is not made from two such intervals but paired, in
``stairways.evaluation.bootstrap``.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stairways.errors import InputError
from stairways.market.sessions import SESSIONS_PER_YEAR
from stairways.trading.ledger import Mode, SessionLedger
from stairways.trading.sharpe import (
    MIN_SHARPE_SESSIONS,
    annual_sharpe,
    probabilistic_sharpe,
    sharpe_standard_error,
)

CONFIDENCE = 0.95
DRAWDOWN_LIMIT_RATIO = 0.02
SESSION_TRADES_BAND = (5, 25)
BPS = 1e4

Interval = tuple[float, float]


@dataclass(frozen=True)
class Estimate:
    """A mean over sessions with its 95 % interval, which is None with fewer than 2 sessions."""

    value: float
    interval: Interval | None


@dataclass(frozen=True)
class PolicyMetrics:
    """What one policy did on a range of sessions.

    None stands for what these sessions can't show (fewer than 20 for ratios of mean to spread, fewer than
    1/(1 - level) for tail risks, no variance, no round trip); it is never a number in a gate.

    Attributes:
        initial_nav_usd: NAV before the first session.
        n_sessions: Sessions measured.
        mode: How actions were chosen, ``sampled`` or ``greedy``.
        hold_rate_ratio: Holds / decisions, over all sessions together.
        hold_rate_interval: Its 95 % interval.
        chance_hold_rate_ratio: Hold rate of uniformly random actions, 1 / number of actions.
        trades_per_session: Mean of executed orders, forced closes included.
        trades_interval: Its 95 % interval.
        sessions_in_trade_band_ratio: Share of sessions with 5 to 25 trades.
        forced_closes_per_session: Mean of orders that only flattened at the close.
        sharpe: Annual Sharpe ratio of net session returns.
        sharpe_standard_error: Its standard error.
        probabilistic_sharpe: Probability that the true Sharpe ratio exceeds 0.
        gross_sharpe: Annual Sharpe ratio with costs added back.
        sortino: As the Sharpe ratio, over the root mean square of negative returns.
        max_intraday_drawdown_ratio: Largest drawdown within one session.
        sessions_over_2pct_drawdown: Sessions whose drawdown exceeded 2 %.
        max_drawdown_ratio: Largest fall from a peak of NAV, by session closes, no less than the largest
            intraday one.
        turnover_ratio: Mean traded notional / NAV per session.
        costs_bps: Mean costs / NAV per session.
        mean_net_bps: Mean net session return.
        mean_net_bps_interval: Its 95 % interval.
        net_return_ratio: NAV at the end / initial NAV - 1.
        gross_return_ratio: Compounded session returns with costs added back.
        value_at_risk_95_ratio: Historical loss exceeded in 5 % of sessions; negative is a gain.
        value_at_risk_99_ratio: The same for 1 %.
        expected_shortfall_95_ratio: Mean loss of the worst 5 % of sessions.
        expected_shortfall_99_ratio: Mean loss of the worst 1 %.
        win_rate_sessions_ratio: Share of sessions with a positive net return.
        win_rate_round_trips_ratio: Share of closed positions with a positive net result.
    """

    initial_nav_usd: float
    n_sessions: int
    mode: Mode
    hold_rate_ratio: float
    hold_rate_interval: Interval | None
    chance_hold_rate_ratio: float
    trades_per_session: float
    trades_interval: Interval | None
    sessions_in_trade_band_ratio: float
    forced_closes_per_session: float
    sharpe: float | None
    sharpe_standard_error: float | None
    probabilistic_sharpe: float | None
    gross_sharpe: float | None
    sortino: float | None
    max_intraday_drawdown_ratio: float
    sessions_over_2pct_drawdown: int
    max_drawdown_ratio: float
    turnover_ratio: float
    costs_bps: float
    mean_net_bps: float
    mean_net_bps_interval: Interval | None
    net_return_ratio: float
    gross_return_ratio: float
    value_at_risk_95_ratio: float | None
    value_at_risk_99_ratio: float | None
    expected_shortfall_95_ratio: float | None
    expected_shortfall_99_ratio: float | None
    win_rate_sessions_ratio: float
    win_rate_round_trips_ratio: float | None

    @property
    def sharpe_text(self) -> str:
        """The Sharpe ratio for a person: with error, sessions and probability, or why there is none."""
        if self.sharpe is None or self.sharpe_standard_error is None or self.probabilistic_sharpe is None:
            reason = "not enough sessions" if self.n_sessions < MIN_SHARPE_SESSIONS else "no variance"
            return f"{reason} (n = {self.n_sessions})"
        return (
            f"{self.sharpe:.2f} ± {self.sharpe_standard_error:.2f} "
            f"(n = {self.n_sessions}, P(> 0) = {self.probabilistic_sharpe:.2f})"
        )

    def as_record(self) -> dict[str, Any]:
        """Return the metrics as plain JSON types, intervals as lists."""
        record = asdict(self)
        return {key: list(value) if isinstance(value, tuple) else value for key, value in record.items()}


def newey_west_standard_error(series: NDArray[np.float64]) -> float:
    """Return a standard error of the mean that allows for autocorrelation.

    Newey and West (1987), Bartlett weights, lag floor(4·(n/100)^(2/9)), with the factor n/(n - 1).

    Args:
        series: ``(n_sessions,)`` float64, finite, at least 2.
    """
    n = len(series)
    centred = series - series.mean()
    n_lags = min(math.floor(4.0 * (n / 100.0) ** (2.0 / 9.0)), n - 1)
    variance = float(centred @ centred)
    for lag in range(1, n_lags + 1):
        variance += 2.0 * (1.0 - lag / (n_lags + 1)) * float(centred[lag:] @ centred[:-lag])
    return math.sqrt(max(variance, 0.0) / n / (n - 1))


def _around(value: float, deviations: NDArray[np.float64]) -> Estimate:
    n = len(deviations)
    if n < 2:
        return Estimate(value, None)
    from scipy.special import stdtrit

    half = float(stdtrit(n - 1, 0.5 + CONFIDENCE / 2.0)) * newey_west_standard_error(deviations)
    return Estimate(value, (value - half, value + half))


def mean_estimate(series: NDArray[np.float64] | NDArray[np.int64]) -> Estimate:
    """Estimate the mean of a per-session quantity, ``(n_sessions,)``, at least one session."""
    values = np.asarray(series, dtype=np.float64)
    return _around(float(values.mean()), values)


def hold_rate_estimate(ledger: SessionLedger) -> Estimate:
    """Estimate holds / decisions over all sessions together.

    The interval is that of a ratio of means (linearised: (holds - rate·decisions) / mean decisions per
    session), so that half days weigh by their decisions.
    """
    rate = float(ledger.holds.sum() / ledger.decisions.sum())
    return _around(rate, (ledger.holds - rate * ledger.decisions) / float(ledger.decisions.mean()))


def trades_estimate(ledger: SessionLedger) -> Estimate:
    """Estimate executed orders per session, forced closes included."""
    return mean_estimate(ledger.trades)


def band_share_ratio(trades: NDArray[np.int64], band: tuple[int, int]) -> float:
    """Return the share of sessions whose trades lie in a band, both ends included."""
    return float(((trades >= band[0]) & (trades <= band[1])).mean())


def max_drawdown_ratio(ledger: SessionLedger) -> float:
    """Return the largest fall from a peak, over the marks that a ledger holds.

    These are the NAV before the first session and at each close; the fall is no less than the largest
    intraday one. A fall from one session's intraday peak to another's intraday trough is not seen.
    """
    marks = np.concatenate(([ledger.initial_nav_usd], ledger.nav_close_usd))
    peaks = np.maximum.accumulate(marks)
    return max(float(((peaks - marks) / peaks).max()), float(ledger.max_drawdown_ratio.max()))


def sortino(returns: NDArray[np.float64], risk_free_per_session: float = 0.0) -> float | None:
    """Return mean excess return over the root mean square of negative ones, times sqrt(252).

    Sortino and Price (1994). None with fewer than 20 sessions or without a negative one.
    """
    excess = returns - risk_free_per_session
    downside = math.sqrt(float((np.minimum(excess, 0.0) ** 2).mean()))
    if len(excess) < MIN_SHARPE_SESSIONS or downside == 0.0:
        return None
    return float(excess.mean()) / downside * math.sqrt(SESSIONS_PER_YEAR)


def tail_risk(returns: NDArray[np.float64], level: float) -> tuple[float | None, float | None]:
    """Return historical value at risk and expected shortfall as positive fractions of loss.

    With k = (1 - level)·n, value at risk is the (floor(k) + 1)-th largest loss and expected shortfall the
    mean of the k largest, the last one by its fraction (Rockafellar and Uryasev 2002). Both are None while
    k < 1: not one session lies in the tail.

    Args:
        returns: ``(n_sessions,)`` float64.
        level: 0.95, say.
    """
    # 0.05 · 20 comes out as 1.0000000000000009: rounding must not move the rank.
    count = round((1.0 - level) * len(returns), 9)
    if count < 1:
        return None, None
    losses = np.sort(-returns)[::-1]
    whole = math.floor(count)
    value_at_risk = float(losses[whole])
    shortfall = (float(losses[:whole].sum()) + (count - whole) * value_at_risk) / count
    return value_at_risk, shortfall


def _check(ledger: SessionLedger, n_actions: int) -> None:
    if len(ledger) == 0 or int(ledger.decisions.sum()) == 0:
        raise InputError("a ledger without a decision can't be measured", remedy="give a range with sessions")
    if n_actions < 2:
        raise InputError(f"{n_actions} actions leave nothing to choose", remedy="give 9 or 27")
    columns = (
        ledger.nav_open_usd,
        ledger.nav_close_usd,
        ledger.max_drawdown_ratio,
        ledger.traded_notional_usd,
        ledger.costs_usd,
    )
    finite = np.logical_and.reduce([np.isfinite(column) for column in columns])
    bad = ~finite | ~(ledger.nav_open_usd > 0)
    if bad.any():
        raise InputError(
            f"{int(bad.sum())} sessions have amounts that are not finite or a NAV of zero or less",
            where=f"session {ledger.dates[bad.argmax()]}",
            remedy="look for the bars and fills of that session",
        )


def measure(ledger: SessionLedger, *, n_actions: int, risk_free_per_session: float = 0.0) -> PolicyMetrics:
    """Measure one policy.

    Args:
        ledger: What its account did, session by session.
        n_actions: Size of its action space, 9 or 27, which sets the hold rate of chance.
        risk_free_per_session: Risk-free return of one session, a fraction; Sharpe and Sortino ratios are
            of the excess over it.

    Raises:
        InputError: If the ledger is empty, or an amount in it is not finite, or a NAV not positive.
    """
    _check(ledger, n_actions)
    net, gross = ledger.returns_ratio, ledger.gross_returns_ratio
    hold_rate, trades = hold_rate_estimate(ledger), trades_estimate(ledger)
    mean_net = mean_estimate(net * BPS)
    (risk_95, shortfall_95), (risk_99, shortfall_99) = tail_risk(net, 0.95), tail_risk(net, 0.99)
    round_trips = int(ledger.round_trips.sum())
    return PolicyMetrics(
        initial_nav_usd=ledger.initial_nav_usd,
        n_sessions=len(ledger),
        mode=ledger.mode,
        hold_rate_ratio=hold_rate.value,
        hold_rate_interval=hold_rate.interval,
        chance_hold_rate_ratio=1.0 / n_actions,
        trades_per_session=trades.value,
        trades_interval=trades.interval,
        sessions_in_trade_band_ratio=band_share_ratio(ledger.trades, SESSION_TRADES_BAND),
        forced_closes_per_session=float(ledger.forced_closes.mean()),
        sharpe=annual_sharpe(net, risk_free_per_session),
        sharpe_standard_error=sharpe_standard_error(net, risk_free_per_session),
        probabilistic_sharpe=probabilistic_sharpe(net, 0.0, risk_free_per_session),
        gross_sharpe=annual_sharpe(gross, risk_free_per_session),
        sortino=sortino(net, risk_free_per_session),
        max_intraday_drawdown_ratio=float(ledger.max_drawdown_ratio.max()),
        sessions_over_2pct_drawdown=int((ledger.max_drawdown_ratio > DRAWDOWN_LIMIT_RATIO).sum()),
        max_drawdown_ratio=max_drawdown_ratio(ledger),
        turnover_ratio=float((ledger.traded_notional_usd / ledger.nav_open_usd).mean()),
        costs_bps=float((ledger.costs_usd / ledger.nav_open_usd).mean()) * BPS,
        mean_net_bps=mean_net.value,
        mean_net_bps_interval=mean_net.interval,
        net_return_ratio=float(ledger.nav_close_usd[-1] / ledger.initial_nav_usd - 1.0),
        gross_return_ratio=float(np.prod(1.0 + gross) - 1.0),
        value_at_risk_95_ratio=risk_95,
        value_at_risk_99_ratio=risk_99,
        expected_shortfall_95_ratio=shortfall_95,
        expected_shortfall_99_ratio=shortfall_99,
        win_rate_sessions_ratio=float((net > 0.0).mean()),
        win_rate_round_trips_ratio=float(ledger.winning_round_trips.sum()) / round_trips
        if round_trips
        else None,
    )
