"""The runs behind the known answers: each judges its policies with several keys on the unseen sessions."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stairways.evaluation.baselines import uniform
from stairways.evaluation.bootstrap import ReturnSeries, paired_comparison
from stairways.policies.program import compile_program
from stairways.proof.known_answers import (
    ARMS,
    KEYS,
    LOOKS,
    QUICK_KEYS,
    gold_folder,
    settings_of,
)
from stairways.proof.plants import EPOCH
from stairways.trading.metrics import measure
from stairways.tuning.contest import Arena, Entrant, scripted_baselines
from stairways.tuning.run_folder import Silent
from stairways.tuning.seeds import Stream, stream
from stairways.unpacking import unpack

if TYPE_CHECKING:
    from stairways.evaluation.replay import Replay
    from stairways.proof.experiment import Job
    from stairways.tuning.cycle import Bench
    from stairways.tuning.run import TuneRun


@dataclass(frozen=True, eq=False)
class Judged:
    """One policy on the unseen sessions, over several keys of its decisions.

    Attributes:
        series: Net session returns, the mean over the keys.
        deviation_ratio: Standard deviation of one account's session returns, the mean over the keys.
        record: Figures: Sharpe of one account (mean over keys) and so on.
    """

    series: ReturnSeries
    deviation_ratio: float
    record: dict[str, Any]


class Court:
    """The unseen sessions of a tuning, and the keys that everyone is led through them with.

    Args:
        run: The tuning.
        bench: Its bench.
        keys: Keys of the decisions.
    """

    def __init__(self, run: TuneRun, bench: Bench, keys: Sequence[int]) -> None:
        self.bench = bench
        self.market = run.market.select(run.test)
        self.rules = run.settings.trading
        self.mode = run.settings.control.mode
        self.keys = keys
        self.scripted = scripted_baselines(self.market, run.dataset, run.test, self.rules)

    def judge(self, entrant: Entrant) -> Judged:
        """Lead a policy through the unseen sessions once per key."""
        runs = [Arena(self.market, self.rules, self.mode, key).run(entrant) for key in self.keys]
        metrics = [measure(r.ledger, n_actions=9, risk_free_per_session=0.0) for r in runs]
        sharpes = [m.sharpe for m in metrics if m.sharpe is not None]
        record = {
            "sharpe": float(np.mean(sharpes)) if len(sharpes) == len(runs) else None,
            "sharpe_standard_error": metrics[0].sharpe_standard_error,
            "net_bps": float(np.mean([m.mean_net_bps for m in metrics])),
            "hold_rate_ratio": float(np.mean([m.hold_rate_ratio for m in metrics])),
            "trades_per_session": float(np.mean([m.trades_per_session for m in metrics])),
            "n_sessions": len(self.market),
            "n_keys": len(self.keys),
        }
        deviation = float(np.mean([run.ledger.returns_ratio.std(ddof=1) for run in runs]))
        return Judged(_mean_series(runs), deviation, record)

    def tilted(self, program: Any) -> Entrant:
        """Return a policy as it is deployed: its tilt calibrated on the tuning sessions."""
        return Entrant(program, self.bench.loop(self.bench.calibrated(program, None)))

    def oracle(self) -> Judged:
        """Lead the exact oracle through the unseen sessions; its actions are not drawn."""
        return self.judge(self.scripted["oracle"])


def _mean_series(runs: Sequence[Replay]) -> ReturnSeries:
    first = ReturnSeries.net(runs[0].ledger)
    returns = np.mean([run.ledger.returns_ratio for run in runs], axis=0)
    return ReturnSeries(first.dates, returns)


def _difference(first: Judged, second: Judged, seed: int) -> dict[str, Any]:
    """Compare two policies as they are, and the first one scaled to the risk of one account of the second.

    Equal risk is the M-squared of Modigliani and Modigliani (1997); the scale counts as known.
    """
    scale = second.deviation_ratio / first.deviation_ratio if first.deviation_ratio > 0 else 1.0
    scaled = ReturnSeries(first.series.dates, first.series.returns_ratio * scale)
    found, equal = (
        paired_comparison(one, second.series, confidence=0.95, seed=stream(seed, Stream.BOOTSTRAP, 0))
        for one in (first.series, scaled)
    )
    return {
        "bps": found.mean_difference_bps,
        "low_bps": found.interval_bps[0],
        "high_bps": found.interval_bps[1],
        "standard_error_bps": found.standard_error_bps,
        "equal_risk_bps": equal.mean_difference_bps,
        "equal_risk_low_bps": equal.interval_bps[0],
        "equal_risk_high_bps": equal.interval_bps[1],
    }


def _keys(job: Job) -> Sequence[int]:
    return QUICK_KEYS if job.quick else KEYS


def _opened(job: Job, arguments: Mapping[str, Any], gold: Path, more: dict[str, Any], name: str) -> TuneRun:
    from stairways.tuning.run import TuneRun

    settings = settings_of(job, arguments, {**more, "call": {"gold": str(gold)}})
    return TuneRun(settings, gold, job.work / name, clock=lambda: EPOCH, watcher=Silent())


def train_and_judge(arguments: Mapping[str, Any], job: Job) -> dict[str, Any]:
    """Train one gold and judge it as it learned, as it over-holds and under the tilt."""
    from stairways.tuning.gold import GoldTraining

    folder = job.work / arguments["folder"]
    if not (folder / "manifest.json").is_file():
        gold = {"regime": arguments["regime"]}
        settings = settings_of(job, arguments, {"gold": gold})
        GoldTraining(settings, folder, clock=lambda: EPOCH, watcher=Silent()).run()
    packed = unpack(folder)
    tune = {"tune": {"regime": "gate" if arguments["regime"] == "none" else arguments["regime"]}}
    run = _opened(job, arguments, folder, tune, f"{arguments['folder']}-unused")
    court = Court(run, run.bench(run.gold.spec), _keys(job))
    before = packed.loaded.record["before_over_hold"]
    return {
        "before_over_hold": {"sharpe": before["sharpe"], "net_bps": before["mean_net_bps"]},
        "gold": court.judge(Entrant(packed.program)).record,
        "tilted": court.judge(court.tilted(packed.program)).record,
        "oracle": court.oracle().record,
    }


def tune_and_judge(arguments: Mapping[str, Any], job: Job) -> dict[str, Any]:
    """Run the product's tuning as it stands and judge what it made."""
    gold = gold_folder(job, arguments["gold"])
    packed = unpack(gold)
    regime = "gate" if packed.spec.regime == "none" else packed.spec.regime
    name = f"tune-{arguments['market']}-{arguments['gold'] or 'shipped'}-{arguments['seed']}"
    if (job.work / name).exists():
        shutil.rmtree(job.work / name)
    run = _opened(job, arguments, gold, {"tune": {"regime": regime}}, name)
    outcome = run.run()
    candidate = unpack(outcome.folder / "artifact")
    court = Court(run, run.bench(run.gold.spec), _keys(job))
    seed = int(arguments["seed"])
    tuned = court.judge(Entrant(candidate.program, candidate.loop()))
    tilted = court.judge(court.tilted(packed.program))
    chance = court.judge(court.tilted(uniform(run.market.n_symbols)))
    oracle = court.oracle()
    return {
        "accepted": outcome.accepted,
        "cycle": outcome.summary["candidate"].get("cycle"),
        "candidate": tuned.record,
        "gold": court.judge(Entrant(packed.program)).record,
        "tilted": tilted.record,
        "random": chance.record,
        "oracle": oracle.record,
        "tuning_adds": _difference(tuned, tilted, seed),
        "above_random": _difference(tuned, chance, seed),
        "oracle_above": _difference(oracle, tuned, seed),
    }


