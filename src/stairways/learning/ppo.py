"""Proximal policy optimisation: the buffer, the losses and the update.

Schulman et al. 2017 with the clipped objective and generalised advantages (Schulman et al. 2016).
What differs from the usual library: the tilt of every sample is stored and applied again in the
update, so the probability ratio is exact while the multipliers move.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor
from torch.optim.adam import adam

from stairways.errors import ConfigError, TrainingError
from stairways.learning.feed_forward_gradient import FeedForwardGradient
from stairways.learning.flat_parameters import FlatParameters
from stairways.learning.network import PolicyNetwork, States
from stairways.learning.ppo_config import PPOConfig


class TiltForm(NamedTuple):
    """What does not change from sample to sample.

    Attributes:
        floor: Floor of the base log-probabilities.
        coupling: As in :func:`stairways.policies.actor.tilt`; ``anchor`` likewise.
    """

    floor: float
    coupling: float = 1.0
    anchor: float = 0.0


class Tilting(NamedTuple):
    """How logits become the probabilities that acted.

    Attributes:
        offsets: ``(..., n_actions)`` logits to add to floored log-probabilities.
        stays: ``(..., n_actions)`` bool, the action places no order.
        form: Floor and coupling.
    """

    offsets: Tensor
    stays: Tensor
    form: TiltForm

    def picked(self, pick: Callable[[Tensor], Tensor]) -> Tilting:
        """Return the tilt of some of the samples."""
        return Tilting(pick(self.offsets), pick(self.stays), self.form)


def tilted_log_probabilities(logits: Tensor, tilting: Tilting | None) -> Tensor:
    """Return log pi'(.|s), ``(..., n_actions)``."""
    base = torch.log_softmax(_actions_first(logits), dim=0)
    if tilting is not None:
        base = base.clamp(min=tilting.form.floor)
        scores = base + _actions_first(tilting.offsets)
        if tilting.form.coupling < 1.0:
            stays, hold = _actions_first(tilting.stays), len(base) // 2
            anchored = base.index_add(
                0,
                torch.tensor([hold], device=base.device),
                torch.full_like(base[:1], tilting.form.anchor),
            )
            masses = [x.masked_fill(~stays, -torch.inf).logsumexp(0) for x in (anchored, scores)]
            scores = scores + stays * ((1.0 - tilting.form.coupling) * (masses[0] - masses[1]))
        base = torch.log_softmax(scores, dim=0)
    return base.t().reshape(logits.shape)


def _actions_first(values: Tensor) -> Tensor:
    """Return ``(n_actions, n)``: along the samples torch is 4 times as fast as over a short last axis."""
    return values.flatten(0, -2).t().contiguous()


@njit(cache=True)
def generalised_advantages(
    rewards: NDArray[np.float32],
    values: NDArray[np.float32],
    done: NDArray[np.bool_],
    last_values: NDArray[np.float32],
    gamma: float,
    gae_lambda: float,
) -> NDArray[np.float32]:
    """Return advantages by the recursion of Schulman et al. 2016, eq. 16.

    Args:
        rewards: ``(n_steps, n_envs)``.
        values: ``(n_steps, n_envs)`` values of the states acted in.
        done: ``(n_steps, n_envs)`` the session ended with this step; nothing is carried over.
        last_values: ``(n_envs,)`` values of the states after the last step.
        gamma: Discount.
        gae_lambda: Decay.
    """
    n_steps, n_envs = rewards.shape
    advantages = np.zeros((n_steps, n_envs), np.float32)
    for env in range(n_envs):
        running = 0.0
        following = float(last_values[env])
        for step in range(n_steps - 1, -1, -1):
            going_on = 0.0 if done[step, env] else 1.0
            delta = rewards[step, env] + gamma * following * going_on - values[step, env]
            running = delta + gamma * gae_lambda * going_on * running
            advantages[step, env] = running
            following = float(values[step, env])
    return advantages


