import datetime as dt
import math

import numpy as np
import pytest

from ledgers import session_dates
from stairways.errors import ConfigError
from stairways.evaluation.bootstrap import ReturnSeries
from stairways.evaluation.overfitting import overfitting_probability
from stairways.evaluation.track_record import Trials, deflated_sharpe, least_track_record_sessions
from stairways.registry.connection import sqlite_url
from stairways.registry.database import GateDatabase
from stairways.registry.records import CycleRecord, RunRecord
from stairways.trading.sharpe import annual_sharpe, probabilistic_sharpe
from stairways.tuning.multiple_testing import CycleReturns, multiple_testing

BARS = "b" * 64
NOON = dt.datetime(2025, 7, 1, 12, tzinfo=dt.UTC)
RISK_FREE = 1e-5


def matrix(n_sessions: int, n_cycles: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(3e-4, 0.003, (n_sessions, n_cycles))


@pytest.fixture
def database(tmp_path):
    """A gate.db that a test fills with the Sharpe ratios of trials."""
    with GateDatabase.open(sqlite_url(tmp_path / "gate.db")) as opened:
        yield opened


def fill(database: GateDatabase, *sharpes: float | None) -> None:
    zero = "0" * 64
    database.start_run(RunRecord("run", "tune", NOON, 0, zero, {}, BARS, "made"))
    for number, sharpe in enumerate(sharpes, 1):
        database.record_cycle(
            CycleRecord(
                "run", number, NOON, NOON, sharpe, 0.01, 16.0, True, 0.1, True, 0.55, 1e-4, 100, (), NOON
            )
        )


def section(database, cycles, *, chosen=1, unseen=None, bars=BARS):
    return multiple_testing(
        database,
        bars,
        cycles=cycles,
        chosen_cycle=chosen,
        unseen=matrix(200, 1, 9)[:, 0] if unseen is None else unseen,
        risk_free_per_session=RISK_FREE,
    )


def test_the_chosen_cycle_is_deflated_by_every_trial_on_the_bars(database):
    cycles = matrix(64, 3)
    fill(database, 0.5, 1.5, -0.25, None)
    found = section(database, cycles, chosen=2)["deflated_sharpe"]
    trials = Trials.of(np.array([0.5, 1.5, -0.25]), 4)
    assert found["probability"] == deflated_sharpe(cycles[:, 1], trials, RISK_FREE)
    assert found["probability_undeflated"] == pytest.approx(
        probabilistic_sharpe(cycles[:, 1], 0.0, RISK_FREE)
    )
    assert found["probability"] < found["probability_undeflated"]
    assert (found["n_trials"], found["n_trials_with_sharpe"], found["n_sessions"]) == (4, 3, 64)
    assert found["sharpe_annual"] == annual_sharpe(cycles[:, 1], RISK_FREE)
    assert found["trial_deviation_annual"] == pytest.approx(np.std([0.5, 1.5, -0.25], ddof=1))
    assert found["expected_max_annual"] == trials.expected_max_annual
    assert found["reason"] is None


def test_overfitting_is_of_this_run_s_cycles(database):
    cycles = matrix(64, 5)
    fill(database, 0.1, 0.2)
    found = section(database, cycles)["overfitting"]
    expected = overfitting_probability(cycles, risk_free_per_session=RISK_FREE)
    assert found == {
        "n_sessions": 64,
        "n_trials": 5,
        "n_blocks": 12,
        "n_splits": math.comb(12, 6),
        "probability": expected.probability,
        "chance_probability": 3 / 5,
        "degradation_slope": expected.degradation_slope,
        "loss_probability": expected.loss_probability,
        "reason": None,
    }


def test_the_length_of_record_is_of_the_unseen_sessions(database):
    fill(database, 0.1, 0.2)
    unseen = np.random.default_rng(4).normal(6e-4, 0.003, 250)
    found = section(database, matrix(64, 2), unseen=unseen)["track_record"]
    least = least_track_record_sessions(unseen, risk_free_per_session=RISK_FREE)
    assert found["least_sessions"] == math.ceil(least)
    assert (found["n_sessions"], found["confidence"], found["reason"]) == (250, 0.95, None)


@pytest.mark.parametrize(
    ("sharpes", "cycles", "reason"),
    [
        ((0.5,), matrix(64, 1), "trials in gate.db: 1, so nothing was chosen from"),
        ((0.5, None), matrix(64, 2), "1 of 2 trials in gate.db have a Sharpe ratio, so its scatter"),
        ((0.5, 0.6), matrix(19, 2), "not enough sessions: 19, at least 20 needed"),
        ((0.5, 0.6), np.zeros((64, 2)), "no variance in 64 sessions"),
    ],
)
def test_what_cant_be_deflated_has_a_reason_and_no_number(database, sharpes, cycles, reason):
    fill(database, *sharpes)
    found = section(database, cycles)["deflated_sharpe"]
    assert found["probability"] is None
    assert found["expected_max_annual"] is None
    assert found["reason"].startswith(reason)


@pytest.mark.parametrize(
    ("cycles", "reason"),
    [
        (matrix(64, 1), "cycles in this run: 1, so nothing was chosen from"),
        (matrix(39, 4), "not enough sessions: 39, at least 40 needed"),
        (np.zeros((64, 2)), "trial 0 has no spread in some half of the sessions: no Sharpe ratio there"),
    ],
)
def test_what_cant_be_cross_validated_has_a_reason_and_no_number(database, cycles, reason):
    fill(database, 0.5, 0.6)
    found = section(database, cycles)["overfitting"]
    assert found["reason"] == reason
    numbers = ("probability", "chance_probability", "degradation_slope", "loss_probability", "n_splits")
    assert all(found[name] is None for name in numbers)


@pytest.mark.parametrize(
    ("unseen", "reason"),
    [
        (matrix(12, 1)[:, 0], "not enough sessions: 12"),
        (np.zeros(50), "no variance in 50 sessions"),
        (-np.abs(matrix(50, 1)[:, 0]), "the Sharpe ratio is not above 0"),
    ],
)
def test_a_record_without_a_length_has_a_reason(database, unseen, reason):
    fill(database, 0.5, 0.6)
    found = section(database, matrix(64, 2), unseen=unseen)["track_record"]
    assert found["least_sessions"] is None
    assert found["reason"].startswith(reason)


def test_bars_that_nothing_was_judged_on_have_no_trials(database):
    fill(database, 0.5, 0.6)
    found = section(database, matrix(64, 2), bars="d" * 64)["deflated_sharpe"]
    assert found["reason"] == "trials in gate.db: 0, so nothing was chosen from"


class TestCycleReturns:
    def test_cycles_stand_in_columns_and_survive_a_checkpoint(self):
        rows = matrix(30, 3).T
        kept, again = CycleReturns(), CycleReturns()
        for row in rows[:2]:
            kept.note(ReturnSeries(session_dates(30), row))
        again.restore(kept.arrays())
        again.note(ReturnSeries(session_dates(30), rows[2]))
        assert np.array_equal(again.matrix, rows.T)

    def test_a_checkpoint_without_them_is_refused(self):
        with pytest.raises(ConfigError, match="holds no returns of its cycles"):
            CycleReturns().restore({"best.returns": np.zeros(3)})
