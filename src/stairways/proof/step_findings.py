"""What the step response concludes: bars, tables and text."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from stairways.proof.experiment import Bar, Column, Findings, Job, Table
from stairways.proof.plants import OVER_HOLD_RATIO, OVER_TRADES, WANTED_TRADES
from stairways.proof.responses import ALLOWANCE
from stairways.proof.step_plan import (
    DEPLOYED,
    HOLD,
    MLP,
    NET_WORDS,
    OVER_HOLDER,
    OVER_TRADER,
    QUANTITIES,
    START_WORDS,
    STARTS,
    STEADY_SESSIONS,
    TRADES,
    UNIFORM,
    Form,
    Judged,
    form_of,
)
from stairways.proof.step_plots import step_plots
from stairways.proof.step_rows import INFERENCE, Row, inference_rows, training_rows, unseen_rows
from stairways.proof.step_training import CONTROLLERS, N_ENVS, PPO, ROLLOUT, TILT
from stairways.proof.streams import MODES, STEPS

NEVER = "never"
QUICK_SHARE = 0.9
"""Asked of the quick form: of three figures of 36 responses each leaves what is allowed in one case of a
hundred, so that one response does by chance, and more than three in one run of fifty (Poisson)."""


def conclude(job: Job, results: Mapping[str, dict[str, Any]]) -> Findings:
    """Measure every response, hold the default controller's against its bars and set the others beside."""
    form = form_of(job)
    inference = inference_rows(form, results)
    training = training_rows(form, results)
    rows = [_for_people(row) for row in [*inference, *training, *unseen_rows(training)]]
    bars = [_starts_bar(results), *(bar for mode in MODES for bar in _bars(job, mode, inference))]
    summary = summary_rows(rows)
    return Findings(
        rows=rows,
        bars=bars,
        tables=[_summary_table(summary), _inference_table(rows), _training_table(rows)],
        plots=step_plots(form, results),
        text=_text(form, results, inference, summary),
    )


def _bars(job: Job, mode: str, inference: Sequence[Row]) -> list[Bar]:
    rows = [row for row in inference if row["mode"] == mode]
    bars = []
    for judged in QUANTITIES:
        moved = [row for row in rows if f"{judged.quantity}_settled_decisions" in row]
        bars += [_settling_bar(judged, mode, moved), _steady_bar(job, judged, mode, moved)]
        if judged.overshoot is not None:
            bars.append(_overshoot_bar(job, judged, judged.overshoot, mode, moved))
    bars.append(_seeds_bar(job, mode, rows))
    return bars


def _settling_bar(judged: Judged, mode: str, rows: Sequence[Row]) -> Bar:
    worst = _worst(rows, lambda row: _or_infinite(row[f"{judged.quantity}_settled_sessions"]))
    observed = worst[f"{judged.quantity}_settled_sessions"]
    return Bar(
        name=f"{judged.words} settles, {mode}",
        observed=observed,
        threshold=f"<= {judged.within_sessions:g} sessions of 390 decisions",
        passed=observed is not None and observed <= judged.within_sessions,
        note=_where(worst, "never settled" if observed is None else "slowest"),
    )


def _steady_bar(job: Job, judged: Judged, mode: str, rows: Sequence[Row]) -> Bar:
    name, error_name = (f"{judged.quantity}_steady_{part}" for part in ("error", "standard_error"))
    factor = noise_factor(job, rows)
    worst = _worst(rows, lambda row: abs(row[name]) - factor * row[error_name])
    allowed = judged.steady + factor * worst[error_name]
    observed = abs(worst[name])
    return Bar(
        name=f"steady error of the {judged.words}, {mode}",
        observed=judged.scale * observed,
        threshold=f"<= {judged.scale * allowed:.2f} {judged.unit}{_widened(judged, judged.steady, factor)}",
        passed=observed <= allowed,
        note=f"{_where(worst, 'largest')}, SE {judged.scale * worst[error_name]:.2f}",
    )


def _overshoot_bar(job: Job, judged: Judged, limit: float, mode: str, rows: Sequence[Row]) -> Bar:
    name, error_name = f"{judged.quantity}_overshoot", f"{judged.quantity}_window_standard_error"
    factor = noise_factor(job, rows)
    worst = _worst(rows, lambda row: row[name] - factor * row[error_name])
    allowed = limit + factor * worst[error_name]
    observed = worst[name]
    return Bar(
        name=f"overshoot of the {judged.words}, {mode}",
        observed=judged.scale * observed,
        threshold=f"<= {judged.scale * allowed:.1f} {judged.unit}{_widened(judged, limit, factor)}",
        passed=observed <= allowed,
        note=f"{_where(worst, 'largest')}, SE of a window {judged.scale * worst[error_name]:.1f}",
    )


