"""What a candidate must show: every bound of the gates, in one place."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from stairways.trading.ledger import Mode

Ratio = Annotated[float, Field(ge=0.0, le=1.0)]
ShadowRule = Literal["default", "plan"]


class GateConfig(BaseModel):
    """Bounds of the gates.

    Attributes:
        deployment_mode: Mode in which behaviour and money must have been measured.
        hold_target_ratio: Target of the mean hold rate where the set point is fixed.
        hold_tolerance_ratio: Largest distance of the mean hold rate from its target.
        trades_band: Band of the mean trades per session, both ends included.
        session_trades_band: Band of the trades of one session, both ends included.
        min_sessions_in_band_ratio: Least share of sessions in that band.
        max_drawdown_ratio: Largest intraday drawdown.
        max_sessions_over_ratio: Largest share of sessions that exceed it.
        drift_threshold_ratio: Largest parameter drift from gold.
        confidence: Confidence of the paired intervals, two-sided.
        require_skill: Whether skill gates; without it a candidate is accepted and marked.
        min_sessions: Sessions below which nothing is judged.
        shadow_sessions: Sessions of the shadow replay.
        shadow_rule: ``default`` gates on what so few sessions can show; ``plan`` also asks each of them for
            a result of ``shadow_min_return_ratio`` and for trades in the band.
        shadow_trades_band: Band of the trades in the shadow replay.
        shadow_min_return_ratio: Least net return of each shadow session under the ``plan`` rule.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    deployment_mode: Mode = "sampled"
    hold_target_ratio: Ratio = 0.55
    hold_tolerance_ratio: Ratio = 0.03
    trades_band: tuple[float, float] = (15.0, 18.0)
    session_trades_band: tuple[int, int] = (5, 25)
    min_sessions_in_band_ratio: Ratio = 0.8
    max_drawdown_ratio: Annotated[float, Field(gt=0.0, le=1.0)] = 0.02
    max_sessions_over_ratio: Ratio = 0.01
    drift_threshold_ratio: Annotated[float, Field(gt=0.0)] = 0.15
    confidence: Annotated[float, Field(ge=0.5, lt=1.0)] = 0.95
    require_skill: bool = True
    min_sessions: Annotated[int, Field(ge=2)] = 20
    shadow_sessions: Annotated[int, Field(ge=1)] = 3
    shadow_rule: ShadowRule = "default"
    shadow_trades_band: tuple[int, int] = (5, 25)
    shadow_min_return_ratio: Annotated[float, Field(gt=-1.0)] = 0.0

    @model_validator(mode="after")
    def _bands_ascend(self) -> Self:
        for name in ("trades_band", "session_trades_band", "shadow_trades_band"):
            low, high = getattr(self, name)
            if not 0 <= low <= high:
                raise ValueError(f"{name} ({low}, {high}) must run from a lower to a higher count, from 0 up")
        return self
