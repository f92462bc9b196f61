"""Schedules: a setting that moves with the progress of training."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator


class Ramp(BaseModel):
    """Constant at ``start`` until ``begin``, linear to ``end`` at ``until``, constant after.

    Attributes:
        start: Value at no progress.
        end: Value from ``until`` on.
        begin: Progress at which it starts to move, 0 to 1.
        until: Progress at which it has arrived.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    start: float
    end: float
    begin: float = Field(0.0, ge=0, le=1)
    until: float = Field(1.0, gt=0, le=1)

    @model_validator(mode="after")
    def _moves_forward(self) -> Self:
        if self.begin >= self.until:
            raise ValueError(f"a ramp must begin ({self.begin}) before it ends ({self.until})")
        return self

    @classmethod
    def constant(cls, value: float) -> Self:
        """Return a ramp that never moves."""
        return cls(start=value, end=value)

    def at(self, progress: float) -> float:
        """Return the value at a progress in [0, 1]."""
        share = min(1.0, max(0.0, (progress - self.begin) / (self.until - self.begin)))
        return self.start + (self.end - self.start) * share


def _above_zero(ramp: Ramp) -> Ramp:
    if not (ramp.start > 0 and ramp.end > 0):
        raise ValueError(f"a step size must stay above 0, it runs from {ramp.start} to {ramp.end}")
    return ramp


PositiveRamp = Annotated[Ramp, AfterValidator(_above_zero)]
"""A ramp that is above 0 from end to end."""
