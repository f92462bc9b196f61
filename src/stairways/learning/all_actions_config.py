"""Settings of the all-actions policy gradient, without torch."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from stairways.learning.schedules import PositiveRamp, Ramp


class AllActionsConfig(BaseModel):
    """Settings of the all-actions policy gradient.

    The step size was chosen among 3e-4 to 3e-3 on two markets kept for development.

    Attributes:
        passes_per_cycle: Times that a cycle goes through every training session.
        sessions: Sessions of a batch at most; each batch is one gradient step.
        least_batches: Batches of a pass at least, as far as there are sessions; few sessions make small ones.
        learning_rate: Adam's step size over the progress of a cycle; above 0 from end to end.
        gamma: Discount per decision.
        adam_epsilon: Adam's epsilon.
        ki_hold: Logits that the hold multiplier moves per batch and unit of hold rate it is off.
        ki_trade: Logits that the trade multiplier moves per batch and trade per session it is off.
        price_decay: Weight of earlier batches, at each new one, in the prices of a hold and an order.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    passes_per_cycle: int = Field(1, ge=1)
    sessions: int = Field(25, ge=1)
    least_batches: int = Field(20, ge=1)
    learning_rate: PositiveRamp = Ramp.constant(3e-3)
    gamma: float = Field(0.97, ge=0, le=1)
    adam_epsilon: float = Field(1e-8, gt=0)
    ki_hold: float = Field(0.5, ge=0)
    ki_trade: float = Field(0.02, ge=0)
    price_decay: float = Field(0.8, ge=0, lt=1)
