"""The trade-budget frontier: on markets with a signal, without one, and on real bars."""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stairways.proof.experiment import Cell, Experiment, Findings, Job

if TYPE_CHECKING:
    from stairways.config import Settings

MARKET_STREAM, KEY_STREAM, GOLD_STREAM = 1, 2, 3
REAL = {"symbols": ["NVDA", "MSFT"], "interval": "5min"}
REAL_TRAIN, REAL_RECORD, REAL_SESSIONS = (
    "2022-02-02:2022-11-22",
    "2022-11-25:2023-01-05",
    "2025-05-12:2025-12-31",
)
TUNE_SESSIONS = "2020-03-12:2021-03-23"


@dataclass(frozen=True)
class Size:
    """How much is measured.

    Attributes:
        points: Set points of trades per session under the tilt, ascending.
        tuned_points: Set points that policies are tuned at.
        hold_points: Set points of the hold rate, at 16.5 trades.
        markets: Planted markets; each has seeds of its own.
        keys: Keys of the numbers that actions are drawn with, per market.
        tuned: Markets on which policies are tuned and the hold set point is varied.
        tuned_cycles: Cycles of these tunings at most.
        noise: Noise markets.
        golds: Golds trained on real bars.
        sessions: Sessions that judge on made markets.
        gold_steps: Steps that a gold on real bars learns at most.
        deviations: Standard errors that a gain must exceed.
    """

    points: tuple[float, ...]
    tuned_points: tuple[float, ...]
    hold_points: tuple[float, ...]
    markets: int
    keys: int
    tuned: int
    tuned_cycles: int
    noise: int
    golds: int
    sessions: str
    gold_steps: int
    deviations: float


FULL = Size(
    points=(0.0, 2.0, 5.0, 8.0, 12.0, 16.5, 20.0, 25.0, 30.0),
    tuned_points=(5.0, 16.5, 30.0),
    hold_points=(0.35, 0.55, 0.75, 0.9),
    markets=6,
    keys=1,
    tuned=3,
    tuned_cycles=2,
    noise=2,
    golds=3,
    sessions="2021-03-24:2025-03-17",
    gold_steps=614_400,
    deviations=1.96,
)
QUICK = Size(
    points=(0.0, 16.5, 30.0),
    tuned_points=(),
    hold_points=(),
    markets=2,
    keys=1,
    tuned=0,
    tuned_cycles=0,
    noise=1,
    golds=1,
    sessions="2021-03-24:2022-03-24",
    gold_steps=102_400,
    # 250 sessions tell a gain of 4 bp from none by about two standard errors of two markets: half of them
    # must be there
    deviations=1.0,
)


class FrontierProof(Experiment):
    """What a budget of trades costs and earns, by the product's own frontier."""

    name = "frontier"
    title = "Trade-budget frontier"
    question = (
        "What does one more trade a session earn where there is a signal, and cost where there is none?"
    )

    def cells(self, job: Job) -> Sequence[Cell]:
        """Return a frontier for each market and key, tunings, golds on real bars and their frontiers."""
        size = _size(job)
        cells = []
        for market in range(size.markets):
            sample = f"planted:{_seed(job, MARKET_STREAM, market)}"
            for index in range(size.keys):
                given = {"sample": sample, "market": market, "seed": _seed(job, KEY_STREAM, market, index)}
                cells.append(Cell(f"tilt-{market}-{index}", {"kind": "tilt", **given, "points": size.points}))
            given = {"sample": sample, "market": market, "seed": _seed(job, KEY_STREAM, market, 0)}
            if market < size.tuned:
                arguments = {"kind": "tuned", **given, "points": size.tuned_points}
                cells.append(Cell(f"tuned-{market}", arguments))
            holds = size.hold_points if market < size.tuned else ()
            cells += [
                Cell(f"hold-{market}-{hold * 100:.0f}", {"kind": "hold", **given, "hold": hold})
                for hold in holds
            ]
        for index in range(size.noise):
            market = size.markets + index
            given = {
                "sample": f"noise:{_seed(job, MARKET_STREAM, market)}",
                "market": market,
                "seed": _seed(job, KEY_STREAM, market, 0),
            }
            cells.append(Cell(f"noise-{index}", {"kind": "noise", **given, "points": size.points}))
        if job.bars is not None:
            for index in range(size.golds):
                gold = {"seed": _seed(job, GOLD_STREAM, index)}
                cells.append(Cell(f"gold-{index}", {"kind": "gold", **gold}))
                arguments = {"kind": "real", "market": 0, **gold, "points": size.points}
                cells.append(Cell(f"real-{index}", {**arguments, "gold": f"gold-{index}"}, stage=1))
        return cells

    def run(self, cell: Cell, job: Job) -> dict[str, Any]:
        """Run one cell."""
        folder = job.work / cell.key
        shutil.rmtree(folder, ignore_errors=True)
        given = cell.arguments
        if given["kind"] == "gold":
            return _train(given["seed"], job, folder)
        record = _measured(given, job, folder)
        if given["kind"] != "tuned":
            shutil.rmtree(folder, ignore_errors=True)
        kept = {name: given[name] for name in ("kind", "market", "seed")}
        return {**kept, "hold": given.get("hold"), "data": record["data"], "rows": record["rows"]}

    def conclude(self, job: Job, results: Mapping[str, dict[str, Any]]) -> Findings:
        """Put the frontiers together."""
        from stairways.proof.frontier_report import findings

        return findings(list(results.values()), _size(job), real_bars=job.bars is not None)


