"""Warm start: a policy that takes regime inputs and behaves exactly as gold at step 0."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stairways.errors import ArtifactError
from stairways.learning.network import PolicyNetwork
from stairways.learning.runtime import generator_of
from stairways.policies.actor import forward_batch
from stairways.policies.program import Weights, compile_program
from stairways.policies.spec import PolicySpec, RegimeInput
from stairways.trading.observation import position_columns

TOLERANCE = 1e-6
PROBE_ROWS = 10_000


@dataclass(frozen=True)
class WarmStart:
    """Weights of the new policy and how far it is from gold.

    Attributes:
        spec: Specification of the new policy.
        weights: Its weights.
        new_parameters: Names that gold does not have.
        max_probability_difference: Largest difference of an action probability to gold's over the
            probe's observations.
        n_observations: How many observations were probed.
    """

    spec: PolicySpec
    weights: dict[str, NDArray[np.float32]]
    new_parameters: tuple[str, ...]
    max_probability_difference: float
    n_observations: int


def candidate_spec(gold: PolicySpec, regime: RegimeInput = "gate") -> PolicySpec:
    """Return gold's architecture with the regime inputs entering through the gate.

    Raises:
        ArtifactError: If gold's own inputs can't be carried over into the asked form.
    """
    if gold.regime not in {"none", regime}:
        raise ArtifactError(
            f"gold takes its regime inputs as {gold.regime}, the candidate is asked to take them as {regime}",
            remedy=f"set tune.regime to {gold.regime}",
        )
    if regime == "concat" and gold.regime == "none":
        raise ArtifactError(
            "a gold without regime inputs can't be warm-started into concat", remedy="use the gate"
        )
    return gold.model_copy(update={"regime": regime})


def warm_start(
    gold: PolicySpec, gold_weights: Weights, regime: RegimeInput, seed: np.random.SeedSequence
) -> WarmStart:
    """Transplant gold's weights into a policy with regime inputs and measure the difference.

    Every weight of gold keeps its value; regime inputs enter only through the gate, whose last
    layer is 0, so the gate is the identity until training moves it.

    Args:
        gold: Gold's specification.
        gold_weights: Gold's weights.
        regime: How the regime inputs enter.
        seed: Seed of the gate's own initial weights and of the probe's observations.

    Raises:
        ArtifactError: If the new policy differs from gold by more than the tolerance.
    """
    spec = candidate_spec(gold, regime)
    weight_seed, probe_seed = seed.spawn(2)
    generator = generator_of(weight_seed)
    weights = PolicyNetwork(spec, generator).export_weights()
    new = tuple(sorted(set(weights) - set(gold_weights)))
    weights |= {name: np.array(value) for name, value in gold_weights.items()}
    difference = probability_difference(gold, gold_weights, spec, weights, probe_seed)
    if not difference <= TOLERANCE:
        raise ArtifactError(f"warm start differs from gold by {difference:.1e} in probability")
    return WarmStart(spec, weights, new, difference, PROBE_ROWS)


def probability_difference(
    first: PolicySpec,
    first_weights: Weights,
    second: PolicySpec,
    second_weights: Weights,
    seed: np.random.SeedSequence,
    n_rows: int = PROBE_ROWS,
) -> float:
    """Return the largest difference in action probability over random observations.

    Observations are standard normal, clipped to ±5, with random positions and random recurrent
    states, so that every input matters.
    """
    rng = np.random.default_rng(seed)
    rows = np.clip(rng.standard_normal((n_rows, first.n_observed)), -5, 5).astype(np.float32)
    rows[:, position_columns(first.n_symbols)] = rng.integers(-1, 2, size=(n_rows, first.n_symbols))
    states = rng.uniform(-1, 1, size=(n_rows, first.state_size)).astype(np.float32)
    logits = forward_batch(compile_program(first, first_weights), rows, states.copy())
    others = forward_batch(compile_program(second, second_weights), rows, states.copy())
    return float(np.abs(_softmax(logits) - _softmax(others)).max())


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    exact = logits.astype(np.float64)
    exact = np.exp(exact - exact.max(axis=1, keepdims=True))
    probabilities: NDArray[np.float64] = exact / exact.sum(axis=1, keepdims=True)
    return probabilities
