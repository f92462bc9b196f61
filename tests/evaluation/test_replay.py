"""Replay: the same again bit for bit, sessions on their own, the running tilt, and hostile markets."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from markets import priced_market, random_market, random_program, random_script
from stairways.control import Multipliers, SetPoints, TiltActuator, TiltGains
from stairways.control.tilt import advance, hold_multiplier, tilt_state
from stairways.errors import ArtifactError, ConfigError, MismatchError
from stairways.evaluation.replay import Script, TiltLoop, replay
from stairways.policies.actor import forward_batch
from stairways.trading.actions import BUY, KEEP, SELL, action_id, order_table
from stairways.trading.kernel import QUANTITY
from stairways.trading.observation import ObservedMarket
from stairways.trading.rules import CostModel, TradingRules

RULES = TradingRules()
FREE = TradingRules(costs=CostModel(commission_bps=0.0, half_spread_bps=0.0))
LOOP = TiltLoop(
    TiltActuator(), TiltGains(ki_hold=0.1, ki_trade=0.1, kp_fast=6.0), SetPoints(), Multipliers(0.4, 0.3)
)
POLICIES = (
    {"kind": "mlp"},
    {"kind": "mlp", "regime": "gate"},
    {"kind": "lstm", "lstm_hidden": 32, "lstm_layers": 2},
)
MARKET = random_market(1, 6, half_days=[2])


@pytest.mark.parametrize("mode", ["sampled", "greedy"])
@pytest.mark.parametrize("spec", POLICIES)
def test_it_repeats_bit_for_bit(spec, mode):
    program = random_program(1, **spec)
    first, second = (replay(MARKET, program, RULES, mode=mode, run_seed=9, loop=LOOP) for _ in range(2))
    assert first.digest == second.digest
    assert first.multipliers.tobytes() == second.multipliers.tobytes()
    assert first.final_tilt == second.final_tilt
    other = replay(MARKET, program, RULES, mode=mode, run_seed=10, loop=LOOP)
    assert (other.digest == first.digest) == (mode == "greedy")


def test_the_digest_sees_every_action_fill_and_mark():
    run = replay(MARKET, random_program(1), RULES)
    digests = {run.digest}
    for name in ("actions", "fills", "forced", "nav_usd"):
        changed = getattr(run, name).copy()
        changed.reshape(-1)[5] += 1
        digests.add(replace(run, **{name: changed}).digest)
    assert len(digests) == 5


@pytest.mark.parametrize("mode", ["sampled", "greedy"])
@pytest.mark.parametrize("spec", POLICIES)
def test_a_session_replays_the_same_wherever_it_stands(spec, mode):
    """Numbers are keyed by date and bar and memory starts at zero, so the account's size alone differs."""
    program = random_program(2, **spec)
    whole = replay(MARKET, program, FREE, mode=mode, run_seed=4)
    for session in range(len(MARKET)):
        alone = replay(MARKET.select(slice(session, session + 1)), program, FREE, mode=mode, run_seed=4)
        np.testing.assert_array_equal(alone.actions[0], whole.actions[session])
        np.testing.assert_array_equal(
            np.sign(alone.fills[0, ..., QUANTITY]), np.sign(whole.fills[session, ..., QUANTITY])
        )
        opened = whole.nav_usd[session, 0]
        bars = MARKET.n_bars[session]
        np.testing.assert_allclose(
            alone.nav_usd[0, :bars] / 1e6, whole.nav_usd[session, :bars] / opened, rtol=2e-4
        )


def test_a_session_without_a_result_before_it_replays_bit_for_bit():
    """Sizes follow NAV: behind sessions that never traded the very fills are the same."""
    script = random_script(MARKET, 3)
    actions = script.actions.copy()
    actions[:4] = 4
    whole = replay(MARKET, Script(actions), RULES)
    alone = replay(MARKET.select(slice(4, 5)), Script(actions[4:5]), RULES)
    assert whole.fills[4].tobytes() == alone.fills[0].tobytes()
    assert whole.nav_usd[4].tobytes() == alone.nav_usd[0].tobytes()


def test_the_recurrent_state_is_zero_at_each_open():
    """The second of two equal sessions starts like the first: what was remembered is gone."""
    program = random_program(5, kind="lstm", lstm_hidden=32)
    twice = MARKET.select(np.array([0, 0, 1]))
    run = replay(twice, program, FREE, mode="greedy")
    np.testing.assert_array_equal(run.actions[0], run.actions[1])
    rows = MARKET.rows[0].copy()
    states = np.zeros((1, program.state_size), np.float32)
    fresh = np.zeros_like(states)
    carried, forgetful = [], []
    for bar in range(int(MARKET.n_bars[0]) - 1):
        position = run.fills[0, : bar + 1, :, QUANTITY].sum(axis=0)
        rows[bar, [12, 25]] = np.sign(position)
        carried.append(int(forward_batch(program, rows[bar : bar + 1], states).argmax()))
        fresh[:] = 0.0
        forgetful.append(int(forward_batch(program, rows[bar : bar + 1], fresh).argmax()))
    assert run.actions[0, : len(carried)].tolist() == carried
    assert carried != forgetful