def _size(job: Job) -> Size:
    return QUICK if job.quick else FULL


def _seed(job: Job, *place: int) -> int:
    return int(np.random.SeedSequence(job.seed, spawn_key=place).generate_state(1)[0])


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def _measured(given: Mapping[str, Any], job: Job, folder: Path) -> dict[str, Any]:
    """Run the product's frontier of a cell and return its record."""
    from stairways.config import load_settings
    from stairways.tuning.evaluate import settings_base
    from stairways.tuning.frontier import Frontier
    from stairways.tuning.run_folder import Silent
    from stairways.tuning.shipped import shipped_gold

    size = _size(job)
    real = given["kind"] == "real"
    gold = job.work / given["gold"] / "artifact" if real else shipped_gold()
    overrides: dict[str, Any] = {"seed": given["seed"]}
    if real:
        overrides["market"] = {"bars": str(job.real_bars()), **REAL}
        overrides["ranges"] = {"sessions": REAL_SESSIONS}
    else:
        overrides["market"] = {"sample": given["sample"], "bars": None}
        overrides["ranges"] = {"sessions": size.sessions, "tune": TUNE_SESSIONS}
    if given["kind"] == "tuned":
        overrides["tune"] = {"cycles": size.tuned_cycles}
    if given["kind"] == "hold":
        overrides["control"] = {
            "points": {
                "hold_rate_ratio": given["hold"],
                "lowest_hold_rate_ratio": 0.0,
                "highest_hold_rate_ratio": 1.0,
            }
        }
    settings: Settings = load_settings(None, overrides, base=settings_base(gold))
    # the first point is the one the others are compared with
    points = (0.0, settings.control.points.trades_per_session) if given["kind"] == "hold" else given["points"]
    made = Frontier(
        settings, gold, folder, points=points, tuned=given["kind"] == "tuned", clock=_now, watcher=Silent()
    )
    return made.run().record


def _train(seed: int, job: Job, folder: Path) -> dict[str, Any]:
    """Train a gold on the real bars of 2022; larger steps and a shorter view fit bars of five minutes."""
    from stairways.config import load_settings
    from stairways.tuning.gold import GoldTraining
    from stairways.tuning.run_folder import Silent

    overrides: dict[str, Any] = {
        "seed": seed,
        "market": {"bars": str(job.real_bars()), **REAL},
        "ranges": {"train": REAL_TRAIN, "test": REAL_RECORD},
        "gold": {
            "steps": _size(job).gold_steps,
            "judge_every_rollouts": 4,
            "ppo": {
                "n_envs": 256,
                "n_steps": 40,
                "minibatch": 2_560,
                "epochs": 4,
                "learning_rate": {"start": 3e-3, "end": 5e-4, "begin": 0.6},
                "gamma": 0.9,
                "gae_lambda": 0.8,
                "entropy": {"start": 0.005, "end": 0.0, "until": 0.5},
            },
        },
    }
    settings = load_settings(None, overrides)
    folder.mkdir(parents=True)
    outcome = GoldTraining(settings, folder / "artifact", clock=_now, watcher=Silent()).run()
    record = outcome.record
    return {
        "kind": "gold",
        "seed": seed,
        "over_holds": outcome.accepted,
        "hold_rate_ratio": record["gold"]["hold_rate_ratio"],
        "trades_per_session": record["gold"]["trades_per_session"],
        "net_bps": record["gold"]["mean_net_bps"],
        "skill_before_over_hold_bps": record["before_over_hold"]["mean_net_bps"],
    }
