"""The test alone: pairs without any difference, through the gate's own verdicts on skill."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stairways.evaluation.bootstrap import ReturnSeries, paired_comparison
from stairways.evaluation.evidence import ALL_HOLD, GOLD, RANDOM
from stairways.evaluation.gate_config import GateConfig
from stairways.proof.noise_procedure import NO_COSTS, verdicts_of

SESSIONS = (60, 250, 1_000)
FAMILIES = ("independent", "autocorrelated", "policies")
N_RESAMPLES = 1_000
DEGREES, COMMON, LAG_ONE, DEVIATION_RATIO = 4.0, 0.5, 0.15, 3e-3
WARM_UP_SESSIONS, TRIALS_PER_MARKET, HIDDEN = 60, 20, (16,)
NAMES = ("candidate", GOLD, RANDOM)

Series = NDArray[np.float64]


def run_trials(family: str, n_trials: int, seed: np.random.SeedSequence) -> dict[str, Any]:
    """Count how often each verdict, and all of them together, accept what has no skill.

    Args:
        family: ``independent`` and ``autocorrelated`` draw returns; ``policies`` plays random networks on
            noise markets without costs.
        n_trials: Trials; the shorter lengths are the first sessions of the longest.
        seed: Of everything random.
    """
    draws, tests = seed.spawn(2)
    trials = _policies(n_trials, draws) if family == "policies" else _drawn(family, n_trials, draws)
    dates = np.arange(SESSIONS[-1]).astype("datetime64[D]")
    counts: dict[int, dict[str, int]] = {n: {} for n in SESSIONS}
    for returns, test in zip(trials, tests.spawn(n_trials), strict=True):
        for n in SESSIONS:
            passed = _accepted({name: ReturnSeries(dates[:n], r[:n]) for name, r in returns.items()}, test)
            for name, holds in passed.items():
                counts[n][name] = counts[n].get(name, 0) + int(holds)
    return {"family": family, "n_trials": n_trials, "accepted": {str(n): c for n, c in counts.items()}}


def _accepted(series: dict[str, ReturnSeries], seed: np.random.SeedSequence) -> dict[str, bool]:
    candidate = series["candidate"]
    idle = ReturnSeries(candidate.dates, np.zeros(len(candidate)))
    references = {GOLD: series[GOLD], RANDOM: series[RANDOM], ALL_HOLD: idle}
    gate = GateConfig()
    comparisons = {
        name: paired_comparison(
            candidate, reference, confidence=gate.confidence, n_resamples=N_RESAMPLES, seed=seed
        )
        for name, reference in references.items()
    }
    return {name: bool(verdict["passed"]) for name, verdict in verdicts_of(comparisons, gate).items()}


def _drawn(family: str, n_trials: int, seed: np.random.SeedSequence) -> list[dict[str, Series]]:
    """Draw t(4) returns that share half of their variance; autocorrelated ones are a moving average.

    The moving average x_t = z_t + θ·z_(t-1) has an autocorrelation of θ/(1 + θ²) at lag one.
    """
    theta = 0.0 if family == "independent" else (1.0 - np.sqrt(1.0 - 4.0 * LAG_ONE**2)) / (2.0 * LAG_ONE)
    rng = np.random.default_rng(seed)
    shape = (n_trials, len(NAMES) + 1, SESSIONS[-1] + 1)
    shocks = rng.standard_t(DEGREES, shape) / np.sqrt(DEGREES / (DEGREES - 2.0))
    moved = (shocks[..., 1:] + theta * shocks[..., :-1]) / np.sqrt(1.0 + theta**2)
    mixed = np.sqrt(COMMON) * moved[:, :1] + np.sqrt(1.0 - COMMON) * moved[:, 1:]
    return [dict(zip(NAMES, DEVIATION_RATIO * trial, strict=True)) for trial in mixed]


def _policies(n_trials: int, seed: np.random.SeedSequence) -> list[dict[str, Series]]:
    """Play random networks, and uniformly random actions, on noise markets without costs."""
    found: list[dict[str, Series]] = []
    n_markets = -(-n_trials // TRIALS_PER_MARKET)
    for market_seed in seed.spawn(n_markets):
        found += _on_one_market(min(TRIALS_PER_MARKET, n_trials - len(found)), market_seed)
    return found


def _on_one_market(n_trials: int, seed: np.random.SeedSequence) -> list[dict[str, Series]]:
    from stairways.evaluation.baselines import uniform
    from stairways.evaluation.replay import replay
    from stairways.market.features import FeatureConstants, build_table, compute_features
    from stairways.market.regime import RegimeConfig
    from stairways.market.samples import sample_market
    from stairways.policies.program import compile_program
    from stairways.policies.spec import PolicySpec
    from stairways.trading.observation import observe
    from stairways.trading.rules import CostModel, TradingRules

    rng = np.random.default_rng(seed)
    made = sample_market(
        f"noise:{rng.integers(2**31)}", interval_minutes=5, n_sessions=WARM_UP_SESSIONS + SESSIONS[-1]
    )
    raw = compute_features(made.sessions, RegimeConfig())
    before = slice(0, WARM_UP_SESSIONS)
    table = build_table(raw, FeatureConstants.fit(raw, made.sessions, before))
    market = observe(made.sessions, table).select(slice(WARM_UP_SESSIONS, None))
    rules = TradingRules(costs=CostModel(**NO_COSTS))
    spec = PolicySpec(hidden=HIDDEN)

    def network() -> Any:
        return compile_program(spec, _weights(spec, rng))

    def returns(policy: Any) -> Series:
        ledger = replay(market, policy, rules, run_seed=int(rng.integers(2**63))).ledger
        return ledger.returns_ratio

    return [
        {
            "candidate": returns(network()),
            GOLD: returns(network()),
            RANDOM: returns(uniform(market.n_symbols)),
        }
        for _ in range(n_trials)
    ]


def _weights(spec: Any, rng: np.random.Generator) -> dict[str, NDArray[np.float32]]:
    """Draw weights with a deviation of 1.5 over the root of the inputs: policies that differ, yet mix."""
    return {
        name: rng.normal(0.0, 1.5 / np.sqrt(shape[-1]), shape).astype(np.float32)
        for name, shape in spec.shapes().items()
    }
