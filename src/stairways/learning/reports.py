"""What training reports, whichever way it learns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from stairways.control.tilt import Multipliers
from stairways.learning.ppo import UpdateReport


class Episode(NamedTuple):
    """One finished session of training.

    Attributes:
        reward_bps: Sum of rewards.
        return_ratio: Net session return.
        trades: Executed orders.
        hold_rate_ratio: Share of hold decisions.
        decisions: Decisions taken; fewer than the session's for a staggered first one.
        whole: Whether it ran from the session's open.
    """

    reward_bps: float
    return_ratio: float
    trades: int
    hold_rate_ratio: float
    decisions: int
    whole: bool


@dataclass(frozen=True)
class RolloutReport:
    """What one rollout, or one batch of recorded sessions, showed.

    Attributes:
        steps: Transitions, or decisions met, so far over the trainer's life.
        hold_rate_ratio: Share of hold decisions in the rollout.
        trades_per_session: Orders per decision x decisions of a full session.
        mean_reward_bps: Mean reward per decision.
        hold_bonus_bps: Mean bonus in force.
        multipliers: Mean tilt in force, 0 without one.
        mean_abs_score: Mean absolute regime score of the decisions.
        update: Means over the update's minibatches.
        episodes: Sessions that ended.
    """

    steps: int
    hold_rate_ratio: float
    trades_per_session: float
    mean_reward_bps: float
    hold_bonus_bps: float
    multipliers: Multipliers
    mean_abs_score: float
    update: UpdateReport
    episodes: tuple[Episode, ...]


Progress = Callable[[RolloutReport], None]