def test_the_multipliers_are_carried_and_follow_the_loop():
    loop = replace(LOOP, points=SetPoints(hold_mode="regime"))
    run = replay(MARKET, random_program(3), RULES, run_seed=2, loop=loop)
    numbers = loop.actuator.numbers(loop.gains, MARKET.full_session_decisions)
    points = loop.points.numbers(MARKET.full_session_decisions)
    state = tilt_state(loop.start)
    for session in range(len(MARKET)):
        last = int(MARKET.n_bars[session]) - 1
        for bar in range(last):
            score = MARKET.score[session, bar]
            expected = [hold_multiplier(state, numbers, points, score), state[1]]
            assert run.multipliers[session, bar].tolist() == expected
            orders = (run.fills[session, bar + 1, :, QUANTITY] != 0.0).sum()
            if bar + 1 == last:
                orders += (run.forced[session, :, QUANTITY] != 0.0).sum()
            held = run.actions[session, bar] == 4
            advance(state, numbers, points, score, float(held), float(orders))
    assert run.final_tilt == Multipliers(*state[:2])
    assert run.longest_at_bound == state[-1]
    assert run.trace().shape == (int((MARKET.n_bars - 1).sum()), 2)
    np.testing.assert_array_equal(run.trace()[0], [0.4, 0.3])


def test_a_second_half_started_from_the_first_s_multipliers_goes_on_where_it_was():
    """What a saved loop needs: with the integrals alone, halves make the whole (sizes aside)."""
    loop = replace(LOOP, gains=TiltGains(ki_hold=0.1, ki_trade=0.1))
    program = random_program(3)
    whole = replay(MARKET, program, FREE, run_seed=2, loop=loop)
    first = replay(MARKET.select(slice(0, 3)), program, FREE, run_seed=2, loop=loop)
    rest = replay(
        MARKET.select(slice(3, 6)), program, FREE, run_seed=2, loop=replace(loop, start=first.final_tilt)
    )
    np.testing.assert_array_equal(np.concatenate([first.actions, rest.actions]), whole.actions)
    assert np.concatenate([first.multipliers, rest.multipliers]).tobytes() == whole.multipliers.tobytes()


@pytest.mark.parametrize("long_only", [False, True])
def test_sampled_actions_follow_the_tilted_probabilities(long_only):
    """A frozen tilt on a policy that sees nothing: every action comes out at the formula's rate."""
    market = random_market(8, 250)
    program = random_program(1, hidden=(1,))
    numbers = program.numbers.copy()
    numbers[: int(program.operations[-1, 4])] = 0.0
    numbers[-9:] = np.log([0.1, 0.05, 0.1, 0.1, 0.3, 0.1, 0.1, 0.05, 0.1])
    frozen = replace(LOOP, gains=TiltGains(ki_hold=0, ki_trade=0), start=Multipliers(0.7, 1.2))
    rules = TradingRules(long_only=long_only)
    run = replay(market, program._replace(numbers=numbers), rules, loop=frozen)
    units = np.cumsum(np.sign(run.fills[..., QUANTITY]), axis=1).astype(int)
    positions = (units[:, :-1] + 1) @ [3, 1]
    for position in np.unique(positions):
        taken = run.actions[:, :-1][positions == position]
        odds = np.exp(numbers[-9:] - 1.2 * order_table(2, long_only)[position])
        odds[4] *= np.exp(0.7)
        counts = np.bincount(taken, minlength=9) / len(taken)
        np.testing.assert_allclose(counts, odds / odds.sum(), atol=4.5 * np.sqrt(0.25 / len(taken)))
    assert len(np.unique(positions)) == (4 if long_only else 9)


def test_the_greedy_mode_takes_the_likeliest():
    program = random_program(4)
    run = replay(MARKET, program, FREE, mode="greedy")
    rows = MARKET.rows[0, :1].copy()
    best = forward_batch(program, rows, np.zeros((1, 0), np.float32)).argmax()
    assert run.actions[0, 0] == best
    assert run.mode == run.ledger.mode == "greedy"


def test_what_stands_behind_a_half_day_never_reaches_an_account():
    """Prices, rows and scores behind the close are NaN here; any other filler gives the same replay."""
    for policy in (random_program(1), random_script(MARKET, 1)):
        run = replay(MARKET, policy, RULES, loop=LOOP)
        behind = np.arange(MARKET.rows.shape[1]) >= MARKET.n_bars[:, None]
        assert np.isnan(MARKET.close[behind]).all()
        assert np.isnan(MARKET.rows[behind]).any()
        assert np.isfinite(run.nav_usd).all()
        assert np.isfinite(run.fills).all()
        filled = {}
        for name in ("open", "close", "volume", "rows", "score"):
            array = np.array(getattr(MARKET, name))
            array[behind] = 7.0
            filled[name] = array
        assert replay(replace(MARKET, **filled), policy, RULES, loop=LOOP).digest == run.digest


