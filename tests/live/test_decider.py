"""The decider beside the replay: the same actions, fills and multipliers, bar by bar, to the bit."""

from __future__ import annotations

import numpy as np
import pytest

from builders import random_sessions
from markets import SHORT_REGIME, random_program
from stairways.control import Multipliers, SetPoints, TiltActuator, TiltGains
from stairways.control.tilt import tilt_state
from stairways.errors import ArtifactError, MismatchError, StairwaysError
from stairways.evaluation.replay import TiltLoop, replay
from stairways.live.decider import Decider
from stairways.market.feature_stream import FeatureStream
from stairways.market.features import FeatureConstants, build_table, compute_features
from stairways.trading.account import Account
from stairways.trading.observation import observe
from stairways.trading.rules import CostModel, TradingRules

RULES = TradingRules(costs=CostModel(impact_bps=3.0))
LOOP = TiltLoop(
    TiltActuator(), TiltGains(ki_hold=0.1, ki_trade=0.1, kp_fast=6.0), SetPoints(), Multipliers(0.4, 0.3), 0.4
)
POLICIES = (
    {"kind": "mlp", "regime": "gate"},
    {"kind": "mlp", "n_symbols": 3},
    {"kind": "lstm", "lstm_hidden": 32, "lstm_layers": 2},
)
WARM = 4


def history(n_symbols):
    return random_sessions(
        seed=8, n_sessions=9, n_symbols=n_symbols, interval_minutes=10, half_days=[6], segments=[7]
    )


def prepared(sessions):
    raw = compute_features(sessions, SHORT_REGIME)
    constants = FeatureConstants.fit(raw, sessions, slice(0, WARM))
    return observe(sessions, build_table(raw, constants)), constants


def lead(decider, sessions, account, first):
    """Trade sessions as a live process would; return actions, multipliers and NAVs."""
    actions, multipliers, navs = [], [], []
    for i in range(first, len(sessions)):
        new = bool(sessions.segment[i] != sessions.segment[i - 1])
        decider.start_session(sessions.dates[i].item(), int(sessions.n_bars[i]), new_segment=new)
        intent = None
        for b in range(int(sessions.n_bars[i])):
            bar = sessions.open[i, b], sessions.close[i, b], sessions.volume[i, b]
            if intent is not None:
                fills = [
                    account.fill(order, float(bar[0][order.symbol_index]), float(bar[2][order.symbol_index]))
                    for order in intent.orders
                ]
                if b == sessions.n_bars[i] - 1:
                    fills += account.flatten(bar[1], bar[2])
                decider.settle(len(fills))
                navs.append(account.nav_usd(bar[1]))
            intent = decider.decide(*bar, account)
            if intent is not None:
                actions.append(intent.action)
                multipliers.append(intent.multipliers)
        assert intent is None
        decider.end_session()
    return actions, multipliers, navs


@pytest.mark.parametrize("mode", ["sampled", "greedy"])
@pytest.mark.parametrize("loop", [LOOP, None], ids=["tilted", "as it is"])
@pytest.mark.parametrize("spec", POLICIES)
def test_it_decides_as_the_replay_does(spec, loop, mode):
    program = random_program(3, **spec)
    sessions = history(spec.get("n_symbols", 2))
    market, constants = prepared(sessions)
    judged = replay(market.select(slice(WARM, None)), program, RULES, mode=mode, run_seed=7, loop=loop)
    stream = FeatureStream.after(sessions.select(slice(0, WARM)), constants, SHORT_REGIME)
    decider = Decider(program, stream, RULES, mode=mode, run_seed=7, loop=loop)
    account = Account(RULES, market.n_symbols)
    actions, multipliers, navs = lead(decider, sessions, account, WARM)
    taken = judged.actions >= 0
    np.testing.assert_array_equal(actions, judged.actions[taken])
    np.testing.assert_array_equal(np.array(multipliers), judged.multipliers[taken])
    after = np.roll(taken, 1, axis=1)
    np.testing.assert_allclose(navs, judged.nav_usd[after], rtol=1e-12)
    assert len(set(actions)) > 1
    assert decider.multipliers == (judged.final_tilt if loop else Multipliers())


def test_a_loop_goes_on_from_where_it_stood():
    sessions = history(2)
    _, constants = prepared(sessions)
    stream = FeatureStream.after(sessions.select(slice(0, WARM)), constants, SHORT_REGIME)
    decider = Decider(
        random_program(3),
        stream,
        RULES,
        mode="sampled",
        run_seed=7,
        loop=LOOP,
        state=tilt_state(Multipliers(-1.0, 2.0), 0.4),
    )
    assert decider.multipliers == Multipliers(-1.0, 2.0)
    assert decider.loop_state.tolist() == tilt_state(Multipliers(-1.0, 2.0), 0.4).tolist()


def test_what_is_out_of_order_is_refused():
    sessions = history(2)
    _, constants = prepared(sessions)

    def made(program):
        stream = FeatureStream.after(sessions.select(slice(0, WARM)), constants, SHORT_REGIME)
        return Decider(program, stream, RULES, mode="sampled", run_seed=7, loop=LOOP)

    with pytest.raises(MismatchError, match="the policy has 27 actions, 2 symbols have 9"):
        made(random_program(3, n_symbols=3))
    decider, account = made(random_program(3)), Account(RULES, 2)
    bar = sessions.open[WARM, 0], sessions.close[WARM, 0], sessions.volume[WARM, 0]
    with pytest.raises(StairwaysError, match="there is no intent to settle"):
        decider.settle(0)
    with pytest.raises(StairwaysError, match="no session is open"):
        decider.decide(*bar, account)
    decider.start_session(sessions.dates[WARM].item(), int(sessions.n_bars[WARM]))
    decider.decide(*bar, account)
    with pytest.raises(StairwaysError, match="the intent of bar 0 is not settled"):
        decider.decide(*bar, account)


def test_a_policy_that_is_not_finite_is_refused():
    sessions = history(2)
    _, constants = prepared(sessions)
    program = random_program(3)
    broken = program._replace(numbers=np.full_like(program.numbers, np.nan))
    stream = FeatureStream.after(sessions.select(slice(0, WARM)), constants, SHORT_REGIME)
    decider = Decider(broken, stream, RULES, mode="sampled", run_seed=7, loop=None)
    decider.start_session(sessions.dates[WARM].item(), int(sessions.n_bars[WARM]))
    with pytest.raises(ArtifactError, match="not finite"):
        decider.decide(
            sessions.open[WARM, 0], sessions.close[WARM, 0], sessions.volume[WARM, 0], Account(RULES, 2)
        )
