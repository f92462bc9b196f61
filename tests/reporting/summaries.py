"""Builders of small summaries, gold records and rollout reports for the tests of this folder."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

BEHAVIOUR = ("hold_rate", "trades_per_session", "session_trades_band")
SAFETY = ("intraday_drawdown", "parameter_drift", "shadow_replay", "integrity")
SKILL = ("beats_gold", "beats_random", "beats_all_hold")
REQUIRED = [*BEHAVIOUR, *SAFETY, *SKILL]
THRESHOLDS = {
    "hold_rate": "0.550 ± 0.030 of decisions",
    "trades_per_session": "15 to 18 trades per session in the mean",
    "session_trades_band": "at least 0.800 of sessions with 5 to 25 trades",
    "intraday_drawdown": "at most 0.010 of sessions with a drawdown above 0.0200 of NAV",
    "parameter_drift": "at most 0.15 of the norm of gold's parameters",
    "shadow_replay": "equal digests, drawdown at most 0.0200 in each session, mean trades 5 to 25",
    "integrity": "0 digests changed",
}


def metrics(seed: int = 0, n_sessions: int = 40, **changes: Any) -> dict[str, Any]:
    """Return the metrics of a policy; ``changes`` replace figures."""
    rng = np.random.default_rng(seed)
    hold, trades = 0.5 + 0.1 * rng.random(), 16.0 + rng.random()
    return {
        "initial_nav_usd": 1e6,
        "n_sessions": n_sessions,
        "mode": "sampled",
        "hold_rate_ratio": hold,
        "hold_rate_interval": [hold - 0.01, hold + 0.01],
        "chance_hold_rate_ratio": 1 / 9,
        "trades_per_session": trades,
        "trades_interval": [trades - 1.0, trades + 1.0],
        "sharpe": 1.25,
        "sharpe_standard_error": 2.5,
        "probabilistic_sharpe": 0.69,
        "max_intraday_drawdown_ratio": 0.0123,
        "sessions_over_2pct_drawdown": 0,
        "max_drawdown_ratio": 0.0345,
        "turnover_ratio": 2.4,
        "costs_bps": 2.4,
        "mean_net_bps": 3.21,
        "mean_net_bps_interval": [-6.0, 12.4],
        "net_return_ratio": 0.012,
        **changes,
    }


def no_sharpe(**changes: Any) -> dict[str, Any]:
    """Return metrics of so few sessions that there is no Sharpe ratio and no interval."""
    absent = dict.fromkeys(
        (
            "sharpe", "sharpe_standard_error", "probabilistic_sharpe", "hold_rate_interval",
            "trades_interval", "mean_net_bps_interval",
        )
    )  # fmt: skip
    return metrics(n_sessions=1, **absent, **changes)


def verdict(name: str, *, passed: bool = True, **changes: Any) -> dict[str, Any]:
    """Return the record of a verdict."""
    group = "behaviour" if name in BEHAVIOUR else "safety" if name in SAFETY else "information"
    return {
        "name": name,
        "group": "skill" if name in SKILL else group,
        "passed": passed,
        "observed": 0.55,
        "threshold": THRESHOLDS.get(name, "95% interval above 0 bp per session"),
        "n": 40,
        "reason": f"the reason of {name}",
        "interval": [0.54, 0.56],
        **changes,
    }


def pair(mean: float = 4.0, **changes: Any) -> dict[str, Any]:
    """Return the record of a paired comparison."""
    return {
        "mean_difference_bps": mean,
        "standard_error_bps": 1.5,
        "interval_bps": [mean - 3.0, mean + 3.0],
        "confidence": 0.95,
        "n_sessions": 40,
        "block_length_sessions": 1.2,
        "probability_positive": 0.99,
        "correlation": 0.3,
        **changes,
    }


def cycle(number: int, n_rollouts: int = 3, n_select: int = 12) -> dict[str, Any]:
    """Return the record of a cycle."""
    rng = np.random.default_rng(number)
    rollout = 2_000
    first = (number - 1) * n_rollouts * rollout
    training = [
        {
            "steps": first + (i + 1) * rollout,
            "hold_rate_ratio": 0.5 + 0.1 * float(rng.random()),
            "trades_per_session": 15.0 + 3.0 * float(rng.random()),
            "hold_bonus_bps": 0.1,
            "multipliers": [-6.5, 0.4],
            "learning_rate": 1e-4,
        }
        for i in range(n_rollouts)
    ]
    names = ("hold_rate", "trades_per_session", "intraday_drawdown", "shadow_replay", "parameter_drift")
    return {
        "cycle": number,
        "steps": first + n_rollouts * rollout,
        "training": training,
        "select": metrics(number, n_select),
        "hold_rate_by_session": rng.uniform(0.3, 0.8, n_select).tolist(),
        "trades_by_session": rng.integers(5, 25, n_select).tolist(),
        "multipliers": [-6.8, 0.3],
        "drift": {
            "relative": 0.014, "mean_kl": 2e-4, "equal_greedy_share": 0.99, "threshold": 0.15,
            "exceeded": False,
        },
        "improvement": {
            "improved": True, "difference_in_standard_errors": 0.87, "reason": "+0.87 standard errors",
        },
        "improved": True,
        "verdicts": [verdict(name) for name in names],
        "gate_passed": True,
        "shadow": {"digest": "d1", "returns_bps": [-3.0, 7.3, 30.8], "trades": [18, 18, 16]},
        "rolling_100_episode_sharpe": 0.95,
        "rolling_share_of_cycle": 0.5,
        "drift_action": None,
    }  # fmt: skip


def series(seed: int, n_sessions: int) -> dict[str, Any]:
    """Return the per-session series of a policy."""
    rng = np.random.default_rng(seed)
    nav = np.cumprod(1.0 + rng.normal(2e-4, 3e-3, n_sessions))
    peak = np.maximum(np.maximum.accumulate(nav), 1.0)
    return {
        "dates": dates(n_sessions),
        "equity_ratio": (nav - 1.0).tolist(),
        "drawdown_ratio": ((peak - nav) / peak).tolist(),
        "hold_rate_ratio": rng.uniform(0.3, 0.8, n_sessions).tolist(),
        "trades": rng.integers(5, 25, n_sessions).tolist(),
    }


def dates(n_sessions: int) -> list[str]:
    """Return the dates of so many weekdays."""
    return np.busday_offset(np.datetime64("2025-08-01"), np.arange(n_sessions)).astype(str).tolist()


def summary(
    *, synthetic: bool = True, n_sessions: int = 40, n_cycles: int = 2, oracle: bool = True
) -> dict[str, Any]:
    """Return a whole summary, with its series; its run passed everything."""
    names = ["all_hold", "buy_and_hold", *(["oracle"] if oracle else []), "random", "tilted_gold"]
    policies = {name: metrics(i, n_sessions) for i, name in enumerate(names)}
    source = "SYNTHETIC planted, seed 1" if synthetic else "bars in /bars"
    everyone = ["candidate", "gold", *names]
    score = np.random.default_rng(9).normal(0.0, 0.3, n_sessions)
    part = {"first": "2025-05-12", "last": "2025-07-31", "n_sessions": 50}
    verdicts = [verdict(name) for name in REQUIRED]
    information = {"group": "information", "observed": -0.2, "interval": [-1.4, 1.0]}
    verdicts += [
        verdict("tuning_adds", passed=False, **information),
        verdict("skill_proven", **{**information, "observed": 3.0, "interval": None}),
    ]
    return {
        "data": {
            "source": source,
            "folder": None if synthetic else "../data/of/bars",
            "synthetic": synthetic,
            "symbols": ["NVDA", "MSFT"],
            "interval_minutes": 5,
            "digest": "1e888b",
            "n_sessions": 400,
            "neutral_regime_ratio": 0.25,
            "quality": None if synthetic else quality(),
            "ranges": dict.fromkeys(("train", "select", "shadow", "test"), part),
        },
        "gold": metrics(7, n_sessions, hold_rate_ratio=0.85),
        "candidate": metrics(8, n_sessions),
        "baselines": policies,
        "comparisons": {name: pair(i - 0.5) for i, name in enumerate(("gold", "random", "tilted_gold"))},
        "verdicts": verdicts,
        "required": list(REQUIRED),
        "cycles": [cycle(number + 1) for number in range(n_cycles)],
        "multiple_testing": multiple_testing(),
        "control": control(),
        "gate": {
            "hold_target_ratio": 0.55, "hold_tolerance_ratio": 0.03, "trades_band": [15.0, 18.0],
            "session_trades_band": [5, 25],
        },
        "run": {
            "run_id": "df40cd9f", "command": "tune", "seed": 3, "steps": 12_000, "wall_seconds": 12.48,
            "digest": "c0d01059", "accepted": True, "skill_proven": True, "cycle": 2,
            "stopped": "all cycles were run", "resumed": False,
            "warm_start_max_probability_difference": 3e-8, "database": "sqlite:////runs/gate.db",
            "looks": 2,
        },
        "series": {
            "test": {name: series(i, n_sessions) for i, name in enumerate(everyone)},
            "regime_score": {
                "dates": dates(n_sessions), "mean": score.tolist(), "low": (score - 1.0).tolist(),
                "high": (score + 1.0).tolist(),
            },
        },
    }  # fmt: skip


def multiple_testing() -> dict[str, Any]:
    """Return what the choice among cycles leaves of a result."""
    return {
        "deflated_sharpe": {
            "n_sessions": 64, "sharpe_annual": 1.75, "n_trials": 8, "n_trials_with_sharpe": 8,
            "trial_deviation_annual": 0.62, "expected_max_annual": 0.91, "probability_undeflated": 0.84,
            "probability": 0.713, "reason": None,
        },
        "overfitting": {
            "n_sessions": 64, "n_trials": 8, "n_blocks": 12, "n_splits": 924, "probability": 0.381,
            "chance_probability": 0.5, "degradation_slope": -0.82, "loss_probability": 0.274, "reason": None,
        },
        "track_record": {
            "n_sessions": 1_000, "sharpe_annual": 1.25, "confidence": 0.95, "least_sessions": 437,
            "reason": None,
        },
    }  # fmt: skip


def control() -> dict[str, Any]:
    """Return the control part of a summary."""
    return {
        "points": {
            "hold_mode": "fixed", "hold_rate_ratio": 0.55, "regime_slope_ratio": 0.1,
            "lowest_hold_rate_ratio": 0.25, "highest_hold_rate_ratio": 0.85, "trades_per_session": 16.5,
        },
        "actuator": {"kind": "tilt", "live": {"ki_hold": 0.03}, "hold_bound": 15.0},
        "mode": "sampled",
        "preflight": {
            "authority": {
                "unit": "logits", "lowest_output": -15.0, "highest_output": 15.0,
                "lowest_hold_ratio": 0.002, "highest_hold_ratio": 1.0, "start_hold_ratio": 0.89,
                "target_hold_ratio": 0.55, "n_sessions": 20, "how": "measured on gold at both bounds",
            },
            "text": "authority of tilt: hold rate 0.2% to 100.0%",
            "verdicts": [verdict("sign_self_test")],
        },
    }  # fmt: skip


def quality() -> dict[str, Any]:
    """Return the record of a quality report with one dropped session."""
    counts = dict.fromkeys(
        ("filled_bars", "filled_opening_bars", "zero_volume_bars", "outside_hours_bars", "no_session_bars",
         "absent_sessions"), 7
    )  # fmt: skip
    dropped = {"date": "2025-06-19", "symbol": "NVDA", "missing_bars": 9, "n_bars": 78, "reason": "a gap"}
    return {
        "sessions": 399, "first": "2024-01-02", "last": "2025-12-31", "dropped": [dropped], "half_days": [],
        "segments": [{}], "absent": [], "splits": [], "files": ["a.parquet"], "files_unused": [],
        "per_symbol": [{"symbol": name, **counts} for name in ("NVDA", "MSFT")],
    }  # fmt: skip


def refused(*names: str) -> dict[str, Any]:
    """Return a summary whose named required verdicts failed."""
    made = summary()
    made["verdicts"] = [
        {**given, "passed": given["passed"] and given["name"] not in names} for given in made["verdicts"]
    ]
    made["run"] |= {"accepted": False, "skill_proven": not set(names) & set(SKILL)}
    return made


def fallen_back() -> dict[str, Any]:
    """Return a summary whose run found no cycle better than gold and handed on the least bad one."""
    made = refused("beats_gold")
    for one in made["cycles"]:
        one["improved"] = False
        one["improvement"] |= {"improved": False, "reason": "-0.87 standard errors, more than 0 needed"}
    return made


def evaluation(role: str = "candidate", *, mode: str = "sampled") -> dict[str, Any]:
    """Return the record of an evaluation; a gold has nothing to be compared with."""
    made = summary()
    made["policy"] = made[role] | {"role": role, "mode": mode}
    made["data"] |= {"in_sample_sessions": 0, "made_on": made["data"]["source"]}
    if role == "gold":
        made["candidate"] = None
        lacking = {"observed": None, "interval": None, "n": 0, "reason": "the paired comparison was not made"}
        made["verdicts"] = [
            verdict("beats_gold", passed=False, **lacking) if given["name"] == "beats_gold" else given
            for given in made["verdicts"]
            if given["name"] != "tuning_adds"
        ]
        made["run"] |= {"accepted": False, "skill_proven": False}
    return made


def without_skill() -> dict[str, Any]:
    """Return a summary that was accepted although its skill is not proven."""
    made = refused("beats_random")
    made["required"] = [*BEHAVIOUR, *SAFETY]
    made["run"] |= {"accepted": True, "skill_proven": False}
    return made


def rollout(steps: int, hold_rate_ratio: float = 0.55, trades: float = 16.5) -> Any:
    """Return what a watcher reads of a rollout's report."""
    return SimpleNamespace(steps=steps, hold_rate_ratio=hold_rate_ratio, trades_per_session=trades)


