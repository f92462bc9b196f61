"""Power by simulation: the gate's own skill judges, asked again and again on returns with fat tails."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stairways.evaluation.bootstrap import ReturnSeries, paired_comparison
from stairways.evaluation.evidence import ALL_HOLD, GOLD, RANDOM, Evidence
from stairways.evaluation.gate_config import GateConfig
from stairways.evaluation.gates import JUDGES, SKILL_NAMES
from stairways.evaluation.power import DEGREES_OF_FREEDOM, TrueSkill

FIRST_DATE = np.datetime64("2000-01-03")


@dataclass(frozen=True)
class Acceptance:
    """How often something was accepted.

    Attributes:
        accepted: Runs that passed.
        n_runs: Runs in all.
    """

    accepted: int
    n_runs: int

    @property
    def ratio(self) -> float:
        """Share of runs that passed."""
        return self.accepted / self.n_runs

    def standard_error(self, at_ratio: float | None = None) -> float:
        """Return the binomial standard error of the share, at a given true one if it is known."""
        share = self.ratio if at_ratio is None else at_ratio
        return math.sqrt(share * (1.0 - share) / self.n_runs)

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Return the two-sided score interval of the share (Wilson 1927)."""
        z = NormalDist().inv_cdf(0.5 + confidence / 2.0)
        n, share = self.n_runs, self.ratio
        middle = share + z**2 / (2 * n)
        half = z * math.sqrt(share * (1.0 - share) / n + z**2 / (4 * n**2))
        return (middle - half) / (1 + z**2 / n), (middle + half) / (1 + z**2 / n)

    def as_record(self) -> dict[str, Any]:
        """Return it as plain JSON types, with its 95 % interval."""
        low, high = self.interval()
        return {
            "accepted": self.accepted,
            "n_runs": self.n_runs,
            "ratio": self.ratio,
            "low_ratio": low,
            "high_ratio": high,
        }


@dataclass(frozen=True)
class Simulation:
    """How the gate's judges are asked again and again.

    Attributes:
        n_runs: Runs.
        gate: Bounds of the gate; its confidence and its least number of sessions count here.
        n_resamples: Bootstrap resamples of each comparison. The gate itself draws 4,000; fewer blur the
            ends of an interval a little, which costs a fifth of a point of power at 400.
        degrees_of_freedom: Of the t law of session returns.
    """

    n_runs: int
    gate: GateConfig = field(default_factory=GateConfig)
    n_resamples: int = 500
    degrees_of_freedom: float = DEGREES_OF_FREEDOM

    def one_verdict(
        self, n_sessions: int, difference_annual: float, correlation: float, seed: np.random.SeedSequence
    ) -> Acceptance:
        """Simulate the verdict against gold.

        Args:
            n_sessions: Unseen sessions of each run.
            difference_annual: True difference of the annual Sharpe ratios.
            correlation: Of the two policies' session returns.
            seed: Seed of the runs.
        """
        skill = TrueSkill(difference_annual, 0.0, 0.0, correlation, 0.0)
        return self.verdicts(n_sessions, skill, ("beats_gold",), seed)

    def all_verdicts(self, n_sessions: int, skill: TrueSkill, seed: np.random.SeedSequence) -> Acceptance:
        """Simulate the three skill verdicts together: what the gate asks.

        Args:
            n_sessions: Unseen sessions of each run.
            skill: What is true.
            seed: Seed of the runs.
        """
        return self.verdicts(n_sessions, skill, SKILL_NAMES, seed)

    def verdicts(
        self, n_sessions: int, skill: TrueSkill, names: Sequence[str], seed: np.random.SeedSequence
    ) -> Acceptance:
        """Simulate how often the named skill verdicts pass together.

        Args:
            n_sessions: Unseen sessions of each run.
            skill: What is true.
            names: Names of judges on skill.
            seed: Seed of the runs.
        """
        accepted = 0
        for run in seed.spawn(self.n_runs):
            drawing, resampling = run.spawn(2)
            returns = skill.draw(n_sessions, np.random.default_rng(drawing), self.degrees_of_freedom)
            accepted += self._pass(returns, names, resampling)
        return Acceptance(accepted, self.n_runs)

    def _pass(self, returns: NDArray[np.float64], names: Sequence[str], seed: np.random.SeedSequence) -> bool:
        """Tell whether the named judges all pass a candidate, given everyone's returns ``(n, 3)``."""
        candidate, gold, random = (self._series(column) for column in returns.T)
        references = {GOLD: gold, RANDOM: random, ALL_HOLD: self._series(np.zeros(len(returns)))}
        for name in names:
            reference = name.removeprefix("beats_")
            comparison = paired_comparison(
                candidate,
                references[reference],
                confidence=self.gate.confidence,
                n_resamples=self.n_resamples,
                seed=seed,
            )
            if not JUDGES[name](Evidence(comparisons={reference: comparison}), self.gate).passed:
                return False
        return True

    @staticmethod
    def _series(returns: NDArray[np.float64]) -> ReturnSeries:
        return ReturnSeries(FIRST_DATE + np.arange(len(returns)), returns)
