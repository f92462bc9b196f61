"""stable-baselines3 and sb3-contrib as oracle: their models, filled with our weights and rollouts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import torch
from sb3_contrib import RecurrentPPO
from sb3_contrib.common.recurrent.type_aliases import RNNStates
from stable_baselines3 import PPO
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import DummyVecEnv

from stairways.learning.network import PolicyNetwork, RecurrentState, States
from stairways.learning.ppo import Rollout
from stairways.policies.spec import PolicySpec

GAMMA, GAE_LAMBDA = 0.97, 0.9


class Spaces(gymnasium.Env[Any, Any]):
    """Nothing but the spaces of a specification; never stepped."""

    def __init__(self, spec: PolicySpec) -> None:
        self.observation_space = gymnasium.spaces.Box(-5, 5, (spec.n_trunk_inputs,), np.float32)
        self.action_space = gymnasium.spaces.Discrete(spec.n_actions)


def model_of(network: PolicyNetwork, n_envs: int, n_steps: int, **settings: Any) -> PPO | RecurrentPPO:
    """Return SB3's model of a network: same weights, one minibatch of the whole rollout by default."""
    spec = network.spec
    hidden = list(spec.hidden)
    policy: dict[str, Any] = {"net_arch": {"pi": hidden, "vf": hidden}, "activation_fn": torch.nn.Tanh}
    if spec.kind == "lstm":
        policy |= {
            "lstm_hidden_size": spec.lstm_hidden,
            "n_lstm_layers": spec.lstm_layers,
            "shared_lstm": spec.critic_lstm == "shared",
            "enable_critic_lstm": spec.critic_lstm == "own",
        }
    kind, name = (PPO, "MlpPolicy") if spec.kind == "mlp" else (RecurrentPPO, "MlpLstmPolicy")
    settings = {"n_epochs": 1, "batch_size": n_envs * n_steps, "gamma": GAMMA, **settings}
    model = kind(
        name,
        DummyVecEnv([lambda: Spaces(spec)] * n_envs),
        n_steps=n_steps,
        gae_lambda=GAE_LAMBDA,
        policy_kwargs=policy,
        device="cpu",
        **settings,
    )
    model.set_logger(Logger(folder=None, output_formats=[]))
    ours = network.state_dict()
    model.policy.load_state_dict({theirs: ours[name] for name, theirs in names(spec).items()})
    return model


def names(spec: PolicySpec) -> dict[str, str]:
    """Return SB3's name of each of our weights."""
    heads = {"policy.head": "action_net", "value.head": "value_net"}
    found = {}
    for name in spec.shapes():
        part, _, leaf = name.rpartition(".")
        trunk, _, rest = part.partition(".")
        if part in heads:
            found[name] = f"{heads[part]}.{leaf}"
        elif rest == "lstm":
            found[name] = f"lstm_{'actor' if trunk == 'policy' else 'critic'}.{leaf}"
        else:
            found[name] = f"mlp_extractor.{trunk}_net.{2 * int(rest)}.{leaf}"
    return found


@dataclass(frozen=True, eq=False)
class Transitions:
    """A made-up rollout, time first, with old probabilities that are not the policy's own.

    Attributes:
        observations: ``(n_steps, n_envs, n_inputs)`` float32.
        actions: ``(n_steps, n_envs)`` int64.
        rewards: ``(n_steps, n_envs)`` float32; likewise ``values`` and ``log_probabilities``.
        done: ``(n_steps, n_envs)`` bool; ``starts`` likewise.
        last_values: ``(n_envs,)`` float32.
    """

    observations: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    values: np.ndarray
    log_probabilities: np.ndarray
    done: np.ndarray
    starts: np.ndarray
    last_values: np.ndarray

    @classmethod
    def random(cls, network: PolicyNetwork, n_steps: int, n_envs: int, seed: int) -> Transitions:
        """Draw a rollout in which about one step in ten ends its session."""
        rng = np.random.default_rng(seed)
        shape, spec = (n_steps, n_envs), network.spec
        done = rng.random(shape) < 0.1
        first = rng.random((1, n_envs)) < 0.5
        spread = rng.normal(0.0, 0.3, shape)
        return cls(
            observations=np.clip(rng.standard_normal((*shape, spec.n_observed)), -5, 5).astype(np.float32),
            actions=rng.integers(spec.n_actions, size=shape),
            rewards=rng.normal(0.0, 2.0, shape).astype(np.float32),
            values=rng.normal(0.0, 1.0, shape).astype(np.float32),
            log_probabilities=(-np.log(spec.n_actions) + spread).astype(np.float32),
            done=done,
            starts=np.concatenate([first, done[:-1]]),
            last_values=rng.normal(0.0, 1.0, n_envs).astype(np.float32),
        )

    def rollout(self, advantages: np.ndarray, states: States) -> Rollout:
        """Return it as the trainer keeps it."""
        return Rollout(
            observations=torch.from_numpy(self.observations),
            actions=torch.from_numpy(self.actions),
            log_probabilities=torch.from_numpy(self.log_probabilities),
            values=torch.from_numpy(self.values),
            advantages=torch.from_numpy(advantages),
            returns=torch.from_numpy(advantages + self.values),
            tilting=None,
            starts=self.starts,
            states=states,
        )


def fill(model: PPO | RecurrentPPO, made: Transitions, states: States) -> None:
    """Put a rollout into SB3's buffer and let it compute its advantages.

    The buffer of a recurrent model asks for states before every step; it reads those at the start
    of a sequence, and a session's start sets them to zero.
    """
    buffer, spec = model.rollout_buffer, model.observation_space.shape
    more = {}
    if isinstance(model, RecurrentPPO):
        policy = states.policy
        if policy is None:
            raise ValueError("a recurrent model needs states")
        more = {"lstm_states": RNNStates(tuple(policy), tuple(states.value or policy))}
    for step in range(len(made.actions)):
        buffer.add(
            made.observations[step, :, : spec[0]],
            made.actions[step][:, None],
            made.rewards[step],
            made.starts[step],
            torch.from_numpy(made.values[step]),
            torch.from_numpy(made.log_probabilities[step]),
            **more,
        )
    buffer.compute_returns_and_advantage(torch.from_numpy(made.last_values), made.done[-1])


def random_states(spec: PolicySpec, n_envs: int, seed: int) -> States:
    """Return states in the middle of a session; None for a feed-forward policy."""
    if spec.kind == "mlp":
        return States(None, None)
    generator = torch.Generator().manual_seed(seed)
    shape = (spec.lstm_layers, n_envs, spec.lstm_hidden)

    def draw() -> RecurrentState:
        return RecurrentState(*(torch.rand(shape, generator=generator) - 0.5 for _ in "hc"))

    return States(draw(), draw() if spec.critic_lstm == "own" else None)
