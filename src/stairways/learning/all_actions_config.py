"""Settings of the all-actions policy gradient, without torch."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from stairways.learning.schedules import Ramp


class AllActionsConfig(BaseModel):
    """Settings of the all-actions policy gradient.

    Attributes:
        passes_per_cycle: Times that a cycle goes through every training session.
        sessions: Sessions of a batch; each batch is one gradient step.
        learning_rate: Adam's step size over the progress of a cycle.
        gamma: Discount per decision.
        value_coefficient: Weight of the value's squared error.
        reward_scale: Rewards are multiplied by this before learning.
        adam_epsilon: Adam's epsilon.
        hold_gain: Logits that the hold multiplier moves per batch and unit of hold rate it is off.
        trade_gain: Logits that the trade multiplier moves per batch and trade per session it is off.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    passes_per_cycle: int = Field(1, ge=1)
    sessions: int = Field(25, ge=1)
    learning_rate: Ramp = Ramp.constant(7e-4)
    gamma: float = Field(0.97, ge=0, le=1)
    value_coefficient: float = Field(0.5, ge=0)
    reward_scale: float = Field(0.33, gt=0)
    adam_epsilon: float = Field(1e-8, gt=0)
    hold_gain: float = Field(0.5, ge=0)
    trade_gain: float = Field(0.02, ge=0)
