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
from pydantic import ValidationError

from stairways.control.actuators import TiltActuator, TiltGains
from stairways.control.setpoints import SetPoints
from stairways.control.tilt import Multipliers
from stairways.envs.reward import RewardConfig
from stairways.errors import ConfigError
from stairways.evaluation.replay import TiltLoop, replay
from stairways.learning.all_actions import AllActionsTrainer, PathBatch
from stairways.learning.all_actions_config import AllActionsConfig
from stairways.learning.network import PolicyNetwork
from stairways.learning.schedules import Ramp
from stairways.learning.shadow_prices import Prices, prices_of
from stairways.policies.program import compile_program
from stairways.trading.actions import leg_table
from stairways.trading.ledger import SessionLedger
from stairways.trading.observation import ObservedMarket
from stairways.trading.rules import TradingRules

NAV_ONLY = RewardConfig(kelly=0.0, downside=0.0)
OFF = Multipliers(0.7, 0.4)
FREE = Prices()
STILL = AllActionsConfig(ki_hold=0.0, ki_trade=0.0, sessions=4, least_batches=1)


def trainer_of(
    network: PolicyNetwork,
    market: ObservedMarket,
    config: AllActionsConfig = STILL,
    start: Multipliers = OFF,
    *,
    reward: RewardConfig = NAV_ONLY,
    points: SetPoints | None = None,
    rules: TradingRules | None = None,
    actuator: TiltActuator | None = None,
) -> AllActionsTrainer:
    return AllActionsTrainer(
        network,
        market,
        rules or TradingRules(),
        reward,
        config,
        actuator or TiltActuator(),
        points or SetPoints(),
        start,
        np.random.SeedSequence(1),
    )


def open_gate(network: PolicyNetwork) -> None:
    """At its start the gate's last layer is 0 and nothing reaches the others."""
    if network.spec.gated:
        with torch.no_grad():
            network.get_parameter("gate.2.weight").normal_(generator=torch.Generator().manual_seed(1))


def expected_reward(trainer: AllActionsTrainer, batch: PathBatch, prices: Prices = FREE) -> torch.Tensor:
    """The expected reward of a batch less the price of holds and orders, differentiable, in plain loops."""
    total = torch.zeros(())
    steps = batch.steps
    left = steps.rewards - np.float32(prices.order_bps) * steps.orders
    left[..., 4] -= np.float32(prices.hold_bps)
    for row in range(len(batch.sessions)):
        following = torch.zeros(9)
        for t in reversed(range(int(steps.n_decisions[row]))):
            chances = trainer.log_probabilities(
                batch.observations[row, t].expand(9, -1), torch.arange(9)
            ).exp()
            after = torch.from_numpy(steps.after[row, t].astype(np.int64))
            following = (chances * (torch.from_numpy(left[row, t]) + following[after])).sum(-1)
        total = total + following[4]
    return total


@pytest.mark.parametrize("regime", ["none", "gate"])
@pytest.mark.parametrize("multipliers", [Multipliers(), Multipliers(0.7, 0.4)])
@pytest.mark.parametrize("prices", [FREE, Prices(0.3, -0.8)])
def test_without_a_discount_the_gradient_is_that_of_the_expected_reward(regime, multipliers, prices):
    network = network_of(mlp_spec(regime=regime), 2, action_gain=30.0)
    open_gate(network)
    market = noise_market(3, n_sessions=3, interval_minutes=30)
    trainer = trainer_of(network, market, STILL.model_copy(update={"gamma": 1.0}), multipliers)
    batch = trainer.batch_of(np.arange(3))
    expected = expected_reward(trainer, batch, prices)
    expected.backward()
    by_hand = {n: p.grad.clone() for n, p in network.named_parameters() if p.grad is not None}
    network.zero_grad()
    loss, found = trainer.expected_loss(batch, 1, prices)
    loss.backward()
    if prices == FREE:
        assert float(found.path.values[:, 0, 4].sum()) == pytest.approx(expected.item(), rel=1e-4)
    assert any(name.startswith("policy.") for name in by_hand)
    for name, gradient in by_hand.items():
        found_here = -network.get_parameter(name).grad
        torch.testing.assert_close(found_here, gradient, rtol=2e-3, atol=2e-4)


