"""What a run's result is worth after the choice among cycles: deflation, overfitting, length of record.

What can't be computed is None beside a reason, never a number.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stairways.errors import ConfigError, InputError
from stairways.evaluation.overfitting import overfitting_probability
from stairways.evaluation.track_record import LEAST_TRIALS, TrackRecord, Trials
from stairways.trading.sharpe import MIN_SHARPE_SESSIONS

if TYPE_CHECKING:
    from stairways.evaluation.bootstrap import ReturnSeries
    from stairways.registry.database import GateDatabase

KEPT = "cycles.select_returns"
CONFIDENCE = 0.95


class CycleReturns:
    """Net session returns of every cycle of a run on its select sessions, the resumed ones included."""

    def __init__(self) -> None:
        self._rows: list[NDArray[np.float64]] = []

    def note(self, returns: ReturnSeries) -> None:
        """Keep the returns of the cycle that was just judged."""
        self._rows.append(returns.returns_ratio)

    @property
    def matrix(self) -> NDArray[np.float64]:
        """Returns as fractions, ``(n_sessions, n_cycles)`` float64."""
        return np.array(self._rows).T

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return what a checkpoint keeps."""
        return {KEPT: np.array(self._rows)}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Go on from a checkpoint.

        Raises:
            ConfigError: If it was written without them.
        """
        if KEPT not in arrays:
            raise ConfigError(
                "the checkpoint holds no returns of its cycles", remedy="start a new run with this version"
            )
        self._rows = list(arrays[KEPT])


def multiple_testing(
    database: GateDatabase,
    data_digest: str,
    *,
    cycles: NDArray[np.float64],
    chosen_cycle: int,
    unseen: NDArray[np.float64],
    risk_free_per_session: float,
) -> dict[str, Any]:
    """Return what the choice among cycles leaves of a result, as plain JSON types.

    Args:
        database: gate.db; its cycles on the same bars are the trials.
        data_digest: The bars.
        cycles: ``(n_select_sessions, n_cycles)`` float64, net returns of this run's cycles.
        chosen_cycle: The cycle that the candidate comes from, from 1.
        unseen: ``(n_test_sessions,)`` float64, the candidate's net returns where nothing was chosen.
        risk_free_per_session: Risk-free return of one session, a fraction.
    """
    return {
        "deflated_sharpe": _deflated(
            TrackRecord.of(cycles[:, chosen_cycle - 1], risk_free_per_session),
            len(cycles),
            database.trial_count(data_digest),
            np.array(database.trial_sharpes(data_digest)),
        ),
        "overfitting": _overfitting(cycles, risk_free_per_session),
        "track_record": _track_record(unseen, risk_free_per_session),
    }


def _deflated(
    record: TrackRecord | None, n_sessions: int, n_trials: int, sharpes_annual: NDArray[np.float64]
) -> dict[str, Any]:
    known: dict[str, Any] = {
        "n_sessions": n_sessions,
        "sharpe_annual": None if record is None else record.sharpe_annual,
        "n_trials": n_trials,
        "n_trials_with_sharpe": len(sharpes_annual),
        "trial_deviation_annual": None,
        "expected_max_annual": None,
        "probability_undeflated": None if record is None else record.probability_above(),
        "probability": None,
        "reason": None,
    }
    if record is None:
        return known | {"reason": _no_sharpe(n_sessions)}
    if len(sharpes_annual) < LEAST_TRIALS:
        return known | {"reason": _no_choice(n_trials, len(sharpes_annual))}
    trials = Trials.of(sharpes_annual, n_trials)
    return known | {
        "trial_deviation_annual": math.sqrt(trials.variance_annual),
        "expected_max_annual": trials.expected_max_annual,
        "probability": record.deflated(trials),
    }


def _no_choice(n_trials: int, n_with_sharpe: int) -> str:
    if n_trials < LEAST_TRIALS:
        return f"trials in gate.db: {n_trials}, so nothing was chosen from"
    return f"{n_with_sharpe} of {n_trials} trials in gate.db have a Sharpe ratio, so its scatter is unknown"


def _no_sharpe(n_sessions: int) -> str:
    if n_sessions < MIN_SHARPE_SESSIONS:
        return f"not enough sessions: {n_sessions}, at least {MIN_SHARPE_SESSIONS} needed"
    return f"no variance in {n_sessions} sessions"


def _overfitting(cycles: NDArray[np.float64], risk_free_per_session: float) -> dict[str, Any]:
    n_sessions, n_trials = cycles.shape
    known: dict[str, Any] = {
        "n_sessions": n_sessions,
        "n_trials": n_trials,
        "n_blocks": None,
        "n_splits": None,
        "probability": None,
        "chance_probability": None,
        "degradation_slope": None,
        "loss_probability": None,
        "reason": None,
    }
    if n_trials < LEAST_TRIALS:
        return known | {"reason": f"cycles in this run: {n_trials}, so nothing was chosen from"}
    try:
        found = overfitting_probability(cycles, risk_free_per_session=risk_free_per_session)
    except InputError as error:
        return known | {"reason": error.what}
    return known | {
        "n_blocks": found.n_blocks,
        "n_splits": found.n_splits,
        "probability": found.probability,
        "chance_probability": found.chance_probability,
        "degradation_slope": found.degradation_slope,
        "loss_probability": found.loss_probability,
    }


def _track_record(unseen: NDArray[np.float64], risk_free_per_session: float) -> dict[str, Any]:
    record = TrackRecord.of(unseen, risk_free_per_session)
    least = None if record is None else record.least_sessions(confidence=CONFIDENCE)
    reason = None
    if record is None:
        reason = _no_sharpe(len(unseen))
    elif least is None:
        reason = "the Sharpe ratio is not above 0, so no length would show that it is"
    return {
        "n_sessions": len(unseen),
        "sharpe_annual": None if record is None else record.sharpe_annual,
        "confidence": CONFIDENCE,
        "least_sessions": None if least is None else math.ceil(least),
        "reason": reason,
    }
