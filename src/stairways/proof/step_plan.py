"""What the step response runs: policies, forms, windows and bars."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stairways.proof.experiment import Job
from stairways.proof.streams import Lengths, Quantity

MLP, LSTM, UNIFORM = "mlp", "lstm", "uniform"
OVER_HOLDER, OVER_TRADER, DEPLOYED = "over_holder", "over_trader", "deployed"
STARTS: Mapping[str, tuple[str, ...]] = {
    MLP: (OVER_HOLDER, OVER_TRADER, DEPLOYED),
    LSTM: (OVER_HOLDER, OVER_TRADER),
    UNIFORM: (OVER_TRADER,),
}
LSTM_GOLD: dict[str, Any] = {"policy": "lstm", "lstm_hidden": 32, "hidden": [32], "steps": 998_400}

SESSION = 389
WIDTHS: Mapping[Quantity, int] = {"hold": SESSION, "trades": 3 * SESSION}
"""Decisions of a window: whole sessions, because both quantities differ by the time of day; three for the
trades, of which one session has only a few."""
EVERY = 39
STEADY_SESSIONS: Mapping[Quantity, int] = {"hold": 5, "trades": 6}


@dataclass(frozen=True)
class Form:
    """How much is run.

    Attributes:
        seeds: Seeds of the responses at inference.
        accounts: Accounts pooled in each.
        lengths: Sessions of each step.
        calibration_sessions: Sessions that multipliers are calibrated on and over-traders found on.
        judged_sessions: Sessions that policies are measured on untilted, and trained ones after each step.
        training_seeds: Seeds of each controller in training.
        training_starts: Policies that training starts from.
        training_steps: Transitions of a step in training.
        lstm_gold: Settings of the LSTM gold; None takes an LSTM of random weights.
    """

    seeds: int
    accounts: int
    lengths: Lengths
    calibration_sessions: int
    judged_sessions: int
    training_seeds: int
    training_starts: tuple[str, ...]
    training_steps: int
    lstm_gold: dict[str, Any] | None


FULL = Form(10, 24, Lengths(14, 8, 12), 120, 40, 10, (OVER_HOLDER, OVER_TRADER), 24_000, LSTM_GOLD)
QUICK = Form(1, 8, Lengths(10, 6, 10), 20, 10, 1, (OVER_HOLDER,), 9_600, None)


def form_of(job: Job) -> Form:
    """Return how much a job runs."""
    return QUICK if job.quick else FULL


@dataclass(frozen=True)
class Judged:
    """What is asked of one quantity.

    Attributes:
        quantity: Which one.
        band: Half width of the band that a response has to enter for good.
        within_sessions: Sessions of 390 decisions within which it has to.
        steady: Largest mean error that may stay.
        overshoot: Largest excursion beyond the set point; None where none is asked.
        scale: Factor to the unit that people read.
        unit: That unit.
        words: Its name for people.
    """

    quantity: Quantity
    band: float
    within_sessions: float
    steady: float
    overshoot: float | None
    scale: float
    unit: str
    words: str

    @property
    def within_decisions(self) -> float:
        """Decisions within which a response has to settle."""
        return self.within_sessions * DECISIONS_OF_A_SESSION


DECISIONS_OF_A_SESSION = 390.0
HOLD = Judged("hold", 0.05, 2.0, 0.01, 0.05, 100.0, "points", "hold rate")
TRADES = Judged("trades", 1.5, 6.0, 0.5, None, 1.0, "trades", "trades per session")
QUANTITIES = (HOLD, TRADES)

NET_WORDS: Mapping[str, str] = {MLP: "MLP", LSTM: "LSTM", UNIFORM: "uniform"}
START_WORDS: Mapping[str, str] = {
    OVER_HOLDER: "over-holder",
    OVER_TRADER: "over-trader",
    DEPLOYED: "deployed",
}
