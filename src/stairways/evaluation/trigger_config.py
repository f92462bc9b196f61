"""What rolls a live model back: every bound of the triggers, in one place."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from stairways.market.sessions import SESSIONS_PER_YEAR
from stairways.trading.sharpe import MIN_SHARPE_SESSIONS

Positive = Annotated[float, Field(gt=0.0)]


class SequentialConfig(BaseModel):
    """The sequential test of the net return per session.

    Attributes:
        floor_ratio: Conditional mean net return of a session that still counts as healthy.
        false_alarms_per_year: Most false alarms in the mean of 252 sessions. At most ``a`` probability of any
            within the first ``h`` sessions of a model is had with ``252 * a / h``.
        gain_bound_ratio: Gain over the floor beyond which a session counts as this much. The guarantee is on
            the mean of returns so capped; a bound that no session reaches makes both the same.
        volatility_ratio: Standard deviation of session returns, as guessed before the first session.
        volatility_memory_sessions: Sessions over which the guess gives way to what was seen.
        designed_sharpes: Annual Sharpe ratios below the floor that bets are sized for, as positive numbers.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    floor_ratio: Annotated[float, Field(gt=-1.0, lt=1.0)] = 0.0
    false_alarms_per_year: Annotated[float, Field(gt=0.0, le=SESSIONS_PER_YEAR)] = 0.25
    gain_bound_ratio: Annotated[float, Field(gt=0.0, le=1.0)] = 0.02
    volatility_ratio: Annotated[float, Field(gt=0.0, le=1.0)] = 0.005
    volatility_memory_sessions: Annotated[int, Field(ge=1)] = 60
    designed_sharpes: Annotated[tuple[Positive, ...], Field(min_length=1)] = (1.0, 2.0, 4.0, 8.0)

    @model_validator(mode="after")
    def _sharpes_ascend(self) -> Self:
        if any(later <= earlier for earlier, later in pairwise(self.designed_sharpes)):
            raise ValueError(f"designed_sharpes {self.designed_sharpes} must ascend, each once")
        return self

    @property
    def threshold(self) -> float:
        """Evidence at which the test alarms: 252 / rate, the least mean sessions to a false alarm."""
        return SESSIONS_PER_YEAR / self.false_alarms_per_year


class TriggerConfig(BaseModel):
    """Bounds of the rollback triggers and of the alert beside them.

    Attributes:
        drift_threshold_ratio: Largest parameter drift from gold; beyond it a failed gate rolls back.
        max_drawdown_ratio: Largest fall of NAV from its peak within a session, unrealised losses included.
        session_trades_band: Band of the trades of a full session, both ends included.
        trades_run_sessions: Exchange sessions in a row outside that band that roll back.
        least_session_share_ratio: Share of a full session below which its trades can't be judged.
        net_return: The sequential test of the net return per session.
        sharpe_window_sessions: Sessions of the rolling Sharpe ratio; it alerts and never rolls back.
        sharpe_bar_annual: Annual Sharpe ratio below which it is low.
        sharpe_run_sessions: Closes in a row at which it must be low.
        most_controller_alerts: Alerts of the controller within the window that are still borne.
        alert_window_seconds: Length of that window, which moves with the alerts.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    drift_threshold_ratio: Positive = 0.15
    max_drawdown_ratio: Annotated[float, Field(gt=0.0, le=1.0)] = 0.02
    session_trades_band: tuple[int, int] = (5, 25)
    trades_run_sessions: Annotated[int, Field(ge=1)] = 3
    least_session_share_ratio: Annotated[float, Field(gt=0.0, le=1.0)] = 0.5
    net_return: SequentialConfig = SequentialConfig()
    sharpe_window_sessions: Annotated[int, Field(ge=MIN_SHARPE_SESSIONS)] = 30
    sharpe_bar_annual: float = 0.5
    sharpe_run_sessions: Annotated[int, Field(ge=1)] = 7
    most_controller_alerts: Annotated[int, Field(ge=0)] = 3
    alert_window_seconds: Annotated[int, Field(ge=1)] = 86_400

    @model_validator(mode="after")
    def _band_ascends(self) -> Self:
        low, high = self.session_trades_band
        if not 0 <= low <= high:
            raise ValueError(
                f"session_trades_band ({low}, {high}) must run from a lower to a higher count, from 0 up"
            )
        return self
