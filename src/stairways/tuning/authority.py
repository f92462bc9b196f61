"""Authority and sign of the controller in force, reported before the first cycle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stairways.control.actuators import RewardActuator, TiltActuator
from stairways.control.dual_lane import DualLaneController
from stairways.evaluation.replay import TiltLoop, replay
from stairways.evaluation.verdicts import Group, Verdict
from stairways.learning.steering import NoSteering
from stairways.policies.program import compile_program
from stairways.tuning.preflight import Authority, hold_rate, tilt_authority, tilt_sign_test
from stairways.tuning.seeds import Stream, key, stream
from stairways.tuning.steer import Seeds, load_network, trainer_on

if TYPE_CHECKING:
    from stairways.control.tilt import Multipliers
    from stairways.learning.warm_start import WarmStart
    from stairways.tuning.cycle import Bench
    from stairways.tuning.run_folder import Watcher

AUTHORITY_SESSIONS = 20


@dataclass(frozen=True)
class Preflight:
    """What was found before the first cycle.

    Attributes:
        authority: Reach of the controller.
        verdicts: The sign self-test.
    """

    authority: Authority
    verdicts: tuple[Verdict, ...]

    def as_record(self) -> dict[str, Any]:
        """Return everything as plain JSON types."""
        return {
            "authority": self.authority.as_record(),
            "text": self.authority.text(),
            "verdicts": [verdict.as_record() for verdict in self.verdicts],
        }


def preflight(bench: Bench, started: WarmStart, gold_tilt: Multipliers | None, watcher: Watcher) -> Preflight:
    """Test the sign of the loop and measure its authority on gold, on training sessions.

    The tilt is measured at both bounds of its hold multiplier, anchored where it was calibrated. The
    bonus acts only through learning, so its authority is measured by learning: the whole run's steps
    at either end of its range.
    """
    settings = bench.settings
    part = bench.train.select(slice(0, AUTHORITY_SESSIONS))
    chosen = key(settings.seed, Stream.AUTHORITY)
    actuator = settings.control.actuator
    if isinstance(actuator, TiltActuator):
        loop = TiltLoop(actuator, actuator.live, settings.control.points)
        loop = loop if gold_tilt is None else loop.starting_at(gold_tilt)
        reach = tilt_authority(part, bench.gold.program, settings.trading, loop, chosen)
        sign = tilt_sign_test(part, bench.gold.program, settings.trading, loop, chosen)
        return Preflight(reach, (sign,))
    return Preflight(_reward_authority(bench, started, actuator, watcher), (_reward_sign_test(actuator),))


def _reward_sign_test(actuator: RewardActuator) -> Verdict:
    def bonus(error: float) -> float:
        return DualLaneController.of(actuator).compute_bonus(error, 1.0)

    response = bonus(0.2) - bonus(-0.2)
    return Verdict(
        name="sign_self_test",
        group=Group.SAFETY,
        passed=response > 0,
        observed=response,
        threshold="the bonus rises when holding too little",
        n=2,
        reason=f"errors of +20 and -20 points change the bonus by {response:+.4f} bp",
    )


def _reward_authority(
    bench: Bench, started: WarmStart, actuator: RewardActuator, watcher: Watcher
) -> Authority:
    settings = bench.settings
    part = bench.train.select(slice(0, AUTHORITY_SESSIONS))
    chosen = key(settings.seed, Stream.AUTHORITY)
    base = actuator.base_hold_bonus_bps
    ends = [actuator.lowest * base, actuator.highest * base]
    reached = [_hold_after(bench, started, bonus, watcher) for bonus in ends]
    gold = replay(part, bench.gold.program, settings.trading, mode=settings.control.mode, run_seed=chosen)
    steps = settings.tune.cycles * settings.tune.steps_per_cycle
    return Authority(
        actuator="reward",
        unit="bp per hold decision",
        lowest_output=ends[0],
        highest_output=ends[1],
        lowest_hold_ratio=min(reached),
        highest_hold_ratio=max(reached),
        start_hold_ratio=hold_rate(gold.ledger),
        target_hold_ratio=settings.control.points.hold_rate_ratio,
        n_sessions=len(part),
        how=f"measured after {steps:,} steps at either end of the bonus",
    )


def _hold_after(bench: Bench, started: WarmStart, bonus_bps: float, watcher: Watcher) -> float:
    """Return the hold rate after the whole run's steps at a fixed bonus."""
    settings = bench.settings
    network = load_network(started.spec, started.weights)
    seeds = Seeds(stream(settings.seed, Stream.AUTHORITY, 0), stream(settings.seed, Stream.AUTHORITY, 1))
    steering = NoSteering(bonus_bps)
    trainer = trainer_on(network, bench.train, settings, settings.tune.ppo, steering, seeds)
    steps = settings.tune.cycles * settings.tune.steps_per_cycle
    watcher.stage(f"authority at {bonus_bps:+g} bp", steps)
    trainer.train(steps, progress=watcher.rollout)
    run = replay(
        bench.train.select(slice(0, AUTHORITY_SESSIONS)),
        compile_program(started.spec, network.export_weights()),
        settings.trading,
        mode=settings.control.mode,
        run_seed=key(settings.seed, Stream.AUTHORITY),
    )
    return hold_rate(run.ledger)
