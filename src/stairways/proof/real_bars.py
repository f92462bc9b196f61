"""Walk-forward on real five-minute bars: behaviour and money on sessions that nothing has seen."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from stairways.proof.experiment import Cell, Experiment, Findings, Job
from stairways.proof.real_bar_findings import conclude

if TYPE_CHECKING:
    from stairways.config import Settings

INTERVAL = "5min"
MARKETS = {"two": ("NVDA", "MSFT"), "three": ("NVDA", "MSFT", "AAPL")}
SEEDS = {"two": 5, "three": 2}
GOLD_STEPS, QUICK_GOLD_STEPS = 832_000, 166_400
"""On 167 sessions of 77 decisions the full form passes every decision 65 times; the default of gold training
is made for one-minute bars, where it does so 6 times."""
OVER_HOLD = {"over_hold_rollouts": 1, "over_hold_learning_rate": 0.1}
"""The stage that makes gold over-hold moves one number, so its looks may be short and its steps large."""
QUICK_CYCLES = 2


class RealBars(Experiment):
    """Gold training, tuning and one look at unseen sessions, rolled over real bars."""

    name = "real_bars"
    title = "Real bars, walk-forward"
    question = (
        "On real five-minute bars that nothing has seen: does the controller hold its set points, and what "
        "is left after costs, beside every baseline?"
    )
    data = "real"

    def cells(self, job: Job) -> Sequence[Cell]:
        """Return one cell for each market, seed and window; the short form has one window of one seed."""
        from stairways.market.loading import load_bars
        from stairways.tuning.walk_forward import WindowSizes, roll

        cells = []
        for market in ("two",) if job.quick else MARKETS:
            settings = settings_of(job, market, 0)
            bars = load_bars(job.real_bars(), MARKETS[market], settings.market.interval_minutes)
            windows = roll(bars.sessions, WindowSizes())
            for seed in range(1 if job.quick else SEEDS[market]):
                for window in windows[:1] if job.quick else windows:
                    arguments = {"market": market, "seed": seed, "window": window.number}
                    cells.append(Cell(f"{market}-{seed}-{window.number}", arguments))
        return cells

    def run(self, cell: Cell, job: Job) -> dict[str, Any]:
        """Train, tune and test one window."""
        from stairways.tuning.walk_forward import WalkForward, WindowSizes

        market, seed, number = (cell.arguments[name] for name in ("market", "seed", "window"))
        settings = settings_of(job, market, seed)
        walk = WalkForward(settings, WindowSizes(), job.work / cell.key, clock=_still)
        record = walk.run_window(walk.windows[number - 1])
        return {"market": market, "symbols": list(MARKETS[market]), "seed": seed, **record}

    def conclude(self, job: Job, results: Mapping[str, dict[str, Any]]) -> Findings:
        """Pool the windows of each seed, and the seeds of each market."""
        return conclude(list(results.values()), settings_of(job, "two", 0), quick=job.quick)


def settings_of(job: Job, market: str, seed: int) -> Settings:
    """Return the settings of a walk: the defaults, but for the length of gold's training."""
    from stairways.config import load_settings

    spawned = np.random.SeedSequence(job.seed, spawn_key=(seed,))
    overrides: dict[str, Any] = {
        "seed": int(spawned.generate_state(1)[0]),
        "market": {"bars": str(job.real_bars()), "symbols": MARKETS[market], "interval": INTERVAL},
        "gold": {"steps": QUICK_GOLD_STEPS if job.quick else GOLD_STEPS, **OVER_HOLD},
        "tune": {"cycles": QUICK_CYCLES} if job.quick else {},
    }
    return load_settings(None, overrides)


def _still() -> dt.datetime:
    """Stand for the clock: nothing that is kept may depend on when it was made."""
    return dt.datetime(2000, 1, 1, tzinfo=dt.UTC)
