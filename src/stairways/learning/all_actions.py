"""The all-actions policy gradient along recorded sessions, under the tilt.

PPO sees one action of one position and the luck that followed. Here the policy is asked at every joint
position of every decision, each action's value is found exactly along the recorded path
(:mod:`stairways.envs.recorded_paths`), and the gradient sums over all actions: what is left of its noise is
the market's. Summing over actions is Mean Actor-Critic (Asadi et al. 2017, arXiv:1709.00503) and expected
policy gradients (Ciosek and Whiteson 2018, arXiv:1706.05374); that recorded inputs which do not answer to
the actions give exact values in hindsight is Sinclair et al. 2023 (arXiv:2207.06272).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stairways.control.actuators import TiltActuator
from stairways.control.lanes import integrate
from stairways.control.setpoints import SetPoints, target_hold_rate
from stairways.control.tilt import Multipliers
from stairways.envs.recorded_paths import PathSteps, PathValues, RecordedPaths, path_values
from stairways.envs.reward import TERMS, RewardConfig
from stairways.errors import ConfigError, TrainingError
from stairways.learning.adam_state import adam_arrays, load_adam
from stairways.learning.all_actions_config import AllActionsConfig
from stairways.learning.network import PolicyNetwork
from stairways.learning.ppo import TiltForm, Tilting, UpdateReport, tilted_log_probabilities
from stairways.learning.reports import Progress, RolloutReport
from stairways.learning.runtime import generator_of
from stairways.learning.shadow_prices import Prices, multiplier_effects, prices_of
from stairways.trading.actions import hold_action, leg_table, order_table
from stairways.trading.observation import ObservedMarket, position_columns
from stairways.trading.rules import TradingRules

PART_DECISIONS = 1_200
"""Decisions whose gradient is taken at a time: what they need fits the cache, and the sum is the batch's."""


class PathBatch(NamedTuple):
    """Some sessions, and what can be done in them.

    Attributes:
        sessions: ``(n_sessions,)`` int64 indices.
        observations: ``(n_sessions, n_decisions, n_inputs)``, positions left at 0.
        steps: What each action does.
        decided: ``(n_sessions, n_decisions)`` bool, the decision exists.
    """

    sessions: NDArray[np.int64]
    observations: Tensor
    steps: PathSteps
    decided: NDArray[np.bool_]


class Valued(NamedTuple):
    """What a policy is worth in some sessions, at every position.

    Attributes:
        probabilities: ``(n_sessions, n_decisions, n_positions, n_actions)`` float32 of its actions.
        path: Of rewards.
        hold_advantages: Of each action for the holds still to come, undiscounted; same shape.
        order_advantages: Likewise for executed orders.
    """

    probabilities: NDArray[np.float32]
    path: PathValues
    hold_advantages: NDArray[np.float32]
    order_advantages: NDArray[np.float32]


class Expected(NamedTuple):
    """What a policy is expected to do in some sessions, summed over their decisions.

    Attributes:
        holds: Holds.
        orders: Executed orders, forced closes included.
        reward_bps: Rewards, bp of NAV.
        from_open_bps: Discounted rewards of an account that starts each session flat.
    """

    holds: float
    orders: float
    reward_bps: float
    from_open_bps: float


