"""What the walks on real bars show: windows, seeds and markets read together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from stairways.control.setpoints import SetPoints
from stairways.evaluation.bootstrap import ReturnSeries, paired_comparison
from stairways.evaluation.gate_config import GateConfig
from stairways.evaluation.gates import SKILL_NAMES
from stairways.proof.experiment import Bar, Findings
from stairways.proof.extremes import largest
from stairways.proof.real_bar_report import (
    CANDIDATE,
    POLICIES,
    equity_plot,
    market_table,
    means_plot,
    pair_table,
    seed_table,
    text,
    window_table,
)
from stairways.trading.metrics import BPS, mean_estimate
from stairways.tuning.pooling import Pooled, pool
from stairways.tuning.scenarios import PLAN_TARGET_SHARPE
from stairways.tuning.seeds import Stream, stream

if TYPE_CHECKING:
    from stairways.config import Settings

Row = Mapping[str, Any]

HOLD_TARGET, HOLD_TOLERANCE = SetPoints().hold_rate_ratio, 0.02
TRADES_TARGET, TRADES_TOLERANCE = SetPoints().trades_per_session, 1.5
LEAST_SHARE_WITHIN = 0.95
DRAWDOWN_LIMIT = GateConfig().max_drawdown_ratio
FALSE_SKILL = 0.05
KEPT = (
    "mode",
    "n_sessions",
    "hold_rate_ratio",
    "chance_hold_rate_ratio",
    "trades_per_session",
    "sharpe",
    "sharpe_standard_error",
    "probabilistic_sharpe",
    "mean_net_bps",
    "costs_bps",
    "turnover_ratio",
    "max_intraday_drawdown_ratio",
    "sessions_over_2pct_drawdown",
    "max_drawdown_ratio",
)


@dataclass(frozen=True, eq=False)
class Market:
    """Every walk on one choice of symbols.

    Attributes:
        symbols: Its symbols.
        windows: Records of windows by seed, in date order.
        pooled: All unseen sessions of each seed.
    """

    symbols: tuple[str, ...]
    windows: dict[int, list[dict[str, Any]]]
    pooled: dict[int, Pooled]

    @property
    def name(self) -> str:
        """Its symbols in one word."""
        return "+".join(self.symbols)

    def every_window(self) -> list[dict[str, Any]]:
        """Return the windows of every seed."""
        return [window for windows in self.windows.values() for window in windows]

    def mean_returns(self, policy: str) -> ReturnSeries:
        """Return the mean over seeds of each session's net return."""
        ledgers = [pooled.ledgers[policy] for pooled in self.pooled.values()]
        return ReturnSeries(ledgers[0].dates, np.mean([ledger.returns_ratio for ledger in ledgers], axis=0))


def conclude(results: Sequence[dict[str, Any]], settings: Settings, *, quick: bool) -> Findings:
    """Pool windows, then seeds.

    Args:
        results: Of every window run.
        settings: Settings of the walks.
        quick: Whether only one window of one seed was run.
    """
    markets = _markets(results, settings)
    windows = [row for market in markets for row in _window_rows(market)]
    means = [row for market in markets for row in window_means(market)]
    seeds = [row for market in markets for row in _seed_rows(market)]
    pooled = [row for market in markets for row in _market_rows(market)]
    pairs = [row for market in markets for row in _pair_rows(market, settings)]
    return Findings(
        rows=[*pooled, *pairs, *seeds, *windows],
        bars=[bar for market in markets for bar in _bars(market)],
        tables=[
            market_table(pooled),
            pair_table(pairs),
            window_table(means),
            seed_table(seeds),
        ],
        plots=[equity_plot(markets), means_plot(markets, pooled)],
        text=text(markets, pooled, settings, quick=quick),
    )


def _markets(results: Sequence[dict[str, Any]], settings: Settings) -> list[Market]:
    found = []
    for name in dict.fromkeys(result["market"] for result in results):
        mine = [result for result in results if result["market"] == name]
        symbols = tuple(mine[0]["symbols"])
        windows: dict[int, list[dict[str, Any]]] = {}
        for result in sorted(mine, key=lambda result: (result["seed"], result["window"])):
            windows.setdefault(result["seed"], []).append(result)
        pooled = {
            seed: pool(walk, settings, target_sharpe=PLAN_TARGET_SHARPE, n_actions=3 ** len(symbols))
            for seed, walk in windows.items()
        }
        found.append(Market(symbols, windows, pooled))
    return found


def _flat(metrics: Row) -> dict[str, Any]:
    low, high = metrics["mean_net_bps_interval"]
    return {**{name: metrics[name] for name in KEPT}, "low_bps": low, "high_bps": high}


