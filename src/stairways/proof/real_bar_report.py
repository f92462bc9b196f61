"""The report on real bars: tables, pictures and words."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from stairways.market.calendar import exchange_sessions
from stairways.proof.experiment import Column, Plot, Table
from stairways.trading.metrics import BPS, mean_estimate
from stairways.tuning.scenarios import PLAN_TARGET_SHARPE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from stairways.config import Settings
    from stairways.proof.real_bar_findings import Market

Row = Mapping[str, Any]

CANDIDATE = "candidate"
WIDTH = 820.0
POLICIES = (CANDIDATE, "gold", "tilted_gold", "random", "all_hold", "buy_and_hold")


def market_table(pooled: Sequence[Row]) -> Table:
    """Return every policy of each market, all unseen sessions."""
    columns = (
        Column("market", "{market}"),
        Column("policy", "{name}"),
        Column("hold rate (chance)", "{hold_rate_ratio:.3f} ({chance_hold_rate_ratio:.3f})"),
        Column("trades", "{trades_per_session:.2f}"),
        Column("Sharpe ± SE", "{sharpe:+.2f} ± {sharpe_standard_error:.2f}"),
        Column("least to largest seed", "{least_sharpe:+.2f} to {largest_sharpe:+.2f}"),
        Column(f"P(true Sharpe > {PLAN_TARGET_SHARPE:g})", "{probability_above_target:.2f}"),
        Column("net bp [95 %]", "{net_bps:+.2f} [{low_bps:+.2f}, {high_bps:+.2f}]"),
        Column("costs bp", "{costs_bps:.2f}"),
        Column("largest intraday drawdown", "{max_intraday_drawdown_ratio:.2%}"),
        Column("largest drawdown", "{max_drawdown_ratio:.1%}"),
    )
    first = pooled[0]
    title = (
        f"All unseen sessions, out of sample, {first['mode']}: means over the seeds; errors and drawdowns "
        "are of one account, intervals of the mean of the seeds"
    )
    return Table("markets", title, columns, pooled)


def pair_table(pairs: Sequence[Row]) -> Table:
    """Return the paired differences of each market."""
    columns = (
        Column("market", "{market}"),
        Column("candidate less", "{name}"),
        Column("bp per session [95 %]", "{difference_bps:+.2f} [{low_bps:+.2f}, {high_bps:+.2f}]"),
        Column("sessions", "{n_sessions}"),
        Column("seeds with an interval above 0", "{seeds_above} of {n_seeds}"),
        Column("below 0", "{seeds_below} of {n_seeds}"),
    )
    return Table("differences", "The candidate against each baseline, same sessions", columns, pairs)


def window_table(rows: Sequence[Row]) -> Table:
    """Return each window, means over the seeds."""
    columns = (
        Column("market", "{market}"),
        Column("test sessions", "{test_first} to {test_last} ({n_sessions})"),
        Column("gaps in the window", "{gaps}"),
        Column("neutral regime", "{neutral_regime_ratio:.1%}"),
        Column("hold rate, least to largest seed", "{least_hold:.3f} to {largest_hold:.3f}"),
        Column("trades", "{least_trades:.2f} to {largest_trades:.2f}"),
        Column("Sharpe, mean ± SE", "{sharpe:+.2f} ± {sharpe_standard_error:.2f}"),
        Column("net bp of candidate", "{candidate:+.2f}"),
        Column("gold", "{gold:+.2f}"),
        Column("tilted gold", "{tilted_gold:+.2f}"),
        Column("random", "{random:+.2f}"),
        Column("buy and hold", "{buy_and_hold:+.2f}"),
        Column("largest intraday drawdown", "{max_intraday_drawdown_ratio:.2%}"),
        Column("gate shows skill", "{skilled} of {n_seeds} seeds"),
    )
    return Table("windows", "Each window, means over the seeds", columns, rows)


def seed_table(seeds: Sequence[Row]) -> Table:
    """Return the candidates of each seed."""
    columns = (
        Column("market", "{market}"),
        Column("seed", "{seed}"),
        Column("hold rate", "{hold_rate_ratio:.4f}"),
        Column("trades", "{trades_per_session:.2f}"),
        Column("Sharpe ± SE (n)", "{sharpe:+.2f} ± {sharpe_standard_error:.2f} ({n_sessions})"),
        Column(f"P(true Sharpe > {PLAN_TARGET_SHARPE:g})", "{probability_above_target:.2f}"),
        Column("net bp [95 %]", "{mean_net_bps:+.2f} [{low_bps:+.2f}, {high_bps:+.2f}]"),
        Column("largest intraday drawdown", "{max_intraday_drawdown_ratio:.2%}"),
    )
    mine = [row for row in seeds if row["policy"] == CANDIDATE]
    return Table("seeds", "The candidates of each seed, all unseen sessions", columns, mine)


def equity_plot(markets: Sequence[Market]) -> Plot:
    """Draw net results over the unseen sessions, mean of the seeds."""

    def draw(figure: Figure) -> None:
        from stairways.reporting.backtest_picture import add_legend, draw_equity
        from stairways.reporting.drawing import add_axes

        room = WIDTH / len(markets)
        for place, market in enumerate(markets):
            names = [name for name in POLICIES if name in next(iter(market.pooled.values())).ledgers]
            means = {name: market.mean_returns(name) for name in names}
            series = {
                "dates": means[CANDIDATE].dates.astype(str).tolist(),
                "net_bps": {name: mean.returns_ratio * BPS for name, mean in means.items()},
            }
            interval = mean_estimate(means[CANDIDATE].returns_ratio * BPS).interval
            axes = add_axes(figure, (52 + room * place, 74, room - 85, 230))
            draw_equity(axes, series, {"mean_net_bps_interval": interval}, ours=CANDIDATE)
            axes.set_title(f"{market.name}: sum of net returns, % of NAV", loc="left", fontsize=10)
        add_legend(figure, POLICIES)

    title = (
        "Net result on unseen real sessions, mean of the seeds; cone: the candidate's mean with its 95 % "
        "interval, carried over the sessions. Sessions stand side by side, gaps between them are not drawn."
    )
    return Plot("equity", title, draw, (WIDTH + 20.0, 330.0))


def means_plot(markets: Sequence[Market], pooled: Sequence[Row]) -> Plot:
    """Draw mean net results with their intervals."""

    def draw(figure: Figure) -> None:
        from stairways.reporting.backtest_picture import draw_means
        from stairways.reporting.drawing import add_axes

        room = WIDTH / len(markets)
        for place, market in enumerate(markets):
            mine = {
                row["policy"]: {
                    "mean_net_bps": row["net_bps"],
                    "mean_net_bps_interval": (row["low_bps"], row["high_bps"]),
                }
                for row in pooled
                if row["market"] == market.name
            }
            axes = add_axes(figure, (90 + room * place, 40, room - 120, 190))
            draw_means(axes, mine)
            axes.set_title(f"{market.name}: net bp per session", loc="left", fontsize=10)

    title = "Mean net result per session on all unseen sessions, mean of the seeds, with 95 % intervals."
    return Plot("means", title, draw, (WIDTH + 20.0, 260.0))


def text(markets: Sequence[Market], pooled: Sequence[Row], settings: Settings, *, quick: bool) -> str:
    """Say what was run and what came of it."""
    minutes = settings.market.interval_minutes
    form = " The short form runs one window of one seed with a gold of few steps." if quick else ""
    paragraphs = [
        f"Real bars of {minutes} minutes, walk-forward: in each window gold is trained, then tuned on later "
        "sessions, then judged once on sessions behind those. Gold training, tuning, calibration and gate "
        "are the product's own (`stairways backtest --walk-forward`); nothing was chosen on the sessions "
        "reported. "
        f"Gold learns for {settings.gold.steps:,} steps: such bars hold about 1/{minutes} of the decisions "
        "of one-minute bars, for which the default is made." + form,
        *(_market_words(market, pooled) for market in markets),
        *_errors_words(pooled),
    ]
    return "\n\n".join(paragraphs)


def _market_words(market: Market, pooled: Sequence[Row]) -> str:
    row = next(row for row in pooled if row["market"] == market.name and row["policy"] == CANDIDATE)
    windows = next(iter(market.windows.values()))
    first, last = windows[0]["ranges"]["test"]["first"], windows[-1]["ranges"]["test"]["last"]
    listed = len(exchange_sessions(dt.date.fromisoformat(first), dt.date.fromisoformat(last)))
    neutral = max(window["neutral_regime_ratio"] for window in windows)
    skilled = sum(bool(window["run"]["skill_proven"]) for window in market.every_window())
    mean = "no Sharpe ratio"
    if row.get("sharpe") is not None:
        mean = (
            f"net Sharpe {row['sharpe']:+.2f} ± {row['sharpe_standard_error']:.2f} in the mean of the seeds, "
            f"at or above the plan's {PLAN_TARGET_SHARPE:g} in "
            f"{row['seeds_met']} of {row['n_seeds']}"
        )
    sign = "an interval that holds 0" if row["low_bps"] <= 0 <= row["high_bps"] else "an interval without 0"
    gaps = ", every one that the exchange held. "
    if listed > row["n_sessions"]:
        gaps = (
            f", of {listed} that the exchange held: the bars have gaps. Windows count sessions across them, "
            "and the regime's statistics run on; features and positions never cross one. "
        )
    return (
        f"**{market.name}.** Seeds {row['n_seeds']}, windows {len(windows)}, {row['n_sessions']} unseen "
        f"sessions from {first} to {last}{gaps}At most {neutral:.1%} of a window's decisions were taken "
        "at a neutral regime. "
        f"The candidate holds {row['hold_rate_ratio']:.1%} and trades "
        f"{row['trades_per_session']:.2f} times a session; {mean}; {row['net_bps']:+.2f} "
        f"[{row['low_bps']:+.2f}, {row['high_bps']:+.2f}] bp net per session, {sign}, after "
        f"{row['costs_bps']:.2f} bp of costs ({row['net_bps'] + row['costs_bps']:+.2f} bp before them). "
        f"The gate saw skill in {skilled} of "
        f"{len(market.every_window())} windows."
    )


def _errors_words(pooled: Sequence[Row]) -> list[str]:
    errors = [row["sharpe_standard_error"] for row in pooled if row.get("sharpe_standard_error") is not None]
    if not errors:
        return []
    return [
        "A mean of behaviour is sharp after tens of sessions, a Sharpe ratio is not: its standard error here "
        f"is {min(errors):.2f} to {max(errors):.2f}, so a difference of less than twice that shows nothing, "
        "in either direction."
    ]
