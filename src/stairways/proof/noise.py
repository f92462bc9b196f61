"""Noise: does the whole procedure, or the test alone, accept skill where there is none?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from stairways.proof.experiment import Cell, Experiment, Findings, Job
from stairways.proof.noise_procedure import FULL, QUICK, run_once, small_settings
from stairways.proof.noise_trials import FAMILIES, run_trials

ARMS = {"noise": "noise", "costless": "noise", "hard": "planted-hard", "planted": "planted"}
"""Arm -> sample market; the costless arm is the noise market where trading is free."""

FULL_RUNS = {"noise": 102, "costless": 10, "hard": 8, "planted": 30}
QUICK_RUNS = {"noise": 1, "planted": 2}
FULL_TRIALS = dict.fromkeys(FAMILIES, 1_000)
QUICK_TRIALS = {"independent": 30, "autocorrelated": 30, "policies": 10}
TRIALS_PER_CELL = 250
ARM_STREAM, TRIAL_STREAM = 1, 2


class Noise(Experiment):
    """The whole procedure on noise, beside the same on planted markets, and the test alone."""

    name = "noise"
    title = "Noise: false acceptance of skill"
    question = (
        "How often are tuning, selection of the best of eight cycles and the final gate fooled by a market "
        "in which nothing can be earned?"
    )

    def cells(self, job: Job) -> Sequence[Cell]:
        """Return one cell for each run, and blocks of trials of the test alone."""
        found = []
        for arm, count in (QUICK_RUNS if job.quick else FULL_RUNS).items():
            for index in range(count):
                market_seed, run_seed = _seeds(job.seed, arm, index)
                arguments = {"arm": arm, "sample": f"{ARMS[arm]}:{market_seed}", "seed": run_seed}
                found.append(Cell(f"{arm}-{index:03d}", arguments))
        for family, n_trials in (QUICK_TRIALS if job.quick else FULL_TRIALS).items():
            for first in range(0, n_trials, TRIALS_PER_CELL):
                count = min(TRIALS_PER_CELL, n_trials - first)
                arguments = {"family": family, "first": first, "n_trials": count}
                found.append(Cell(f"{family}-{first:04d}", arguments))
        return found

    def run(self, cell: Cell, job: Job) -> dict[str, Any]:
        """Run the whole procedure once, or one block of trials."""
        given = cell.arguments
        if "family" in given:
            place = (TRIAL_STREAM, FAMILIES.index(given["family"]), given["first"])
            seed = np.random.SeedSequence(job.seed, spawn_key=place)
            return run_trials(given["family"], given["n_trials"], seed)
        size = QUICK if job.quick else FULL
        costless = given["arm"] == "costless"
        settings = small_settings(given["sample"], given["seed"], size, costless=costless)
        return {**given, **run_once(settings, job.work / cell.key)}

    def conclude(self, job: Job, results: Mapping[str, dict[str, Any]]) -> Findings:
        """Count what was accepted."""
        from stairways.proof.noise_report import findings

        return findings(
            [result for result in results.values() if "arm" in result],
            [result for result in results.values() if "family" in result],
            size=QUICK if job.quick else FULL,
        )


def _seeds(run_seed: int, arm: str, index: int) -> tuple[int, int]:
    """Return the seeds of one run's market and of the run itself; no two runs share either."""
    place = (ARM_STREAM, list(ARMS).index(arm), index)
    market, run = np.random.SeedSequence(run_seed, spawn_key=place).generate_state(2)
    return int(market), int(run)