def noise_factor(job: Job, rows: Sequence[Row]) -> float:
    """Return how many standard errors the quick form adds to a bar that the largest of some rows is held to.

    None in the full form. In the quick one, of few accounts, it is Student's two-sided quantile at 1 % over
    the number of rows: sound responses miss such a bar in one run of a hundred at most (Bonferroni).
    """
    if not job.quick:
        return 0.0
    from scipy.special import stdtrit

    freedom = rows[0]["n_seeds"] * (rows[0]["n_accounts"] - 1)
    return float(stdtrit(freedom, 1.0 - 0.005 / len(rows)))


def _widened(judged: Judged, limit: float, factor: float) -> str:
    return f" ({judged.scale * limit:g} + {factor:.1f} SE)" if factor else ""


def _seeds_bar(job: Job, mode: str, rows: Sequence[Row]) -> Bar:
    asked = QUICK_SHARE if job.quick else 1.0
    names = [f"{judged.quantity}_seeds_held_ratio" for judged in QUANTITIES]
    shares = [row[name] for row in rows for name in names if name in row]
    observed = sum(shares) / len(shares)
    return Bar(
        name=f"share of seeds that do all of it, {mode}",
        observed=100.0 * observed,
        threshold=f"{100 * asked:g} %" if asked == 1.0 else f">= {100 * asked:g} %",
        passed=observed >= asked,
        note=f"{len(shares) * rows[0]['n_seeds']} responses of {rows[0]['n_accounts']} accounts each, every "
        f"figure allowed {ALLOWANCE} of its standard errors",
    )


def _starts_bar(results: Mapping[str, dict[str, Any]]) -> Bar:
    held, trades = [], []
    for net, starts in STARTS.items():
        untilted = results[f"policies-{net}"]["untilted"]
        if OVER_HOLDER in starts:
            held.append(untilted[f"{OVER_HOLDER}-sampled"]["hold"])
        trades.append(untilted[f"{OVER_TRADER}-sampled"]["trades"])
    return Bar(
        name="the starts are what they are called",
        observed=f"{100 * min(held):.1f} % and {min(trades):.1f} trades",
        threshold=f"over-holders hold >= {OVER_HOLD_RATIO:.0%}, over-traders trade >= {OVER_TRADES:g} times",
        passed=min(held) >= OVER_HOLD_RATIO and min(trades) >= OVER_TRADES,
        note="the least of each kind, sampled, untilted",
    )


def summary_rows(rows: Sequence[Row]) -> list[Row]:
    """Return one row for each controller and mode: the worst over starts and set points."""
    made = []
    for controller, acts, mode in dict.fromkeys((r["controller"], r["acts"], r["mode"]) for r in rows):
        mine = [r for r in rows if (r["controller"], r["acts"], r["mode"]) == (controller, acts, mode)]
        row: Row = {"controller": controller, "acts": acts, "mode": mode}
        for judged in QUANTITIES:
            name = judged.quantity
            errors = [abs(r[f"{name}_steady_error"]) for r in mine if _asked(judged, r)]
            row[f"{name}_worst_error"] = judged.scale * max(errors)
            moved = [r for r in mine if f"{name}_settled_sessions" in r]
            settled = [r[f"{name}_settled_sessions"] for r in moved]
            row[f"{name}_settled"] = (
                f"{sum(s is not None for s in settled)} of {len(settled)}" if moved else None
            )
            slowest = None if None in settled or not moved else f"{max(settled):.1f}"
            row[f"{name}_slowest"] = slowest or (NEVER if moved else None)
            beyond = [r[f"{name}_overshoot"] for r in moved]
            row[f"{name}_worst_overshoot"] = judged.scale * max(beyond) if moved else None
        made.append(row | {"controller_words": CONTROLLERS[controller]})
    return sorted(made, key=lambda r: (list(CONTROLLERS).index(r["controller"]), r["acts"] == INFERENCE))


def _asked(judged: Judged, row: Row) -> bool:
    return f"{judged.quantity}_steady_error" in row and judged.quantity in _moved(row)


