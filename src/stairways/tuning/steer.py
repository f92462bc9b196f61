"""The trainer of a candidate, under the controller of the settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from stairways.control.actuators import RewardActuator, TiltActuator
from stairways.control.tilt import Multipliers
from stairways.envs.pool import SessionPool
from stairways.errors import ConfigError
from stairways.learning.steering import RewardSteering, Steering, TiltSteering
from stairways.tuning.seeds import Stream, stream

if TYPE_CHECKING:
    from stairways.config import Settings
    from stairways.learning.network import PolicyNetwork
    from stairways.learning.ppo_config import PPOConfig
    from stairways.learning.reports import Progress, RolloutReport
    from stairways.learning.trainer import Trainer
    from stairways.learning.warm_start import WarmStart
    from stairways.policies.program import Weights
    from stairways.policies.spec import PolicySpec
    from stairways.trading.observation import ObservedMarket
    from stairways.tuning.cycle import Bench

Algorithm = Literal["all_actions", "ppo"]
REHEARSAL_SESSIONS = 2_000


class Learner(Protocol):
    """What the cycles ask of a trainer."""

    network: PolicyNetwork
    steps: int

    def train(self, steps: int, *, progress: Progress | None = None) -> list[RolloutReport]:
        """Train for exactly so many steps."""

    def take_reward_shares(self) -> dict[str, float]:
        """Return each reward term's share in the cycle, or in its last batch."""

    def snapshot(self) -> dict[str, Any]:
        """Return everything a checkpoint needs: arrays, and plain values under ``plain``."""

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Go on from a snapshot as if there had been no stop."""


@dataclass(frozen=True)
class Seeds:
    """Where the random numbers of a training come from.

    Attributes:
        environments: Of the sessions that accounts draw.
        training: Of actions and minibatches.
    """

    environments: np.random.SeedSequence
    training: np.random.SeedSequence


def load_network(spec: PolicySpec, weights: Weights) -> PolicyNetwork:
    """Return a network with given weights, torch prepared."""
    import torch

    from stairways.learning.network import PolicyNetwork
    from stairways.learning.runtime import prepare_torch

    prepare_torch()
    network = PolicyNetwork(spec, torch.Generator())
    network.load_weights(weights)
    return network


def trainer_on(
    network: PolicyNetwork,
    market: ObservedMarket,
    settings: Settings,
    ppo: PPOConfig,
    steering: Steering,
    seeds: Seeds,
    *,
    staggered: bool | None = None,
) -> Trainer:
    """Return a trainer of a network on a market.

    Args:
        network: Policy and value.
        market: Sessions to train on.
        settings: Rules and reward.
        ppo: The trainer's settings.
        steering: The controller.
        seeds: Where random numbers come from.
        staggered: Whether accounts start at different times of day; by default they do unless the
            policy is recurrent, whose sequences are whole sessions.
    """
    from stairways.learning.runtime import device_of
    from stairways.learning.trainer import Trainer

    performance = settings.performance
    device = device_of(performance.device, mixed_precision=performance.mixed_precision)
    pool = SessionPool(
        market,
        settings.trading,
        settings.reward,
        n_envs=ppo.n_envs,
        seed=seeds.environments,
        staggered=network.spec.kind != "lstm" if staggered is None else staggered,
    )
    return Trainer(
        network,
        pool,
        ppo,
        steering,
        seeds.training,
        device=device,
        mixed_precision=performance.mixed_precision,
        clear_buffer=performance.clear_rollout_buffer,
    )


def algorithm_of(settings: Settings, kind: str) -> Algorithm:
    """Return the algorithm that tunes a policy of a kind.

    Raises:
        ConfigError: If all actions are asked for where not every action can be tried.
    """
    chosen, actuator = settings.tune.algorithm, settings.control.actuator
    if chosen == "ppo":
        return "ppo"
    obstacles = (
        (kind != "mlp", "a recurrent policy remembers more than its position"),
        (isinstance(actuator, RewardActuator), "the reward actuator has no tilt to train under"),
        (settings.reward.action_change != 0.0, "the reward asks for the action before"),
    )
    found = [words for present, words in obstacles if present]
    if not found:
        return "all_actions"
    if chosen == "auto":
        return "ppo"
    raise ConfigError(
        f"all_actions can't train it: {found[0]}", where="tune.algorithm", remedy="choose --algorithm ppo"
    )


def rehearsal_of(settings: Settings, kind: str) -> int:
    """Return how many sessions before the tuning range are trained on too, at most."""
    given = settings.tune.rehearsal_sessions
    if given is not None:
        return given
    if algorithm_of(settings, kind) == "ppo":
        return 0
    # a third symbol has three times the positions and three times the actions
    return int(REHEARSAL_SESSIONS / 9 ** (len(settings.market.symbols) - 2))


def make_trainer(bench: Bench, started: WarmStart, start: Multipliers | None) -> Learner:
    """Return the trainer of a warm-started candidate under the settings' controller."""
    settings = bench.settings
    actuator = settings.control.actuator
    if bench.algorithm == "all_actions" and isinstance(actuator, TiltActuator):
        from stairways.learning.all_actions import AllActionsTrainer

        _require_cpu(settings)

        return AllActionsTrainer(
            load_network(started.spec, started.weights),
            bench.learn,
            settings.trading,
            settings.reward,
            settings.tune.all_actions,
            actuator,
            settings.control.points,
            start or Multipliers(),
            stream(settings.seed, Stream.TRAINING),
        )
    return trainer_on(
        load_network(started.spec, started.weights),
        bench.learn,
        settings,
        settings.tune.ppo,
        make_steering(settings, bench.train.full_session_decisions, start),
        Seeds(stream(settings.seed, Stream.ENVIRONMENTS), stream(settings.seed, Stream.TRAINING)),
    )


def _require_cpu(settings: Settings) -> None:
    performance = settings.performance
    asked = [
        name
        for name, there in (
            ("device: cuda", performance.device == "cuda"),
            ("mixed_precision", performance.mixed_precision),
        )
        if there
    ]
    if asked:
        raise ConfigError(
            "all_actions trains on the CPU, where its paths are valued",
            where=f"performance.{asked[0]}",
            remedy="take it out, or choose --algorithm ppo",
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
