"""The gate explained: what every judge asks, and how many sessions it takes to show what is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from stairways.errors import ConfigError
from stairways.evaluation.evidence import Evidence
from stairways.evaluation.gate_config import GateConfig
from stairways.evaluation.gates import judge, required_names
from stairways.evaluation.power import CORRELATIONS, DIFFERENCES_ANNUAL, POWER, PairedPower
from stairways.evaluation.power_simulation import Simulation
from stairways.evaluation.shadow_power import shadow_power

MEANINGS: Mapping[str, str] = MappingProxyType(
    {
        "hold_rate": "Share of decisions that keep every position, over all unseen sessions together.",
        "trades_per_session": "Executed orders in the mean session, forced closes included.",
        "session_trades_band": "Single sessions scatter by 4 to 8 trades by nature, so not all need fit.",
        "intraday_drawdown": "Largest fall of NAV within a session from its peak so far.",
        "parameter_drift": "How far the weights went from gold's, over the parameters both share.",
        "shadow_replay": "The last tuning sessions, replayed twice: safe, in band, bit for bit the same.",
        "integrity": "Gold was not written to, and the artifact reads back as it was written.",
        "beats_gold": "Net result against untouched gold on the same unseen sessions.",
        "beats_random": "Net result against random trading at the candidate's hold rate and turnover.",
        "beats_all_hold": "Net result against never trading at all.",
        "tuning_adds": "What the changed weights add to gold, tilted to the same set points.",
    }
)
"""What each judge looks at, one sentence."""

SHOWN_CORRELATIONS = (0.2, *CORRELATIONS)
"""Correlations of the tables; a candidate under the tilt and untouched gold correlate by 0.1 to 0.5."""

USUAL_SESSIONS = (20, 60, 125, 250, 500, 1_000)
SIMULATED_CORRELATION = 0.95
SIMULATED_RUNS, LEAST_RUNS = 400, 20
LONG_SESSIONS = 1_000
"""Above these a simulation takes fewer runs, so that the answer comes in seconds."""
MOST_SESSIONS = 100_000


def explain_gate(config: GateConfig, n_sessions: int | None, seed: np.random.SeedSequence) -> dict[str, Any]:
    """Return everything the gate asks and what it can see, as plain JSON types.

    Args:
        config: Bounds of the gate.
        n_sessions: Number of unseen sessions of interest beside the usual ones.
        seed: Seed of the simulations.

    Raises:
        ConfigError: If the number of sessions is below 1 or above 100,000.
    """
    if n_sessions is not None and not 1 <= n_sessions <= MOST_SESSIONS:
        raise ConfigError(f"{n_sessions} is not between 1 and {MOST_SESSIONS:,}", where="--sessions")
    sessions = sorted({*USUAL_SESSIONS, *([] if n_sessions is None else [n_sessions])})
    power = shadow_power(config)
    return {
        "judges": _judges(config),
        "settings": config.model_dump(mode="json"),
        "shadow": {
            "rule": config.shadow_rule,
            "n_sessions": config.shadow_sessions,
            "no_skill_probability": power.no_skill,
            "skilled_probability": power.skilled,
            "skilled_sharpe_annual": power.skilled_sharpe,
        },
        "power": {
            "power": POWER,
            "confidence": config.confidence,
            "min_sessions": config.min_sessions,
            "needed": _needed(config),
            "simulated": _simulated(config, seed),
            "detectable": _detectable(config, sessions),
            "n_sessions": n_sessions,
            "at_n_sessions": [] if n_sessions is None else _at(config, n_sessions),
        },
    }


def _judges(config: GateConfig) -> list[dict[str, Any]]:
    """Return every judge with its bound, in the words of the verdict it would give."""
    required = required_names(config)
    return [
        {
            "name": verdict.name,
            "group": verdict.group.value,
            "required": verdict.name in required,
            "bound": verdict.threshold,
            "meaning": MEANINGS[verdict.name],
        }
        for verdict in judge(Evidence(), config)
    ]


def _needed(config: GateConfig) -> list[dict[str, Any]]:
    rows = []
    for difference in DIFFERENCES_ANNUAL:
        for correlation in SHOWN_CORRELATIONS:
            by_formula = PairedPower(correlation, config.confidence).sessions_needed(difference)
            rows.append(
                {
                    "difference_annual": difference,
                    "correlation": correlation,
                    "n_sessions_by_formula": by_formula,
                    "n_sessions": max(by_formula, config.min_sessions),
                }
            )
    return rows


def _simulated(config: GateConfig, seed: np.random.SeedSequence) -> list[dict[str, Any]]:
    """Ask the gate's own judge at the sessions of the formula, and once where there is no difference."""
    formula = PairedPower(SIMULATED_CORRELATION, config.confidence)
    cases = [(d, max(formula.sessions_needed(d), config.min_sessions)) for d in DIFFERENCES_ANNUAL]
    cases.append((0.0, max(60, config.min_sessions)))
    return [
        {
            "difference_annual": difference,
            "correlation": SIMULATED_CORRELATION,
            "n_sessions": n,
            "formula_ratio": formula.power(n, difference),
            **Simulation(_runs(n), config, n_resamples=400)
            .one_verdict(n, difference, SIMULATED_CORRELATION, run)
            .as_record(),
        }
        for (difference, n), run in zip(cases, seed.spawn(len(cases)), strict=True)
    ]


def _runs(n_sessions: int) -> int:
    return max(LEAST_RUNS, min(SIMULATED_RUNS, SIMULATED_RUNS * LONG_SESSIONS // n_sessions))


def _detectable(config: GateConfig, sessions: Sequence[int]) -> list[dict[str, Any]]:
    """Return the least true differences that are shown; None below the sessions that the gate asks for."""
    return [
        {
            "n_sessions": n,
            "correlation": correlation,
            "difference_annual": PairedPower(correlation, config.confidence).least_detectable_annual(n)
            if n >= config.min_sessions
            else None,
        }
        for n in sessions
        for correlation in SHOWN_CORRELATIONS
    ]


def _at(config: GateConfig, n_sessions: int) -> list[dict[str, Any]]:
    """Return the power at a number of sessions; 0 below those that the gate asks for."""
    judged = n_sessions >= config.min_sessions
    return [
        {
            "difference_annual": difference,
            "correlation": correlation,
            "power_ratio": PairedPower(correlation, config.confidence).power(n_sessions, difference)
            if judged
            else 0.0,
        }
        for difference in DIFFERENCES_ANNUAL
        for correlation in SHOWN_CORRELATIONS
    ]
