"""A policy as a zip that plain ``PPO.load`` and ``RecurrentPPO.load`` open.

The model is built by stable-baselines3 from the specification, filled with our weights and saved by its
own ``save``, which pickles its own fields (classes, spaces, schedules); nothing of this package is among
them, so the zip loads where it is not installed. Nothing saved is ever opened here.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray

from stairways.errors import ArtifactError, ConfigError
from stairways.learning.interchange.agreement import Act
from stairways.learning.interchange.layout import sb3_names
from stairways.market.features import CLIP
from stairways.policies.program import Weights, check_weights
from stairways.policies.spec import PolicySpec

if TYPE_CHECKING:
    from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm


@dataclass(frozen=True, eq=False)
class ExpressiblePolicy:
    """A policy in the words that stable-baselines3 has.

    Attributes:
        spec: Specification without a gate.
        weights: Its weights.
        folded: What was left out because it changes nothing; empty where nothing was.
    """

    spec: PolicySpec
    weights: Weights
    folded: str


def expressible(spec: PolicySpec, weights: Weights) -> ExpressiblePolicy:
    """Return the policy without its regime gate, if that is exactly the same policy.

    A gate whose last layer is 0 multiplies every input by 2 sigmoid(0) = 1, and a ``gate_gradient`` acts
    in training alone: its value is its input. Any other gate multiplies inputs by functions of others,
    which no MlpPolicy does.

    Raises:
        ArtifactError: If the gate does something.
    """
    check_weights(spec, weights)
    if not spec.gated:
        return ExpressiblePolicy(spec, weights, "")
    last = (weights["gate.2.weight"], weights["gate.2.bias"])
    if spec.regime == "gate" and any(part.any() for part in last):
        raise ArtifactError(
            "its regime gate multiplies each price input by a function of the regime inputs, which no "
            "MlpPolicy of stable-baselines3 can express",
            remedy="export it with --onnx, which can",
        )
    why = "is the identity: its last layer is 0" if spec.regime == "gate" else "acts in training alone"
    plain = spec.model_copy(update={"regime": "none"})
    kept = {name: weights[name] for name in plain.shapes()}
    return ExpressiblePolicy(plain, kept, f"The regime gate is left out, exactly: it {why}.")


def sb3_model(spec: PolicySpec, weights: Weights) -> OnPolicyAlgorithm:
    """Return a PPO or RecurrentPPO of a policy without a gate, on the CPU.

    Its hyperparameters are the library's defaults: a zip has to have some, and ``load`` takes others.

    Raises:
        ConfigError: If sb3-contrib is needed and is not installed.
    """
    from stable_baselines3 import PPO
    from stable_baselines3.common.vec_env import DummyVecEnv

    hidden = list(spec.hidden)
    shape: dict[str, Any] = {"net_arch": {"pi": hidden, "vf": hidden}, "activation_fn": torch.nn.Tanh}
    algorithm: Any = PPO
    name = "MlpPolicy"
    if spec.kind == "lstm":
        algorithm, name = _recurrent_ppo(), "MlpLstmPolicy"
        shape |= {
            "lstm_hidden_size": spec.lstm_hidden,
            "n_lstm_layers": spec.lstm_layers,
            "shared_lstm": spec.critic_lstm == "shared",
            "enable_critic_lstm": spec.critic_lstm == "own",
        }
    # the library fills new layers from torch's global generator, which is not ours to move
    with torch.random.fork_rng(devices=[]):
        model: OnPolicyAlgorithm = algorithm(
            name, DummyVecEnv([lambda: _Spaces(spec)]), policy_kwargs=shape, device="cpu"
        )
    filled = {theirs: torch.from_numpy(np.array(weights[ours])) for ours, theirs in sb3_names(spec).items()}
    model.policy.load_state_dict(filled)
    return model


def sb3_zip(model: OnPolicyAlgorithm) -> bytes:
    """Return the zip that the model's own ``save`` writes."""
    content = io.BytesIO()
    model.save(content)
    return content.getvalue()


def acting(model: OnPolicyAlgorithm, n_inputs: int) -> Act:
    """Return the model's greedy actions, from a session's open on, states carried by the model's ``predict``.

    Args:
        model: The model.
        n_inputs: Leading columns of an observation that it sees.
    """
    states: Any = None
    opening = True

    def act(rows: NDArray[np.float32]) -> NDArray[np.int64]:
        nonlocal states, opening
        starts = np.full(len(rows), opening)
        actions, states = model.predict(rows[:, :n_inputs], states, starts, deterministic=True)
        opening = False
        return np.asarray(actions, dtype=np.int64)

    return act


def _recurrent_ppo() -> Any:
    try:
        from sb3_contrib import RecurrentPPO
    except ImportError as error:
        raise ConfigError(
            "an LSTM policy needs sb3-contrib, which is not installed",
            where="--sb3",
            remedy="install stairways[interchange]",
        ) from error
    return RecurrentPPO


class _Spaces(gymnasium.Env[NDArray[np.float32], np.int64]):
    """The spaces of a policy, which a model asks an environment for; it is never stepped or saved."""

    def __init__(self, spec: PolicySpec) -> None:
        self.observation_space = gymnasium.spaces.Box(-CLIP, CLIP, (spec.n_trunk_inputs,), np.float32)
        self.action_space = gymnasium.spaces.Discrete(spec.n_actions)
