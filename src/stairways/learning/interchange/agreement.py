"""How well an exported policy agrees with the actor: greedy actions on the same observations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stairways.policies.actor import forward_batch
from stairways.policies.program import Program
from stairways.policies.spec import PolicySpec
from stairways.trading.observation import position_columns

N_STEPS, N_ACCOUNTS = 100, 100

Act = Callable[[NDArray[np.float32]], NDArray[np.int64]]
"""Takes the ``(n_accounts, n_inputs)`` observations of the next step and returns ``(n_accounts,)`` greedy
actions; it starts with the states of a session's open and carries them itself."""


@dataclass(frozen=True)
class Agreement:
    """Greedy actions of two forms of one policy.

    Attributes:
        n: Observations.
        n_equal: Those on which both choose the same action.
        smallest_margin: Smallest difference between the actor's best two logits.
        widest_differing_margin: Largest such difference where the actions differ; 0 where none do.
    """

    n: int
    n_equal: int
    smallest_margin: float
    widest_differing_margin: float

    def as_record(self) -> dict[str, Any]:
        """Return the figures as plain JSON types."""
        return asdict(self)


def observations(spec: PolicySpec, seed: int = 0) -> NDArray[np.float32]:
    """Return ``(n_steps, n_accounts, n_inputs)`` observations, 10,000 in all.

    They are standard normal, clipped to ±5, with positions drawn from short, flat and long.
    """
    rng = np.random.default_rng(seed)
    shape = (N_STEPS, N_ACCOUNTS)
    rows = np.clip(rng.standard_normal((*shape, spec.n_observed)), -5, 5).astype(np.float32)
    rows[..., position_columns(spec.n_symbols)] = rng.integers(-1, 2, size=(*shape, spec.n_symbols))
    return rows


def agreement_of(program: Program, rows: NDArray[np.float32], act: Act) -> Agreement:
    """Lead accounts beside each other through sessions, with the actor and with another form of it.

    Args:
        program: The actor's.
        rows: ``(n_steps, n_accounts, n_inputs)`` float32; the first step is a session's open.
        act: The other form.
    """
    states = np.zeros((rows.shape[1], program.state_size), np.float32)
    margins, equal = [], []
    for step in rows:
        logits = forward_batch(program, np.ascontiguousarray(step), states)
        best = np.sort(logits, axis=1)
        margins.append(best[:, -1].astype(np.float64) - best[:, -2])
        equal.append(logits.argmax(axis=1) == act(step))
    margin, same = np.concatenate(margins), np.concatenate(equal)
    return Agreement(
        n=len(same),
        n_equal=int(same.sum()),
        smallest_margin=float(margin.min()),
        widest_differing_margin=float(margin[~same].max()) if not same.all() else 0.0,
    )
