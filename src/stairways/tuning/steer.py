"""The trainer of a candidate, under the controller of the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stairways.control.actuators import RewardActuator
from stairways.control.tilt import Multipliers
from stairways.envs.pool import SessionPool
from stairways.learning.steering import RewardSteering, Steering, TiltSteering
from stairways.tuning.seeds import Stream, stream

if TYPE_CHECKING:
    from stairways.config import Settings
    from stairways.learning.trainer import Trainer
    from stairways.learning.warm_start import WarmStart
    from stairways.tuning.cycle import Bench


def make_trainer(bench: Bench, started: WarmStart, start: Multipliers | None, settings: Settings) -> Trainer:
    """Return the trainer of a warm-started candidate under the settings' controller."""
    from stairways.learning.runtime import prepare_torch

    prepare_torch()
    import torch

    from stairways.learning.network import PolicyNetwork
    from stairways.learning.trainer import Trainer

    network = PolicyNetwork(started.spec, torch.Generator().manual_seed(0))
    network.load_weights(started.weights)
    recurrent = started.spec.kind == "lstm"
    pool = SessionPool(
        bench.train,
        settings.trading,
        settings.reward,
        n_envs=settings.tune.ppo.n_envs,
        seed=stream(settings.seed, Stream.ENVIRONMENTS),
        staggered=not recurrent,
    )
    return Trainer(
        network,
        pool,
        settings.tune.ppo,
        make_steering(settings, bench.train.full_session_decisions, start),
        stream(settings.seed, Stream.TRAINING),
    )


def make_steering(settings: Settings, full_session_decisions: int, start: Multipliers | None) -> Steering:
    """Return the controller of a training pool."""
    actuator, points = settings.control.actuator, settings.control.points
    if isinstance(actuator, RewardActuator):
        return RewardSteering(actuator, points, full_session_decisions)
    return TiltSteering(
        actuator,
        points,
        start or Multipliers(),
        n_symbols=len(settings.market.symbols),
        full_session_decisions=full_session_decisions,
        long_only=settings.trading.long_only,
    )
