"""Small models of stable-baselines3 and sb3-contrib, trained for a moment on random observations."""

from __future__ import annotations

import io
from typing import Any

import gymnasium
import numpy as np
import torch
from sb3_contrib import RecurrentPPO
from stable_baselines3 import PPO

from stairways.policies.spec import PolicySpec


class Noise(gymnasium.Env[np.ndarray, np.int64]):
    """Random observations; an action pays by its id and the first input: something to learn."""

    def __init__(self, n_inputs: int, actions: gymnasium.Space[Any]) -> None:
        self.observation_space = gymnasium.spaces.Box(-5, 5, (n_inputs,), np.float32)
        self.action_space = actions
        self._left = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._left = 20
        return self._observation(), {}

    def step(self, action):
        self._left -= 1
        seen = self._observation()
        return seen, float(np.sum(action) * seen[0]), self._left == 0, False, {}

    def _observation(self) -> np.ndarray:
        return self.np_random.normal(size=self.observation_space.shape).clip(-5, 5).astype(np.float32)


def trained(
    spec: PolicySpec, *, actions: gymnasium.Space[Any] | None = None, **more: Any
) -> PPO | RecurrentPPO:
    """Return a model of a specification after a few steps; ``more`` goes into its policy_kwargs."""
    env = Noise(spec.n_trunk_inputs, actions or gymnasium.spaces.Discrete(spec.n_actions))
    hidden = list(spec.hidden)
    shape: dict[str, Any] = {"net_arch": {"pi": hidden, "vf": hidden}, "activation_fn": torch.nn.Tanh}
    common: dict[str, Any] = {
        "n_steps": 64,
        "batch_size": 64,
        "seed": 0,
        "device": "cpu",
        "learning_rate": 3e-3,
    }
    if spec.kind == "mlp":
        model: PPO | RecurrentPPO = PPO("MlpPolicy", env, policy_kwargs=shape | more, **common)
    else:
        shape |= {
            "lstm_hidden_size": spec.lstm_hidden,
            "n_lstm_layers": spec.lstm_layers,
            "shared_lstm": spec.critic_lstm == "shared",
            "enable_critic_lstm": spec.critic_lstm == "own",
        }
        model = RecurrentPPO("MlpLstmPolicy", env, policy_kwargs=shape | more, **common)
    model.learn(192)
    return model


def zip_of(model: PPO | RecurrentPPO) -> bytes:
    """Return what the model saves."""
    content = io.BytesIO()
    model.save(content)
    return content.getvalue()