def _window_rows(market: Market) -> list[dict[str, Any]]:
    return [
        {
            "kind": "window",
            "market": market.name,
            "seed": seed,
            "window": window["window"],
            **{f"{part}_{end}": r[end] for part, r in window["ranges"].items() for end in ("first", "last")},
            "gaps": window["gaps"],
            "neutral_regime_ratio": window["neutral_regime_ratio"],
            "gate_accepted": window["run"]["accepted"],
            "gate_skill": window["run"]["skill_proven"],
            "policy": policy,
            **_flat(metrics),
        }
        for seed, windows in market.windows.items()
        for window in windows
        for policy, metrics in window["policies"].items()
    ]


def _seed_rows(market: Market) -> list[dict[str, Any]]:
    return [
        {
            "kind": "seed",
            "market": market.name,
            "seed": seed,
            "n_windows": len(market.windows[seed]),
            "policy": policy,
            "name": policy.replace("_", " "),
            "probability_above_target": metrics["probability_above_target"],
            **_flat(metrics),
        }
        for seed, pooled in market.pooled.items()
        for policy, metrics in pooled.record["policies"].items()
    ]


def _market_rows(market: Market) -> list[dict[str, Any]]:
    rows = []
    for policy in POLICIES:
        seeds = [row for row in _seed_rows(market) if row["policy"] == policy]
        if len(seeds) != len(market.pooled):
            continue
        net = mean_estimate(market.mean_returns(policy).returns_ratio * BPS)
        row = {
            "kind": "market",
            "market": market.name,
            "policy": policy,
            "name": seeds[0]["name"],
            "mode": seeds[0]["mode"],
            "n_seeds": len(seeds),
            "n_sessions": seeds[0]["n_sessions"],
            "hold_rate_ratio": float(np.mean([seed["hold_rate_ratio"] for seed in seeds])),
            "chance_hold_rate_ratio": seeds[0]["chance_hold_rate_ratio"],
            "trades_per_session": float(np.mean([seed["trades_per_session"] for seed in seeds])),
            "max_intraday_drawdown_ratio": max(seed["max_intraday_drawdown_ratio"] for seed in seeds),
            "max_drawdown_ratio": max(seed["max_drawdown_ratio"] for seed in seeds),
            "costs_bps": float(np.mean([seed["costs_bps"] for seed in seeds])),
            "net_bps": net.value,
            "low_bps": None if net.interval is None else net.interval[0],
            "high_bps": None if net.interval is None else net.interval[1],
        }
        sharpes = [seed["sharpe"] for seed in seeds if seed["sharpe"] is not None]
        if len(sharpes) == len(seeds):
            row |= {
                "sharpe": float(np.mean(sharpes)),
                "sharpe_standard_error": float(np.mean([seed["sharpe_standard_error"] for seed in seeds])),
                "least_sharpe": min(sharpes),
                "largest_sharpe": max(sharpes),
                "probability_above_target": float(
                    np.mean([seed["probability_above_target"] for seed in seeds])
                ),
                "seeds_met": sum(sharpe >= PLAN_TARGET_SHARPE for sharpe in sharpes),
            }
        rows.append(row)
    return rows


def _pair_rows(market: Market, settings: Settings) -> list[dict[str, Any]]:
    """Compare the mean of the seeds' candidates with the mean of their baselines, session by session."""
    rows = []
    for policy in POLICIES[1:]:
        if not all(policy in pooled.ledgers for pooled in market.pooled.values()):
            continue
        pair = paired_comparison(
            market.mean_returns(CANDIDATE),
            market.mean_returns(policy),
            confidence=settings.gate.confidence,
            seed=stream(settings.seed, Stream.BOOTSTRAP, 0),
        )
        single = [pooled.record["comparisons"][policy]["interval_bps"] for pooled in market.pooled.values()]
        rows.append(
            {
                "kind": "pair",
                "market": market.name,
                "reference": policy,
                "name": policy.replace("_", " "),
                "n_sessions": pair.n_sessions,
                "n_seeds": len(single),
                "difference_bps": pair.mean_difference_bps,
                "low_bps": pair.interval_bps[0],
                "high_bps": pair.interval_bps[1],
                "seeds_above": sum(low > 0 for low, _ in single),
                "seeds_below": sum(high < 0 for _, high in single),
            }
        )
    return rows