def _moved(row: Row) -> tuple[str, ...]:
    return next(step.moved for step in STEPS if step.name == row["step"])


def _for_people(row: Row) -> Row:
    """Add what the tables show of a row: words, and figures in the units that people read."""
    made = dict(row) | {
        "controller_words": CONTROLLERS[row["controller"]],
        "policy_words": f"{NET_WORDS[row['net']]} {START_WORDS[row['start']]}",
    }
    for judged in QUANTITIES:
        name = judged.quantity
        for field in ("overshoot", "in_training"):
            value = row.get(f"{name}_{field}")
            made[f"{name}_{field}_shown"] = None if value is None else judged.scale * value
        made[f"{name}_steady_shown"] = _with_error(judged, row)
        if f"{name}_settled_sessions" in row:
            settled = row[f"{name}_settled_sessions"]
            made[f"{name}_settled_shown"] = NEVER if settled is None else f"{settled:.1f}"
    return made


def _with_error(judged: Judged, row: Row) -> str | None:
    value, error = (row.get(f"{judged.quantity}_steady_{part}") for part in ("error", "standard_error"))
    if value is None:
        return None
    shown = f"{judged.scale * value:+.2f}"
    return shown if error is None else f"{shown} ± {judged.scale * error:.2f}"


def _summary_table(rows: Sequence[Row]) -> Table:
    return Table(
        "controllers",
        "Five controllers beside each other: the worst over all starts and set points",
        [
            Column("controller", "{controller_words}"),
            Column("acts", "{acts}"),
            Column("mode", "{mode}"),
            Column("hold: largest steady error, points", "{hold_worst_error:.1f}"),
            Column("hold: steps that settle", "{hold_settled}"),
            Column("slowest, sessions", "{hold_slowest}"),
            Column("largest overshoot, points", "{hold_worst_overshoot:.1f}"),
            Column("trades: largest steady error", "{trades_worst_error:.1f}"),
            Column("trades: steps that settle", "{trades_settled}"),
            Column("slowest, sessions", "{trades_slowest}"),
        ],
        rows,
    )


def _inference_table(rows: Sequence[Row]) -> Table:
    return Table(
        "inference",
        "Two lanes with integral on the tilt (default), at inference",
        [
            Column("policy", "{policy_words}"),
            Column("mode", "{mode}"),
            Column("set points", "{hold_target:.2f} / {trades_target:g}"),
            Column("hold: steady error, points", "{hold_steady_shown}"),
            Column("settles, sessions", "{hold_settled_shown}"),
            Column("overshoot, points", "{hold_overshoot_shown:.1f}"),
            Column("seeds that do all", "{hold_seeds_held_ratio:.0%}"),
            Column("trades: steady error", "{trades_steady_shown}"),
            Column("settles, sessions", "{trades_settled_shown}"),
            Column("overshoot, trades", "{trades_overshoot_shown:.1f}"),
            Column("seeds that do all", "{trades_seeds_held_ratio:.0%}"),
        ],
        [row for row in rows if row["acts"] == INFERENCE],
    )


def _training_table(rows: Sequence[Row]) -> Table:
    trained = [row for row in rows if row["acts"] != INFERENCE]
    names = ("controller", "start", "step")
    greedy = {tuple(row[name] for name in names): row for row in trained if row["mode"] == "greedy"}
    shown = []
    for row in trained:
        if row["mode"] == "sampled":
            other = greedy.get(tuple(row[name] for name in names), {})
            more = {f"{q.quantity}_greedy_shown": other.get(f"{q.quantity}_steady_shown") for q in QUANTITIES}
            shown.append(row | more)
    order = [step.name for step in STEPS]
    shown.sort(key=lambda r: (list(CONTROLLERS).index(r["controller"]), r["start"], order.index(r["step"])))
    return Table(
        "training",
        "All five in training (MLP); steady errors: the policy deployed afterwards, the tilt's in training",
        [
            Column("controller", "{controller_words}"),
            Column("start", "{policy_words}"),
            Column("set points", "{hold_target:.2f} / {trades_target:g}"),
            Column("hold in training, %", "{hold_in_training_shown:.1f}"),
            Column("settles, sessions", "{hold_settled_shown}"),
            Column("overshoot, points", "{hold_overshoot_shown:.1f}"),
            Column("seeds that settle", "{hold_seeds_settled_ratio:.0%}"),
            Column("hold: steady error, points", "{hold_steady_shown}"),
            Column("greedy", "{hold_greedy_shown}"),
            Column("trades: steady error", "{trades_steady_shown}"),
            Column("greedy", "{trades_greedy_shown}"),
            Column("bonus at the end, bp", "{bonus_bps:+.2f}"),
        ],
        shown,
    )


