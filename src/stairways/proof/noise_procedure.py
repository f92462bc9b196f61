"""The product's own procedure at a small size: gold, eight cycles, selection, final gate; then looked at.

`GoldTraining` and `TuneRun` do the work, with every setting at its default but those of `small_settings`.
Afterwards the candidate and its references are replayed from their artifacts, so that the same policies
can be judged in other readings: gross of costs, and on the sessions that selected the candidate.
"""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stairways.control.tilt import Multipliers
from stairways.errors import StairwaysError
from stairways.evaluation.baselines import all_hold, uniform
from stairways.evaluation.bootstrap import PairedComparison, ReturnSeries, paired_comparison
from stairways.evaluation.evidence import ALL_HOLD, GOLD, RANDOM, TILTED_GOLD, Evidence
from stairways.evaluation.gates import JUDGES, SKILL_NAMES
from stairways.evaluation.replay import Replay, TiltLoop

if TYPE_CHECKING:
    from stairways.config import Settings
    from stairways.evaluation.gate_config import GateConfig
    from stairways.trading.observation import ObservedMarket
    from stairways.tuning.run import TuneRun

CYCLES = 8
SKILL = "skill_proven"
READINGS = ("net", "gross")
REFERENCES = (GOLD, RANDOM, ALL_HOLD, TILTED_GOLD)
VERDICTS = (*SKILL_NAMES, "tuning_adds")
NO_COSTS = {"commission_bps": 0.0, "half_spread_bps": 0.0}


@dataclass(frozen=True)
class Size:
    """What makes a run small.

    Attributes:
        gold_steps: Steps that gold learns at most.
        passes_per_cycle: Times that a tuning cycle goes through the training sessions of its range.
    """

    gold_steps: int
    passes_per_cycle: int


FULL = Size(gold_steps=307_200, passes_per_cycle=2)
QUICK = Size(gold_steps=307_200, passes_per_cycle=1)


def small_settings(sample: str, seed: int, size: Size, *, costless: bool = False) -> Settings:
    """Return the settings of a small run: five-minute bars, a policy of 16 units, a quick gold.

    The learning stage takes larger steps and looks less far ahead than the default, which is made for
    one-minute bars: a signal that lasts 33 minutes lasts 7 bars of five.

    Args:
        sample: Sample market with its seed.
        seed: Run seed.
        size: Lengths of learning and tuning.
        costless: Whether trading is free, in training as in judging.
    """
    from stairways.config import load_settings

    overrides: dict[str, Any] = {
        "seed": seed,
        "market": {"sample": sample, "interval": "5min"},
        "gold": {
            "hidden": [16],
            "steps": size.gold_steps,
            "judge_every_rollouts": 4,
            "ppo": {
                "n_envs": 256,
                "n_steps": 40,
                "minibatch": 2_560,
                "epochs": 4,
                "learning_rate": {"start": 6e-3, "end": 5e-4, "begin": 0.6},
                "gamma": 0.9,
                "gae_lambda": 0.8,
                "entropy": {"start": 0.005, "end": 0.0, "until": 0.5},
            },
        },
        # one more than there are cycles: every cycle is run, whatever the ones before showed
        "tune": {
            "cycles": CYCLES,
            "early_stop_cycles": CYCLES + 1,
            "rehearsal_sessions": 0,
            "all_actions": {"passes_per_cycle": size.passes_per_cycle},
        },
    }
    if costless:
        overrides["trading"] = {"costs": NO_COSTS}
    return load_settings(None, overrides)


def run_once(settings: Settings, folder: Path) -> dict[str, Any]:
    """Lead one market through the whole procedure and judge what came out.

    A run that the product itself gives up (a gold that never over-holds, say) is not judged, and says why;
    the next run goes on.

    Args:
        settings: Every setting.
        folder: A folder of the run's own; it is emptied before and taken away after.
    """
    from stairways.tuning.gold import GoldTraining
    from stairways.tuning.run import TuneRun
    from stairways.tuning.run_folder import Silent

    class UnpicturedRun(TuneRun):
        """The main job without its page: more than a hundred of them would be a fifth of the time."""

        def _write_reports(self, summary: dict[str, Any]) -> None:
            del summary

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    gold: dict[str, Any] = {}
    try:
        trained = GoldTraining(settings, folder / "gold", clock=_now, watcher=Silent()).run()
        gold = _gold_record(trained.record, trained.accepted)
        run = UnpicturedRun(settings, folder / "gold", folder / "run", clock=_now, watcher=Silent())
        summary = run.run().summary
    except StairwaysError as error:
        return {"judged": False, "reason": error.line(), **gold}
    else:
        return {"judged": True, "reason": "", **gold, **_judged(run, summary)}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def _gold_record(record: Mapping[str, Any], accepted: bool) -> dict[str, Any]:
    gold, skilled = record["gold"], record["before_over_hold"]
    return {
        "gold_over_holds": accepted,
        "gold_hold_rate_ratio": gold["hold_rate_ratio"],
        "gold_trades_per_session": gold["trades_per_session"],
        "gold_net_bps": gold["mean_net_bps"],
        "skill_before_over_hold_bps": skilled["mean_net_bps"],
    }


