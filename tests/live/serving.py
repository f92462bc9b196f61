"""A store with champions in it, and questions, that the tests of the service share."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from markets import random_weights
from stairways.config import ControlSettings
from stairways.live.service import Request, Service
from stairways.operations_config import PerformanceSettings
from stairways.policies.spec import PolicySpec
from stairways.registry.artifact import Artifact, read_artifact, write_artifact
from stairways.registry.keys import SigningKey, write_trust
from stairways.registry.signatures import sign_artifact
from stairways.registry.store import Store
from stairways.tuning.shipped import shipped_gold

NOON = dt.datetime(2026, 7, 1, 12, tzinfo=dt.UTC)
DAY = dt.date(2024, 5, 6)
N_INPUTS = 29
MLP = PolicySpec(hidden=(16, 16))
LSTM = PolicySpec(kind="lstm", lstm_hidden=32, hidden=(16,))


def tilted(artifact: Artifact, hold: float = 0.4, trade: float = 0.3, mode: str = "sampled") -> Artifact:
    """Return a candidate that acts like a gold, under a tilt that moves."""
    controller = ControlSettings(mode=mode).model_dump(mode="json") | {"multipliers": [hold, trade]}
    return replace(artifact, role="candidate", parent_digest="ab" * 32, controller=controller)


def random_model(number: int, spec: PolicySpec = MLP, **changes: Any) -> Artifact:
    """Return a candidate with random weights and bars of five minutes; another number is another one."""
    gold = read_artifact(shipped_gold()).artifact
    policy = spec.model_dump(mode="json")
    weights = random_weights(spec, number)
    return tilted(replace(gold, policy=policy, weights=weights, interval_minutes=5, **changes))


@dataclass
class Ground:
    """A store, and the key that signs for it."""

    store: Store
    key: SigningKey
    folder: Path

    def add(self, artifact: Artifact) -> str:
        """Sign an artifact and take it in."""
        place = self.folder / artifact.digest
        if not place.exists():
            write_artifact(place, artifact, {"steps": 1})
            sign_artifact(place, self.key, NOON)
        return self.store.add(place, NOON).artifact.loaded.digest

    def champion(self, artifact: Artifact) -> str:
        """Make an artifact the champion."""
        digest = self.add(artifact)
        self.store.swap(digest)
        return digest


def ground(root: Path, *artifacts: Artifact) -> Ground:
    """Make a store whose champion is the first of the artifacts."""
    made = Ground(Store(root / "registry"), SigningKey.new(), root / "artifacts")
    made.store.create()
    write_trust(made.store.trust_file, made.store.trust().added(made.key.public, "ann", NOON))
    for artifact in artifacts:
        made.add(artifact)
    if artifacts:
        made.champion(artifacts[0])
    return made


def service_of(store: Store, *, seed: int = 7, **performance: Any) -> Service:
    """Return a service that remembers no answer, so that each is worked out."""
    settings = PerformanceSettings(**{"prediction_cache_seconds": 0.0, **performance})
    return Service(store, settings, seed=seed)


def question(client: str = "ann", bar: int = 0, day: int = 0, **changes: Any) -> Request:
    """Return a question with numbers of its own."""
    rng = np.random.default_rng([bar, day, *client.encode()])
    given = {
        "client": client,
        "session": DAY + dt.timedelta(days=day),
        "bar": bar,
        "observation": tuple(np.clip(rng.normal(0.0, 1.5, N_INPUTS), -5.0, 5.0).tolist()),
        "score": float(np.clip(rng.normal(0.0, 1.5), -3.0, 3.0)),
        "position": tuple(rng.integers(-1, 2, 2).tolist()),
    }
    return Request(**(given | changes))


def as_json(request: Request) -> dict[str, Any]:
    """Return a request as a client sends it."""
    return vars(request) | {"session": str(request.session)}


def clients_of(service: Service) -> dict[str, Any]:
    """Return what is kept of each client."""
    return service.memory().get("clients", {})


class SwappingStore(Store):
    """A store whose link changes at chosen readings."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.readings = 0
        self.swaps: dict[int, str] = {}

    def champion(self) -> str | None:
        """Return the champion; a swap that is due at this reading comes first."""
        self.readings += 1
        if self.readings in self.swaps:
            self.swap(self.swaps[self.readings])
        return super().champion()


@contextmanager
def link_to(store: Store, target: str) -> Iterator[None]:
    """Let the champion's link name something else for a while."""
    before = store.link.readlink()
    store.link.unlink()
    store.link.symlink_to(target)
    yield
    store.link.unlink()
    store.link.symlink_to(before)