class AllActionsTrainer:
    """Trains a feed-forward policy on every action from every position of recorded sessions.

    The tilt's multipliers follow the expected hold rate and trades of each batch, and holds and orders have
    prices (:mod:`stairways.learning.shadow_prices`), so that weights do not learn what the tilt takes away.

    Args:
        network: Policy and value; the value is left as it is, the recorded paths have no use for it.
        market: Sessions to train on.
        rules: Sizes, bounds and costs.
        reward: Weights of the reward; that of changed actions must be 0.
        config: Settings, the gains of the multipliers among them.
        actuator: The tilt; its training gains are those of a pool and not used.
        points: Set points; a target that moves with the regime is taken at the batch's mean score.
        start: Multipliers to start from, anchored there.
        seed: Of the order of sessions.

    Raises:
        ConfigError: If the policy is recurrent, or the reward asks for the action before.
    """

    def __init__(
        self,
        network: PolicyNetwork,
        market: ObservedMarket,
        rules: TradingRules,
        reward: RewardConfig,
        config: AllActionsConfig,
        actuator: TiltActuator,
        points: SetPoints,
        start: Multipliers,
        seed: np.random.SeedSequence,
    ) -> None:
        if network.spec.kind != "mlp" or reward.action_change != 0.0:
            raise ConfigError(
                "a recurrent policy and a reward for the action before know more than the position",
                remedy="train with PPO",
            )
        self.network = network
        self.market = market
        self.config = config
        self.steps = 0
        self.multipliers = start
        full = market.full_session_decisions
        self._numbers = actuator.numbers(actuator.training, full)
        self._points = points.numbers(full)
        self._form = TiltForm(self._numbers.floor, self._numbers.coupling, start.hold)
        self._order = generator_of(seed)
        self._paths = RecordedPaths(market, rules, reward)
        legs = leg_table(market.n_symbols)
        self._columns = torch.from_numpy(position_columns(market.n_symbols))
        self._joint = torch.from_numpy(legs.astype(np.float32))
        orders = order_table(market.n_symbols, rules.long_only).astype(np.float32)
        if rules.long_only:
            # nobody gets to a short position, but an action that stays must exist there too
            orders[(legs < 0).any(axis=1)] = 0.0
        self._orders = torch.from_numpy(orders)
        self._hold = hold_action(market.n_symbols)
        self._effects: NDArray[np.float64] = np.zeros((2, 3))
        self._last: list[tuple[NDArray[np.int64], NDArray[np.float32]]] = []
        # the value's gradient would reach the gate, which is the policy's too
        trained = [p for name, p in network.named_parameters() if not name.startswith("value.")]
        self._optimizer = torch.optim.Adam(
            trained, lr=config.learning_rate.at(0.0), eps=config.adam_epsilon, fused=True
        )

    @property
    def batches_per_pass(self) -> int:
        """Gradient steps of one pass over every session."""
        count = len(self.market)
        return max(-(-count // self.config.sessions), min(count, self.config.least_batches))

    def train(self, steps: int, *, progress: Progress | None = None) -> list[RolloutReport]:
        """Go through every session so often that exactly so many decisions are met.

        Args:
            steps: A multiple of the market's decisions.
            progress: Called after each batch; an exception in it stops the training.

        Raises:
            ConfigError: If they are no whole passes.
        """
        passes, rest = divmod(steps, self.market.n_decisions)
        if rest or passes < 1:
            raise ConfigError(f"{steps} steps are no whole passes of {self.market.n_decisions} decisions")
        per_pass = self.batches_per_pass
        reports: list[RolloutReport] = []
        for _ in range(passes):
            order = torch.randperm(len(self.market), generator=self._order).numpy()
            for batch in np.array_split(order, per_pass):
                share = len(reports) / (passes * per_pass)
                reports.append(self._step(np.sort(batch), self.config.learning_rate.at(share)))
                if progress is not None:
                    progress(reports[-1])
        return reports

    def take_reward_shares(self) -> dict[str, float]:
        """Return each term's share of the expected absolute reward in the last batch; none before one."""
        if not self._last:
            return {}
        terms = np.sum([self._paths.expected_terms(*part) for part in self._last], axis=0)
        total = float(terms.sum())
        return {name: float(term) / total if total else 0.0 for name, term in zip(TERMS, terms, strict=True)}

    def snapshot(self) -> dict[str, Any]:
        """Return everything a checkpoint needs: arrays, and plain values under ``plain``."""
        arrays: dict[str, NDArray[Any]] = {
            f"weights.{n}": v for n, v in self.network.export_weights().items()
        }
        arrays |= {f"adam.{n}": v for n, v in adam_arrays(self._optimizer).items()}
        arrays["generator.order"] = self._order.get_state().numpy().copy()
        arrays["effects"] = self._effects.copy()
        plain = {"steps": self.steps, "multipliers": list(self.multipliers)}
        return {"arrays": arrays, "plain": plain}

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Go on from a snapshot as if there had been no stop."""
        arrays, plain = snapshot["arrays"], snapshot["plain"]

        def part(prefix: str) -> dict[str, NDArray[Any]]:
            return {n.removeprefix(prefix): v for n, v in arrays.items() if n.startswith(prefix)}

        self.network.load_weights(part("weights."))
        load_adam(self._optimizer, part("adam."))
        self._order.set_state(torch.from_numpy(np.array(arrays["generator.order"])))
        self._effects = np.array(arrays["effects"])
        self.steps = int(plain["steps"])
        self.multipliers = Multipliers(*(float(value) for value in plain["multipliers"]))

    def batch_of(self, sessions: NDArray[np.int64]) -> PathBatch:
        """Return what a batch needs of some sessions."""
        steps = self._paths.steps(sessions)
        shape = steps.rewards.shape[:3]
        decided = np.arange(shape[1]) < steps.n_decisions[:, None]
        rows = self.market.rows[sessions, : shape[1], : self.network.spec.n_observed]
        # rows behind a half day are NaN, and 0 x NaN would spoil the sum
        observations = torch.from_numpy(np.where(decided[..., None], rows, np.float32(0.0)))
        return PathBatch(sessions, observations, steps, decided)

    def log_probabilities(self, observations: Tensor, positions: Tensor) -> Tensor:
        """Return log pi' ``(n, n_actions)`` of ``(n, n_inputs)`` observations at ``(n,)`` positions."""
        there = observations.clone()
        there[:, self._columns] = self._joint[positions]
        logits = self.network.policy(self.network.trunk_inputs(there))
        return tilted_log_probabilities(logits, self._tilting(positions))

    def log_probabilities_everywhere(self, observations: Tensor) -> Tensor:
        """Return log pi' ``(n * n_positions, n_actions)``, observation by observation, at every position."""
        logits = self.network.policy_at(observations, self._joint).flatten(0, 1)
        positions = torch.arange(len(self._joint)).repeat(len(observations))
        return tilted_log_probabilities(logits, self._tilting(positions))

    def _tilting(self, positions: Tensor) -> Tilting:
        offsets = -self.multipliers.trade * self._orders
        offsets[:, self._hold] += self.multipliers.hold
        return Tilting(offsets[positions], (self._orders == 0)[positions], self._form)

    def valued(self, batch: PathBatch, chances: Tensor) -> Valued:
        """Return what ``(n, n_positions, n_actions)`` probabilities are worth in some sessions."""
        steps = batch.steps
        probabilities = chances.detach().numpy().reshape(steps.rewards.shape)
        held = np.zeros_like(steps.rewards)
        held[..., self._hold] = batch.decided[..., None]
        orders = steps.orders.astype(np.float32)
        return Valued(
            probabilities,
            path_values(steps, probabilities, self.config.gamma),
            path_values(steps._replace(rewards=held), probabilities, 1.0).advantages,
            path_values(steps._replace(rewards=orders), probabilities, 1.0).advantages,
        )

    def expected_loss(self, batch: PathBatch, n_decisions: int, prices: Prices) -> tuple[Tensor, Valued]:
        """Return the loss of some sessions, and what the policy is worth in them.

        The gradient of -sum occupancy x pi x advantage is that of the expected discounted reward less the
        price of the expected holds and orders, without the discount of the occupancy (as is usual; with
        gamma = 1 it is exact).

        Args:
            batch: The sessions.
            n_decisions: What the sum is divided by: the decisions of all sessions of the gradient step.
            prices: Of a hold and an order.
        """
        chances = self._chances(batch)
        found = self.valued(batch, chances)
        gains = found.path.advantages - np.float32(prices.hold_bps) * found.hold_advantages
        gains -= np.float32(prices.order_bps) * found.order_advantages
        weights = torch.from_numpy(found.path.occupancy[..., None] * gains).reshape(chances.shape)
        return -(weights * chances).sum() / n_decisions, found

    def effects(self, found: Valued) -> NDArray[np.float64]:
        """Return what the tilt's multipliers do to rewards, holds and orders, ``(2, 3)`` per logit."""
        return multiplier_effects(
            found.probabilities,
            found.path.occupancy,
            (found.path.advantages, found.hold_advantages, found.order_advantages),
            self._orders.numpy(),
            self._form.coupling,
        )

    def _chances(self, batch: PathBatch) -> Tensor:
        return self.log_probabilities_everywhere(batch.observations.flatten(0, 1)).exp()

    def _parts(self, sessions: NDArray[np.int64]) -> Iterator[PathBatch]:
        size = max(1, PART_DECISIONS // self.market.full_session_decisions)
        for first in range(0, len(sessions), size):
            yield self.batch_of(sessions[first : first + size])

    def _prices(self, sessions: NDArray[np.int64]) -> Prices:
        """Return the prices that earlier batches found; the first batch is looked at for its own."""
        if self._effects.any():
            return prices_of(self._effects)
        with torch.no_grad():
            parts = [self.effects(self.valued(part, self._chances(part))) for part in self._parts(sessions)]
        return prices_of(np.sum(parts, axis=0))

    def _step(self, sessions: NDArray[np.int64], learning_rate: float) -> RolloutReport:
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        self._optimizer.zero_grad(set_to_none=True)
        n_decisions = int((self.market.n_bars[sessions] - 1).sum())
        prices = self._prices(sessions)
        expected, visited, scores, effects = [], [], [], []
        self._last.clear()
        for batch in self._parts(sessions):
            loss, found = self.expected_loss(batch, n_decisions, prices)
            if not np.isfinite(loss.item()):
                raise TrainingError("a loss is not finite", remedy="lower tune.all_actions.learning_rate")
            torch.autograd.backward(loss)
            effects.append(self.effects(found))
            expected.append(self._expected(batch, found))
            visited.append(self._visited(batch, found))
            scores.append(self.market.score[batch.sessions][:, : batch.decided.shape[1]][batch.decided])
        self._effects = self.config.price_decay * self._effects + np.sum(effects, axis=0)
        self._optimizer.step()
        total = Expected(*np.sum(expected, axis=0).tolist())
        observations, positions, before = (torch.cat(parts) for parts in zip(*visited, strict=True))
        with torch.no_grad():
            after = self.log_probabilities(observations, positions)
        update = UpdateReport(
            policy_loss=-total.from_open_bps / n_decisions,
            value_loss=None,
            entropy=float(-torch.special.xlogy(before, before).sum(-1).mean()),
            approximate_kl=float((torch.special.xlogy(before, before) - before * after).sum(-1).mean()),
            clipped_share=None,
            learning_rate=learning_rate,
        )
        return self._report(total, n_decisions, np.concatenate(scores), update)

    def _expected(self, batch: PathBatch, found: Valued) -> Expected:
        weights = found.path.occupancy[..., None] * found.probabilities
        self._last.append((batch.sessions, weights))
        return Expected(
            holds=float(weights[..., self._hold].sum()),
            orders=float((weights * batch.steps.orders).sum()),
            reward_bps=float((weights * batch.steps.rewards).sum()),
            from_open_bps=float(found.path.values[:, 0, self._hold].sum()),
        )

    def _visited(self, batch: PathBatch, found: Valued) -> tuple[Tensor, Tensor, Tensor]:
        """Draw a position of each decision from its occupancy: observations, positions, probabilities."""
        occupancy = torch.from_numpy(found.path.occupancy[batch.decided])
        positions = torch.multinomial(occupancy, 1, generator=self._order)[:, 0]
        decided, rows = torch.from_numpy(batch.decided), torch.arange(len(positions))
        chances = torch.from_numpy(found.probabilities[batch.decided])
        return batch.observations[decided], positions, chances[rows, positions]

    def _report(
        self, total: Expected, n_decisions: int, scores: NDArray[np.float32], update: UpdateReport
    ) -> RolloutReport:
        hold_rate = total.holds / n_decisions
        trades = total.orders / n_decisions * self.market.full_session_decisions
        in_force = self.multipliers
        self._steer(target_hold_rate(self._points, float(scores.mean())) - hold_rate, trades)
        self.steps += n_decisions
        return RolloutReport(
            steps=self.steps,
            hold_rate_ratio=hold_rate,
            trades_per_session=trades,
            mean_reward_bps=total.reward_bps / n_decisions,
            hold_bonus_bps=0.0,
            multipliers=in_force,
            mean_abs_score=float(np.abs(scores).mean()),
            update=update,
            episodes=(),
        )

    def _steer(self, hold_error: float, trades: float) -> None:
        numbers, config = self._numbers, self.config
        surplus = trades - self._points.orders_per_decision * self.market.full_session_decisions
        hold, trade = self.multipliers
        self.multipliers = Multipliers(
            integrate(hold, config.ki_hold, hold_error, -numbers.hold_bound, numbers.hold_bound),
            integrate(trade, config.ki_trade, surplus, numbers.trade_lowest, numbers.trade_highest),
        )
