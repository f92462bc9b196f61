"""Artifacts, keys and instants that the tests of the registry share."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stairways.evaluation.gate_config import GateConfig
from stairways.evaluation.gates import required_names
from stairways.registry.artifact import Artifact, write_artifact
from stairways.registry.history_records import DrillRecord, Stage
from stairways.registry.keys import SigningKey, TrustList
from stairways.registry.promotion import PromotionOutcome, promote
from stairways.registry.registry import Registry
from stairways.registry.signatures import sign_artifact

NOON = dt.datetime(2026, 7, 1, 12, tzinfo=dt.UTC)
HOUR = dt.timedelta(hours=1)
WEEK = dt.timedelta(days=7)
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


class ManualClock:
    """A clock that stands, and is moved by hand."""

    def __init__(self, at: dt.datetime = NOON) -> None:
        self.at = at

    def __call__(self) -> dt.datetime:
        """Return the instant it shows, a little later each time."""
        self.at += dt.timedelta(milliseconds=1)
        return self.at


def verdict(name: str, *, passed: bool = True) -> dict:
    """Return a verdict as an artifact's record holds it."""
    return {
        "name": name,
        "group": "behaviour",
        "passed": passed,
        "observed": 0.5,
        "threshold": "as it should be",
        "n": 60,
        "reason": f"{name} was looked at",
        "interval": None,
    }


def judged(*failed: str, missing: tuple[str, ...] = ()) -> dict:
    """Return the record of a candidate whose every required verdict passed, but for some."""
    names = [name for name in required_names(GateConfig()) if name not in missing]
    return RECORD | {"verdicts": [verdict(name, passed=name not in failed) for name in names]}


def gold_artifact(**changes) -> Artifact:
    """Return a gold."""
    return make_artifact(-1, role="gold", parent_digest=None, controller=None, **changes)


def candidate_of(gold: Artifact, number: int = 0, **changes) -> Artifact:
    """Return a candidate of a gold."""
    return make_artifact(number, parent_digest=gold.digest, **changes)


@dataclass
class Workplace:
    """A registry with a gold in it, a key that counts, and a clock."""

    registry: Registry
    key: SigningKey
    clock: ManualClock
    folder: Path

    def add(self, artifact: Artifact, record: dict | None = None) -> str:
        """Sign an artifact and take it in."""
        place = self.folder / artifact.digest
        write_artifact(place, artifact, judged() if record is None else record)
        sign_artifact(place, self.key, self.clock())
        return self.registry.add(place, "ann").model_id

    def drilled(self, at: dt.datetime | None = None, *, passed: bool = True, on_sample: bool = False) -> None:
        """Record a drill."""
        at = at or self.clock()
        self.registry.history.record_drill(
            DrillRecord(f"drill {at.isoformat()}", at, "ann", 1, 0.5, passed, on_sample)
        )

    def promote(self, digest: str, to: Stage = Stage.CHAMPION, **changes) -> PromotionOutcome:
        """Promote as usual."""
        options = {"by": "ann", "reason": "passed its gate", "gate": GateConfig(), "drill_every": WEEK}
        return promote(self.registry, digest, to=to, **(options | changes))


def workplace(root: Path, clock: ManualClock | None = None, url: str | None = None) -> Workplace:
    """Make a registry with a trusted key and a gold, its database in its folder or at a URL."""
    clock = clock or ManualClock()
    key = SigningKey.new()
    registry = Registry.create(root / "registry", clock, url)
    registry.change_trust(
        lambda trust: trust.added(key.public, "ann's key", clock()), "ann", "key.trusted", key.key_id
    )
    made = Workplace(registry, key, clock, root / "artifacts")
    made.add(gold_artifact(), RECORD)
    return made
