"""What the frontier experiment found: bars, tables, pictures, words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist, fmean
from typing import TYPE_CHECKING, Any

from stairways.control.setpoints import SetPoints
from stairways.proof.experiment import Bar, Column, Findings, Plot, Table
from stairways.proof.extremes import largest
from stairways.proof.frontier import REAL, REAL_RECORD, REAL_SESSIONS, REAL_TRAIN
from stairways.proof.frontier_pictures import draw_made, draw_without_edge
from stairways.proof.frontier_pool import (
    Pooled,
    difference,
    optimum_of_the_others,
    pooled,
    pooled_row,
    rows_of,
    slope,
)
from stairways.trading.rules import TradingRules
from stairways.tuning.evaluate import CALIBRATION_SESSIONS

if TYPE_CHECKING:
    from stairways.proof.frontier import Size

REACHABLE_TRADES, MOST_DISTANCE_TRADES = 5.0, 0.5
RULES = TradingRules()
ONE_WAY_BPS = RULES.costs.commission_bps + RULES.costs.half_spread_bps
UNIT_COST_BPS, MOST_COST_ERROR = RULES.unit_fraction * ONE_WAY_BPS, 0.02
"""A trade moves one unit of NAV. Prices and NAV move between the order that opens a position and the one that
closes it, which is worth less than the error allowed."""
BUDGET, MOST_OF_THE_BEST = SetPoints().trades_per_session, 0.9
TITLES = {
    "tilt": "planted",
    "tuned": "planted",
    "noise": "noise",
    "real": "NVDA + MSFT, 5 minutes",
}

Result = Mapping[str, Any]


def findings(results: Sequence[Result], size: Size, *, real_bars: bool) -> Findings:
    """Return rows, bars, tables, pictures and text.

    Args:
        results: Results of all cells.
        size: How much was measured.
        real_bars: Whether there were real bars.
    """
    measured = [result for result in results if "rows" in result]
    golds = [result for result in results if result["kind"] == "gold"]
    table = _pooled_rows(measured, size)
    holds = _hold_rows(measured, size)
    gains = optimum_of_the_others(measured, "tilt", size.points)
    tables = [_frontier_table(table)]
    if holds:
        tables.append(_hold_table(holds))
    if golds:
        tables.append(_gold_table(golds))
    return Findings(
        rows=[*table, *holds, *_single_rows(measured), *({"level": "gold", **gold} for gold in golds)],
        bars=_bars(measured, size, gains, real_bars=real_bars),
        tables=tables,
        plots=[
            Plot(
                "planted",
                "Planted markets: net result over the trades achieved, mean of the markets with 95 % "
                "intervals; thin lines are single runs. Random trading at equal turnover is the "
                "chance level.",
                lambda figure: draw_made(figure, table, measured),
                (760.0, 380.0),
            ),
            Plot(
                "without_edge",
                "Where there is no edge: net result over the trades achieved with 95 % intervals, beside "
                "what the trades cost.",
                lambda figure: draw_without_edge(figure, table),
                (760.0, 340.0),
            ),
        ],
        text=_text(measured, table, holds, gains, size, real_bars=real_bars),
    )


def _pooled_rows(results: Sequence[Result], size: Size) -> list[dict[str, Any]]:
    wanted: list[tuple[str, str, float | None]] = []
    for kind in ("tilt", "noise", "real"):
        wanted += [(kind, "untilted", None), (kind, "oracle", None)]
        wanted += [(kind, arm, point) for arm in ("tilt", "random") for point in size.points]
        if kind == "tilt":
            wanted += [("tuned", "tuned", point) for point in size.tuned_points]
    rows = [pooled_row(results, kind, arm, point) for kind, arm, point in wanted]
    return [{**row, "title": TITLES[row["kind"]]} for row in rows if row is not None]


def _single_rows(results: Sequence[Result]) -> list[dict[str, Any]]:
    return [
        {
            "level": "cell",
            "kind": result["kind"],
            "market": result["market"],
            "seed": result["seed"],
            "hold_set_point_ratio": result["hold"],
            "source": result["data"]["source"],
            **row,
        }
        for result in results
        for row in result["rows"]
    ]


def _hold_rows(results: Sequence[Result], size: Size) -> list[dict[str, Any]]:
    rows = []
    for hold in size.hold_points:
        kept = [result for result in results if result["kind"] == "hold" and result["hold"] == hold]
        row = pooled_row(kept, "hold", "tilt", BUDGET)
        if row is not None:
            rows.append({**row, "hold_set_point_ratio": hold})
    return rows


def _bars(
    results: Sequence[Result], size: Size, gains: Sequence[Mapping[str, Any]], *, real_bars: bool
) -> list[Bar]:
    bars = [_optimum_bar(gains, size), _chance_bar(results, size), _distance_bar(results, "tilt")]
    if size.tuned:
        bars.append(_distance_bar(results, "tuned"))
    bars += _cost_bars(results, real_bars=real_bars)
    bars.append(_no_edge_bar(results, size, "noise"))
    if real_bars:
        bars.append(_no_edge_bar(results, size, "real"))
    return bars


def _optimum_bar(gains: Sequence[Mapping[str, Any]], size: Size) -> Bar:
    gain = pooled(
        [(row["market"], row) for row in gains], lambda row: row["gain_bps"], lambda row: row["gain_se_bps"]
    )
    chosen = ", ".join(f"{row['set_point']:g}" for row in gains)
    return Bar(
        f"planted: net gain of the best set point over {size.points[0]:g} trades, bp per session",
        gain.bps,
        _beyond_chance(gain, size),
        gain.bps > gain.reach_bps(size.deviations),
        f"{_error_words(gain, size)}; best on the other markets: {chosen}",
    )


def _chance_bar(results: Sequence[Result], size: Size) -> Bar:
    gain = difference(rows_of(results, "tilt", "tilt", BUDGET), "tilt", "random")
    return Bar(
        f"planted: net above random at equal turnover, {BUDGET:g} trades, bp per session",
        gain.bps,
        _beyond_chance(gain, size),
        gain.bps > gain.reach_bps(size.deviations),
        _error_words(gain, size),
    )


def _beyond_chance(gain: Pooled, size: Size) -> str:
    return f"above {gain.reach_bps(size.deviations):.2f}, at the level of {size.deviations:g} normal SE"


def _error_words(gain: Pooled, size: Size) -> str:
    return f"SE {gain.standard_error_bps:.2f} ({gain.over}): more than {gain.reach_bps(size.deviations):.2f}"


def _distance_bar(results: Sequence[Result], arm: str) -> Bar:
    kept = [
        (result["kind"], row)
        for result in results
        for row in result["rows"]
        if row["arm"] == arm and row["set_point"] >= REACHABLE_TRADES
    ]
    distances = [abs(row["trades_per_session"] - row["set_point"]) for _, row in kept]
    worst = largest(distances)
    held = worst is not None and worst <= MOST_DISTANCE_TRADES
    note = "nothing was measured"
    if kept:
        kind, row = next(
            place for place, off in zip(kept, distances, strict=True) if off == worst or math.isnan(off)
        )
        note = f"of {len(kept)} points, each a mean over its sessions; worst: {kind}, {row['set_point']:g}"
    return Bar(
        f"{arm}: largest distance of the trades achieved from a set point of {REACHABLE_TRADES:g} or more",
        worst,
        f"<= {MOST_DISTANCE_TRADES:g} trades",
        held,
        note,
    )


def _cost_bars(results: Sequence[Result], *, real_bars: bool) -> list[Bar]:
    """Return whether the costs of a trade are those that were set, on every kind of market."""
    bars = []
    for kind, title in (("tilt", "planted"), ("noise", "noise"), *((("real", "real bars"),) * real_bars)):
        rows = [
            row for r in results if r["kind"] == kind for row in r["rows"] if row["arm"] in ("tilt", "random")
        ]
        found = slope(rows, "costs_bps") if rows else None
        bars.append(
            Bar(
                f"{title}: costs of one more trade, bp",
                found,
                f"{UNIT_COST_BPS:g} within {MOST_COST_ERROR:.0%} (unit {RULES.unit_fraction:.0%} of NAV x "
                f"{ONE_WAY_BPS:g} bp)",
                found is not None and abs(found - UNIT_COST_BPS) <= MOST_COST_ERROR * UNIT_COST_BPS,
                f"least squares over {len(rows)} points",
            )
        )
    return bars


def _no_edge_bar(results: Sequence[Result], size: Size, kind: str) -> Bar:
    """Return whether trading more costs what its orders cost, and nothing else.

    Without an edge, the net result at the highest budget lies below that at the lowest, on the same sessions,
    and the paired interval of the difference holds what the additional orders cost with its sign turned. An
    edge, a loss beyond the costs and a budget that changes nothing all miss it. That the interval lies below
    0 as a whole is not asked: a year of real sessions can't tell a few bp from none.
    """
    top, lowest = (rows_of(results, kind, "tilt", point) for point in (size.points[-1], size.points[0]))
    gain = difference(top, kind, "lowest")
    low, high = gain.interval_bps
    price = fmean(row["costs_bps"] for _, row in top) - fmean(row["costs_bps"] for _, row in lowest)
    return Bar(
        f"{TITLES[kind]}: net of {size.points[-1]:g} trades over {size.points[0]:g}, bp per session",
        gain.bps,
        f"below 0, and {-price:+.2f} (the costs of these trades) within its 95 % interval",
        gain.bps < 0.0 < price and low <= -price <= high,
        f"[{low:+.2f}, {high:+.2f}], over {gain.over}",
    )


def _frontier_table(rows: Sequence[dict[str, Any]]) -> Table:
    columns = [
        Column("market", "{title}"),
        Column("policy", "{arm}"),
        Column("set point", "{set_point:g}"),
        Column("trades", "{trades_per_session:.2f}"),
        Column("hold", "{hold_rate_ratio:.1%}"),
        Column("net bp [95 %]", "{net_bps:+.2f} [{net_low_bps:+.2f}, {net_high_bps:+.2f}]"),
        Column("gross bp", "{gross_bps:+.2f}"),
        Column("costs bp", "{costs_bps:.2f}"),
        Column("intervals over", "{interval_over}"),
        Column("Sharpe", "{sharpe:.2f}"),
        Column("above no budget", _with_interval("untilted")),
        Column("above the lowest set point", _with_interval("lowest")),
        Column("above random", _with_interval("random")),
        Column("above the tilt", _with_interval("tilt")),
    ]
    title = (
        "Frontiers, means over markets; intervals over markets are Student's t, those over sessions "
        "are of the bootstrap or Newey-West"
    )
    return Table("frontier", title, columns, rows)


def _with_interval(name: str) -> str:
    return f"{{above_{name}_bps:+.2f}} [{{above_{name}_low_bps:+.2f}}, {{above_{name}_high_bps:+.2f}}]"


def _hold_table(rows: Sequence[dict[str, Any]]) -> Table:
    columns = [
        Column("hold set point", "{hold_set_point_ratio:.0%}"),
        Column("hold", "{hold_rate_ratio:.1%}"),
        Column("trades", "{trades_per_session:.2f}"),
        Column("net bp [95 %]", "{net_bps:+.2f} [{net_low_bps:+.2f}, {net_high_bps:+.2f}]"),
        Column("interval over", "{interval_over}"),
        Column("gross bp", "{gross_bps:+.2f}"),
        Column("Sharpe", "{sharpe:.2f}"),
    ]
    return Table("hold", f"The hold set point at {BUDGET:g} trades, planted markets", columns, rows)


def _gold_table(rows: Sequence[Result]) -> Table:
    columns = [
        Column("seed", "{seed}"),
        Column("over-holds", "{over_holds}"),
        Column("hold", "{hold_rate_ratio:.1%}"),
        Column("trades", "{trades_per_session:.2f}"),
        Column("net bp", "{net_bps:+.2f}"),
        Column("net bp before over-hold", "{skill_before_over_hold_bps:+.2f}"),
    ]
    title = f"Golds on real bars, trained on {_dates(REAL_TRAIN)}, measured on {_dates(REAL_RECORD)}"
    return Table("golds", title, columns, rows)


def _dates(span: str) -> str:
    return span.replace(":", " to ")


def _text(
    results: Sequence[Result],
    table: Sequence[dict[str, Any]],
    holds: Sequence[dict[str, Any]],
    gains: Sequence[Mapping[str, Any]],
    size: Size,
    *,
    real_bars: bool,
) -> str:
    sessions = next(r["data"]["n_sessions"] for r in results if r["kind"] == "tilt")
    noise_markets = f"{size.noise} noise {'market' if size.noise == 1 else 'markets'}"
    words = [
        "`stairways frontier` leads one policy through the same sessions under every set point, its "
        f"multipliers calibrated on up to {CALIBRATION_SESSIONS} sessions before; only the budget differs. "
        f"The shipped gold, sampled, hold set point {SetPoints().hold_rate_ratio:.0%}, on {size.markets} "
        f"planted markets of other seeds than its own, {sessions:,} sessions{_keys_words(size)} each, and on "
        f"{noise_markets}. Where there are several planted markets, they are the sample: intervals are "
        "Student's t over them. On noise nothing differs between markets, and real bars are one market: "
        "there they are over the sessions, paired stationary bootstraps or, for a single policy, Newey-West. "
        "The best of several set points flatters itself, so the optimum of one market is looked for on the "
        "others.",
        _planted_words(table, gains, size),
        _tuned_words(table, size),
        _price_words(table, "noise", "On noise"),
    ]
    if real_bars:
        words.append(
            _price_words(
                table,
                "real",
                f"On real bars of {' and '.join(REAL['symbols'])} ({REAL['interval']}), "
                f"{_dates(REAL_SESSIONS)}, golds trained on {_dates(REAL_TRAIN)} ({size.golds} "
                f"{'seed' if size.golds == 1 else 'seeds, same sessions'}),",
            )
        )
    else:
        words.append("No folder of real bars was given, so the price of trading is shown on noise alone.")
    words.append(_hold_words(results, holds))
    return "\n\n".join(word for word in words if word)


def _keys_words(size: Size) -> str:
    return "" if size.keys == 1 else f" and {size.keys} runs of other random numbers"


def _point(table: Sequence[dict[str, Any]], kind: str, arm: str, set_point: float | None) -> dict[str, Any]:
    return next(row for row in table if (row["kind"], row["arm"], row["set_point"]) == (kind, arm, set_point))


def _planted_words(table: Sequence[dict[str, Any]], gains: Sequence[Mapping[str, Any]], size: Size) -> str:
    rows = [row for row in table if row["kind"] == "tilt" and row["arm"] == "tilt"]
    best, last = max(rows, key=lambda row: row["net_bps"]), rows[-1]
    budget, free = _point(table, "tilt", "tilt", BUDGET), _point(table, "tilt", "untilted", None)
    chosen = sorted({row["set_point"] for row in gains})
    ends = {id(rows[0]): "at the left-hand end", id(last): "at the right-hand end"}
    place = ends.get(id(best), "inside the range")
    # where every set point loses, nine tenths of the best are better than the best
    most = next((row for row in rows if row["net_bps"] >= MOST_OF_THE_BEST * best["net_bps"]), best)
    return (
        f"**With a signal** the net result is highest at {best['trades_per_session']:.1f} trades "
        f"({best['net_bps']:+.2f} bp; {place}), set points named by the other markets: "
        f"{', '.join(f'{point:g}' for point in chosen)}; {MOST_OF_THE_BEST:.0%} of it is reached at "
        f"{most['trades_per_session']:.1f} trades. The default of {BUDGET:g} earns "
        f"{budget['net_bps']:+.2f} bp, {budget['above_untilted_bps']:+.2f} "
        f"[{budget['above_untilted_low_bps']:+.2f}, {budget['above_untilted_high_bps']:+.2f}] bp against the "
        f"same policy without a budget, which trades {free['trades_per_session']:.1f} times. Between "
        f"{rows[1]['set_point']:g} and {last['set_point']:g} trades gross rises by "
        f"{last['gross_bps'] - rows[1]['gross_bps']:+.2f} bp and costs by "
        f"{last['costs_bps'] - rows[1]['costs_bps']:+.2f}: what the frontier shows is the difference."
    )


def _tuned_words(table: Sequence[dict[str, Any]], size: Size) -> str:
    rows = [row for row in table if row["arm"] == "tuned"]
    if not rows:
        return ""
    parts = [
        f"{row['set_point']:g}: {row['above_tilt_bps']:+.2f} [{row['above_tilt_low_bps']:+.2f}, "
        f"{row['above_tilt_high_bps']:+.2f}]"
        for row in rows
    ]
    words = (
        f"Tuned at the set point ({rows[0]['n_markets']} markets, the product's own tuning, at most "
        f"{size.tuned_cycles} cycles) less the same gold under the tilt, bp per session, by set point: "
        f"{'; '.join(parts)}."
    )
    off = [row for row in rows if abs(row["trades_per_session"] - row["set_point"]) > MOST_DISTANCE_TRADES]
    if off:
        where = "; ".join(f"{row['trades_per_session']:.1f} at {row['set_point']:g}" for row in off)
        words += (
            f" In the mean they trade {where}: training under the tilt moves a policy against it, and far "
            "from what the signal pays the trade multiplier ends at its bound (docs/decisions.md, 29)."
        )
    return words


def _price_words(table: Sequence[dict[str, Any]], kind: str, lead: str) -> str:
    rows = [row for row in table if row["kind"] == kind and row["arm"] == "tilt"]
    budget = _point(table, kind, "tilt", BUDGET)
    return (
        f"{lead} a trade costs {slope(rows, 'costs_bps'):.3f} bp and earned "
        f"{slope(rows, 'gross_bps'):+.3f} bp gross, so the net result changed by "
        f"{slope(rows, 'net_bps'):+.3f} bp a trade. At {BUDGET:g} trades: {budget['net_bps']:+.2f} "
        f"[{budget['net_low_bps']:+.2f}, {budget['net_high_bps']:+.2f}] bp a session, "
        f"{budget['costs_bps']:.2f} of it costs; against random at equal turnover "
        f"{budget['above_random_bps']:+.2f} [{budget['above_random_low_bps']:+.2f}, "
        f"{budget['above_random_high_bps']:+.2f}]."
    )


def _hold_words(results: Sequence[Result], holds: Sequence[dict[str, Any]]) -> str:
    if not holds:
        return ""
    named = "; ".join(f"{row['hold_set_point_ratio']:.0%}: {row['net_bps']:+.2f}" for row in holds)
    words = f"**The hold set point** at {BUDGET:g} trades, net bp: {named}."
    if holds[0]["n_markets"] == 1 or len(holds) == 1:
        return words
    return f"{words} {_spread_words(results, holds)}"


def _spread_words(results: Sequence[Result], holds: Sequence[dict[str, Any]]) -> str:
    """Compare the best and the worst hold set point on the same markets.

    Which two they are was seen in the same figures, so the interval is one for all pairs together
    (Bonferroni).
    """
    nets: dict[float, dict[int, float]] = {}
    for result in results:
        for market, row in rows_of([result], "hold", "tilt", BUDGET):
            nets.setdefault(result["hold"], {})[market] = row["net_bps"]
    worst, best = (
        choose(holds, key=lambda row: row["net_bps"])["hold_set_point_ratio"] for choose in (min, max)
    )
    shared = sorted(nets[best].keys() & nets[worst].keys())
    gap = pooled(
        [(market, {"bps": nets[best][market] - nets[worst][market]}) for market in shared],
        lambda row: row["bps"],
        lambda row: 0.0,
    )
    each = 0.05 / math.comb(len(holds), 2)
    chance = gap.reach_bps(NormalDist().inv_cdf(1.0 - each / 2.0))
    verdict = "more" if gap.bps > chance else "no more"
    return (
        f"From {worst:.0%} to {best:.0%} is {gap.bps:.2f} bp, {verdict} than the {chance:.2f} bp that chance "
        f"is allowed (95 % for all pairs together, over {gap.over})."
    )
