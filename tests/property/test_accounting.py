"""Accounting: the NAV from fills and bars alone, and the ledger against slow independent sums."""

from __future__ import annotations

import math
from collections import deque

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from markets import random_market, random_program, random_script, trading_rules
from stairways.control import Multipliers, SetPoints, TiltActuator, TiltGains
from stairways.evaluation.exports import fills_csv, nav_csv
from stairways.evaluation.replay import Replay, TiltLoop, replay
from stairways.trading.observation import ObservedMarket
from stairways.trading.rules import CostModel, TradingRules

COSTLY = TradingRules(
    costs=CostModel(commission_bps=0.5, half_spread_bps=1.0, impact_bps=20.0, ticket_usd=1.0)
)
LOOP = TiltLoop(TiltActuator(), TiltGains(kp_fast=6.0), SetPoints(hold_mode="regime"), Multipliers(0.3, 0.2))
MARKETS = st.builds(
    random_market,
    st.integers(0, 5_000),
    st.integers(2, 5),
    st.sampled_from([2, 3]),
    st.sampled_from([15, 30]),
    half_days=st.sampled_from([[], [0], [1], [0, 1]]),
)


def _fills_of(run: Replay) -> list[tuple]:
    """Return every fill: session, bar, open or close, symbol, quantity, price, commission, slippage."""
    rows = []
    for where, sheet in (("open", run.fills), ("close", run.forced[:, None])):
        for session, bar, symbol in np.argwhere(sheet[..., 0] != 0.0):
            quantity, price, commission, spread, impact = sheet[session, bar, symbol].tolist()
            at = int(bar) if where == "open" else int(run.market.n_bars[session]) - 1
            rows.append((int(session), at, where, int(symbol), quantity, price, commission, spread + impact))
    return rows


def _recomputed_nav(fills: str, market: ObservedMarket, start: float) -> dict[str, float]:
    """Return the NAV at every bar's end from the exported fills and the closes alone."""
    waiting = deque(line.split(",") for line in fills.splitlines()[1:])
    cash, held, nav = start, dict.fromkeys(market.symbols, 0), {}
    step = np.timedelta64(market.interval_minutes, "m")
    for session, opening in enumerate(market.open_utc):
        for bar in range(market.n_bars[session]):
            begin, end = f"{opening + bar * step}+00:00", f"{opening + (bar + 1) * step}+00:00"
            due = {begin, end} if bar == market.n_bars[session] - 1 else {begin}
            while waiting and waiting[0][0] in due:
                _, symbol, side, quantity, price, commission, _ = waiting.popleft()
                sign = {"buy": 1, "sell": -1}[side]
                cash = math.fsum([cash, -sign * int(quantity) * float(price), -float(commission)])
                held[symbol] += sign * int(quantity)
            closes = dict(zip(market.symbols, market.close[session, bar], strict=True))
            worth = [shares * closes[symbol] for symbol, shares in held.items()]
            nav[end] = math.fsum([cash, *worth])
        assert not any(held.values()), "flat at the close"
    assert not waiting, "every fill has its bar"
    return nav


def _exported_nav(run: Replay) -> dict[str, float]:
    rows = [line.split(",") for line in nav_csv(run).splitlines()[1:]]
    return {time: float(nav) for time, nav in rows}


@settings(deadline=None, max_examples=60)
@given(market=MARKETS, rules=trading_rules(), seed=st.integers(0, 1_000), kind=st.sampled_from("spt"))
def test_the_nav_follows_from_exported_fills_and_bars(market, rules, seed, kind):
    policy = random_script(market, seed) if kind == "s" else random_program(seed, n_symbols=market.n_symbols)
    run = replay(market, policy, rules, run_seed=seed, loop=LOOP if kind == "t" else None)
    nav = _recomputed_nav(fills_csv(run), market, rules.initial_nav_usd)
    exported = _exported_nav(run)
    assert list(nav) == list(exported)
    assert len(nav) == market.n_bars.sum()
    np.testing.assert_allclose(list(exported.values()), list(nav.values()), rtol=1e-9, atol=0.0)
    behind = np.arange(market.close.shape[1]) >= market.n_bars[:, None]
    assert [*exported.values()] == run.nav_usd[~behind].tolist()


