"""Drift: how far a policy went from its reference, in parameters and in behaviour."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stairways.policies.actor import forward_batch
from stairways.policies.program import Weights, compile_program
from stairways.policies.spec import PolicySpec


@dataclass(frozen=True)
class Drift:
    """How far a policy is from its reference.

    Attributes:
        l2_norm: L2 norm of the difference over the parameters both share.
        relative: The same over the reference's norm.
        mean_kl: Mean KL divergence from the reference's action distribution to the policy's, nats.
        equal_greedy_share: Share of observations at which both like the same action best.
        n_observations: Observations the behavioural distances rest on.
        threshold: Relative drift above which it counts as exceeded.
        new_parameters: Parameters the reference does not have, with their L2 norm.
    """

    l2_norm: float
    relative: float
    mean_kl: float
    equal_greedy_share: float
    n_observations: int
    threshold: float
    new_parameters: dict[str, float]

    @property
    def exceeded(self) -> bool:
        """Whether the relative drift is over its threshold; one that is no number counts as over it."""
        return not self.relative <= self.threshold


def measure_drift(
    spec: PolicySpec,
    weights: Weights,
    reference: PolicySpec,
    reference_weights: Weights,
    observations: NDArray[np.float32],
    threshold: float,
) -> Drift:
    """Measure ||w - w_ref|| / ||w_ref|| over shared parameters, and behaviour beside it.

    Args:
        spec: Specification of the policy.
        weights: Its weights.
        reference: Specification of the reference.
        reference_weights: Its weights.
        observations: ``(n, n_inputs)`` float32, a fixed set; recurrent states are zero.
        threshold: Relative drift that counts as exceeded.
    """
    shared = sorted(set(reference_weights) & set(weights))
    difference = np.concatenate([(weights[n] - reference_weights[n]).ravel() for n in shared]).astype(float)
    base = np.concatenate([reference_weights[n].ravel() for n in shared]).astype(float)
    new = {
        name: float(np.linalg.norm(weights[name])) for name in sorted(set(weights) - set(reference_weights))
    }
    now = _log_probabilities(spec, weights, observations)
    before = _log_probabilities(reference, reference_weights, observations)
    l2_norm = float(np.linalg.norm(difference))
    return Drift(
        l2_norm=l2_norm,
        relative=l2_norm / float(np.linalg.norm(base)),
        mean_kl=float((np.exp(before) * (before - now)).sum(axis=1).mean()),
        equal_greedy_share=float((now.argmax(axis=1) == before.argmax(axis=1)).mean()),
        n_observations=len(observations),
        threshold=threshold,
        new_parameters=new,
    )


def _log_probabilities(
    spec: PolicySpec, weights: Weights, observations: NDArray[np.float32]
) -> NDArray[np.float64]:
    states = np.zeros((len(observations), spec.state_size), np.float32)
    logits = forward_batch(compile_program(spec, weights), observations, states).astype(np.float64)
    logits -= logits.max(axis=1, keepdims=True)
    normalised: NDArray[np.float64] = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return normalised