def gold_record(n_looks: int = 30) -> dict[str, Any]:
    """Return the record of a gold training."""
    curve = [
        {
            "stage": "learn" if i < max(1, n_looks - 5) else "over_hold",
            "steps": 33_280 * (i + 1), "cost_scale": 1.0,
            "hold_bonus_bps": 0.03, "sharpe": 1.2, "sharpe_standard_error": 2.0, "mean_net_bps": -12.5 + i,
            "hold_rate_ratio": 0.4 + 0.01 * i, "trades_per_session": 99.5, "n_sessions": 40,
        }
        for i in range(n_looks)
    ]  # fmt: skip
    return {
        "curve": curve,
        "test": {"first": "2018-03-16", "last": "2020-03-11", "n_sessions": 1_000, "unseen": True},
        "before_over_hold": metrics(1, 1_000),
        "gold": metrics(2, 1_000, hold_rate_ratio=0.849),
        "verdicts": [
            verdict("gold_over_holds", observed=0.849, threshold="hold rate >= 80%, sampled", n=1_000),
            verdict("gold_trades_little", observed=5.2, threshold="at most 7 trades a session, sampled"),
        ],
        "steps": 33_280 * n_looks,
        "wall_seconds": 91.7,
        "stopped": "all steps were taken",
        "data_source": "SYNTHETIC planted, seed 1",
        "config": {"market": {"bars": None}},
    }