@dataclass(frozen=True, eq=False)
class Rollout:
    """Transitions of one rollout, time first.

    Attributes:
        observations: ``(n_steps, n_envs, n_inputs)`` float32.
        actions: ``(n_steps, n_envs)`` int64.
        log_probabilities: ``(n_steps, n_envs)`` of the actions, under the tilt that acted.
        values: ``(n_steps, n_envs)``; ``advantages`` and ``returns`` likewise.
        tilting: ``(n_steps, n_envs, n_actions)`` tilt of each sample, None without one.
        starts: ``(n_steps, n_envs)`` bool, first step of a session.
        states: Recurrent states before the first step.
    """

    observations: Tensor
    actions: Tensor
    log_probabilities: Tensor
    values: Tensor
    advantages: Tensor
    returns: Tensor
    tilting: Tilting | None
    starts: NDArray[np.bool_]
    states: States

    def to(self, device: torch.device) -> Rollout:
        """Return the rollout with its tensors on a device; itself where they are there already."""
        if self.observations.device == device:
            return self
        return Rollout(
            observations=self.observations.to(device),
            actions=self.actions.to(device),
            log_probabilities=self.log_probabilities.to(device),
            values=self.values.to(device),
            advantages=self.advantages.to(device),
            returns=self.returns.to(device),
            tilting=None if self.tilting is None else self.tilting.picked(lambda tensor: tensor.to(device)),
            starts=self.starts,
            states=self.states,
        )


class Batch(NamedTuple):
    """Samples of one minibatch, with what the network makes of them."""

    logits: Tensor
    values: Tensor
    actions: Tensor
    old_log_probabilities: Tensor
    advantages: Tensor
    returns: Tensor
    tilting: Tilting | None


class Losses(NamedTuple):
    """Losses of one minibatch and what they are watched by."""

    total: Tensor
    policy: Tensor
    value: Tensor
    entropy: Tensor
    approximate_kl: Tensor
    clipped_share: Tensor


def ppo_losses(batch: Batch, config: PPOConfig, entropy_weight: float) -> Losses:
    """Return PPO's losses of one minibatch (means over its samples).

    The approximate KL is Schulman's low-variance estimator mean((ratio - 1) - log ratio).
    """
    log_probabilities = tilted_log_probabilities(batch.logits, batch.tilting)
    taken = log_probabilities.gather(-1, batch.actions.unsqueeze(-1)).squeeze(-1)
    log_ratio = taken - batch.old_log_probabilities
    ratio = log_ratio.exp()
    clipped = ratio.clamp(1 - config.clip, 1 + config.clip)
    policy = -torch.min(batch.advantages * ratio, batch.advantages * clipped).mean()
    value = torch.nn.functional.mse_loss(batch.returns, batch.values)
    entropy = -(log_probabilities.exp() * log_probabilities).sum(-1).mean()
    total = policy + config.value_coefficient * value - entropy_weight * entropy
    with torch.no_grad():
        kl = ((ratio - 1) - log_ratio).mean()
        share = ((ratio - 1).abs() > config.clip).float().mean()
    return Losses(total, policy, value, entropy, kl, share)


def normalise(advantages: Tensor, over: Tensor) -> Tensor:
    """Return advantages less the mean of ``over``, in its sample standard deviations.

    With fewer than two samples in ``over`` there is no deviation, and advantages stay as they are.
    """
    if over.numel() < 2:
        return advantages
    return (advantages - over.mean()) / (over.std() + 1e-8)


class UpdateReport(NamedTuple):
    """Means over the minibatches of one update; None where training has no such thing.

    Attributes:
        policy_loss: Of the clipped objective; of all actions, less the discounted reward from the open
            per decision, bp.
        value_loss: Squared error of the value.
        entropy: Of the action distribution, nats.
        approximate_kl: From the policy before the update to the one after, nats.
        clipped_share: Share of samples beyond the clip.
        learning_rate: Adam's step size.
    """

    policy_loss: float
    value_loss: float | None
    entropy: float
    approximate_kl: float
    clipped_share: float | None
    learning_rate: float


