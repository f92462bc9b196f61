"""What the cross-asset experiment runs: golds, tunings, and judgements on three symbols."""

from __future__ import annotations

import datetime as dt
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stairways.config import DateRange, Settings, load_settings
from stairways.control.tilt import Multipliers
from stairways.evaluation.calibration import calibrate
from stairways.evaluation.replay import TiltLoop
from stairways.market.dataset import Dataset
from stairways.market.features import FeatureConstants, compute_features
from stairways.market.samples import sample_market
from stairways.policies.program import compile_program
from stairways.policies.spec import PolicySpec
from stairways.registry.artifact import write_artifact
from stairways.registry.connection import sqlite_url
from stairways.trading.observation import observe
from stairways.tuning.cross_asset import (
    YEAR_SESSIONS,
    CrossAsset,
    cross_asset_base,
    judge_cross_asset,
    judge_on,
)
from stairways.tuning.evaluate import POLICY
from stairways.tuning.gold import GoldTraining
from stairways.tuning.packing import pack_candidate, pack_gold
from stairways.tuning.pairs import largest_drawdown, of_symbols, whole_nav
from stairways.tuning.run import TuneRun
from stairways.tuning.run_folder import Silent
from stairways.tuning.shipped import shipped_gold
from stairways.unpacking import ARTIFACT_FOLDER, unpack

if TYPE_CHECKING:
    from stairways.policies.program import Weights
    from stairways.proof.experiment import Job
    from stairways.trading.observation import ObservedMarket

SYMBOLS = ("NVDA", "MSFT", "AAPL")
TWO = SYMBOLS[:2]
REAL_RANGES = {
    "train": "2022-02-02:2022-11-22",
    "record": "2022-11-25:2023-01-05",
    "tune": "2025-05-12:2025-07-31",
    "test": "2025-08-01:2025-12-31",
}
PAIR_CAPITAL = 2 / 3
"""Two units of three: what three legs may put to work at the unit of two legs, for equal capital."""
QUICK_SESSIONS, QUICK_TUNED, QUICK_JUDGED = 330, slice(60, 130), slice(130, 330)


def seed_of(job: Job, *place: int) -> int:
    """Return a run seed of the experiment's own, by place."""
    return int(np.random.SeedSequence(job.seed, spawn_key=place).generate_state(1)[0])


def _clock() -> dt.datetime:
    """Tell a time that never moves: nothing in a result may depend on when it was made."""
    return dt.datetime(2000, 1, 1, tzinfo=dt.UTC)


def _market(job: Job, symbols: tuple[str, ...], *, real: bool) -> dict[str, Any]:
    if not real:
        return {"symbols": symbols}
    return {"symbols": symbols, "bars": str(job.real_bars()), "interval": "5min"}


def train_gold(job: Job, symbols: tuple[str, ...], place: Path, seed: int, *, real: bool) -> dict[str, Any]:
    """Train a gold as ``stairways gold train --symbols ...`` does, and return what it became."""
    shutil.rmtree(place, ignore_errors=True)
    ranges = {"train": REAL_RANGES["train"], "test": REAL_RANGES["record"]} if real else {}
    market = _market(job, symbols, real=real)
    settings = load_settings(None, {"seed": seed, "market": market, "ranges": ranges})
    outcome = GoldTraining(settings, place, clock=_clock, watcher=Silent()).run()
    gold, skill = outcome.record["gold"], outcome.record["before_over_hold"]
    return {
        "digest": outcome.digest,
        "accepted": outcome.accepted,
        "steps": outcome.record["steps"],
        "skill_net_bps": skill["mean_net_bps"],
        "hold_rate_ratio": gold["hold_rate_ratio"],
        "trades_per_session": gold["trades_per_session"],
    }


def tune(
    job: Job, gold: Path, symbols: tuple[str, ...], place: Path, seed: int, *, real: bool
) -> dict[str, Any]:
    """Tune a gold as ``stairways tune --symbols ...`` does, nothing rehearsed; it stands in ``place``."""
    shutil.rmtree(place, ignore_errors=True)
    # two tunings at a time must not wait for one file
    database = place.with_suffix(".db")
    database.unlink(missing_ok=True)
    ranges = {"tune": REAL_RANGES["tune"], "test": REAL_RANGES["test"]} if real else {}
    # 27 actions from 27 positions are nine times the work of two symbols: nothing is rehearsed
    settings = load_settings(
        None,
        {
            "seed": seed,
            "market": _market(job, symbols, real=real),
            "ranges": ranges,
            "tune": {"rehearsal_sessions": 0},
            "call": {"database": sqlite_url(database)},
        },
        base={"trading": unpack(gold).rules.model_dump(mode="json")},
    )
    outcome = TuneRun(settings, gold, place, clock=_clock, watcher=Silent()).run()
    run = outcome.summary["run"]
    return {"accepted": outcome.accepted, "steps": run["steps"], "cycle": run["cycle"]}


def judge(job: Job, folder: Path, seed: int, *, real: bool, unit_ratio: float = 1.0) -> dict[str, Any]:
    """Judge an artifact on three symbols as ``stairways cross-asset`` does, on all it has not seen.

    Args:
        job: The job.
        folder: The artifact.
        seed: Seed of the decisions.
        real: Whether on real bars, in their test range.
        unit_ratio: Factor on the unit.
    """
    base = cross_asset_base(folder)
    overrides: dict[str, Any] = {
        "seed": seed,
        "market": _market(job, SYMBOLS, real=real),
        "ranges": {"sessions": REAL_RANGES["test"]} if real else {},
        "trading": {"unit_fraction": unit_ratio * base["trading"]["unit_fraction"]},
    }
    return _compact(judge_cross_asset(folder, load_settings(None, overrides, base=base), clock=_clock))


