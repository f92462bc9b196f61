"""Settings of the trainer, without torch."""

from __future__ import annotations

import math
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from stairways.errors import ConfigError
from stairways.learning.schedules import PositiveRamp, Ramp

REACH = 4


class PPOConfig(BaseModel):
    """Settings of the trainer; paper words.

    Attributes:
        n_envs: Accounts in the pool.
        n_steps: Steps of each account in a rollout; n_envs x n_steps divides the steps asked for.
        minibatch: Samples of a minibatch; for an LSTM, whole accounts of about as many samples.
        epochs: Passes over a rollout.
        learning_rate: Adam's step size over the progress of training; above 0 from end to end.
        gamma: Discount per decision.
        gae_lambda: Decay of the advantage estimator.
        clip: Bound of the probability ratio's excursion.
        entropy: Weight of the entropy over the progress of training.
        value_coefficient: Weight of the value loss.
        max_gradient_norm: Bound of the gradient's L2 norm.
        clip_gradients: Over ``all`` parameters together, or over policy and value ``each``.
        normalise_advantages: Over the ``rollout``, each ``minibatch``, or ``none``.
        reward_scale: Rewards are multiplied by this before learning.
        adam_epsilon: Adam's epsilon.
        gradient_accumulation: Minibatches are computed in this many parts; same update.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    n_envs: int = Field(20, ge=1, le=4096)
    n_steps: int = Field(100, ge=1)
    minibatch: int = Field(500, ge=1)
    epochs: int = Field(10, ge=1, le=100)
    learning_rate: PositiveRamp = Ramp.constant(1e-4)
    gamma: float = Field(0.97, ge=0, le=1)
    gae_lambda: float = Field(0.95, ge=0, le=1)
    clip: float = Field(0.2, gt=0, lt=1)
    entropy: Ramp = Ramp.constant(0.0)
    value_coefficient: float = Field(0.5, ge=0)
    max_gradient_norm: float = Field(0.5, gt=0)
    clip_gradients: Literal["all", "each"] = "all"
    normalise_advantages: Literal["rollout", "minibatch", "none"] = "minibatch"
    reward_scale: float = Field(0.33, gt=0)
    adam_epsilon: float = Field(1e-5, gt=0)
    gradient_accumulation: int = Field(1, ge=1, le=64)

    @property
    def rollout_steps(self) -> int:
        """Transitions of one rollout."""
        return self.n_envs * self.n_steps

    def fitted(self, steps: int) -> Self:
        """Return settings whose rollout divides the steps asked for, as near to these as can be.

        The number of accounts and the steps of a rollout may each change by a factor of 4; the
        minibatch keeps its share of a rollout. Settings that divide the steps already stay.

        Args:
            steps: Transitions that shall be taken exactly.

        Raises:
            ConfigError: If no rollout near these settings divides them.
        """
        if steps % self.rollout_steps == 0:
            return self
        near = [
            (abs(math.log(n_envs / self.n_envs)) + abs(math.log(n_steps / self.n_steps)), n_envs, n_steps)
            for n_envs in range(max(1, self.n_envs // REACH), REACH * self.n_envs + 1)
            if steps % n_envs == 0
            for n_steps in range(max(1, self.n_steps // REACH), REACH * self.n_steps + 1)
            if (steps // n_envs) % n_steps == 0
        ]
        if not near:
            raise ConfigError(
                f"no rollout near {self.n_envs} x {self.n_steps} divides {steps} steps",
                remedy=f"choose a multiple of {self.rollout_steps}, or set n_envs and n_steps",
            )
        _, n_envs, n_steps = min(near)
        minibatch = max(1, round(self.minibatch * n_envs * n_steps / self.rollout_steps))
        return self.model_copy(update={"n_envs": n_envs, "n_steps": n_steps, "minibatch": minibatch})