def _bars(market: Market) -> list[Bar]:
    pooled = [p.record["policies"][CANDIDATE] for p in market.pooled.values()]
    windows = market.every_window()
    single = [window["policies"][CANDIDATE] for window in windows]
    n = pooled[0]["n_sessions"]
    note = f"seeds: {len(pooled)}, {n} unseen sessions each, {pooled[0]['mode']}"
    hold, trades, drawdown = (
        largest(values)
        for values in (
            (100 * abs(metrics["hold_rate_ratio"] - HOLD_TARGET) for metrics in pooled),
            (abs(metrics["trades_per_session"] - TRADES_TARGET) for metrics in pooled),
            (100 * metrics["max_intraday_drawdown_ratio"] for metrics in pooled),
        )
    )
    within = sum(_within(metrics) for metrics in single)
    skilled = sum(bool(window["run"]["skill_proven"]) for window in windows)
    claimed = [
        window["run"] for window in windows if window["run"]["accepted"] or window["run"]["skill_proven"]
    ]
    unshown = sum(not _skill_is_shown(run["verdicts"]) for run in claimed)
    complete = sum(set(window["policies"]) >= set(POLICIES) for window in windows)
    allowed = _allowed_skill(len(windows))
    # every mean here is over 20 sessions or more, so the tolerance of such means needs no widening
    return [
        Bar(
            f"{market.name}: hold rate off its target, points, worst seed",
            hold,
            f"within {100 * HOLD_TOLERANCE:g} points of {HOLD_TARGET:.0%}",
            _at_most(hold, 100 * HOLD_TOLERANCE),
            note,
        ),
        Bar(
            f"{market.name}: trades off their target, worst seed",
            trades,
            f"within {TRADES_TOLERANCE:g} of {TRADES_TARGET:g}",
            _at_most(trades, TRADES_TOLERANCE),
            note,
        ),
        Bar(
            f"{market.name}: share of single windows within both",
            within / len(single),
            f"at least {LEAST_SHARE_WITHIN:.0%}",
            within / len(single) >= LEAST_SHARE_WITHIN,
            f"{within} of {len(single)} windows of {min(m['n_sessions'] for m in single)} sessions or more",
        ),
        Bar(
            f"{market.name}: largest intraday drawdown of a session, %",
            drawdown,
            f"at most {DRAWDOWN_LIMIT:.0%}",
            _at_most(drawdown, 100 * DRAWDOWN_LIMIT),
            note,
        ),
        Bar(
            f"{market.name}: windows whose gate shows skill",
            skilled,
            f"at most {allowed} of {len(windows)}: what a test of {FALSE_SKILL:.0%} shows by chance",
            skilled <= allowed,
            "no edge is known on these bars; windows of different seeds share sessions",
        ),
        Bar(
            f"{market.name}: windows accepted, or marked as skilled, whose paired intervals do not show it",
            unshown,
            "0",
            unshown == 0,
            f"of {len(claimed)}; by the intervals against {len(SKILL_NAMES)} references, not by what the "
            "gate made of them",
        ),
        Bar(
            f"{market.name}: windows with every baseline",
            complete,
            f"{len(windows)} of {len(windows)}",
            complete == len(windows) > 0,
        ),
    ]


def _at_most(observed: float | None, most: float) -> bool:
    return observed is not None and observed <= most


def _skill_is_shown(verdicts: Sequence[Row]) -> bool:
    """Tell whether every verdict on skill is there with an interval that lies above 0."""
    lows = {verdict["name"]: verdict["interval"][0] for verdict in verdicts if verdict.get("interval")}
    return all(lows.get(name, 0.0) > 0.0 for name in SKILL_NAMES)


def _allowed_skill(n_windows: int) -> int:
    """Return 5 % + 2 standard errors of a share of so many windows, as a whole number of windows."""
    return math.floor(n_windows * FALSE_SKILL + 2 * math.sqrt(n_windows * FALSE_SKILL * (1 - FALSE_SKILL)))


def _within(metrics: Row) -> bool:
    return bool(
        abs(metrics["hold_rate_ratio"] - HOLD_TARGET) <= HOLD_TOLERANCE
        and abs(metrics["trades_per_session"] - TRADES_TARGET) <= TRADES_TOLERANCE
    )


def window_means(market: Market) -> list[dict[str, Any]]:
    """Return a row for each window of a market, with means over its seeds."""
    rows = []
    for walks in zip(*market.windows.values(), strict=True):
        first, ours = walks[0], [walk["policies"][CANDIDATE] for walk in walks]
        sharpes = [metrics["sharpe"] for metrics in ours]
        errors = [metrics["sharpe_standard_error"] for metrics in ours]
        rows.append(
            {
                "market": market.name,
                "window": first["window"],
                "n_seeds": len(walks),
                "test_first": first["ranges"]["test"]["first"],
                "test_last": first["ranges"]["test"]["last"],
                "n_sessions": first["ranges"]["test"]["n_sessions"],
                "gaps": first["gaps"],
                "neutral_regime_ratio": first["neutral_regime_ratio"],
                "least_hold": min(metrics["hold_rate_ratio"] for metrics in ours),
                "largest_hold": max(metrics["hold_rate_ratio"] for metrics in ours),
                "least_trades": min(metrics["trades_per_session"] for metrics in ours),
                "largest_trades": max(metrics["trades_per_session"] for metrics in ours),
                "sharpe": None if None in sharpes else float(np.mean(sharpes)),
                "sharpe_standard_error": None if None in errors else float(np.mean(errors)),
                **{
                    policy: float(np.mean([walk["policies"][policy]["mean_net_bps"] for walk in walks]))
                    for policy in POLICIES
                    if all(policy in walk["policies"] for walk in walks)
                },
                "max_intraday_drawdown_ratio": max(m["max_intraday_drawdown_ratio"] for m in ours),
                "skilled": sum(bool(walk["run"]["skill_proven"]) for walk in walks),
            }
        )
    return rows