def _judged(run: TuneRun, summary: Mapping[str, Any]) -> dict[str, Any]:
    unseen, selecting = (
        _replays(run, run.market.select(run.test)),
        _replays(run, run.market.select(run.split.select)),
    )
    gate = run.settings.resolved_gate()
    readings = {
        f"{reading}_{part}": verdicts_of(_comparisons(replays, reading, run.settings), gate)
        for part, replays in (("unseen", unseen), ("select", selecting))
        for reading in READINGS
    }
    given = {verdict["name"]: bool(verdict["passed"]) for verdict in summary["verdicts"]}
    mine = readings["net_unseen"]
    candidate = summary["candidate"]
    return {
        "accepted": bool(summary["run"]["accepted"]),
        "in_band": all(given[name] for name in summary["required"] if name not in SKILL_NAMES),
        "cycles": len(summary["cycles"]),
        "cycle": summary["run"]["cycle"],
        # what is judged here a second time must be what the final gate judged
        "as_the_final_gate": (
            unseen["candidate"].digest == summary["run"]["fills_digest"]
            and all(mine[name]["passed"] == given[name] for name in VERDICTS)
            and mine[SKILL]["passed"] == given[SKILL]
        ),
        "hold_rate_ratio": candidate["hold_rate_ratio"],
        "trades_per_session": candidate["trades_per_session"],
        "net_bps": candidate["mean_net_bps"],
        "costs_bps": candidate["costs_bps"],
        "sharpe": candidate["sharpe"],
        "n_unseen": candidate["n_sessions"],
        "n_select": len(selecting["candidate"].ledger),
        "readings": readings,
    }


def _replays(run: TuneRun, market: ObservedMarket) -> dict[str, Replay]:
    """Lead the candidate and its references through sessions, as the run's artifacts state them."""
    from stairways.tuning.contest import Arena, Entrant
    from stairways.tuning.seeds import Stream, key
    from stairways.unpacking import ARTIFACT_FOLDER, unpack

    settings = run.settings
    packed = unpack(run.folder.path / ARTIFACT_FOLDER)
    loop = packed.loop()
    if loop is None:
        raise ValueError("the procedure tunes under the tilt")
    saved = packed.loaded.record["baseline_multipliers"]

    def tilted(name: str) -> TiltLoop:
        return loop.starting_at(Multipliers(*saved[name]))

    arena = Arena(market, settings.trading, settings.control.mode, key(settings.seed, Stream.DECISIONS))
    return arena.run_all(
        {
            "candidate": Entrant(packed.program, loop),
            GOLD: Entrant(run.gold.program),
            RANDOM: Entrant(uniform(market.n_symbols), tilted(RANDOM)),
            ALL_HOLD: Entrant(all_hold(market)),
            TILTED_GOLD: Entrant(run.gold.program, tilted(TILTED_GOLD)),
        }
    )


def _comparisons(
    replays: Mapping[str, Replay], reading: str, settings: Settings
) -> dict[str, PairedComparison]:
    from stairways.tuning.seeds import Stream, stream

    take = ReturnSeries.net if reading == "net" else ReturnSeries.gross
    series = {name: take(replay.ledger) for name, replay in replays.items()}
    # the seed of the final gate's own bootstrap
    seed = stream(settings.seed, Stream.BOOTSTRAP, 0)
    confidence = settings.gate.confidence
    return {
        name: paired_comparison(series["candidate"], series[name], confidence=confidence, seed=seed)
        for name in REFERENCES
    }


def verdicts_of(comparisons: Mapping[str, PairedComparison], gate: GateConfig) -> dict[str, dict[str, Any]]:
    """Ask the gate's own judges of skill, and whether all of them agree.

    Args:
        comparisons: Candidate against each reference.
        gate: Bounds of the gate.
    """
    evidence = Evidence(comparisons=comparisons)
    asked = [name for name in VERDICTS if name != "tuning_adds" or TILTED_GOLD in comparisons]
    given = {name: JUDGES[name](evidence, gate) for name in asked}
    found: dict[str, dict[str, Any]] = {
        name: {
            "passed": verdict.passed,
            "bps": verdict.observed,
            "interval_bps": None if verdict.interval is None else list(verdict.interval),
        }
        for name, verdict in given.items()
    }
    found[SKILL] = {"passed": all(given[name].passed for name in SKILL_NAMES)}
    return found