def follow(arguments: Mapping[str, Any], job: Job) -> dict[str, Any]:
    """Train cycle after cycle and judge after some of them, without choosing any.

    The trainer, its controller and the calibration are the product's; there is no early stop and no
    selection, so that each point is what so many steps do.
    """
    from stairways.learning.warm_start import warm_start
    from stairways.tuning.steer import make_trainer

    arm, seed = str(arguments["arm"]), int(arguments["seed"])
    more: dict[str, Any] = {"tune": ARMS[arm]}
    run = _opened(job, arguments, gold_folder(job, None), more, f"curve-{arm}-{seed}")
    gold = run.gold
    started = warm_start(
        gold.spec, gold.artifact.weights, run.settings.tune.regime, stream(seed, Stream.WEIGHTS)
    )
    bench = run.bench(started.spec)
    start = bench.calibrated(gold.program, None)
    trainer = make_trainer(bench, started, start)
    court = Court(run, bench, _keys(job))
    tilted = court.judge(Entrant(gold.program, bench.loop(start)))
    points = []
    for cycle in range(1, max(LOOKS[arm]) + 1):
        trainer.train(bench.cycle_steps)
        if cycle not in LOOKS[arm]:
            continue
        weights = trainer.network.export_weights()
        program = compile_program(started.spec, weights)
        judged = court.judge(Entrant(program, bench.loop(bench.calibrated(program, start))))
        points.append(
            {
                "cycle": cycle,
                "steps": trainer.steps,
                "sessions": len(bench.learn),
                "drift_ratio": bench.drift(weights).relative,
                "candidate": judged.record,
                "tuning_adds": _difference(judged, tilted, seed),
            }
        )
    return {"tilted": tilted.record, "points": points}
