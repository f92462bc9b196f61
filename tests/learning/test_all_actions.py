"""The all-actions trainer: its gradient, what it expects beside what happens, and that it learns."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from learning_builders import (
    best_return_ratio,
    drifting_market,
    lstm_spec,
    mlp_spec,
    network_of,
    noise_market,
)

from stairways.control.actuators import TiltActuator, TiltGains
from stairways.control.setpoints import SetPoints
from stairways.control.tilt import Multipliers
from stairways.envs.reward import RewardConfig
from stairways.errors import ConfigError
from stairways.evaluation.replay import TiltLoop, replay
from stairways.learning.all_actions import AllActionsTrainer, Batch
from stairways.learning.all_actions_config import AllActionsConfig
from stairways.learning.network import PolicyNetwork
from stairways.learning.schedules import Ramp
from stairways.policies.program import compile_program
from stairways.trading.ledger import SessionLedger
from stairways.trading.observation import ObservedMarket
from stairways.trading.rules import TradingRules

NAV_ONLY = RewardConfig(kelly=0.0, downside=0.0)
OFF = Multipliers(0.7, 0.4)
STILL = AllActionsConfig(hold_gain=0.0, trade_gain=0.0, sessions=4)


def trainer_of(
    network: PolicyNetwork,
    market: ObservedMarket,
    config: AllActionsConfig = STILL,
    start: Multipliers = OFF,
    *,
    reward: RewardConfig = NAV_ONLY,
    points: SetPoints | None = None,
    rules: TradingRules | None = None,
) -> AllActionsTrainer:
    return AllActionsTrainer(
        network,
        market,
        rules or TradingRules(),
        reward,
        config,
        TiltActuator(),
        points or SetPoints(),
        start,
        np.random.SeedSequence(1),
    )


def expected_reward(trainer: AllActionsTrainer, batch: Batch) -> torch.Tensor:
    """The expected reward of a batch, differentiable, in plain loops: the twin of the compiled recursion."""
    total = torch.zeros(())
    steps = batch.steps
    for row in range(len(batch.sessions)):
        following = torch.zeros(9)
        for t in reversed(range(int(steps.n_decisions[row]))):
            chances = trainer.log_probabilities(batch.observations[row, t], torch.arange(9)).exp()
            after = torch.from_numpy(steps.after[row, t].astype(np.int64))
            following = (chances * (torch.from_numpy(steps.rewards[row, t]) + following[after])).sum(-1)
        total = total + following[4]
    return total


@pytest.mark.parametrize("regime", ["none", "gate"])
@pytest.mark.parametrize("multipliers", [Multipliers(), Multipliers(0.7, 0.4)])
def test_without_a_discount_the_gradient_is_that_of_the_expected_reward(regime, multipliers):
    network = network_of(mlp_spec(regime=regime), 2, action_gain=30.0)
    market = noise_market(3, n_sessions=3, interval_minutes=30)
    trainer = trainer_of(network, market, STILL.model_copy(update={"gamma": 1.0}), multipliers)
    batch = trainer.batch_of(np.arange(3))
    expected = expected_reward(trainer, batch)
    expected.backward()
    by_hand = {n: p.grad.clone() for n, p in network.named_parameters() if p.grad is not None}
    network.zero_grad()
    loss, found, _ = trainer.expected_loss(batch)
    loss.backward()
    assert float(found.values[:, 0, 4].sum()) == pytest.approx(expected.item(), rel=1e-4)
    assert any(name.startswith("policy.") for name in by_hand)
    for name, gradient in by_hand.items():
        found_here = -network.get_parameter(name).grad * float(batch.decided.sum())
        torch.testing.assert_close(found_here, gradient, rtol=2e-3, atol=2e-4)


def test_what_is_expected_is_what_happens():
    """Many accounts under the same tilt: returns, hold rate and trades lie within 4 standard errors."""
    market = noise_market(4, n_sessions=4)
    network = network_of(mlp_spec(), 2, action_gain=30.0)
    trainer = trainer_of(network, market)
    report = trainer._step(np.arange(4), 1e-12)
    program = compile_program(network.spec, network.export_weights())
    still = TiltGains(ki_hold=0.0, ki_trade=0.0)
    loop = TiltLoop(TiltActuator(live=still), still, SetPoints()).starting_at(Multipliers(0.7, 0.4))
    ledgers: list[SessionLedger] = [
        replay(market, program, TradingRules(), run_seed=seed, loop=loop).ledger for seed in range(200)
    ]
    decisions = ledgers[0].decisions.sum()

    def close_to(expected: float, drawn: list[float], slack: float = 0.0) -> None:
        mean, error = np.mean(drawn), np.std(drawn, ddof=1) / np.sqrt(len(drawn))
        assert abs(mean - expected) <= 4 * error + slack, (expected, mean, error)

    close_to(report.hold_rate_ratio, [one.holds.sum() / decisions for one in ledgers])
    full = market.full_session_decisions
    close_to(report.trades_per_session, [one.trades.sum() / decisions * full for one in ledgers])
    # a position keeps the size it was opened with, here it is fresh at every bar
    earned = [one.returns_ratio.sum() * 1e4 / decisions for one in ledgers]
    close_to(report.mean_reward_bps, earned, slack=0.02 * abs(report.mean_reward_bps))


def test_it_learns_which_way_prices_go_and_keeps_the_band():
    market = drifting_market(1, shown_bars=26)
    points = SetPoints(hold_rate_ratio=0.5, trades_per_session=6.0)
    network = network_of(mlp_spec(regime="none"), 3)
    config = AllActionsConfig(sessions=10, learning_rate=Ramp.constant(1e-2), hold_gain=2.0, trade_gain=0.05)
    trainer = trainer_of(network, market, config, Multipliers(), points=points)
    reports = trainer.train(25 * trainer.pass_steps)
    last = reports[-6:]
    per_session = np.mean([one.mean_reward_bps for one in last]) * market.full_session_decisions
    assert per_session > 0.6 * best_return_ratio(market) * 1e4
    assert reports[0].mean_reward_bps < 0.2 * last[-1].mean_reward_bps
    assert np.mean([one.hold_rate_ratio for one in last]) == pytest.approx(0.5, abs=0.03)
    assert np.mean([one.trades_per_session for one in last]) == pytest.approx(6.0, abs=1.0)


def test_half_days_leave_no_trace_of_what_is_not_there():
    network = network_of(mlp_spec(), 2)
    reports = trainer_of(network, noise_market(5)).train(noise_steps(5))
    assert all(np.isfinite(one.update).all() for one in reports)
    assert all(np.isfinite(value).all() for value in network.export_weights().values())


def noise_steps(seed: int) -> int:
    return int((noise_market(seed).n_bars - 1).sum())


def test_a_pass_meets_every_decision_once_and_only_whole_passes_are_run():
    market = noise_market(6)
    trainer = trainer_of(network_of(mlp_spec(), 2), market)
    seen = []
    reports = trainer.train(2 * noise_steps(6), progress=lambda report: seen.append(report.steps))
    assert trainer.steps == seen[-1] == reports[-1].steps == 2 * noise_steps(6)
    assert len(reports) == 6
    for wrong in (0, noise_steps(6) - 1, -noise_steps(6)):
        with pytest.raises(ConfigError, match="whole passes"):
            trainer.train(wrong)


def test_a_snapshot_goes_on_as_if_there_had_been_no_stop():
    market, steps = noise_market(7), noise_steps(7)
    whole = trainer_of(network_of(mlp_spec(), 2), market, AllActionsConfig(sessions=4))
    whole.train(steps)
    kept = whole.snapshot()
    whole.train(steps)
    again = trainer_of(network_of(mlp_spec(), 9), market, AllActionsConfig(sessions=4))
    again.restore(kept)
    again.train(steps)
    assert again.steps == whole.steps
    assert again.multipliers == whole.multipliers
    for name, value in whole.network.export_weights().items():
        assert value.tobytes() == again.network.export_weights()[name].tobytes(), name


def test_shares_of_the_reward_are_those_of_its_terms():
    trainer = trainer_of(network_of(mlp_spec(), 2), noise_market(8), reward=RewardConfig())
    assert trainer.take_reward_shares() == {}
    trainer.train(noise_steps(8))
    shares = trainer.take_reward_shares()
    assert sum(shares.values()) == pytest.approx(1.0)
    assert shares["nav"] > 0.5
    assert shares["downside"] > 0.0
    assert shares["action_change"] == shares["hold_bonus"] == 0.0


def test_what_knows_more_than_its_position_is_refused():
    market = noise_market(9)
    with pytest.raises(ConfigError, match="more than the position"):
        trainer_of(network_of(lstm_spec()), market)
    with pytest.raises(ConfigError, match="more than the position"):
        trainer_of(network_of(mlp_spec()), market, reward=RewardConfig(action_change=0.1))
