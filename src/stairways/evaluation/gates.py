"""Gates: which verdicts a candidate needs.

A judge is a function ``(evidence, config) -> Verdict`` that is found by name, gives a verdict of that name
and fails, with a reason, whatever it can't judge. Gates fail closed: a verdict that is missing is a verdict
that failed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from stairways.evaluation.behaviour import hold_rate, session_trades_band, trades_per_session
from stairways.evaluation.evidence import Evidence
from stairways.evaluation.gate_config import GateConfig
from stairways.evaluation.safety import integrity, intraday_drawdown, parameter_drift, shadow_replay
from stairways.evaluation.skill import beats_all_hold, beats_gold, beats_random, tuning_adds
from stairways.evaluation.verdicts import SKILL_MARK, GateResult, Group, Verdict

__all__ = [
    "CYCLE_NAMES",
    "JUDGES",
    "SKILL_NAMES",
    "Evidence",
    "GateConfig",
    "Judge",
    "accepted_without_skill",
    "cycle_gate",
    "final_gate",
    "judge",
    "required_names",
]

Judge = Callable[[Evidence, GateConfig], Verdict]

JUDGES: Mapping[str, Judge] = MappingProxyType(
    {
        "hold_rate": hold_rate,
        "trades_per_session": trades_per_session,
        "session_trades_band": session_trades_band,
        "intraday_drawdown": intraday_drawdown,
        "parameter_drift": parameter_drift,
        "shadow_replay": shadow_replay,
        "integrity": integrity,
        "beats_gold": beats_gold,
        "beats_random": beats_random,
        "beats_all_hold": beats_all_hold,
        "tuning_adds": tuning_adds,
    }
)
BEHAVIOUR_NAMES = ("hold_rate", "trades_per_session", "session_trades_band")
SAFETY_NAMES = ("intraday_drawdown", "parameter_drift", "shadow_replay", "integrity")
SKILL_NAMES = ("beats_gold", "beats_random", "beats_all_hold")
CYCLE_NAMES = (*BEHAVIOUR_NAMES, "intraday_drawdown", "shadow_replay")


def required_names(config: GateConfig) -> tuple[str, ...]:
    """Return the verdicts that the final gate needs."""
    return BEHAVIOUR_NAMES + SAFETY_NAMES + (SKILL_NAMES if config.require_skill else ())


def judge(evidence: Evidence, config: GateConfig) -> tuple[Verdict, ...]:
    """Return the verdict of every judge, in the order of ``JUDGES``."""
    return tuple(ask(evidence, config) for ask in JUDGES.values())


def _skill_proven(verdicts: tuple[Verdict, ...], config: GateConfig) -> Verdict:
    """Return the mark that every later output shows: is there proof of skill or not?"""
    proofs = [verdict for verdict in verdicts if verdict.name in SKILL_NAMES]
    n_passed = sum(verdict.passed for verdict in proofs)
    proven = n_passed == len(SKILL_NAMES)
    rule = "required" if config.require_skill else "not required"
    lacking = ", ".join(verdict.name for verdict in proofs if not verdict.passed)
    return Verdict(
        name=SKILL_MARK,
        group=Group.INFORMATION,
        passed=proven,
        observed=float(n_passed),
        threshold=f"{len(SKILL_NAMES)} verdicts on skill; {rule}",
        n=min(verdict.n for verdict in proofs),
        reason="better than every reference" if proven else f"no proven skill: {lacking} not passed",
    )


def final_gate(evidence: Evidence, config: GateConfig) -> GateResult:
    """Judge a candidate for the last time.

    Every judge speaks; behaviour and safety are required, skill too unless ``require_skill`` is off. The
    verdict ``skill_proven`` marks the result either way.
    """
    verdicts = judge(evidence, config)
    return GateResult((*verdicts, _skill_proven(verdicts, config)), required_names(config))


def cycle_gate(evidence: Evidence, config: GateConfig) -> GateResult:
    """Judge a cycle: behaviour, drawdown and shadow replay on the sessions that select.

    Drift is judged and not required here: it rolls a run back only together with a failed gate. Skill is
    left to the final gate, since the best of several cycles is picked on these very sessions.
    """
    names = (*CYCLE_NAMES, "parameter_drift")
    return GateResult(tuple(JUDGES[name](evidence, config) for name in names), CYCLE_NAMES)


def accepted_without_skill(result: GateResult) -> bool:
    """Tell whether a gate passed a candidate whose skill is not proven."""
    return result.passed and not result.skill_proven