class PPOUpdate:
    """Applies PPO's update to a network.

    Args:
        network: The network; parameters that do not require a gradient stay as they are.
        config: Settings.
        generator: Source of the minibatches' order.
        mixed_precision: Take products in bfloat16.

    Raises:
        ConfigError: If mixed precision is asked for where the gradient is written out, in float32.
    """

    def __init__(
        self,
        network: PolicyNetwork,
        config: PPOConfig,
        generator: torch.Generator,
        *,
        mixed_precision: bool = False,
    ) -> None:
        self.network = network
        self._device = next(network.parameters()).device
        self._mixed_precision = mixed_precision
        self.config = config
        self.generator = generator
        self._by_hand = FeedForwardGradient(network, config) if FeedForwardGradient.fits(network) else None
        if mixed_precision and self._by_hand is not None:
            raise ConfigError(
                "a feed-forward policy without a gate trains in float32 on a CPU, which is faster",
                where="performance.mixed_precision",
                remedy="switch it off",
            )
        self.parameters = FlatParameters(self._clip_groups())
        self.optimizer = torch.optim.Adam(
            [self.parameters.vector], lr=config.learning_rate.at(0.0), eps=config.adam_epsilon, fused=True
        )

    def logits(self, observations: Tensor) -> Tensor:
        """Return a feed-forward network's logits ``(n, n_actions)``, without gradients."""
        if self._by_hand is not None:
            return self._by_hand.logits(observations)
        with torch.no_grad():
            logits: Tensor = self.network.policy(self.network.trunk_inputs(observations))
        return logits

    def values(self, observations: Tensor) -> Tensor:
        """Return a feed-forward network's values ``(n,)``, without gradients."""
        if self._by_hand is not None:
            return self._by_hand.values(observations)
        with torch.no_grad():
            values: Tensor = self.network.value(self.network.trunk_inputs(observations))
        return values.squeeze(-1)

    def run(self, rollout: Rollout, progress: float) -> UpdateReport:
        """Take the gradient steps of one rollout.

        Raises:
            TrainingError: If a loss is not finite, or the learning rate is not above 0.
        """
        learning_rate = self.config.learning_rate.at(progress)
        if not learning_rate > 0:
            raise TrainingError(f"learning rate is {learning_rate} at progress {progress}")
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        entropy_weight = self.config.entropy.at(progress)
        rollout = rollout.to(self._device)
        advantages = rollout.advantages
        if self.config.normalise_advantages == "rollout":
            advantages = normalise(advantages, over=advantages)
        watched = [
            self._step(parts, entropy_weight)
            for _ in range(self.config.epochs)
            for parts in self._minibatches(rollout, advantages)
        ]
        means = torch.stack(watched).mean(0).tolist()
        if not np.isfinite(means).all():
            raise TrainingError("a loss is not finite", remedy="lower learning_rate or reward_scale")
        return UpdateReport._make([*means, learning_rate])

    def _step(self, parts: Sequence[_Samples], entropy_weight: float) -> Tensor:
        """Take one gradient step on a minibatch, whose parts are taken one after the other."""
        self.parameters.gradient.zero_()
        if self.config.normalise_advantages == "minibatch":
            whole = torch.cat([part.advantages for part in parts], dim=-1)
            parts = [part._replace(advantages=normalise(part.advantages, over=whole)) for part in parts]
        n_samples = sum(part.actions.numel() for part in parts)
        watched = [
            self._add_gradient(part, entropy_weight, part.actions.numel() / n_samples) for part in parts
        ]
        self.parameters.clip(self.config.max_gradient_norm)
        self._optimise()
        return watched[0] if len(watched) == 1 else torch.stack(watched).sum(0)

    def _optimise(self) -> None:
        """Take Adam's step: by torch's own function, because its method takes five times as long."""
        state, (group,) = self.optimizer.state[self.parameters.vector], self.optimizer.param_groups
        if not state:
            self.optimizer.step()
            return
        with torch.no_grad():
            adam(
                [self.parameters.vector],
                [self.parameters.gradient],
                [state["exp_avg"]],
                [state["exp_avg_sq"]],
                [],
                [state["step"]],
                fused=True,
                amsgrad=False,
                beta1=group["betas"][0],
                beta2=group["betas"][1],
                lr=group["lr"],
                weight_decay=0.0,
                eps=group["eps"],
                maximize=False,
            )

    def _add_gradient(self, samples: _Samples, entropy_weight: float, weight: float) -> Tensor:
        """Add the weighted gradient of some samples; return what is watched, weighted likewise."""
        if self._by_hand is not None:
            return self._by_hand.add(
                samples.observations,
                samples.actions,
                samples.log_probabilities,
                samples.advantages,
                samples.returns,
                samples.tilting,
                entropy_weight=entropy_weight,
                weight=weight,
            )
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._mixed_precision):
            losses = ppo_losses(self._evaluate(samples), self.config, entropy_weight)
        torch.autograd.backward(losses.total * weight)
        return torch.stack([x.detach() for x in losses[1:]]) * weight

    def _clip_groups(self) -> list[list[torch.nn.Parameter]]:
        named = [(n, p) for n, p in self.network.named_parameters() if p.requires_grad]
        if self.config.clip_gradients == "all":
            return [[p for _, p in named]]
        value = [p for n, p in named if n.startswith("value.")]
        rest = [p for n, p in named if not n.startswith("value.")]
        return [group for group in (rest, value) if group]

    def _minibatches(self, rollout: Rollout, advantages: Tensor) -> Iterator[list[_Samples]]:
        """Yield each minibatch of one pass, in the parts that its gradient is accumulated from."""
        n_steps, n_envs = rollout.actions.shape
        n_parts = self.config.gradient_accumulation
        if self.network.spec.kind == "lstm":
            order = torch.randperm(n_envs, generator=self.generator).to(self._device)
            for indices in order.split(max(1, self.config.minibatch // n_steps)):
                yield [_Samples.of_accounts(rollout, advantages, part) for part in indices.chunk(n_parts)]
            return
        order = torch.randperm(n_steps * n_envs, generator=self.generator).to(self._device)
        # gathered once a pass: minibatches are slices then
        shuffled = _Samples.of_transitions(rollout, advantages, order)
        for first in range(0, len(order), self.config.minibatch):
            stop = min(first + self.config.minibatch, len(order))
            size = -(-(stop - first) // n_parts)
            yield [shuffled.rows(row, min(row + size, stop)) for row in range(first, stop, size)]

    def _evaluate(self, samples: _Samples) -> Batch:
        if samples.starts is None:
            logits, values = self.network(samples.observations)
        else:
            logits, values, _ = self.network.unroll(samples.observations, samples.starts, samples.states)
        return Batch(
            logits=logits,
            values=values,
            actions=samples.actions,
            old_log_probabilities=samples.log_probabilities,
            advantages=samples.advantages,
            returns=samples.returns,
            tilting=samples.tilting,
        )


class _Samples(NamedTuple):
    observations: Tensor
    actions: Tensor
    log_probabilities: Tensor
    advantages: Tensor
    returns: Tensor
    tilting: Tilting | None
    starts: NDArray[np.bool_] | None
    states: States

    @classmethod
    def of_transitions(cls, rollout: Rollout, advantages: Tensor, indices: Tensor) -> _Samples:
        def pick(tensor: Tensor) -> Tensor:
            return tensor.flatten(0, 1).index_select(0, indices)

        return cls(
            pick(rollout.observations),
            pick(rollout.actions),
            pick(rollout.log_probabilities),
            pick(advantages),
            pick(rollout.returns),
            None if rollout.tilting is None else rollout.tilting.picked(pick),
            None,
            States(None, None),
        )

    def rows(self, first: int, stop: int) -> _Samples:
        """Return some of the transitions (views, no copy)."""

        def pick(tensor: Tensor) -> Tensor:
            return tensor[first:stop]

        return _Samples(
            pick(self.observations),
            pick(self.actions),
            pick(self.log_probabilities),
            pick(self.advantages),
            pick(self.returns),
            None if self.tilting is None else self.tilting.picked(pick),
            None,
            self.states,
        )

    @classmethod
    def of_accounts(cls, rollout: Rollout, advantages: Tensor, indices: Tensor) -> _Samples:
        def pick(tensor: Tensor) -> Tensor:
            return tensor.index_select(1, indices)

        def of(state: object) -> object:
            return None if state is None else type(state)(*(x[:, indices] for x in state))  # type: ignore[attr-defined]

        return cls(
            pick(rollout.observations),
            pick(rollout.actions),
            pick(rollout.log_probabilities),
            pick(advantages),
            pick(rollout.returns),
            None if rollout.tilting is None else rollout.tilting.picked(pick),
            rollout.starts[:, indices.cpu().numpy()],
            States(*(of(state) for state in rollout.states)),  # type: ignore[arg-type]
        )