def test_prices_too_high_for_a_single_share_deny_every_order():
    dear = replace(MARKET, open=MARKET.open * 1e6, close=MARKET.close * 1e6)
    run = replay(dear, random_script(dear, 1), RULES)
    assert run.ledger.trades.sum() == 0
    assert (run.ledger.nav_close_usd == 1e6).all()
    bars = np.arange(MARKET.rows.shape[1]) < MARKET.n_bars[:, None]
    assert (run.nav_usd[bars] == 1e6).all()


def test_without_volume_the_full_impact_is_charged():
    rules = TradingRules(costs=CostModel(commission_bps=0, half_spread_bps=0, impact_bps=10))
    still = replace(MARKET, volume=np.zeros_like(MARKET.volume))
    run = replay(still, random_script(still, 1), rules)
    traded = run.fills[..., QUANTITY] != 0.0
    side = np.sign(run.fills[..., QUANTITY])
    np.testing.assert_allclose(
        run.fills[..., 1][traded], (still.open * (1 + side * 1e-3))[traded], rtol=1e-12
    )
    assert (run.ledger.impact_usd > 0).all()


def test_a_falling_account_trades_smaller_and_stays_above_zero():
    """Ruinous costs: NAV falls session by session, sizes with it, and never to zero or below."""
    rules = TradingRules(unit_fraction=0.4, costs=CostModel(commission_bps=500, half_spread_bps=500))
    run = replay(random_market(2, 30), random_script(random_market(2, 30), 1, 0.0), rules)
    closes = run.ledger.nav_close_usd
    assert (np.diff(closes) <= 0).all()
    assert closes[0] < 5e5
    assert 0.0 < closes[-1] < 1_000.0
    assert run.ledger.max_drawdown_ratio.max() < 1.0


def _ruinous() -> tuple[ObservedMarket, Script]:
    price = np.full((2, 4, 2), 50.0)
    price[1, 2:, 0] = 5_000.0
    market = priced_market(price, price)
    actions = np.full((2, 4, 9), action_id((KEEP, KEEP)), np.int8)
    actions[:, 0] = action_id((SELL, BUY))
    return market, Script(actions)


def test_a_ruined_account_is_an_error_that_says_when():
    market, script = _ruinous()
    with pytest.raises(ConfigError, match=rf"{market.dates[1]}: the account was ruined: NAV -.* at bar 2"):
        replay(market, script, FREE)


def test_a_policy_or_script_for_other_markets_is_refused():
    three = random_market(1, 2, 3)
    with pytest.raises(MismatchError, match="it has 9 actions, 3 symbols have 27"):
        replay(three, random_program(1), RULES)
    script = random_script(MARKET, 1)
    with pytest.raises(MismatchError, match="its script has shape"):
        replay(MARKET, Script(script.actions[:-1]), RULES)
    for wrong in (-1, 9):
        actions = script.actions.copy()
        actions[3, 3, 3] = wrong
        with pytest.raises(MismatchError, match=r"actions outside 0\.\.8"):
            replay(MARKET, Script(actions), RULES)


def test_features_that_are_not_finite_stop_the_replay():
    """A NaN must not end as somebody's favourite action."""
    rows = np.array(MARKET.rows)
    rows[3, 5, 0] = np.nan
    with pytest.raises(ArtifactError, match=rf"{MARKET.dates[3]}: the policy's output is not finite"):
        replay(replace(MARKET, rows=rows), random_program(1), RULES, loop=LOOP)


def test_long_only_accounts_never_hold_a_short():
    rules = TradingRules(long_only=True)
    run = replay(MARKET, random_program(1), rules)
    held = np.cumsum(run.fills[..., QUANTITY], axis=1)
    assert held.min() >= 0.0
    assert held.max() > 0.0


def test_the_bounds_are_counted():
    tight = TiltLoop(TiltActuator(hold_bound=0.01), TiltGains(), SetPoints())
    run = replay(MARKET, random_program(1), RULES, loop=tight)
    assert run.longest_at_bound > 10
    assert np.abs(run.multipliers[..., 0]).max() <= 0.01
    assert replay(MARKET, random_program(1), RULES).longest_at_bound == 0


def test_buying_in_the_last_bar_s_decision_is_closed_in_that_bar():
    price = np.full((1, 3, 2), 100.0)
    price[0, 2] = 101.0
    open_ = np.full((1, 3, 2), 100.0)
    actions = np.full((1, 3, 9), 4, np.int8)
    actions[0, 1] = action_id((BUY, KEEP))
    run = replay(priced_market(open_, price), Script(actions), FREE)
    assert run.fills[0, 2, 0, :2].tolist() == [1_500.0, 100.0]
    assert run.forced[0, 0, :2].tolist() == [-1_500.0, 101.0]
    assert run.nav_usd[0].tolist() == [1e6, 1e6, 1_001_500.0]
    assert (run.ledger.round_trips[0], run.ledger.winning_round_trips[0]) == (1, 1)
