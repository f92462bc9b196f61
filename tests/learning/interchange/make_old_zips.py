"""Make the zips in ``old/``: run it where an older stable-baselines3 and sb3-contrib are installed.

    python make_old_zips.py old

Each zip keeps the entries that an import reads, so that nothing of the machine it was made on is kept.
Beside it stand the greedy actions that the model itself chose, a digit each, on the observations of
``stairways.learning.interchange.agreement.observations``. Nothing here imports the project.
"""

import io
import sys
import zipfile
from pathlib import Path

import gymnasium
import numpy as np
import stable_baselines3
import torch
from sb3_contrib import RecurrentPPO
from stable_baselines3 import PPO


class Noise(gymnasium.Env):
    """Random observations of two symbols without regime inputs; nine actions."""

    observation_space = gymnasium.spaces.Box(-5, 5, (26,), np.float32)
    action_space = gymnasium.spaces.Discrete(9)

    def reset(self, *, seed=None, options=None):
        """Start twenty steps."""
        super().reset(seed=seed)
        self.left = 20
        return self.seen(), {}

    def step(self, action):
        """Pay an action by its id and the first input."""
        self.left -= 1
        seen = self.seen()
        return seen, float(action * seen[0]), self.left == 0, False, {}

    def seen(self):
        """Return the next observation."""
        return self.np_random.normal(size=26).clip(-5, 5).astype(np.float32)


def observations():
    """Return what the actor is tried on, ``(100, 100, 29)``."""
    rng = np.random.default_rng(0)
    rows = np.clip(rng.standard_normal((100, 100, 29)), -5, 5).astype(np.float32)
    rows[..., [12, 25]] = rng.integers(-1, 2, size=(100, 100, 2))
    return rows


def make(folder, kind, policy, **shape):
    """Train a model for a moment and write its zip and its actions."""
    shape |= {"net_arch": {"pi": [8], "vf": [8]}, "activation_fn": torch.nn.Tanh}
    common = {"n_steps": 64, "batch_size": 64, "learning_rate": 3e-3, "seed": 0, "device": "cpu"}
    model = kind(policy, Noise(), policy_kwargs=shape, **common)
    model.learn(320)
    whole = io.BytesIO()
    model.save(whole)
    library, torch_version = stable_baselines3.__version__, torch.__version__.split("+")[0]
    name = f"{kind.__name__}-{library}-torch-{torch_version}"
    with zipfile.ZipFile(whole) as source, zipfile.ZipFile(folder / f"{name}.zip", "w") as target:
        for entry in ("policy.pth", "_stable_baselines3_version"):
            target.writestr(zipfile.ZipInfo(entry), source.read(entry))
    state, digits = None, []
    for step, rows in enumerate(observations()):
        starts = np.full(100, step == 0)
        actions, state = model.predict(rows[:, :26], state, starts, deterministic=True)
        digits.append("".join(map(str, actions)))
    (folder / f"{name}.txt").write_text("\n".join(digits) + "\n")


if __name__ == "__main__":
    place = Path(sys.argv[1])
    make(place, PPO, "MlpPolicy")
    make(place, RecurrentPPO, "MlpLstmPolicy", lstm_hidden_size=32)