@pytest.mark.parametrize("n_symbols", [2, 3])
@pytest.mark.parametrize("hidden", [(8,), (8, 8)])
@pytest.mark.parametrize("regime", ["none", "gate", "gate_gradient", "concat"])
def test_asked_at_every_position_at_once_a_policy_says_what_it_says_at_each(regime, hidden, n_symbols):
    network = network_of(mlp_spec(regime=regime, hidden=hidden, n_symbols=n_symbols), 2, action_gain=30.0)
    open_gate(network)
    trainer = trainer_of(network, noise_market(3, n_sessions=2, interval_minutes=30, n_symbols=n_symbols))
    observations = trainer.batch_of(np.arange(2)).observations.flatten(0, 1)
    n = 3**n_symbols
    weights = torch.randn(len(observations) * n, n, generator=torch.Generator().manual_seed(3))

    def asked(how):
        network.zero_grad()
        found = how()
        (weights * found.exp()).sum().backward()
        return found.detach(), {
            k: p.grad.clone() for k, p in network.named_parameters() if p.grad is not None
        }

    each = observations.repeat_interleave(n, 0), torch.arange(n).repeat(len(observations))
    plain, gradients = asked(lambda: trainer.log_probabilities(*each))
    found, others = asked(lambda: trainer.log_probabilities_everywhere(observations))
    torch.testing.assert_close(found, plain, rtol=1e-5, atol=1e-5)
    assert gradients.keys() == others.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(others[name], gradient, rtol=1e-3, atol=1e-3)


def sums_at(trainer: AllActionsTrainer, batch: PathBatch, multipliers: Multipliers) -> np.ndarray:
    """Expected rewards, holds and orders of a batch, float64."""
    trainer.multipliers = multipliers
    with torch.no_grad():
        found = trainer.valued(batch, trainer._chances(batch))
    weights = found.path.occupancy[..., None].astype(np.float64) * found.probabilities
    return np.array(
        [(weights * batch.steps.rewards).sum(), weights[..., 4].sum(), (weights * batch.steps.orders).sum()]
    )


