"""Dry run: a few thousand steps that show whether a tuning would start from sound ground."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stairways.control.actuators import TiltActuator
from stairways.control.tilt import Multipliers
from stairways.errors import ConfigError
from stairways.evaluation.calibration import calibrate
from stairways.evaluation.replay import TiltLoop
from stairways.evaluation.verdicts import Group, Verdict
from stairways.learning.warm_start import TOLERANCE, WarmStart, warm_start
from stairways.trading.observation import observe
from stairways.tuning.market_access import open_for
from stairways.tuning.packing import refuse_seen, unpack_for
from stairways.tuning.ranges import split_tune, with_sample_ranges
from stairways.tuning.seeds import Stream, key, stream
from stairways.tuning.steer import Seeds, algorithm_of, load_network, make_steering, trainer_on

if TYPE_CHECKING:
    from stairways.config import Settings
    from stairways.learning.reports import RolloutReport
    from stairways.trading.observation import ObservedMarket
    from stairways.tuning.run_folder import Watcher
    from stairways.unpacking import Packed


@dataclass(frozen=True)
class DryRunOutcome:
    """What a dry run showed.

    Attributes:
        verdicts: One per question.
        steps: Transitions taken.
        source: Where the bars came from.
        neutral_regime_ratio: Share of decisions while the regime was warming up.
    """

    verdicts: tuple[Verdict, ...]
    steps: int
    source: str
    neutral_regime_ratio: float

    @property
    def passed(self) -> bool:
        """Whether every verdict passed."""
        return all(verdict.passed for verdict in self.verdicts)

    def as_record(self) -> dict[str, Any]:
        """Return the outcome as plain JSON types."""
        return {
            "data": {
                "source": self.source,
                "synthetic": self.source.startswith("SYNTHETIC"),
                "neutral_regime_ratio": self.neutral_regime_ratio,
            },
            "verdicts": [verdict.as_record() for verdict in self.verdicts],
            "run": {"command": "dry-run", "steps": self.steps, "accepted": self.passed},
        }


def dry_run(
    settings: Settings, gold_folder: Path, *, watcher: Watcher, validate_warm_start: bool = True
) -> DryRunOutcome:
    """Train a warm-started policy for a few thousand steps and judge the start.

    Accounts act in a pool under PPO, whatever the tuning trains with: what is asked here is whether warm
    start, episodes, reward, controller and regime work on these bars.

    Args:
        settings: Every setting; the tuning range's training part is used.
        gold_folder: The gold artifact.
        watcher: Follows the run.
        validate_warm_start: Whether the warm start is judged too.
    """
    ranges = with_sample_ranges(settings, command="dry-run")
    settings = settings.model_copy(update={"ranges": ranges})
    if ranges.tune is None:
        raise ConfigError("a dry run needs --tune")
    gold = unpack_for(gold_folder, settings)
    algorithm_of(settings, gold.spec.kind)
    refuse_seen(gold, ranges.tune, "tune")
    dataset = open_for(gold, settings)
    split = split_tune(dataset.sessions, ranges.tune, settings)
    market = observe(dataset.sessions, dataset.table(gold.constants)).select(split.train)
    started = warm_start(
        gold.spec, gold.artifact.weights, settings.tune.regime, stream(settings.seed, Stream.WEIGHTS)
    )
    start = _calibrated(settings, gold, market)
    watcher.stage("dry run", settings.dry_run.steps)
    reports = _train(settings, started, market, start, watcher)
    verdicts = (
        *([_warm_start_verdict(started)] if validate_warm_start else []),
        _episodes_verdict(reports, settings),
        _reward_verdict(reports, settings),
        _controller_verdict(reports, settings),
        _regime_verdict(reports, market),
    )
    return DryRunOutcome(verdicts, reports[-1].steps, market.source, market.neutral_share_ratio)


def _calibrated(settings: Settings, gold: Packed, market: ObservedMarket) -> Multipliers | None:
    actuator = settings.control.actuator
    if not isinstance(actuator, TiltActuator):
        return None
    loop = TiltLoop(actuator, actuator.live, settings.control.points)
    chosen = key(settings.seed, Stream.DECISIONS)
    return calibrate(
        market, gold.program, settings.trading, loop, mode=settings.control.mode, run_seed=chosen
    )


def _train(
    settings: Settings,
    started: WarmStart,
    market: ObservedMarket,
    start: Multipliers | None,
    watcher: Watcher,
) -> list[RolloutReport]:
    dry = settings.dry_run
    seeds = Seeds(stream(settings.seed, Stream.ENVIRONMENTS), stream(settings.seed, Stream.TRAINING))
    trainer = trainer_on(
        load_network(started.spec, started.weights),
        market,
        settings,
        settings.tune.ppo.model_copy(update={"n_envs": dry.n_envs, "n_steps": dry.n_steps}),
        make_steering(settings, market.full_session_decisions, start),
        seeds,
        # so few steps hold whole sessions only if they start at the open
        staggered=False,
    )
    return trainer.train(dry.steps, progress=watcher.rollout)


def _warm_start_verdict(started: WarmStart) -> Verdict:
    difference = started.max_probability_difference
    return Verdict(
        name="warm_start_exact",
        group=Group.SAFETY,
        passed=difference <= TOLERANCE,
        observed=difference,
        threshold=f"largest difference of an action probability to gold <= {TOLERANCE:g}",
        n=started.n_observations,
        reason=f"differs by at most {difference:.1e} over {started.n_observations:,} observations",
    )


def _episodes_verdict(reports: list[RolloutReport], settings: Settings) -> Verdict:
    whole = sum(episode.whole for report in reports for episode in report.episodes)
    least = settings.dry_run.least_episodes
    return Verdict(
        name="whole_episodes",
        group=Group.BEHAVIOUR,
        passed=whole >= least,
        observed=float(whole),
        threshold=f"at least {least} episodes of a whole session",
        n=whole,
        reason=f"{whole} sessions ran from open to close",
    )


def _reward_verdict(reports: list[RolloutReport], settings: Settings) -> Verdict:
    floor = settings.dry_run.reward_floor_bps
    rewards = np.array([report.mean_reward_bps for report in reports])
    finite = bool(np.isfinite(rewards).all())
    worst = float(rewards.min()) if finite else None
    return Verdict(
        name="no_reward_collapse",
        group=Group.SAFETY,
        passed=worst is not None and worst > floor,
        observed=worst,
        threshold=f"mean reward of every rollout above {floor:g} bp per decision",
        n=len(rewards),
        reason="a reward is not finite" if worst is None else f"the lowest rollout mean is {worst:+.3f} bp",
    )


def _controller_verdict(reports: list[RolloutReport], settings: Settings) -> Verdict:
    tilted = isinstance(settings.control.actuator, TiltActuator)
    outputs = np.array([report.multipliers.hold if tilted else report.hold_bonus_bps for report in reports])
    span = float(np.ptp(outputs))
    name, unit = ("hold multiplier", "logits") if tilted else ("hold bonus", "bp")
    return Verdict(
        name="controller_active",
        group=Group.BEHAVIOUR,
        passed=span > 0.0,
        observed=span,
        threshold=f"the {name} moves",
        n=len(outputs),
        reason=f"the {name} moved between {outputs.min():.4f} and {outputs.max():.4f} {unit}",
    )


def _regime_verdict(reports: list[RolloutReport], market: ObservedMarket) -> Verdict:
    mean_score = float(np.mean([report.mean_abs_score for report in reports]))
    share = market.neutral_share_ratio
    warming = share == 1.0
    reason = (
        "still warming up: fewer than 50 sessions were seen, the score is 0 and trading goes on at neutral"
        if warming
        else f"mean absolute score {mean_score:.3f}; {share:.1%} of decisions at neutral"
    )
    return Verdict(
        name="regime_score",
        group=Group.BEHAVIOUR,
        passed=mean_score > 0.0 or warming,
        observed=mean_score,
        threshold="not 0, or still warming up",
        n=len(market),
        reason=reason,
    )
