"""What the known answers say: shares of the oracle, the worth of regime inputs, what tuning adds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stairways.config import TuneSettings
from stairways.evaluation.gate_config import GateConfig
from stairways.proof.experiment import Bar, Column, Findings, Job, Plot, Row, Table
from stairways.proof.known_answers import ARMS, KEYS, LARGE, REGIMES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHARE_BAR, ADDS_BAR, ADDS_OF = 0.65, 8, 10
NOMINAL = 0.025
"""Of two-sided 95 % intervals without a difference, so many lie above 0."""
LEAST_SHADED = 3
"""Seeds whose interval is drawn: that of two is 12.7 standard errors wide, and stands in the table."""
Results = Mapping[str, dict[str, Any]]


def concluded(job: Job, results: Results) -> Findings:
    """Return the findings of the full or of the quick form."""
    golds = [_gold_row(key, result) for key, result in results.items() if key.startswith("gold-")]
    tunes = [_tune_row(key, result) for key, result in results.items() if key.startswith("tune-")]
    curves = [
        row for key, result in results.items() if key.startswith("curve-") for row in _curve_rows(key, result)
    ]
    steps = _steps(curves)
    bars = _quick_bars(tunes) if job.quick else _bars(tunes, steps)
    tables = [Table("shares", "Tuned candidates on unseen sessions", _TUNE_COLUMNS, tunes)]
    plots = []
    if golds:
        tables.append(Table("golds", "Golds by how regime inputs enter", _GOLD_COLUMNS, golds))
    if steps:
        tables.append(Table("steps", "What tuning adds after so many steps", _STEP_COLUMNS, steps))
        plots.append(
            Plot("steps", "What tuning adds to the tilt, by the steps of tuning", lambda f: _draw(f, steps))
        )
    text = _quick_text(tunes) if job.quick else _text(golds, tunes, steps)
    if not job.quick and not all(bar.passed for bar in bars):
        text += "\nWhat was tried to make tuning add, kept or left out: docs/decisions.md, 22 to 24.\n"
    return Findings([*golds, *tunes, *curves], bars, tables, plots, text)


def _share(part: Mapping[str, Any], whole: Mapping[str, Any], name: str) -> float | None:
    if part[name] is None or whole[name] is None or whole[name] <= 0:
        return None
    return float(part[name] / whole[name])


def _gold_row(key: str, result: Mapping[str, Any]) -> dict[str, Any]:
    market, regime, seed = key.removeprefix("gold-").rsplit("-", 2)
    return {
        "kind": "gold",
        "market": market,
        "regime": regime,
        "seed": int(seed),
        "learned_sharpe": result["before_over_hold"]["sharpe"],
        "learned_net_bps": result["before_over_hold"]["net_bps"],
        **{f"gold_{name}": value for name, value in result["gold"].items()},
        **{f"tilted_{name}": value for name, value in result["tilted"].items()},
        "oracle_sharpe": result["oracle"]["sharpe"],
        "tilted_share_ratio": _share(result["tilted"], result["oracle"], "sharpe"),
    }


def _tune_row(key: str, result: Mapping[str, Any]) -> dict[str, Any]:
    market, gold, seed = key.removeprefix("tune-").rsplit("-", 2)
    row: dict[str, Any] = {"kind": "tune", "market": market, "gold": gold, "seed": int(seed)}
    for name in ("candidate", "gold", "tilted", "random", "oracle"):
        row |= {f"{name}_{field}": value for field, value in result[name].items()}
    for name in ("tuning_adds", "above_random"):
        row |= {f"{name}_{field}": value for field, value in result[name].items()}
    row["accepted"] = "yes" if result["accepted"] else "no"
    for name in ("candidate", "gold", "tilted"):
        row[f"{name}_share_ratio"] = _share(result[name], result["oracle"], "sharpe")
        row[f"{name}_net_share_ratio"] = _share(result[name], result["oracle"], "net_bps")
    return row


def _curve_rows(key: str, result: Mapping[str, Any]) -> list[dict[str, Any]]:
    _, arm, seed = key.split("-")
    return [
        {
            "kind": "curve",
            "arm": arm,
            "seed": int(seed),
            "cycle": point["cycle"],
            "steps": point["steps"],
            "sessions": point["sessions"],
            **{f"adds_{name}": value for name, value in point["tuning_adds"].items()},
            "sharpe": point["candidate"]["sharpe"],
            "drift_ratio": point["drift_ratio"],
            "n_sessions": point["candidate"]["n_sessions"],
        }
        for point in result["points"]
    ]


def _steps(curves: Sequence[Row]) -> list[dict[str, Any]]:
    """Return the mean over the seeds of each arm and step count, with its interval over seeds."""
    rows = []
    for arm, steps in dict.fromkeys((row["arm"], row["steps"]) for row in curves):
        mine = [row for row in curves if row["arm"] == arm and row["steps"] == steps]
        adds = np.array([row["adds_bps"] for row in mine])
        half = _half_interval(adds)
        rows.append(
            {
                "arm": arm,
                "steps": steps,
                "sessions": mine[0]["sessions"],
                "n_seeds": len(mine),
                "adds_bps": float(adds.mean()),
                "low_bps": None if half is None else float(adds.mean() - half),
                "high_bps": None if half is None else float(adds.mean() + half),
                "above_zero": sum(row["adds_low_bps"] > 0 for row in mine),
                "below_zero": sum(row["adds_high_bps"] < 0 for row in mine),
                "equal_risk_bps": float(np.mean([row["adds_equal_risk_bps"] for row in mine])),
                "equal_risk_above_zero": sum(row["adds_equal_risk_low_bps"] > 0 for row in mine),
                "sharpe": float(np.mean([row["sharpe"] for row in mine])),
                "drift_ratio": float(np.mean([row["drift_ratio"] for row in mine])),
            }
        )
    return rows


def _half_interval(values: NDArray[np.float64]) -> float | None:
    """Return half of the two-sided 95 % interval of a mean over seeds, Student's t; None for one seed."""
    from scipy.special import stdtrit

    n = len(values)
    if n < 2:
        return None
    return float(stdtrit(n - 1, 0.975) * values.std(ddof=1) / math.sqrt(n))