@pytest.mark.parametrize("coupling", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("multipliers", [Multipliers(), Multipliers(0.7, 0.4), Multipliers(-1.5, -0.6)])
def test_effects_of_the_multipliers_are_what_moving_them_does(multipliers, coupling):
    trainer = trainer_of(
        network_of(mlp_spec(), 2, action_gain=30.0),
        noise_market(3, n_sessions=3, interval_minutes=30),
        STILL.model_copy(update={"gamma": 1.0}),
        multipliers,
        actuator=TiltActuator(hold_coupling=coupling),
    )
    batch = trainer.batch_of(np.arange(3))
    with torch.no_grad():
        found = trainer.effects(trainer.valued(batch, trainer._chances(batch)))
    step = 0.01
    for k, name in enumerate(("hold", "trade")):
        up, down = (
            multipliers._replace(**{name: getattr(multipliers, name) + way * step}) for way in (1, -1)
        )
        moved = (sums_at(trainer, batch, up) - sums_at(trainer, batch, down)) / (2 * step)
        assert found[k] == pytest.approx(moved, rel=2e-3, abs=2e-3)
    # what is left after the prices is out of the tilt's reach
    prices = prices_of(found)
    assert found[:, 0] - found[:, 1:] @ prices == pytest.approx([0.0, 0.0], abs=1e-9)
    assert abs(prices.order_bps) > 0.01


def test_prices_of_effects_by_hand():
    # an order costs 0.4 less than it earns, a hold nothing: -2 orders a logit, 5 holds a logit
    effects = np.array([[-0.3 * 0.4, 5.0, -0.3], [-2.0 * 0.4, 1.0, -2.0]])
    assert prices_of(effects) == pytest.approx(Prices(0.0, 0.4))
    # where no multiplier moves anything there is nothing to price
    assert prices_of(np.zeros((2, 3))) == FREE
    # where the hold multiplier is out of reach, orders alone are
    alone = np.array([[0.0, 0.0, 0.0], [-0.8, 0.0, -2.0]])
    assert prices_of(alone) == pytest.approx(Prices(0.0, 0.4))


def test_prices_are_of_the_batches_before_and_the_first_one_s_are_its_own(monkeypatch):
    trainer = trainer_of(network_of(mlp_spec(), 2, action_gain=30.0), noise_market(4, n_sessions=8))
    asked, real = [], trainer.expected_loss

    def recorded(batch, n_decisions, prices):
        asked.append(prices)
        return real(batch, n_decisions, prices)

    monkeypatch.setattr(trainer, "expected_loss", recorded)
    first, second = np.arange(4), np.arange(4, 8)
    own = prices_of(trainer.effects(trainer.valued(b := trainer.batch_of(first), trainer._chances(b))))
    trainer._step(first, 1e-3)
    assert set(asked) == {asked[0]}
    assert asked[0] == pytest.approx(own, rel=1e-3)
    known, before = trainer._effects.copy(), len(asked)
    trainer._step(second, 1e-3)
    assert set(asked[before:]) == {prices_of(known)}
    assert not np.allclose(trainer._effects, known)


def test_a_step_taken_in_parts_is_the_step(monkeypatch):
    market = noise_market(4, n_sessions=7)
    after, reports, shares = [], [], []
    for sessions in (1, 3, 7):
        decisions = sessions * market.full_session_decisions
        monkeypatch.setattr("stairways.learning.all_actions.PART_DECISIONS", decisions)
        trainer = trainer_of(network_of(mlp_spec(), 2, action_gain=30.0), market)
        reports.append(trainer._step(np.arange(7), 1e-3))
        after.append(
            {name: p.grad.clone() for name, p in trainer.network.named_parameters() if p.grad is not None}
        )
        shares.append(trainer.take_reward_shares())
    assert len({report.steps for report in reports}) == 1
    assert shares[1] == pytest.approx(shares[0], rel=1e-4)
    assert shares[2] == pytest.approx(shares[0], rel=1e-4)
    for report in reports[1:]:
        assert report.hold_rate_ratio == pytest.approx(reports[0].hold_rate_ratio, rel=1e-5)
        assert report.mean_reward_bps == pytest.approx(reports[0].mean_reward_bps, rel=1e-4)
        assert report.update.policy_loss == pytest.approx(reports[0].update.policy_loss, rel=1e-4)
    for gradients in after[1:]:
        for name, gradient in gradients.items():
            torch.testing.assert_close(gradient, after[0][name], rtol=1e-3, atol=1e-7)


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
    gains = {"ki_hold": 2.0, "ki_trade": 0.05, "learning_rate": Ramp.constant(1e-2)}
    config = AllActionsConfig(sessions=10, least_batches=1, **gains)
    trainer = trainer_of(network, market, config, Multipliers(), points=points)
    reports = trainer.train(25 * market.n_decisions)
    last = reports[-6:]
    per_session = np.mean([one.mean_reward_bps for one in last]) * market.full_session_decisions
    assert per_session > 0.6 * best_return_ratio(market) * 1e4
    assert reports[0].mean_reward_bps < 0.2 * last[-1].mean_reward_bps
    assert np.mean([one.hold_rate_ratio for one in last]) == pytest.approx(0.5, abs=0.03)
    assert np.mean([one.trades_per_session for one in last]) == pytest.approx(6.0, abs=1.0)


def test_half_days_leave_no_trace_of_what_is_not_there():
    network = network_of(mlp_spec(), 2)
    reports = trainer_of(network, noise_market(5)).train(noise_market(5).n_decisions)
    assert all(np.isfinite([one.update.policy_loss, one.update.approximate_kl]).all() for one in reports)
    assert all(np.isfinite(value).all() for value in network.export_weights().values())


def test_a_pass_meets_every_decision_once_and_only_whole_passes_are_run():
    market = noise_market(6)
    trainer = trainer_of(network_of(mlp_spec(), 2), market)
    seen = []
    steps = 2 * market.n_decisions
    reports = trainer.train(steps, progress=lambda report: seen.append(report.steps))
    assert trainer.steps == seen[-1] == reports[-1].steps == steps
    assert len(reports) == 6
    for wrong in (0, noise_market(6).n_decisions - 1, -noise_market(6).n_decisions):
        with pytest.raises(ConfigError, match="whole passes"):
            trainer.train(wrong)


def test_a_snapshot_goes_on_as_if_there_had_been_no_stop():
    market, steps = noise_market(7), noise_market(7).n_decisions
    whole = trainer_of(network_of(mlp_spec(), 2), market, AllActionsConfig(sessions=4, least_batches=1))
    whole.train(steps)
    kept = whole.snapshot()
    whole.train(steps)
    again = trainer_of(network_of(mlp_spec(), 9), market, AllActionsConfig(sessions=4, least_batches=1))
    again.restore(kept)
    again.train(steps)
    assert again.steps == whole.steps
    assert again.multipliers == whole.multipliers
    for name, value in whole.network.export_weights().items():
        assert value.tobytes() == again.network.export_weights()[name].tobytes(), name


def test_shares_of_the_reward_are_those_of_its_terms():
    trainer = trainer_of(network_of(mlp_spec(), 2), noise_market(8), reward=RewardConfig())
    assert trainer.take_reward_shares() == {}
    trainer.train(noise_market(8).n_decisions)
    shares = trainer.take_reward_shares()
    assert sum(shares.values()) == pytest.approx(1.0)
    assert shares["nav"] > 0.5
    assert shares["downside"] > 0.0
    assert shares["action_change"] == shares["hold_bonus"] == 0.0


def test_the_value_stays_as_it_is() -> None:
    """Its gradient would reach the gate, which is the policy's too, and count as drift."""
    network = network_of(mlp_spec(), 2)
    before = network.export_weights()
    market = noise_market(8)
    trainer_of(network, market).train(market.n_decisions)
    for name, value in network.export_weights().items():
        if name.startswith("value."):
            assert value.tobytes() == before[name].tobytes(), name
        elif name.startswith("policy."):
            assert value.tobytes() != before[name].tobytes(), name


@pytest.mark.parametrize("case", ["long_only", "three", "regime", "one"])
def test_every_market_and_rule_trains(case: str) -> None:
    """Long only (short positions are nobody's), three symbols, a moving target, and one session alone."""
    market = noise_market(9, n_sessions=2 if case == "one" else 4, n_symbols=3 if case == "three" else 2)
    market = market.select(slice(0, 1)) if case == "one" else market
    trainer = trainer_of(
        network_of(mlp_spec(n_symbols=market.n_symbols), 2),
        market,
        AllActionsConfig(),
        rules=TradingRules(long_only=case == "long_only"),
        points=SetPoints(hold_mode="regime" if case == "regime" else "fixed"),
    )
    reports = trainer.train(market.n_decisions)
    assert len(reports) == len(market)
    assert all(np.isfinite(one.mean_reward_bps) for one in reports)
    if case == "long_only":
        found = trainer.expected_loss(trainer.batch_of(np.arange(len(market))), 1, FREE)[1].path
        assert (found.occupancy[:, :, (leg_table(2) < 0).any(axis=1)] == 0.0).all()


def test_few_sessions_make_small_batches() -> None:
    market = noise_market(9, n_sessions=12)
    config = AllActionsConfig(sessions=25, least_batches=6)
    trainer = trainer_of(network_of(mlp_spec(), 2), market, config)
    assert len(trainer.train(2 * market.n_decisions)) == 12


def test_a_step_size_stays_above_zero() -> None:
    for ramp in (Ramp.constant(0.0), Ramp(start=1e-3, end=-1e-3)):
        with pytest.raises(ValidationError, match="must stay above 0"):
            AllActionsConfig(learning_rate=ramp)


def test_what_knows_more_than_its_position_is_refused():
    market = noise_market(9)
    with pytest.raises(ConfigError, match="more than the position"):
        trainer_of(network_of(lstm_spec()), market)
    with pytest.raises(ConfigError, match="more than the position"):
        trainer_of(network_of(mlp_spec()), market, reward=RewardConfig(action_change=0.1))
