"""What the tracking experiment concludes: rows, bars, tables and text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from stairways.control.actuators import TiltActuator
from stairways.control.setpoints import SetPoints
from stairways.evaluation.bootstrap import BPS, optimal_block_length
from stairways.proof.binomial import clopper_pearson
from stairways.proof.experiment import Bar, Column, Findings, Job, Table
from stairways.proof.extremes import largest, least
from stairways.proof.tracking_measures import Resamples, mean_sharpe, percentile_difference
from stairways.proof.tracking_plan import (
    BLOCK_SESSIONS,
    DEFAULT,
    FULL_COUPLING,
    HOLD_BAND_RATIO,
    LEAST_SHARE,
    MODES,
    MOST_SESSION_ERROR_RATIO,
    MOVING_FAST_GAIN,
    POLICY_WORDS,
    SLOPES,
    TRADES_BAND,
    UNTILTED,
    Form,
    Point,
    apart,
    curve,
    form_of,
    gains_of,
    moving,
)
from stairways.proof.tracking_plots import tracking_plots

Row = dict[str, Any]
HOLD_BAND_WORDS = f"±{100 * HOLD_BAND_RATIO:g} points"
TRADES_BAND_WORDS = f"±{TRADES_BAND:g} trades"
LEAST_FOLLOWED_MORE_RATIO = 0.05
"""Of the movement of the target. A slope of holds on it scatters by 0.5/(0.15 x sqrt(decisions)) and more: by
about 0.01 over the decisions of the short form, so that a loop which ignores the target does not reach it."""
STREAMS, CURVE, APART, MOVING = "streams", "curve", "apart", "moving"


def conclude(job: Job, results: Mapping[str, dict[str, Any]]) -> Findings:
    """Measure every setting, judge the default, and set the price beside how close it keeps."""
    form = form_of(job)
    streams = [_row(STREAMS, policy, mode, DEFAULT, results) for policy in form.policies for mode in MODES]
    priced = [row for policy in form.priced for row in _priced_rows(job, form, policy, results)]
    rows = [*streams, *priced]
    return Findings(
        rows=rows,
        bars=[*_stream_bars(form, streams), *_moving_bars(priced)],
        tables=[_streams_table(rows), _price_table(rows), _moving_table(rows)],
        plots=tracking_plots(form, rows),
        text=_text(form, rows),
    )


def _priced_rows(job: Job, form: Form, policy: str, results: Mapping[str, dict[str, Any]]) -> list[Row]:
    """Return the rows of one policy, each with its paired differences."""
    kinds = [(CURVE, point) for point in (UNTILTED, *curve(form))]
    kinds += [(APART, point) for point in apart(form)] + [(MOVING, point) for point in moving(form)]
    returns = {point.name: _returns(results, policy, point) for _, point in kinds}
    step = returns[DEFAULT.name].mean(axis=0) - returns[UNTILTED.name].mean(axis=0)
    seed = np.random.SeedSequence(job.seed, spawn_key=(3, form.priced.index(policy)))
    resamples = Resamples.draw(len(step), optimal_block_length(step), form.resamples, seed)
    sharpes = {name: resamples.sharpes(series) for name, series in returns.items()}
    means = {name: resamples.means_bps(series) for name, series in returns.items()}
    rows = []
    for kind, point in kinds:
        row = _row(kind, policy, "sampled", point, results)
        for other in (UNTILTED, DEFAULT):
            for unit, value, drawn in (
                ("sharpe", mean_sharpe, sharpes),
                ("net_bps", lambda series: float(series.mean()) * BPS, means),
            ):
                found = percentile_difference(
                    value(returns[point.name]) - value(returns[other.name]),
                    drawn[point.name],
                    drawn[other.name],
                )
                name = f"{unit}_less_{other.name}"
                row |= {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}
        rows.append(row)
    return rows


def _returns(results: Mapping[str, dict[str, Any]], policy: str, point: Point) -> Any:
    return np.array(results[f"{policy}-sampled-{point.name}"]["returns"])


def _row(kind: str, policy: str, mode: str, point: Point, results: Mapping[str, dict[str, Any]]) -> Row:
    found = results[f"{policy}-{mode}-{point.name}"]
    returns = np.array(found["returns"])
    actuator, n_blocks = point.actuator, len(found["hold_errors"])
    row: Row = {
        "kind": kind,
        "policy": policy,
        "policy_words": POLICY_WORDS[policy],
        "mode": mode,
        "point": point.name,
        "ki_hold": None if actuator is None else actuator.live.ki_hold,
        "ki_trade": None if actuator is None else actuator.live.ki_trade,
        "kp_fast": None if actuator is None else actuator.live.kp_fast,
        "coupling": None if actuator is None else actuator.hold_coupling,
        "slope": point.points.regime_slope_ratio if point.points.hold_mode == "regime" else 0.0,
        "n_sessions": returns.shape[1],
        "n_keys": returns.shape[0],
        "n_blocks": n_blocks,
        "hold_percent": 100 * found["hold"],
        "trades": found["trades"],
        "hold_scatter_points": 100 * found["hold_scatter"],
        "trades_scatter": found["trades_scatter"],
        "default": point == DEFAULT,
        "net_bps": float(returns.mean()) * BPS,
        "sharpe": mean_sharpe(returns),
    }
    for name, band in (("hold", HOLD_BAND_RATIO), ("trades", TRADES_BAND)):
        inside = int((np.abs(found[f"{name}_errors"]) <= band).sum())
        low, high = clopper_pearson(inside, n_blocks)
        row |= {f"{name}_share": inside / n_blocks, f"{name}_share_low": low, f"{name}_share_high": high}
    errors = found["session_errors"]
    slopes = {slope: name for name, slope in SLOPES.items()}
    own = slopes.get(row["slope"])
    row |= {f"session_error_points_{name}": 100 * error for name, error in errors.items()}
    row |= {f"followed_ratio_{name}": share for name, share in found["followed"].items()}
    own_error, own_share = (None, None) if own is None else (100 * errors[own], found["followed"][own])
    return row | {"session_error_points": own_error, "followed_ratio": own_share}


def _stream_bars(form: Form, streams: Sequence[Row]) -> list[Bar]:
    bars = []
    for policy in form.policies:
        for name, words in (("hold", HOLD_BAND_WORDS), ("trades", TRADES_BAND_WORDS)):
            rows = [row for row in streams if row["policy"] == policy]
            worst = min(rows, key=lambda row: row[f"{name}_share"])
            allowed = least_share(form, worst["n_blocks"])
            bars.append(
                Bar(
                    name=f"{BLOCK_SESSIONS}-session means within {words}, {POLICY_WORDS[policy]}",
                    observed=100 * worst[f"{name}_share"],
                    threshold=f">= {100 * allowed:.0f} %",
                    passed=worst[f"{name}_share"] >= allowed,
                    note=f"{worst['mode']}, the worse mode; {worst['n_blocks']} means, 95 % interval "
                    f"{100 * worst[f'{name}_share_low']:.0f} to {100 * worst[f'{name}_share_high']:.0f} %",
                )
            )
    return bars


def least_share(form: Form, n_blocks: int) -> float:
    """Return the share of means that has to lie in the band.

    A form with fewer than a hundred means asks for 95 % less 2.58 binomial standard errors: what a true share
    of 95 % reaches in 99 of 100 runs of that size.
    """
    if n_blocks >= 100:
        return LEAST_SHARE
    return float(LEAST_SHARE - 2.58 * (LEAST_SHARE * (1 - LEAST_SHARE) / n_blocks) ** 0.5)


def _moving_bars(rows: Sequence[Row]) -> list[Bar]:
    """Return whether a moving target is kept near, and whether it is followed at all.

    A policy that stands at the mean of the target keeps near it too, for the score moves both ways within a
    session. So each moving loop is also held against the default loop of the same policy, on the same
    sessions and keys, which stands at the fixed target: of the same moving target it must follow more.
    """
    mine = [row for row in rows if row["kind"] == MOVING and row["kp_fast"] == MOVING_FAST_GAIN]
    standing = {row["policy"]: row for row in rows if row["kind"] == CURVE and row["default"]}
    gains = {slope: f"followed_ratio_{name}" for name, slope in SLOPES.items()}
    error = largest(row["session_error_points"] for row in mine)
    more = [row["followed_ratio"] - standing[row["policy"]][gains[row["slope"]]] for row in mine]
    least_more = least(more)
    note = "nothing was measured"
    follows = note
    if mine:
        worst = max(mine, key=lambda row: row["session_error_points"])
        note = (
            f"worst: {worst['policy_words']}, slope {worst['slope']:+g}, sampled, {worst['n_sessions']} "
            f"sessions; price in Sharpe {_interval(worst, 'sharpe_less_default')} against the fixed target"
        )
        lame = mine[more.index(min(more))]
        stands = standing[lame["policy"]][gains[lame["slope"]]]
        follows = (
            f"least: {lame['policy_words']}, slope {lame['slope']:+g}: {lame['followed_ratio']:.0%} of the "
            f"movement is followed, {stands:.0%} where the default stands at the fixed target on the same "
            "sessions"
        )
    limit = 100 * MOST_SESSION_ERROR_RATIO
    return [
        Bar(
            name=f"mean session error of a moving target, fast lane {MOVING_FAST_GAIN:g}",
            observed=error,
            threshold=f"<= {limit:g} points",
            passed=error is not None and error <= limit,
            note=note,
        ),
        Bar(
            name=f"movement followed beyond what a standing target follows, fast lane {MOVING_FAST_GAIN:g}",
            observed=None if least_more is None else 100 * least_more,
            threshold=f">= {100 * LEAST_FOLLOWED_MORE_RATIO:g} points of the movement",
            passed=least_more is not None and least_more >= LEAST_FOLLOWED_MORE_RATIO,
            note=follows,
        ),
    ]


def argued_gain(rows: Sequence[Row], coupling: float) -> float | None:
    """Return the smallest gain on the curve at which every priced policy keeps both bands often enough."""
    mine = [row for row in rows if row["kind"] == CURVE and row["coupling"] == coupling]
    for gain in sorted({row["ki_hold"] for row in mine}):
        shares = [min(r["hold_share"], r["trades_share"]) for r in mine if r["ki_hold"] == gain]
        if min(shares) >= LEAST_SHARE:
            return float(gain)
    return None


def _interval(row: Row, name: str, digits: int = 2) -> str:
    return f"{row[name]:+.{digits}f} [{row[f'{name}_low']:+.{digits}f}, {row[f'{name}_high']:+.{digits}f}]"


def _share_columns() -> list[Column]:
    return [
        Column("hold rate, %", "{hold_percent:.1f}"),
        Column("trades", "{trades:.2f}"),
        Column(
            f"hold: means within {HOLD_BAND_WORDS}",
            "{hold_share:.0%} [{hold_share_low:.0%}, {hold_share_high:.0%}]",
        ),
        Column(
            f"trades: means within {TRADES_BAND_WORDS}",
            "{trades_share:.0%} [{trades_share_low:.0%}, {trades_share_high:.0%}]",
        ),
        Column("one session: hold, points", "{hold_scatter_points:.1f}"),
        Column("trades", "{trades_scatter:.1f}"),
    ]


def _streams_table(rows: Sequence[Row]) -> Table:
    return Table(
        "streams",
        f"Single accounts at the default gains: means of {BLOCK_SESSIONS} sessions, and the spread of one "
        "session (standard deviation)",
        [
            Column("policy", "{policy_words}"),
            Column("mode", "{mode}"),
            *_share_columns(),
            Column("means", "{n_blocks}"),
            Column("net bp", "{net_bps:+.2f}"),
            Column("net Sharpe", "{sharpe:+.2f}"),
        ],
        [row for row in rows if row["kind"] == STREAMS],
    )


def _difference(heading: str, name: str, form: str) -> Column:
    return Column(heading, f"{{{name}:{form}}} [{{{name}_low:{form}}}, {{{name}_high:{form}}}]")


def _price_table(rows: Sequence[Row]) -> Table:
    return Table(
        "price",
        "The price of tracking: live gains against net result, sampled; differences with 95 % intervals",
        [
            Column("policy", "{policy_words}"),
            Column("gains hold / trade", "{ki_hold:.3g} / {ki_trade:.3g}"),
            Column("coupling", "{coupling:g}"),
            *_share_columns(),
            Column("net Sharpe", "{sharpe:+.2f}"),
            _difference("less untilted", "sharpe_less_untilted", "+.2f"),
            _difference("less default", "sharpe_less_default", "+.2f"),
            _difference("net bp less default", "net_bps_less_default", "+.2f"),
        ],
        [row for row in rows if row["kind"] in {CURVE, APART}],
    )


def _moving_table(rows: Sequence[Row]) -> Table:
    return Table(
        "moving",
        "A target that moves with the regime score, sampled; differences to the fixed one, default gains",
        [
            Column("policy", "{policy_words}"),
            Column("slope per unit of score", "{slope:+g}"),
            Column("fast lane", "{kp_fast:g}"),
            Column("mean session error, points", "{session_error_points:.1f}"),
            Column("movement followed", "{followed_ratio:.0%}"),
            Column("hold rate, %", "{hold_percent:.1f}"),
            Column("trades", "{trades:.2f}"),
            Column("net Sharpe", "{sharpe:+.2f}"),
            _difference("less fixed target", "sharpe_less_default", "+.2f"),
            _difference("net bp less fixed", "net_bps_less_default", "+.2f"),
        ],
        [row for row in rows if row["kind"] == MOVING],
    )


def _text(form: Form, rows: Sequence[Row]) -> str:
    actuator = TiltActuator()
    live = actuator.live
    argued = argued_gain(rows, actuator.hold_coupling)
    words = (
        "No gain on the curve does that."
        if argued is None
        else f"The smallest that does is {argued:g}; the default is {live.ki_hold:g} (trades: "
        f"{live.ki_trade:g})."
    )
    on_curve = [row for row in rows if row["kind"] == CURVE]
    defaults = [row for row in on_curve if row["default"]]
    loosest = min(gain for gain in gains_of(form) if gain > 0.0)
    loose = [r for r in on_curve if r["ki_hold"] == loosest and r["coupling"] == actuator.hold_coupling]
    full = [r for r in on_curve if r["ki_hold"] == live.ki_hold and r["coupling"] == FULL_COUPLING]
    ignored = "; ".join(
        f"{row['policy_words']} "
        + " and ".join(f"{row[f'session_error_points_{slope}']:.1f}" for slope in SLOPES)
        for row in defaults
    )
    missed = [row[f"session_error_points_{slope}"] for row in defaults for slope in SLOPES]
    weak = ""
    if max(missed) <= 100 * MOST_SESSION_ERROR_RATIO:
        weak = (
            "The mean of a session hides most of what the score does within it: a loop that follows nothing "
            "keeps that bar too, which is why the movement followed has one of its own. "
        )
    points = SetPoints()
    return f"""