def _bars(tunes: Sequence[Row], steps: Sequence[Row]) -> list[Bar]:
    sample = [row for row in tunes if row["market"] == "planted" and row["gold"] == "shipped"]
    shares = [row["candidate_share_ratio"] for row in sample if row["candidate_share_ratio"] is not None]
    share = float(np.mean(shares)) if len(shares) == len(sample) and shares else None
    looked = f"{sample[0]['candidate_n_sessions']:,} unseen sessions" if sample else "nothing was tuned"
    cycles = TuneSettings().cycles
    adds = sum(row["tuning_adds_low_bps"] > 0 for row in sample)
    best = max(steps, key=lambda row: (row["above_zero"] / row["n_seeds"], row["adds_bps"]), default=None)
    note = (
        "no step count measured"
        if best is None
        else f"most in any arm: {best['above_zero']} of {best['n_seeds']} at {best['steps']:,} steps, "
        f"{best['arm']}"
    )
    fresh = [row for row in steps if row["arm"] == "all_actions_fresh"]
    last = max(fresh, key=lambda row: row["steps"], default=None)
    beaten = sum(row["above_random_low_bps"] > 0 for row in sample)
    return [
        Bar(
            "share of the oracle's net Sharpe, tuned candidates on the sample market",
            share,
            f"at least {SHARE_BAR:.0%}, mean of {len(sample)} seeds",
            share is not None and share >= SHARE_BAR,
            f"{looked}, {len(KEYS)} keys, sampled",
        ),
        Bar(
            f"seeds in which tuning adds, interval above 0, within {cycles} cycles",
            adds if sample else None,
            f"at least {ADDS_BAR} of {ADDS_OF}",
            len(sample) == ADDS_OF and adds >= ADDS_BAR,
            note,
        ),
        Bar(
            "the same on a market new to gold, after the last cycle looked at",
            None if last is None else last["above_zero"],
            f"at least {ADDS_BAR} of {ADDS_OF}, gold under the tilt of the same market",
            last is not None and last["n_seeds"] == ADDS_OF and last["above_zero"] >= ADDS_BAR,
            "not measured"
            if last is None
            else f"{last['steps']:,} steps, {last['adds_bps']:+.2f} bp in the mean",
        ),
        Bar(
            "seeds whose candidate is better than random at equal turnover, interval above 0",
            beaten if sample else None,
            f"{len(sample)} of {len(sample)}",
            beaten == len(sample) > 0,
            f"a seed without skill is counted by chance in {NOMINAL:.1%}",
        ),
    ]