def quick_judgement(job: Job, seed: int, *, native: bool) -> dict[str, Any]:
    """Judge a policy under a tilt that is calibrated and not tuned, on a short market of its own.

    Through pairs it is the shipped gold; of three legs it is one of random weights, which knows nothing.
    """
    made = sample_market(f"planted:{seed}", symbols=SYMBOLS, n_sessions=QUICK_SESSIONS)
    settings = load_settings(None, {"seed": seed, "market": {"symbols": SYMBOLS}})
    regime = settings.market.regime
    # the oracle takes longer than all the rest, and the full form has it
    dataset = Dataset(made.sessions, compute_features(made.sessions, regime), None, None)
    gold = unpack(shipped_gold())
    own = dataset if native else of_symbols(dataset, (0, 1))
    if native:
        spec, weights = _random_policy(seed)
        constants = FeatureConstants.fit(dataset.raw, dataset.sessions, slice(0, QUICK_TUNED.start))
    else:
        spec, weights, constants = gold.spec, gold.artifact.weights, gold.constants
    place = job.work / ("quick-native" if native else "quick-pairs")
    _pack_tilted(place, own, spec, weights, constants, settings)
    return _compact(judge_on(unpack(place), dataset, settings, QUICK_JUDGED))


def _random_policy(seed: int) -> tuple[PolicySpec, Weights]:
    spec = PolicySpec(n_symbols=len(SYMBOLS), hidden=(32, 32))
    rng = np.random.default_rng(seed)
    weights = {
        name: rng.normal(0.0, 0.7 / np.sqrt(shape[1]) if len(shape) > 1 else 0.1, shape).astype(np.float32)
        for name, shape in spec.shapes().items()
    }
    return spec, weights


def _pack_tilted(
    place: Path,
    dataset: Dataset,
    spec: PolicySpec,
    weights: Weights,
    constants: FeatureConstants,
    settings: Settings,
) -> None:
    """Write a candidate whose multipliers are calibrated on the sessions before those judged."""
    control = settings.control
    market: ObservedMarket = observe(dataset.sessions, dataset.table(constants)).select(QUICK_TUNED)
    actuator: Any = control.actuator
    loop = TiltLoop(actuator, actuator.live, control.points, Multipliers())
    program = compile_program(spec, weights)
    found = calibrate(market, program, settings.trading, loop, mode=control.mode, run_seed=settings.seed)
    dates = dataset.sessions.dates[QUICK_TUNED].tolist()
    seen = [DateRange(first=dates[0], last=dates[-1])]
    own = settings.model_copy(
        update={"market": settings.market.model_copy(update={"symbols": dataset.sessions.symbols})}
    )
    shutil.rmtree(place, ignore_errors=True)
    made = (own, dataset, spec, weights, constants, QUICK_TUNED.stop, seen)
    gold = pack_gold(*made)
    candidate = pack_candidate(*made, parent_digest=gold.digest, multipliers=found)
    write_artifact(place, candidate, {"seed": settings.seed})


def artifact_of(place: Path) -> Path:
    """Return where a tuning leaves its candidate."""
    return place / ARTIFACT_FOLDER


def years_of(result: CrossAsset) -> list[dict[str, Any]]:
    """Return the judged range in years, of equal length as near as can be, each as if it began anew.

    A year's drawdown counts from the NAV before its first session.
    """
    runs = result.replays[POLICY]
    ledger = result.ledger()
    nav, n_bars = whole_nav(runs), next(iter(runs.values())).market.n_bars
    parts = np.array_split(np.arange(len(ledger)), max(1, round(len(ledger) / YEAR_SESSIONS)))
    return [
        {
            "first": str(ledger.dates[part[0]]),
            "n_sessions": len(part),
            "drawdown_ratio": largest_drawdown(nav[part], float(ledger.nav_open_usd[part[0]]), n_bars[part]),
            "return_ratio": float(ledger.nav_close_usd[part[-1]] / ledger.nav_open_usd[part[0]] - 1.0),
        }
        for part in parts
    ]


def _compact(result: CrossAsset) -> dict[str, Any]:
    """Return what the conclusion needs of a judgement, plain JSON types."""
    record = result.record
    return {
        "form": record["form"],
        "sessions": record["data"]["sessions"],
        "source": record["data"]["source"],
        "fitted": record["fitted_constants"],
        "whole": record["whole"],
        "by_account": record["by_account"][POLICY],
        "above": {name: pair["mean_difference_bps"] for name, pair in record["comparisons"].items()},
        "above_interval": {name: pair["interval_bps"] for name, pair in record["comparisons"].items()},
        "verdicts": {verdict["name"]: verdict["passed"] for verdict in record["verdicts"]},
        "passed": record["run"]["passed"],
        "years": years_of(result),
        "unit_fraction": next(iter(result.replays[POLICY].values())).rules.unit_fraction,
        "target_hold_ratio": record["points"]["hold_rate_ratio"] if record["points"] else None,
        "target_trades": record["points"]["trades_per_session"] if record["points"] else None,
    }