def test_a_wrong_fill_would_be_seen():
    market = random_market(1, 3)
    run = replay(market, random_script(market, 1), COSTLY)
    lines = fills_csv(run).splitlines()
    fields = lines[5].split(",")
    fields[5] = repr(float(fields[5]) + 0.01)
    nav = _recomputed_nav("\n".join([*lines[:5], ",".join(fields), *lines[6:]]), market, 1e6)
    exported = _exported_nav(run)
    assert max(abs(exported[time] / nav[time] - 1.0) for time in nav) > 1e-9


@settings(deadline=None, max_examples=40)
@given(market=MARKETS, rules=trading_rules(), seed=st.integers(0, 1_000))
def test_the_ledger_equals_slow_sums(market, rules, seed):
    run = replay(market, random_program(seed, n_symbols=market.n_symbols), rules, run_seed=seed)
    ledger, fills = run.ledger, _fills_of(run)
    hold, ticket = (3**market.n_symbols - 1) // 2, rules.costs.ticket_usd
    before = rules.initial_nav_usd
    for session in range(len(market)):
        mine = [fill for fill in fills if fill[0] == session]
        bars = int(market.n_bars[session])
        actions = [int(a) for a in run.actions[session, : bars - 1]]
        assert ledger.decisions[session] == len(actions) == bars - 1
        assert ledger.holds[session] == sum(action == hold for action in actions)
        assert ledger.trades[session] == len(mine)
        assert ledger.forced_closes[session] == sum(fill[2] == "close" for fill in mine)
        assert ledger.traded_notional_usd[session] == pytest.approx(sum(abs(f[4]) * f[5] for f in mine))
        assert ledger.ticket_usd[session] == pytest.approx(ticket * len(mine))
        assert ledger.commission_usd[session] == pytest.approx(
            sum(abs(f[4]) * f[5] for f in mine) * rules.costs.commission_bps / 1e4, abs=1e-9
        )
        slipped = sum(f[4] * (f[5] - float(getattr(market, f[2])[session, f[1], f[3]])) for f in mine)
        assert ledger.spread_usd[session] + ledger.impact_usd[session] == pytest.approx(slipped, abs=1e-6)
        share = rules.costs.half_spread_bps / 1e4
        spread = sum(abs(f[4]) * float(getattr(market, f[2])[session, f[1], f[3]]) for f in mine) * share
        assert ledger.spread_usd[session] == pytest.approx(spread, abs=1e-9)
        assert ledger.nav_open_usd[session] == before
        path = [float(nav) for nav in run.nav_usd[session, :bars]]
        assert ledger.nav_close_usd[session] == path[-1]
        peak, worst = before, 0.0
        for nav in path:
            peak = max(peak, nav)
            worst = max(worst, (peak - nav) / peak)
        assert ledger.max_drawdown_ratio[session] == pytest.approx(worst, rel=1e-12, abs=1e-15)
        before = path[-1]
        _check_round_trips(mine, ledger.round_trips[session], ledger.winning_round_trips[session])
    assert min(ledger.commission_usd.min(), ledger.costs_usd.min()) >= 0.0


def _check_round_trips(fills: list[tuple], closed: int, won: int) -> None:
    """Each position is opened by one fill and closed by the next one in its symbol."""
    results = []
    for symbol in {fill[3] for fill in fills}:
        own = sorted((f for f in fills if f[3] == symbol), key=lambda f: (f[1], f[2] == "close"))
        assert len(own) % 2 == 0
        for opened, out in zip(own[::2], own[1::2], strict=True):
            assert opened[4] == -out[4]
            results.append(-opened[4] * opened[5] - opened[6] - out[4] * out[5] - out[6])
    assert closed == len(results)
    sure = [result for result in results if abs(result) > 1e-6]
    assert sum(r > 0 for r in sure) <= won <= sum(r > 0 for r in sure) + len(results) - len(sure)


def test_returns_compound_to_the_last_nav():
    market = random_market(5, 12)
    ledger = replay(market, random_program(1), COSTLY).ledger
    assert 1e6 * np.prod(1.0 + ledger.returns_ratio) == pytest.approx(ledger.nav_close_usd[-1], rel=1e-12)


def test_costs_added_back_give_the_result_of_the_reference_prices():
    """Gross of costs, a script's session is what its whole shares make at the references, to the cent."""
    market = random_market(6, 3)
    run = replay(market, random_script(market, 4), COSTLY)
    worth = np.zeros(3)
    for session, bar, where, symbol, quantity, *_ in _fills_of(run):
        worth[session] -= quantity * getattr(market, where)[session, bar, symbol]
    ledger = run.ledger
    np.testing.assert_allclose(ledger.gross_returns_ratio * ledger.nav_open_usd, worth, atol=1e-4)
