"""What the leak experiment runs: markets with half days and breaks, policies, and trials on both."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from stairways.control.actuators import TiltActuator
from stairways.control.setpoints import SetPoints
from stairways.control.tilt import Multipliers
from stairways.evaluation.leak import LeakReport, ProductPipeline, find_leaks, pooled
from stairways.evaluation.leak_futures import FUTURES, draw_cuts
from stairways.evaluation.replay import TiltLoop
from stairways.market.dataset import open_bars
from stairways.market.features import FeatureConstants, RawFeatures, compute_features
from stairways.market.regime import RegimeConfig
from stairways.market.samples import sample_market
from stairways.market.sessions import Sessions
from stairways.policies.program import Program, compile_program
from stairways.policies.spec import PolicySpec
from stairways.proof.planted_leaks import PLANTED
from stairways.trading.metrics import mean_estimate
from stairways.trading.rules import CostModel, TradingRules
from stairways.tuning.leak_check import LATER_SESSIONS, draw_blocks

if TYPE_CHECKING:
    from stairways.proof.experiment import Job

FIRST, N_SESSIONS, N_FITTED = dt.date(2012, 5, 1), 170, 60
"""Three half days lie in it: 3 July, 23 November and 24 December 2012."""
LEFT_OUT = (95, 96, 130)
"""Sessions taken out of the market, so that segments end and begin."""
MOMENT_SESSIONS = 60
START = Multipliers(1.0, 1.0)
RULES = TradingRules(costs=CostModel(impact_bps=5.0, ticket_usd=0.5))


@dataclass(frozen=True)
class Place:
    """A market to run on.

    Attributes:
        symbols: Its symbols.
        interval_minutes: Length of a bar.
        real: Whether it is of real bars.
    """

    symbols: tuple[str, ...]
    interval_minutes: int
    real: bool = False


PLACES = {
    "planted 1 min, 2 symbols": Place(("NVDA", "MSFT"), 1),
    "planted 5 min, 2 symbols": Place(("NVDA", "MSFT"), 5),
    "planted 1 min, 3 symbols": Place(("NVDA", "MSFT", "AAPL"), 1),
    "planted 5 min, 3 symbols": Place(("NVDA", "MSFT", "AAPL"), 5),
    "real 5 min, 2 symbols": Place(("NVDA", "MSFT"), 5, real=True),
    "real 5 min, 3 symbols": Place(("NVDA", "MSFT", "AAPL"), 5, real=True),
}

POLICIES: dict[str, dict[str, Any]] = {
    "MLP, sampled": {"kind": "mlp", "regime": "gate", "mode": "sampled"},
    "MLP, greedy": {"kind": "mlp", "regime": "concat", "mode": "greedy"},
    "LSTM, sampled": {"kind": "lstm", "lstm_hidden": 32, "regime": "gate", "mode": "sampled"},
}


@dataclass(frozen=True, eq=False)
class Ground:
    """A market that is ready.

    Attributes:
        sessions: All sessions.
        raw: Their features, and the regime that a block's pipeline goes on from.
        constants: Fitted on the sessions before ``allowed``.
        allowed: Sessions that blocks are drawn from.
    """

    sessions: Sessions
    raw: RawFeatures
    constants: FeatureConstants
    allowed: slice


def ground(name: str, job: Job) -> Ground:
    """Return a market of ``PLACES``, with half days and breaks between segments."""
    place = PLACES[name]
    regime = RegimeConfig()
    if place.real:
        dataset = open_bars(job.real_bars(), place.symbols, place.interval_minutes).with_features(regime)
        sessions, raw = dataset.sessions, dataset.raw
    else:
        market = sample_market(
            f"planted:{job.seed}",
            symbols=place.symbols,
            interval_minutes=place.interval_minutes,
            first=FIRST,
            n_sessions=N_SESSIONS,
        )
        sessions = without(market.sessions, LEFT_OUT)
        raw = compute_features(sessions, regime)
    constants = FeatureConstants.fit(raw, sessions, slice(0, N_FITTED))
    return Ground(sessions, raw, constants, slice(N_FITTED, len(sessions)))


def without(sessions: Sessions, left_out: tuple[int, ...]) -> Sessions:
    """Return the sessions without some of them; behind each gap a segment begins."""
    kept = np.array([i for i in range(len(sessions)) if i not in left_out])
    names = ("dates", "open_utc", "n_bars", "open", "high", "low", "close", "volume", "filled")
    arrays: dict[str, Any] = {name: getattr(sessions, name)[kept] for name in names}
    breaks = np.concatenate([[0], (np.diff(kept) > 1).astype(np.int64)])
    return replace(sessions, **arrays, segment=sessions.segment[kept] + np.cumsum(breaks))


def random_policy(n_symbols: int, seed: np.random.SeedSequence, **spec: Any) -> Program:
    """Return a policy of random weights: normal, of deviation 1.2 / sqrt(inputs), biases of 0.1."""
    made = PolicySpec(n_symbols=n_symbols, hidden=(32, 32), **spec)
    rng = np.random.default_rng(seed)
    weights = {
        name: rng.normal(0.0, 1.2 / np.sqrt(shape[1]) if len(shape) > 1 else 0.1, shape).astype(np.float32)
        for name, shape in made.shapes().items()
    }
    return compile_program(made, weights)


def pipeline_on(
    market: Ground,
    first_session: int,
    policy: str,
    seed: np.random.SeedSequence,
    leak: str | None,
    **more: Any,
) -> ProductPipeline:
    """Return the product's pipeline, or one with a leak planted in it.

    The tilt runs, in regime mode, with its fast lane on: decisions then depend on everything there is.

    Args:
        market: The market.
        first_session: First session it will be given.
        policy: A name of ``POLICIES``.
        seed: Seeds the policy's weights.
        leak: A name of ``PLANTED``; None for the product's own.
        more: Further arguments of a planted leak.
    """
    made = dict(POLICIES[policy])
    mode = made.pop("mode")
    actuator = TiltActuator()
    gains = actuator.live.model_copy(update={"kp_fast": 10.0})
    kind = ProductPipeline if leak is None else PLANTED[leak]
    return kind(
        constants=market.constants,
        regime=market.raw.regime.config,
        policy=random_policy(market.sessions.n_symbols, seed, **made),
        rules=RULES,
        mode=mode,
        run_key=int(seed.generate_state(1)[0]),
        loop=TiltLoop(actuator, gains, SetPoints(hold_mode="regime"), START),
        regime_start=market.raw.regime.state_before(first_session),
        **more,
    )


def run_check(market: Ground, policy: str, leak: str | None, seed: np.random.SeedSequence) -> LeakReport:
    """Check a pipeline on blocks of sessions as ``stairways check leak`` draws them.

    Args:
        market: The market.
        policy: A name of ``POLICIES``.
        leak: A name of ``PLANTED``; None for the product's own pipeline.
        seed: Seeds blocks, moments, changed bars and the policy.
    """
    drawn, weights, futures = seed.spawn(3)
    reports = []
    for block in draw_blocks(market.sessions, market.allowed, np.random.default_rng(drawn)):
        pipeline = pipeline_on(market, block.window.start, policy, weights, leak)
        window = market.sessions.select(block.window)
        reports.append(find_leaks(window, pipeline, block.part, block.cuts, seed=futures.spawn(1)[0]))
    return pooled(reports)


def single_cuts(
    market: Ground, leak: str, share: float, n_cuts: int, seed: np.random.SeedSequence
) -> dict[str, Any]:
    """Try one moment after the other on a leak that acts in some sessions only.

    Args:
        market: The market.
        leak: A name of ``PLANTED``.
        share: Share of sessions it acts in.
        n_cuts: Moments to try.
        seed: Seeds moments, changed bars and the policy.

    Returns:
        How many were tried, and how many showed the leak by each kind of future and by either.
    """
    drawn, weights, futures = seed.spawn(3)
    part = slice(market.allowed.start, market.allowed.start + MOMENT_SESSIONS)
    sessions = market.sessions.select(slice(0, part.stop + LATER_SESSIONS))
    cuts = draw_cuts(sessions, part, n_cuts, np.random.default_rng(drawn))
    pipeline = pipeline_on(market, 0, "MLP, sampled", weights, leak, share=share)
    report = find_leaks(sessions, pipeline, part, cuts, seed=futures)
    shown = {
        name: {trial.cut for trial in report.trials if trial.future == name and trial.difference is not None}
        for name in FUTURES
    }
    either: set[Any] = set().union(*shown.values())
    counts = {f"shown_{name}": len(found) for name, found in shown.items()}
    return {"leak": leak, "share": share, "n_cuts": len(cuts), "shown": len(either), **counts}


def effect(market: Ground, leak: str, seed: np.random.SeedSequence) -> dict[str, Any]:
    """Measure how little a planted leak changes, on the bars as they are.

    Returns:
        Mean absolute change of a moved column in standard deviations, the share of decisions it changed,
        and the change of the mean net session return in basis points, with its 95 % interval and the number
        of sessions.
    """
    part = market.allowed
    clean, leaky = (
        pipeline_on(market, 0, "MLP, sampled", seed, name)(market.sessions, part) for name in (None, leak)
    )
    if clean.replay is None or leaky.replay is None:
        raise ValueError("a product pipeline always replays")
    decided = clean.replay.actions >= 0
    moved = np.abs(clean.market.rows - leaky.market.rows)[part][decided]
    columns = moved.any(axis=0)
    returns_bps = 1e4 * (leaky.replay.ledger.returns_ratio - clean.replay.ledger.returns_ratio)
    change = mean_estimate(returns_bps)
    low, high = change.interval or (None, None)
    return {
        "leak": leak,
        "columns_moved": int(columns.sum()),
        "mean_move_sd": float(moved[:, columns].mean()) if columns.any() else 0.0,
        "decisions_changed_ratio": float((clean.replay.actions != leaky.replay.actions)[decided].mean()),
        "net_change_bps": change.value,
        "low_bps": low,
        "high_bps": high,
        "n_sessions": len(returns_bps),
    }