def _quick_bars(tunes: Sequence[Row]) -> list[Bar]:
    """Return what one seed and a year of sessions can show.

    The difference to random is about 9 bp there with a standard error of about 2.6 bp at 250 sessions, so
    that its interval lies above 0 with a probability of 93 %; the share of the oracle has a standard
    error of 15 points and is shown without a bar.
    """
    return [
        Bar(
            f"candidate above random at equal turnover, seed {row['seed']}",
            row["above_random_low_bps"],
            "lower end of the 95 % interval above 0 bp",
            row["above_random_low_bps"] > 0,
            f"{row['candidate_n_sessions']} unseen sessions, sampled",
        )
        for row in tunes
    ]


def _mean(rows: Sequence[Row], name: str) -> float:
    return float(np.mean([row[name] for row in rows]))


def _text(golds: Sequence[Row], tunes: Sequence[Row], steps: Sequence[Row]) -> str:
    sample = [row for row in tunes if row["market"] == "planted" and row["gold"] == "shipped"]
    first = sample[0]
    ends = "; ".join(
        f"{row['arm']}, {row['steps']:,} steps on {row['sessions']:,} sessions: {row['adds_bps']:+.2f} bp, "
        f"above 0 in {row['above_zero']} of {row['n_seeds']}"
        for row in steps
    )
    rehearsing = ", ".join(arm for arm, tune in ARMS.items() if tune.get("rehearsal_sessions") != 0)
    large = LARGE["n_envs"], LARGE["n_steps"], LARGE["epochs"]
    return f"""
Every policy is led through the same {first["candidate_n_sessions"]:,} unseen sessions of a SYNTHETIC market,
sampled, once per key of its decisions ({first["candidate_n_keys"]} keys; the Sharpe is that of one account,
the mean over keys). The oracle knows the signal and the regime; a policy sees volume and prices.

On the sample market gold reaches {_mean(sample, "gold_share_ratio"):.0%} of the oracle's net Sharpe, gold
under the tilt {_mean(sample, "tilted_share_ratio"):.0%}, the tuned candidate
{_mean(sample, "candidate_share_ratio"):.0%} (in net result {_mean(sample, "candidate_net_share_ratio"):.0%}).
{_adds_words(sample)} Seeds share the unseen sessions: their spread is not that of markets.

{_regime_words(golds)}

What tuning adds, cycle by cycle without choosing one: {ends}. Intervals of a mean over seeds are Student's t.
ppo is the plan's cycle of {ARMS["ppo"]["steps_per_cycle"]:,} steps; ppo_large_fresh takes
{ARMS["ppo_large_fresh"]["steps_per_cycle"]:,} steps in rollouts of {large[0]} x {large[1]} with {large[2]}
passes over each; all_actions_fresh weighs every action from every position of recorded sessions,
all_actions_own on the tuning range alone. Arms that rehearse sessions before that range: {rehearsing}. A
step is a decision that training met. Arms named fresh tune the same gold on another market of the same law,
none of whose sessions it has learned from. At equal risk, a candidate's returns are scaled to
the deviation of gold under the tilt: the reward's downside term buys lower risk with net result.
"""