**Setting.** One account is led through {form.sessions:,} unseen sessions of the planted market, once for each
of {form.keys} decision keys; multipliers are calibrated in the same mode on the {form.calibration_sessions}
sessions before, and the loop runs on from them. The gold is the shipped one, the over-trader is made of it
(hold bias lowered, logits flattened), the skilled policy has a regime gate, was trained on another market and
was never made to over-hold. Figures are means over the keys; the Sharpe ratio is that of one account.
Differences are paired: the same sessions and keys, {form.resamples:,} stationary resamples, percentile
intervals. Intervals of shares are exact binomial ones and take the {BLOCK_SESSIONS}-session means for
independent, which those of different keys on the same sessions are not quite.

**The price.** Net Sharpe of the default less that of the untilted policy:
{_listed(defaults, "sharpe_less_untilted")}. Less that of the default: the loosest loop on the curve
({loosest:g}) {_listed(loose, "sharpe_less_default")}; the default's gains at full coupling, where the hold
multiplier moves positions too, {_listed(full, "sharpe_less_default")}. The gain argued for is the smallest on
the curve at which {LEAST_SHARE:.0%} of the {BLOCK_SESSIONS}-session means of every priced policy lie in both
bands. {words}

**Moving target.** The target is {points.hold_rate_ratio:g} + slope x regime score, within
{points.lowest_hold_rate_ratio:g} and {points.highest_hold_rate_ratio:g}. A loop that keeps the fixed target
of {points.hold_rate_ratio:g} misses it by this much in a session, in points, for the rising and the falling
slope: {ignored}. {weak}What a loop really follows is the slope of its holds on the target, decision by
decision: 100 % is a policy whose hold rate moves as the target does.
"""


def _listed(rows: Sequence[Row], name: str) -> str:
    return "; ".join(f"{row['policy_words']} {_interval(row, name)}" for row in rows)
