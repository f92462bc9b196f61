"""How alike policies are on the sample market: the correlations that the power of the gate rests on."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from stairways.evaluation.power import TrueSkill
from stairways.market.sessions import SESSIONS_PER_YEAR

CALIBRATION_SESSIONS = 240
CANDIDATE, GOLD, RANDOM = "tilted_gold", "gold", "random"
"""Gold under the tilt stands for a candidate: tuning moves its weights little, and no tuning is needed."""


def attained(decision_key: int, n_sessions: int | None) -> dict[str, Any]:
    """Lead the shipped gold, gold under the tilt and random trading through gold's record sessions.

    None of these sessions is one of the final gate, and nothing is fitted on them: the tilt is calibrated on
    the last sessions of gold's own training range.

    Args:
        decision_key: Key of the numbers that decisions are drawn with.
        n_sessions: Sessions to play; None for all of them.

    Returns:
        Correlations, volatilities and Sharpe ratios, as plain JSON types.
    """
    from stairways.config import DateRange, load_settings
    from stairways.control.actuators import TiltActuator
    from stairways.evaluation.baselines import uniform
    from stairways.trading.observation import observe
    from stairways.tuning.contest import Arena, Entrant, calibrated_entrant
    from stairways.tuning.market_access import open_dataset
    from stairways.tuning.ranges import SAMPLE_RANGES, span_of
    from stairways.tuning.shipped import shipped_gold
    from stairways.unpacking import unpack

    gold = unpack(shipped_gold())
    settings = load_settings(None, {}, base={"trading": gold.rules.model_dump(mode="json")})
    dataset = open_dataset(settings)
    market = observe(dataset.sessions, dataset.table(gold.constants))
    spans = {
        name: span_of(dataset.sessions, DateRange.model_validate(SAMPLE_RANGES[name]), name)
        for name in ("train", "record")
    }
    first, stop = spans["record"].start, spans["record"].stop
    played = market.select(slice(first, stop if n_sessions is None else min(stop, first + n_sessions)))
    before = market.select(slice(spans["train"].stop - CALIBRATION_SESSIONS, spans["train"].stop))
    calibration = Arena(before, gold.rules, settings.control.mode, decision_key)
    actuator, points = TiltActuator(), settings.control.points
    entrants = {
        CANDIDATE: calibrated_entrant(calibration, gold.program, actuator, points),
        GOLD: Entrant(gold.program),
        RANDOM: calibrated_entrant(calibration, uniform(market.n_symbols), actuator, points),
    }
    arena = Arena(played, gold.rules, settings.control.mode, decision_key)
    replays = arena.run_all(entrants)
    returns = np.array([replays[name].ledger.returns_ratio for name in entrants])
    return _described(returns, played.source, settings.control.mode)


def _described(returns: Any, source: str, mode: str) -> dict[str, Any]:
    correlations, deviations = np.corrcoef(returns), returns.std(axis=1, ddof=1)
    sharpes = returns.mean(axis=1) / deviations * math.sqrt(SESSIONS_PER_YEAR)
    n_sessions = returns.shape[1]
    # Fisher's transform: its error is 1 / sqrt(n - 3), whatever the correlation
    reach = 1.96 / math.sqrt(n_sessions - 3)
    low, high = (float(np.tanh(np.arctanh(correlations[0, 1]) + sign * reach)) for sign in (-1.0, 1.0))
    return {
        "source": source,
        "mode": mode,
        "n_sessions": n_sessions,
        "gold_correlation": float(correlations[0, 1]),
        "gold_correlation_low": low,
        "gold_correlation_high": high,
        "random_correlation": float(correlations[0, 2]),
        "gold_random_correlation": float(correlations[1, 2]),
        "gold_volatility_ratio": float(deviations[1] / deviations[0]),
        "random_volatility_ratio": float(deviations[2] / deviations[0]),
        "candidate_annual": float(sharpes[0]),
        "gold_annual": float(sharpes[1]),
        "random_annual": float(sharpes[2]),
    }


def true_skill(found: dict[str, Any], sharpes_annual: tuple[float, float, float]) -> TrueSkill:
    """Return policies with given true Sharpe ratios that are as alike as those that were measured.

    Args:
        found: What :func:`attained` returned.
        sharpes_annual: True annual Sharpe ratios of candidate, gold and random.
    """
    candidate, gold, random = sharpes_annual
    return TrueSkill(
        candidate,
        gold,
        random,
        found["gold_correlation"],
        found["random_correlation"],
        found["gold_random_correlation"],
        found["gold_volatility_ratio"],
        found["random_volatility_ratio"],
    )