def _adds_words(sample: Sequence[Row]) -> str:
    """Say what tuning adds over the seeds, and whether that differs from nothing."""
    adds = np.array([row["tuning_adds_bps"] for row in sample])
    above = sum(row["tuning_adds_low_bps"] > 0 for row in sample)
    below = sum(row["tuning_adds_high_bps"] < 0 for row in sample)
    words = f"Tuning adds {adds.mean():+.2f} bp in the mean of {len(sample)} seeds"
    half = _half_interval(adds)
    if half is not None:
        low, high = adds.mean() - half, adds.mean() + half
        meaning = "which holds 0" if low <= 0.0 <= high else "which does not hold 0"
        words += f" [{low:+.2f}, {high:+.2f}], {meaning}"
    return f"{words}; by its own interval it is above 0 in {above} of them, below 0 in {below}."


def _regime_words(golds: Sequence[Row]) -> str:
    """Say how golds differ by the way regime inputs enter, and how far seeds of one way differ."""
    planted = [row for row in golds if row["market"] == "planted"]
    ways = {regime: [r for r in planted if r["regime"] == regime] for regime in REGIMES}
    shown = {regime: rows for regime, rows in ways.items() if rows}
    if not shown:
        return "No gold was trained to compare the ways in which regime inputs enter."
    listed = ", ".join(
        f"{regime} {_mean(rows, 'learned_sharpe'):.2f} and {_mean(rows, 'tilted_sharpe'):.2f} "
        f"({len(rows)} {'seed' if len(rows) == 1 else 'seeds'})"
        for regime, rows in shown.items()
    )
    words = (
        "Net Sharpe by how regime inputs enter gold, as learned and under the tilt, mean of the seeds: "
        f"{listed}."
    )
    means = [_mean(rows, "tilted_sharpe") for rows in shown.values()]
    within = [np.ptp([row["tilted_sharpe"] for row in rows]) for rows in shown.values() if len(rows) > 1]
    if len(means) < 2 or not within:
        return words
    between, seeds = max(means) - min(means), float(max(within))
    verdict = "more" if between > seeds else "no more"
    words += (
        f" Under the tilt the ways lie {between:.2f} apart, {verdict} than the {seeds:.2f} by which seeds of "
        "one way differ."
    )
    if {"none", "gate_gradient"} <= shown.keys():
        apart = _mean(shown["gate_gradient"], "tilted_sharpe") - _mean(shown["none"], "tilted_sharpe")
        words += (
            " The plan's gradient form has the value of its price inputs whatever the gate says: its "
            f"difference to none, {apart:+.2f}, is what the noise of training does."
        )
    return words


def _quick_text(tunes: Sequence[Row]) -> str:
    judged = sorted({row["candidate_n_sessions"] for row in tunes})
    shown = " and ".join(f"{n:,}" for n in judged) or "no"
    shares = [row["candidate_share_ratio"] for row in tunes if row["candidate_share_ratio"] is not None]
    share = f"{float(np.mean(shares)):.0%}" if shares else "not measured"
    return f"""
Tuning of the shipped gold, judged on {shown} unseen sessions. The share of the oracle ({share}) has no bar
there: so few sessions leave it open. The difference to random at equal turnover has one.
"""


