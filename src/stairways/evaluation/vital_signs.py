"""Vital signs of a policy that came from elsewhere: is it trained, and does it look at its inputs?

Nothing here judges skill. It finds what is broken or was never trained before hours are spent on it:
probabilities that are all alike, inputs that change nothing, layers that have run into their ends.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stairways.evaluation.verdicts import Group, Verdict
from stairways.policies.actor import forward_batch
from stairways.policies.decision import not_finite
from stairways.policies.program import DENSE, DENSE_TANH, N_OUT, OPCODE, Program, Weights, compile_program
from stairways.policies.spec import PolicySpec
from stairways.trading.actions import action_meanings
from stairways.trading.observation import ObservedMarket, position_columns

N_OBSERVATIONS = 10_000
N_COLUMN_OBSERVATIONS = 2_000
UNIFORM_SHARE = 0.99
LEAST_DEPENDENCE = 0.01
SATURATED = 0.99
MOST_SATURATED_SHARE = 0.5
LEAST_RESPONSE = 1e-4
_NAMED_COLUMNS = 5


@dataclass(frozen=True, eq=False)
class Probe:
    """Whole sessions of observations to try a policy on.

    Attributes:
        rows: ``(n_sessions, n_decisions, n_inputs)`` float32; positions are drawn uniformly from short,
            flat and long, because which ones a policy would reach is not known before it acts.
        source: Where the bars come from.
        first: Date of the first session.
        last: Date of the last one.
    """

    rows: NDArray[np.float32]
    source: str
    first: str
    last: str

    @property
    def n(self) -> int:
        """Number of observations."""
        return int(self.rows.shape[0] * self.rows.shape[1])

    def describe(self) -> str:
        """Return in words what the policy was tried on."""
        span = f"{len(self.rows)} sessions from {self.first} to {self.last}"
        return f"{self.n:,} observations of {span}, {self.source}"


def probe_of(
    market: ObservedMarket,
    rng: np.random.Generator,
    *,
    preferred: NDArray[np.bool_] | None = None,
    long_only: bool = False,
) -> Probe:
    """Return about 10,000 observations: whole full sessions, spread evenly over a market.

    Args:
        market: Where they come from.
        rng: Draws the positions.
        preferred: ``(n_sessions,)``, sessions to keep to where any of them will do; sessions in which the
            regime is still warming up are likewise taken only where there are no others.
        long_only: Whether positions are never short.
    """
    usable = market.n_bars == market.n_bars.max()
    for wish in (preferred, ~market.neutral[:, 0]):
        if wish is not None and (usable & wish).any():
            usable &= wish
    candidates = np.flatnonzero(usable)
    length = int(market.n_bars.max()) - 1
    wanted = min(len(candidates), math.ceil(N_OBSERVATIONS / length))
    chosen = candidates[np.linspace(0, len(candidates) - 1, wanted).astype(np.int64)]
    rows = market.rows[chosen, :length].copy()
    lowest = 0 if long_only else -1
    columns = position_columns(market.n_symbols)
    rows[..., columns] = rng.integers(lowest, 2, size=(*rows.shape[:2], len(columns)))
    return Probe(rows, market.source, str(market.dates[chosen[0]]), str(market.dates[chosen[-1]]))


def vital_signs(
    spec: PolicySpec,
    weights: Weights,
    columns: Sequence[str],
    probe: Probe,
    rng: np.random.Generator,
) -> tuple[Verdict, ...]:
    """Measure a policy on a probe; what does not pass is a warning, no refusal.

    Args:
        spec: Architecture.
        weights: Its weights.
        columns: Names of the columns its trunk sees, in order.
        probe: Observations, finite.
        rng: Shuffles columns.

    Raises:
        ArtifactError: If an output is not finite.
    """
    program = compile_program(spec, weights)
    probabilities = _probabilities(program, probe.rows)
    return (
        _trained(probabilities),
        _dependent(probabilities),
        _various(probabilities, spec.n_symbols),
        _unsaturated(program, probe.rows),
        _responding(spec, weights, program, columns, probe, rng),
    )


def _trained(probabilities: NDArray[np.float64]) -> Verdict:
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(probabilities > 0, probabilities * np.log(probabilities), 0.0)
    entropy = float(-terms.sum(axis=1).mean())
    most = math.log(probabilities.shape[1])
    return _sign(
        "is_trained",
        entropy < UNIFORM_SHARE * most,
        entropy,
        f"mean entropy below {UNIFORM_SHARE:.0%} of ln({probabilities.shape[1]}) = {most:.4f} nats",
        len(probabilities),
        f"mean entropy {entropy:.4f} nats, {entropy / most:.1%} of the uniform policy's",
    )


def _dependent(probabilities: NDArray[np.float64]) -> Verdict:
    moved = 0.5 * np.abs(probabilities - probabilities.mean(axis=0)).sum(axis=1)
    share = float(moved.mean())
    return _sign(
        "depends_on_inputs",
        share >= LEAST_DEPENDENCE,
        share,
        f"at least {LEAST_DEPENDENCE:.0%} of probability moved by the inputs",
        len(probabilities),
        f"inputs move {share:.2%} of the probability away from its mean, on average",
    )


def _various(probabilities: NDArray[np.float64], n_symbols: int) -> Verdict:
    greedy = probabilities.argmax(axis=1)
    counts = np.bincount(greedy, minlength=probabilities.shape[1])
    top = int(counts.argmax())
    share = float(counts[top] / len(greedy))
    meaning = action_meanings(n_symbols)[top]
    return _sign(
        "acts_variously",
        int((counts > 0).sum()) > 1,
        share,
        "more than one action chosen, greedy",
        len(greedy),
        f"greedy, {int((counts > 0).sum())} actions are chosen; {meaning} in {share:.1%}",
    )


def _unsaturated(program: Program, rows: NDArray[np.float32]) -> Verdict:
    """Judge the first tanh layer: the share of its outputs that have run into their ends."""
    layer = int(np.flatnonzero(program.operations[:, OPCODE] == DENSE_TANH)[0])
    operations = program.operations[: layer + 1].copy()
    operations[layer, OPCODE] = DENSE
    width = int(operations[layer, N_OUT])
    cut = program._replace(operations=operations, n_actions=width, widest=max(program.widest, width))
    sums = _logits(cut, rows)
    share = float((np.abs(np.tanh(sums)) > SATURATED).mean())
    return _sign(
        "first_layer_moves",
        share <= MOST_SATURATED_SHARE,
        share,
        f"at most {MOST_SATURATED_SHARE:.0%} of the first layer's outputs beyond ±{SATURATED}",
        len(sums),
        f"{share:.1%} of the first layer's {width} outputs lie beyond ±{SATURATED}",
    )


def _responding(
    spec: PolicySpec,
    weights: Weights,
    program: Program,
    columns: Sequence[str],
    probe: Probe,
    rng: np.random.Generator,
) -> Verdict:
    """Judge each column: how much probability moves when its values are dealt out anew."""
    sessions = max(1, min(len(probe.rows), round(N_COLUMN_OBSERVATIONS / probe.rows.shape[1])))
    rows = probe.rows[:: max(1, len(probe.rows) // sessions)][:sessions]
    base = _probabilities(program, rows)
    first = weights["policy.lstm.weight_ih_l0" if spec.kind == "lstm" else "policy.0.weight"]
    unweighted, silent = [], []
    for column, name in enumerate(columns):
        if not first[:, column].any():
            unweighted.append(name)
            continue
        dealt = rows.copy()
        dealt[..., column] = rng.permutation(rows[..., column].ravel()).reshape(rows.shape[:2])
        moved = 0.5 * np.abs(_probabilities(program, dealt) - base).sum(axis=1).mean()
        if moved < LEAST_RESPONSE:
            silent.append(name)
    told = [
        f"{len(names)} {what} ({_listed(names)})"
        for names, what in ((unweighted, "have weights of 0"), (silent, "move nothing"))
        if names
    ]
    return _sign(
        "uses_every_column",
        not told,
        float(len(unweighted) + len(silent)),
        f"no column without weight, none that moves less than {LEAST_RESPONSE:g} of probability",
        len(base),
        f"of {len(columns)} columns {' and '.join(told) or 'every one moves the probabilities'}",
    )


def _listed(names: Sequence[str]) -> str:
    more = ", ..." if len(names) > _NAMED_COLUMNS else ""
    return ", ".join(names[:_NAMED_COLUMNS]) + more


def _probabilities(program: Program, rows: NDArray[np.float32]) -> NDArray[np.float64]:
    logits = _logits(program, rows).astype(np.float64)
    weighed = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities: NDArray[np.float64] = weighed / weighed.sum(axis=1, keepdims=True)
    return probabilities


def _logits(program: Program, rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Lead sessions beside each other through a policy; ``(n_sessions * n_decisions, n_outputs)``."""
    states = np.zeros((len(rows), program.state_size), np.float32)
    steps = [
        forward_batch(program, np.ascontiguousarray(rows[:, bar]), states) for bar in range(rows.shape[1])
    ]
    logits = np.stack(steps, axis=1).reshape(-1, program.n_actions)
    if not np.isfinite(logits).all():
        raise not_finite("vital signs")
    return logits


def _sign(name: str, passed: bool, observed: float, threshold: str, n: int, reason: str) -> Verdict:
    return Verdict(name, Group.INFORMATION, passed, observed, threshold, n, reason)
