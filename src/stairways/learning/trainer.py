"""The trainer: rollouts from a pool under a controller, and PPO's update, in exact step counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stairways.control.tilt import Multipliers
from stairways.envs.pool import EPISODE_HOLDS, EPISODE_RETURN, EPISODE_REWARD, EPISODE_TRADES, SessionPool
from stairways.errors import ConfigError
from stairways.learning.adam_state import adam_arrays, load_adam
from stairways.learning.feed_forward_gradient import choose_each
from stairways.learning.network import PolicyNetwork, RecurrentState, States
from stairways.learning.ppo import (
    PPOUpdate,
    Rollout,
    TiltForm,
    Tilting,
    UpdateReport,
    generalised_advantages,
)
from stairways.learning.ppo_config import PPOConfig
from stairways.learning.reports import Episode, Progress, RolloutReport
from stairways.learning.runtime import CPU, generator_of
from stairways.learning.steering import Steering


class Trainer:
    """Trains one network on one pool.

    Args:
        network: Policy and value.
        pool: Accounts to act with.
        config: PPO's settings; its n_envs is the pool's.
        steering: The controller.
        seed: Seeds of action sampling and of minibatches.
        device: Where the network trains; accounts stay on the CPU.
        mixed_precision: Take products of the update in bfloat16.
        clear_buffer: Whether the memory of a rollout goes back when :meth:`train` ends.
    """

    def __init__(
        self,
        network: PolicyNetwork,
        pool: SessionPool,
        config: PPOConfig,
        steering: Steering,
        seed: np.random.SeedSequence,
        *,
        device: torch.device = CPU,
        mixed_precision: bool = False,
        clear_buffer: bool = True,
    ) -> None:
        if pool.n_envs != config.n_envs:
            raise ConfigError(
                f"the pool has {pool.n_envs} environments, the trainer asks for {config.n_envs}",
                remedy="give both the same n_envs",
            )
        self.network = network.to(device)
        self.device = device
        self.pool = pool
        self.config = config
        self.steering = steering
        acting, order = seed.spawn(2)
        self._acting = generator_of(acting)
        self._order = generator_of(order)
        self.update = PPOUpdate(network, config, self._order, mixed_precision=mixed_precision)
        self.clear_buffer = clear_buffer
        self._tape: _Tape | None = None
        self.steps = 0
        self._states = network.zero_states(pool.n_envs)
        self._starts = pool.state.bar == 0
        self._began = np.where(self._starts, 0, pool.state.bar)
        self._observations = torch.from_numpy(pool.observe().copy())

    def train(
        self, steps: int, *, progress: Progress | None = None, anchor: tuple[int, int] | None = None
    ) -> list[RolloutReport]:
        """Train for exactly so many steps.

        Args:
            steps: Transitions to take; a multiple of a rollout.
            progress: Called after each rollout; an exception in it stops the training.
            anchor: (first step, number of steps) that schedules run over; by default this call.

        Raises:
            ConfigError: If a rollout does not divide the steps.
        """
        size = self.config.rollout_steps
        if steps % size != 0 or steps <= 0:
            raise ConfigError(
                f"{steps} steps are not a multiple of a rollout of {self.config.n_envs} x "
                f"{self.config.n_steps} = {size}",
                remedy="change n_envs, n_steps or the steps",
            )
        first, length = anchor or (self.steps, steps)
        reports = []
        for _ in range(steps // size):
            share = (self.steps - first) / length
            rollout, partial = self._collect()
            report = partial(self.update.run(rollout, share))
            reports.append(report)
            if progress is not None:
                progress(report)
        if self.clear_buffer:
            self._tape = None
        return reports

    def take_reward_shares(self) -> dict[str, float]:
        """Return each term's share of the mean absolute reward since last asked."""
        shares = self.pool.reward_shares()
        self.pool.output.term_sums[:] = 0.0
        return shares

    def snapshot(self) -> dict[str, Any]:
        """Return everything a checkpoint needs: arrays, and plain values under ``plain``."""
        arrays = {f"pool.{name}": value for name, value in self.pool.snapshot().items()}
        arrays |= {f"weights.{n}": v for n, v in self.network.export_weights().items()}
        arrays |= {f"adam.{n}": v for n, v in adam_arrays(self.update.optimizer).items()}
        arrays["generator.acting"] = self._acting.get_state().numpy().copy()
        arrays["generator.order"] = self._order.get_state().numpy().copy()
        arrays["trainer.starts"] = self._starts.copy()
        arrays["trainer.began"] = self._began.copy()
        for name, state in zip(("policy", "value"), self._states, strict=True):
            if state is not None:
                arrays[f"state.{name}.h"] = state.h.cpu().numpy().copy()
                arrays[f"state.{name}.c"] = state.c.cpu().numpy().copy()
        return {"arrays": arrays, "plain": {"steps": self.steps, "steering": self.steering.snapshot()}}

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Go on from a snapshot as if there had been no stop."""
        arrays, plain = snapshot["arrays"], snapshot["plain"]
        self.pool.restore(_part(arrays, "pool."))
        self.network.load_weights(_part(arrays, "weights."))
        load_adam(self.update.optimizer, _part(arrays, "adam."))
        self._acting.set_state(torch.from_numpy(np.array(arrays["generator.acting"])))
        self._order.set_state(torch.from_numpy(np.array(arrays["generator.order"])))
        self._starts = np.array(arrays["trainer.starts"])
        self._began = np.array(arrays["trainer.began"])
        policy, value = (_state_of(arrays, name, self.device) for name in ("policy", "value"))
        self._states = States(policy, value)
        self.steps = int(plain["steps"])
        self.steering.restore(plain["steering"])
        self._observations = torch.from_numpy(self.pool.observe().copy())

    def _collect(self) -> tuple[Rollout, Callable[[UpdateReport], RolloutReport]]:
        if self._tape is None:
            self._tape = _Tape(self.config, self.network.spec.n_observed, self.network.spec.n_actions)
        tape = self._tape
        initial = self._states
        episodes: list[Episode] = []
        for step in range(self.config.n_steps):
            self._act(step, tape, episodes)
        if self.network.spec.kind == "mlp":
            # nothing acts on them: in large batches they take a third of the time
            tape.values[:] = self._values(tape.observations)
            last_values = self._values(self._observations)
        else:
            last_values = self._unroll(self._observations, self._starts)[1]
        rollout = tape.finish(last_values.numpy(), self.config, initial)
        self.steps += self.config.rollout_steps
        return rollout, lambda update: tape.report(
            self.steps, self.pool.market.full_session_decisions, update, tuple(episodes)
        )

    def _act(self, step: int, tape: _Tape, episodes: list[Episode]) -> None:
        scores = self.pool.scores()
        score = float(scores.mean())
        if self.network.spec.kind == "mlp":
            logits = self.update.logits(self._observations.to(self.device)).cpu()
        else:
            logits, tape.values[step], self._states = self._unroll(self._observations, self._starts)
        tilting = self._tilting(score)
        actions, taken = choose_each(logits, tilting, self._acting)
        tape.before(step, self._observations, self._starts, actions, taken, tilting)
        self.pool.hold_bonus_bps = self.steering.hold_bonus_bps()
        output = self.pool.step(actions.numpy())
        self.steering.observe(output, score)
        tape.after(step, output.rewards, output.done, output.held, output.orders)
        tape.watch(step, self.pool.hold_bonus_bps, self.steering.multipliers, scores)
        self._note_episodes(output.done, episodes)
        self._starts = output.done.copy()
        self._observations = torch.from_numpy(output.observations.copy())

    def _tilting(self, score: float) -> Tilting | None:
        form, positions = self.steering.form(), self.pool.position_index()
        offsets = self.steering.offsets(positions, score)
        if form is None or offsets is None:
            return None
        stays = self.pool.order_counts[positions] == 0
        return Tilting(torch.from_numpy(offsets), torch.from_numpy(stays), form)

    def _values(self, observations: Tensor) -> Tensor:
        """Return a feed-forward network's values, of the observations' shape without the last axis."""
        parts = observations.flatten(0, -2).split(self.config.minibatch)
        values = torch.cat([self.update.values(part.to(self.device)).cpu() for part in parts])
        return values.reshape(observations.shape[:-1])

    def _unroll(self, observations: Tensor, starts: NDArray[np.bool_]) -> tuple[Tensor, Tensor, States]:
        with torch.no_grad():
            logits, values, states = self.network.unroll(
                observations.to(self.device)[None], starts[None], self._states
            )
        return logits[0].cpu(), values[0].cpu(), states

    def _note_episodes(self, done: NDArray[np.bool_], episodes: list[Episode]) -> None:
        out, market = self.pool.output, self.pool.market
        for account in np.flatnonzero(done):
            ended = int(out.ended[account])
            decisions = int(market.n_bars[ended]) - 1 - int(self._began[account])
            row = out.episodes[account]
            episodes.append(
                Episode(
                    reward_bps=float(row[EPISODE_REWARD]),
                    return_ratio=float(row[EPISODE_RETURN]),
                    trades=int(row[EPISODE_TRADES]),
                    hold_rate_ratio=float(row[EPISODE_HOLDS]) / decisions,
                    decisions=decisions,
                    whole=bool(self._began[account] == 0),
                )
            )
            self._began[account] = 0


class _Tape:
    """Collects one rollout; the next one is written over it."""

    def __init__(self, config: PPOConfig, n_inputs: int, n_actions: int) -> None:
        shape = (config.n_steps, config.n_envs)
        self.observations = torch.empty((*shape, n_inputs))
        self.actions = torch.empty(shape, dtype=torch.int64)
        self.log_probabilities = torch.empty(shape)
        self.values = torch.empty(shape)
        self.offsets = torch.zeros((*shape, n_actions))
        self.stays = torch.zeros((*shape, n_actions), dtype=torch.bool)
        self.form: TiltForm | None = None
        self.starts = np.zeros(shape, np.bool_)
        self.rewards = np.zeros(shape, np.float32)
        self.done = np.zeros(shape, np.bool_)
        self.held = np.zeros(shape, np.bool_)
        self.orders = np.zeros(shape, np.int64)
        self.watched = np.zeros((config.n_steps, 4))

    def before(
        self,
        step: int,
        observations: Tensor,
        starts: NDArray[np.bool_],
        actions: Tensor,
        log_probabilities: Tensor,
        tilting: Tilting | None,
    ) -> None:
        self.observations[step] = observations
        self.starts[step] = starts
        self.actions[step] = actions
        self.log_probabilities[step] = log_probabilities
        if tilting is not None:
            self.offsets[step], self.stays[step], self.form = tilting

    def after(
        self,
        step: int,
        rewards: NDArray[np.float64],
        done: NDArray[np.bool_],
        held: NDArray[np.bool_],
        orders: NDArray[np.int64],
    ) -> None:
        self.rewards[step] = rewards
        self.done[step] = done
        self.held[step] = held
        self.orders[step] = orders

    def watch(
        self, step: int, bonus_bps: float, multipliers: Multipliers, scores: NDArray[np.float64]
    ) -> None:
        self.watched[step] = bonus_bps, *multipliers, float(np.abs(scores).mean())

    def finish(self, last_values: NDArray[np.float32], config: PPOConfig, states: States) -> Rollout:
        values = self.values.numpy()
        advantages = generalised_advantages(
            self.rewards * np.float32(config.reward_scale),
            values,
            self.done,
            last_values,
            config.gamma,
            config.gae_lambda,
        )
        return Rollout(
            observations=self.observations,
            actions=self.actions,
            log_probabilities=self.log_probabilities,
            values=self.values,
            advantages=torch.from_numpy(advantages),
            returns=torch.from_numpy(advantages + values),
            tilting=None if self.form is None else Tilting(self.offsets, self.stays, self.form),
            starts=self.starts,
            states=states,
        )

    def report(
        self, steps: int, full_session_decisions: int, update: UpdateReport, episodes: tuple[Episode, ...]
    ) -> RolloutReport:
        bonus, hold, trade, score = self.watched.mean(axis=0).tolist()
        return RolloutReport(
            steps=steps,
            hold_rate_ratio=float(self.held.mean()),
            trades_per_session=float(self.orders.mean()) * full_session_decisions,
            mean_reward_bps=float(self.rewards.mean()),
            hold_bonus_bps=bonus,
            multipliers=Multipliers(hold, trade),
            mean_abs_score=score,
            update=update,
            episodes=episodes,
        )


def _part(arrays: dict[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    return {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}


def _state_of(arrays: dict[str, NDArray[Any]], name: str, device: torch.device) -> RecurrentState | None:
    if f"state.{name}.h" not in arrays:
        return None
    h, c = (torch.from_numpy(np.array(arrays[f"state.{name}.{part}"])).to(device) for part in ("h", "c"))
    return RecurrentState(h, c)