_TUNE_COLUMNS = (
    Column("market", "{market}"),
    Column("gold", "{gold}"),
    Column("seed", "{seed}"),
    Column("hold rate (chance 11.1 %)", "{candidate_hold_rate_ratio:.3f}"),
    Column("trades", "{candidate_trades_per_session:.2f}"),
    Column("gold: Sharpe, share", "{gold_sharpe:.2f}, {gold_share_ratio:.0%}"),
    Column("gold + tilt: Sharpe, share", "{tilted_sharpe:.2f}, {tilted_share_ratio:.0%}"),
    Column(
        "candidate: Sharpe ± SE, share",
        "{candidate_sharpe:.2f} ± {candidate_sharpe_standard_error:.2f}, {candidate_share_ratio:.0%}",
    ),
    Column("random", "{random_sharpe:.2f}"),
    Column("oracle", "{oracle_sharpe:.2f}"),
    Column(
        "tuning adds, bp", "{tuning_adds_bps:+.2f} [{tuning_adds_low_bps:+.2f}, {tuning_adds_high_bps:+.2f}]"
    ),
    Column(
        "at equal risk, bp",
        "{tuning_adds_equal_risk_bps:+.2f} [{tuning_adds_equal_risk_low_bps:+.2f}, "
        "{tuning_adds_equal_risk_high_bps:+.2f}]",
    ),
    Column(
        "above random, bp",
        "{above_random_bps:+.2f} [{above_random_low_bps:+.2f}, {above_random_high_bps:+.2f}]",
    ),
    Column("accepted", "{accepted}"),
)
_GOLD_COLUMNS = (
    Column("market", "{market}"),
    Column("regime inputs", "{regime}"),
    Column("seed", "{seed}"),
    Column("as learned: Sharpe, net bp", "{learned_sharpe:.2f}, {learned_net_bps:+.2f}"),
    Column("over-holding: hold rate, trades", "{gold_hold_rate_ratio:.3f}, {gold_trades_per_session:.2f}"),
    Column("over-holding: Sharpe", "{gold_sharpe:.2f}"),
    Column(
        "under the tilt: Sharpe ± SE, net bp",
        "{tilted_sharpe:.2f} ± {tilted_sharpe_standard_error:.2f}, {tilted_net_bps:+.2f}",
    ),
    Column("share of the oracle", "{tilted_share_ratio:.0%}"),
)
_STEP_COLUMNS = (
    Column("arm", "{arm}"),
    Column("training sessions", "{sessions:,}"),
    Column("steps", "{steps:,}"),
    Column("seeds", "{n_seeds}"),
    Column(
        "tuning adds, bp, mean and t interval over seeds", "{adds_bps:+.2f} [{low_bps:+.2f}, {high_bps:+.2f}]"
    ),
    Column("seeds above 0", "{above_zero}"),
    Column("at equal risk, bp", "{equal_risk_bps:+.2f}"),
    Column("seeds above 0", "{equal_risk_above_zero}"),
    Column("seeds below 0", "{below_zero}"),
    Column("Sharpe", "{sharpe:.2f}"),
    Column(f"drift (at most {GateConfig().drift_threshold_ratio:.0%})", "{drift_ratio:.1%}"),
)


def _draw(figure: Figure, steps: Sequence[Row]) -> None:
    from stairways.reporting.drawing import PALETTE

    axes = figure.add_axes((0.09, 0.14, 0.86, 0.8))
    colours = {
        "all_actions_fresh": "oracle",
        "ppo_large_fresh": "all_hold",
        "ppo": "gold",
        "all_actions_own": "random",
    }
    small, large = (ARMS[arm]["steps_per_cycle"] for arm in ("ppo", "ppo_large_fresh"))
    words = {
        "all_actions_fresh": "all actions (default), a market new to gold",
        "ppo_large_fresh": f"PPO, {large:,} steps a cycle, a market new to gold",
        "ppo": f"PPO, {small:,} steps a cycle",
        "all_actions_own": "all actions, tuning range alone",
    }
    for arm, role in colours.items():
        mine = [row for row in steps if row["arm"] == arm]
        if not mine:
            continue
        x, y = [row["steps"] for row in mine], [row["adds_bps"] for row in mine]
        colour = PALETTE[role][0]
        axes.plot(x, y, "o-", color=colour, label=f"{words[arm]}, {mine[0]['n_seeds']} seeds")
        if mine[0]["n_seeds"] >= LEAST_SHADED:
            low, high = ([row[end] for row in mine] for end in ("low_bps", "high_bps"))
            axes.fill_between(x, low, high, color=colour, alpha=0.15, lw=0)
    axes.axhline(0, color=PALETTE["muted"][0], lw=0.8)
    axes.set_xscale("log")
    # the house style draws no mathematics, which a logarithmic axis would write its powers in
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.set_xlabel("steps of tuning")
    axes.set_ylabel("candidate less gold, both under the tilt, bp per session")
    axes.grid(visible=True, axis="y")
    axes.legend(frameon=False, loc="upper left")
