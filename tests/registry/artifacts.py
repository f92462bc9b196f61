"""Artifacts, keys and instants that the tests of the registry share."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np

from stairways.registry.artifact import Artifact, write_artifact
from stairways.registry.keys import SigningKey, TrustList
from stairways.registry.signatures import sign_artifact

NOON = dt.datetime(2026, 7, 1, 12, tzinfo=dt.UTC)
HOUR = dt.timedelta(hours=1)
RECORD = {"seeds": [1, 2], "steps": 409_600}


def make_artifact(number: int = 0, **changes) -> Artifact:
    """Return a small candidate; another number is other content."""
    values = {
        "role": "candidate",
        "policy": {"kind": "mlp", "hidden": [64, 64]},
        "weights": {
            "actor.weight": np.arange(12, dtype=np.float32).reshape(3, 4) / 7 + number,
            "actor.bias": np.array([0.1, -0.0, 3e38], dtype=np.float32),
        },
        "symbols": ("NVDA", "MSFT"),
        "interval_minutes": 5,
        "n_actions": 9,
        "reward_version": "nav-kelly-1",
        "features": {"mean": [0.1, 1e-300], "scale": [1.0, 2.5]},
        "regime_state": {"sessions_seen": 50, "sum": 0.3},
        "environment": {"unit_fraction": 0.15},
        "controller": {"actuator": "tilt", "multipliers": [0.5, -0.25]},
        "data_digest": "ab" * 32,
        "data_source": "SYNTHETIC planted",
        "parent_digest": "cd" * 32,
    }
    return Artifact(**(values | changes))


def trusting(*keys: SigningKey) -> TrustList:
    """Return a list of these keys, named by their order."""
    trust = TrustList()
    for number, key in enumerate(keys):
        trust = trust.added(key.public, f"signer {number}", NOON)
    return trust


def signed_folder(place: Path, key: SigningKey, artifact: Artifact | None = None) -> Path:
    """Write an artifact and sign it."""
    write_artifact(place, artifact or make_artifact(), RECORD)
    sign_artifact(place, key, NOON)
    return place