def _text(
    form: Form, results: Mapping[str, dict[str, Any]], inference: Sequence[Row], summary: Sequence[Row]
) -> str:
    found = {net: results[f"policies-{net}"]["flattened"] for net in STARTS if net != UNIFORM}
    made = "; ".join(
        f"{NET_WORDS[net]}: hold bias {flat['hold_bias_logits']:+.0f}, logits x {flat['scale_ratio']:.2f}"
        for net, flat in found.items()
    )
    lstm = "a trained one" if form.lstm_gold is not None else "one of random weights (this form trains none)"
    others = "; ".join(
        f"{row['controller_words']} {row['hold_worst_error']:.0f} points, {row['hold_settled']} steps settle"
        for row in summary
        if row["controller"] != TILT and row["mode"] == "sampled"
    )
    return f"""
**Setting.** Over-holders: the shipped gold (MLP) and an LSTM gold, {lstm}. Over-traders: the same weights
with the bias of hold lowered until they hold less than chance (1/9) and all logits flattened until they
trade {WANTED_TRADES:g} times a session ({made}); and the uniform policy. *MLP deployed* is the shipped gold
under a tilt that is calibrated for the first set points, begins there and stays anchored there. At inference
the tilt of all others starts from 0, never calibrated; it moves after every decision.
{form.accounts} accounts, each with sessions and decision keys of its own, are pooled; seeds: {form.seeds}. In
training {N_ENVS} accounts learn for {form.training_steps:,} transitions a step in rollouts of {ROLLOUT:,} at
a step size of {PPO.learning_rate.start:g}; seeds: {form.training_seeds}. Only the tilt sees the set point of
trades; what the others do at {STEPS[0].trades_per_session:g} they do at every other.

**Measures.** At inference each account has a twin that meets the same sessions with the same numbers drawn,
but starts at multipliers calibrated for these set points on other sessions. The response is the difference of
both, over windows of one session (hold rate) or three (trades). It has settled at the middle of the first
window from which on every one lies within ±{100 * HOLD.band:g} points, or ±{TRADES.band:g} trades, plus
{ALLOWANCE} standard errors of a settled window. In training the response is measured - set point, rollout by
rollout. Overshoot is the largest excursion of those windows beyond the set point. The steady error is
measured - set point, without any twin, over the last {STEADY_SESSIONS["hold"]} sessions of a step of the hold
rate and the last {STEADY_SESSIONS["trades"]} of a step of the trades; errors are ± one standard error. A
session is 390 decisions of one account.

**Deployed.** While the set point of the hold rate moves, that of the trades stands. The trades of
the never calibrated gold are off by up to {_disturbed(inference, OVER_HOLDER):.2f} over the later sessions of
such a step, those of the deployed one by up to {_disturbed(inference, DEPLOYED):.2f}: away from its anchor a
hold multiplier moves holding against re-affirming, and hardly any position.

**The others.** Largest steady error of the hold rate, sampled: {others}. A bonus acts only through what a
policy learns from it, and nothing in it asks for trades.
"""


def _disturbed(inference: Sequence[Row], start: str) -> float:
    """Return the largest steady error of the MLP's trades over the steps of the hold rate."""
    steps = {step.name for step in STEPS if step.moved == ("hold",)}
    rows = [row for row in inference if (row["net"], row["start"]) == (MLP, start) and row["step"] in steps]
    return max(abs(float(row["trades_steady_error"])) for row in rows)


def _worst(rows: Sequence[Row], size: Callable[[Row], float]) -> Row:
    """Return the row of the largest size; one without a figure (NaN) is worse than any."""

    def rank(row: Row) -> float:
        value = size(row)
        return math.inf if math.isnan(value) else value

    return max(rows, key=rank)


def _or_infinite(value: float | None) -> float:
    return float("inf") if value is None else value


def _where(row: Row, word: str) -> str:
    return (
        f"{word}: {NET_WORDS[row['net']]} {START_WORDS[row['start']]} to {row['hold_target']:.2f} / "
        f"{row['trades_target']:g}; {row['n_seeds']} x {row['n_accounts']} accounts"
    )
