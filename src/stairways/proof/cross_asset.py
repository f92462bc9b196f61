"""Cross asset: the third symbol, through pairs of a two-leg policy and with a policy of three legs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import comb, isfinite
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from stairways.evaluation.gate_config import GateConfig
from stairways.proof.cross_asset_runs import (
    PAIR_CAPITAL,
    SYMBOLS,
    TWO,
    artifact_of,
    judge,
    quick_judgement,
    seed_of,
    train_gold,
    tune,
)
from stairways.proof.experiment import Bar, Cell, Column, Experiment, Findings, Job, Plot, Table
from stairways.proof.extremes import largest
from stairways.trading.observation import N_REGIME_FEATURES, n_price_inputs
from stairways.trading.rules import TradingRules
from stairways.tuning.cross_asset import MAX_DRAWDOWN_RATIO, NORMAL_95, YEAR_SESSIONS
from stairways.tuning.evaluate import POLICY
from stairways.tuning.shipped import shipped_gold

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAIRS, NATIVE, SMALLER, GOLD = (
    "through pairs",
    "three legs",
    "three legs, capital of the pairs",
    "gold, through pairs",
)
FORMS = (PAIRS, NATIVE, SMALLER)
N_SEEDS, N_REAL_SEEDS = 3, 2
STAGE_GOLD, STAGE_TUNE = 0, 1
HOLD_ERROR_RATIO, TRADES_ERROR = 0.01, 0.5
"""Steady errors that the controller's own proof asks for."""
QUICK_TRADES_ERROR = 1.1
"""Trades of a session scatter by 4 to 8, so that the mean of 200 does by up to 0.57 where nothing holds it;
twice that is allowed. The hold rate is of 78,000 decisions, and keeps its bar."""


class CrossAsset(Experiment):
    """A third symbol neither ruins a policy of two legs nor one that was trained on three."""

    name = "cross_asset"
    title = "Cross asset: a third symbol"
    question = "Does a policy survive a third symbol, through its pairs or trained on all three?"
    data = "synthetic"

    def cells(self, job: Job) -> Sequence[Cell]:
        """Return golds to train, then tunings to judge; the quick form judges without either."""
        if job.quick:
            return [Cell("pairs-0", {"form": PAIRS, "run": 0}), Cell("native-0", {"form": NATIVE, "run": 0})]
        places = [False] if job.bars is None else [False, True]
        cells = [Cell(_key("gold", NATIVE, real), {"legs": 3, "real": real}, STAGE_GOLD) for real in places]
        if job.bars is not None:
            cells.append(Cell(_key("gold", PAIRS, True), {"legs": 2, "real": True}, STAGE_GOLD))
        cells += [
            Cell(f"{_key('tuned', form, real)}-{run}", {"form": form, "run": run, "real": real}, STAGE_TUNE)
            for real in places
            for form in (PAIRS, NATIVE)
            for run in range(N_REAL_SEEDS if real else N_SEEDS)
        ]
        return cells

    def run(self, cell: Cell, job: Job) -> dict[str, Any]:
        """Train a gold, or tune one and judge what came out on three symbols."""
        arguments = cell.arguments
        if job.quick:
            native = arguments["form"] == NATIVE
            return {arguments["form"]: quick_judgement(job, seed_of(job, 9, int(native)), native=native)}
        real = arguments["real"]
        if "legs" in arguments:
            symbols = SYMBOLS if arguments["legs"] == 3 else TWO
            seed = seed_of(job, STAGE_GOLD, arguments["legs"], int(real))
            return {"gold": train_gold(job, symbols, job.work / cell.key, seed, real=real)}
        return _tuned(cell, job)

    def conclude(self, job: Job, results: Mapping[str, dict[str, Any]]) -> Findings:
        """Hold both forms against the limits, and show real bars in the same size of type."""
        rows = [row for key, result in results.items() for row in _rows(key, result)]
        sample = [row for row in rows if not row["real"]]
        tables = [
            _forms_table(
                "forms", "On three symbols of the sample market (SYNTHETIC), unseen sessions", sample
            ),
            _accounts_table(results),
            _baselines_table(results),
        ]
        real = [row for row in rows if row["real"]]
        if real:
            tables.append(_forms_table("real", "On real five-minute bars, where no edge is known", real))
        plot = Plot(
            "forms",
            "Left: net Sharpe ratio of each form and run with its 95 % interval. Right: the drawdown of each "
            "unseen year and their median, with the limit",
            lambda figure: _draw(figure, sample),
            (820.0, 400.0),
        )
        bars = _quick_bars(sample) if job.quick else _bars(sample)
        return Findings(rows, bars, tables, [plot], _text(job, results, rows))


def _key(kind: str, form: str, real: bool) -> str:
    return f"{'real-' if real else ''}{kind}-{'pairs' if form == PAIRS else 'native'}"


def _tuned(cell: Cell, job: Job) -> dict[str, Any]:
    """Tune a gold with a seed of its own, then judge it; the first run through pairs judges gold as well."""
    form, run, real = (cell.arguments[name] for name in ("form", "run", "real"))
    own = real or form == NATIVE
    gold = job.work / _key("gold", form, real) if own else shipped_gold()
    seed = seed_of(job, STAGE_TUNE, run)
    place = job.work / cell.key
    made = tune(job, gold, TWO if form == PAIRS else SYMBOLS, place, seed, real=real)
    found = {"tuning": made, form: judge(job, artifact_of(place), seed, real=real)}
    if form == NATIVE:
        found[SMALLER] = judge(job, artifact_of(place), seed, real=real, unit_ratio=PAIR_CAPITAL)
    elif run == 0:
        found[GOLD] = judge(job, gold, seed, real=real)
    return found


def _rows(key: str, result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return one flat row for each judgement of a cell."""
    rows = []
    for form in (*FORMS, GOLD):
        judged = result.get(form)
        if judged is None:
            continue
        whole = judged["whole"][POLICY]
        years = [year["drawdown_ratio"] for year in judged["years"]]
        row = {
            "form": form,
            "cell": key,
            "run": int(key.rpartition("-")[2]),
            "real": key.startswith("real-"),
            "first": judged["sessions"]["first"],
            "last": judged["sessions"]["last"],
            "n_sessions": whole["n_sessions"],
            "mode": whole["mode"],
            "unit_fraction": judged["unit_fraction"],
            **{name: whole[name] for name in SHOWN},
            "net_low_bps": whole["mean_net_bps_interval"][0],
            "net_high_bps": whole["mean_net_bps_interval"][1],
            "median_year_drawdown_ratio": median(years),
            "worst_year_drawdown_ratio": max(years),
            "n_years": len(years),
            **{f"year_{place + 1}_drawdown_ratio": year for place, year in enumerate(years)},
            "above_random_bps": judged["above"]["random"],
            "above_random_low_bps": judged["above_interval"]["random"][0],
            "above_random_high_bps": judged["above_interval"]["random"][1],
            "target_hold_ratio": judged["target_hold_ratio"],
            "target_trades": judged["target_trades"],
            "failures": ", ".join(name for name, passed in judged["verdicts"].items() if not passed),
            "passed": judged["passed"],
        }
        rows.append(row)
    return rows


SHOWN = (
    "hold_rate_ratio",
    "chance_hold_rate_ratio",
    "trades_per_session",
    "sharpe",
    "sharpe_standard_error",
    "probabilistic_sharpe",
    "mean_net_bps",
    "costs_bps",
    "year_drawdown_ratio",
    "range_drawdown_ratio",
    "max_intraday_drawdown_ratio",
)


def _of(rows: Sequence[Mapping[str, Any]], form: str) -> list[Mapping[str, Any]]:
    return [row for row in rows if row["form"] == form]


def _bars(rows: Sequence[Mapping[str, Any]]) -> list[Bar]:
    bars: list[Bar] = []
    for form in FORMS:
        own = _of(rows, form)
        bars.append(_sharpe_bar(form, own))
        bars.append(_year_bar(form, own))
    bars += _tracking_bars(_of(rows, NATIVE), TRADES_ERROR)
    return bars


def _quick_bars(rows: Sequence[Mapping[str, Any]]) -> list[Bar]:
    """Return the bars that 200 sessions can show.

    At a Sharpe ratio of 3, the standard error over 200 sessions is 1.1: a sound policy is below 0 once in
    300 calls. A policy of random weights loses what it trades, so it has bars for its control alone.
    """
    own = _of(rows, PAIRS)
    return [
        _sharpe_bar(PAIRS, own),
        _year_bar(PAIRS, own),
        *_tracking_bars(_of(rows, NATIVE), QUICK_TRADES_ERROR),
    ]


def _sharpe_bar(form: str, rows: Sequence[Mapping[str, Any]]) -> Bar:
    measured = [row for row in rows if row["sharpe"] is not None and isfinite(row["sharpe"])]
    worst = min(measured, key=lambda row: float(row["sharpe"]), default=None)
    note = ""
    if worst is not None:
        half = NORMAL_95 * worst["sharpe_standard_error"]
        note = f"95 % [{worst['sharpe'] - half:.2f}, {worst['sharpe'] + half:.2f}]; {_sample(rows)}"
    whole = worst is not None and len(measured) == len(rows)
    return Bar(
        f"{form}: net Sharpe ratio, lowest run",
        None if worst is None else float(worst["sharpe"]),
        "> 0",
        whole and worst is not None and worst["sharpe"] > 0,
        note,
    )


def _year_bar(form: str, rows: Sequence[Mapping[str, Any]]) -> Bar:
    years = _years(rows)
    typical = float(np.median(years)) if years else None
    within = sum(year <= MAX_DRAWDOWN_RATIO for year in years)
    note = "" if not years else f"{within} of {len(years)} years hold it, the worst has {max(years):.2%}"
    return Bar(
        f"{form}: drawdown of a year, median, %",
        None if typical is None else 100.0 * typical,
        f"<= {100 * MAX_DRAWDOWN_RATIO:.0f}",
        typical is not None and typical <= MAX_DRAWDOWN_RATIO,
        note,
    )


def _years(rows: Sequence[Mapping[str, Any]]) -> list[float]:
    """Return the drawdown of every year of some rows."""
    return [row[f"year_{place + 1}_drawdown_ratio"] for row in rows for place in range(row["n_years"])]


def _tracking_bars(rows: Sequence[Mapping[str, Any]], trades_error: float) -> list[Bar]:
    tracked = [row for row in rows if row["target_hold_ratio"] is not None]
    hold = largest(abs(r["hold_rate_ratio"] - r["target_hold_ratio"]) for r in tracked)
    trades = largest(abs(r["trades_per_session"] - r["target_trades"]) for r in tracked)
    chance = f", chance {tracked[0]['chance_hold_rate_ratio']:.1%}" if tracked else ""
    return [
        Bar(
            f"{NATIVE}: distance from the target hold rate, points",
            None if hold is None else 100.0 * hold,
            f"<= {100 * HOLD_ERROR_RATIO:.0f}",
            hold is not None and hold <= HOLD_ERROR_RATIO,
            f"largest of {_sample(rows)}{chance}",
        ),
        Bar(
            f"{NATIVE}: distance from the set point of trades, a session",
            trades,
            f"<= {trades_error:g}",
            trades is not None and trades <= trades_error,
            f"largest of {_sample(rows)}",
        ),
    ]


def _sample(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return "nothing was run"
    runs = "1 run" if len(rows) == 1 else f"{len(rows)} runs"
    return f"{runs}, {rows[0]['n_sessions']:,} unseen sessions, {rows[0]['mode']}"


def _forms_table(name: str, title: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    columns = [
        Column("form", "{form}"),
        Column("run", "{run}"),
        Column("unit", "{unit_fraction:.2f}"),
        Column("hold rate (chance)", "{hold_rate_ratio:.3f} ({chance_hold_rate_ratio:.3f})"),
        Column("trades", "{trades_per_session:.2f}"),
        Column("Sharpe ± SE", "{sharpe:.2f} ± {sharpe_standard_error:.2f}"),
        Column("P(> 0)", "{probabilistic_sharpe:.1%}"),
        Column("net bp [95 %]", "{mean_net_bps:+.2f} [{net_low_bps:+.2f}, {net_high_bps:+.2f}]"),
        Column(
            "above random at equal turnover, bp [95 %]",
            "{above_random_bps:+.2f} [{above_random_low_bps:+.2f}, {above_random_high_bps:+.2f}]",
        ),
        Column("drawdown of each year", "{years}"),
        Column(f"in any {YEAR_SESSIONS} sessions", "{year_drawdown_ratio:.2%}"),
        Column("over the whole range", "{range_drawdown_ratio:.2%}"),
        Column("within a session", "{max_intraday_drawdown_ratio:.2%}"),
        Column("the command says", "{said}"),
    ]
    said = [
        {
            **row,
            "years": ", ".join(f"{year:.2%}" for year in _years([row])),
            "said": "passes" if row["passed"] else f"FAILS: {row['failures']}",
        }
        for row in sorted(rows, key=lambda row: ((*FORMS, GOLD).index(row["form"]), row["run"]))
    ]
    return Table(name, title, columns, said)


def _figures(metrics: Mapping[str, Any]) -> dict[str, Any]:
    low, high = metrics["mean_net_bps_interval"] or (None, None)
    return {**{name: metrics[name] for name in SHOWN}, "net_low_bps": low, "net_high_bps": high}


ACCOUNT_COLUMNS = (
    Column("hold rate (chance)", "{hold_rate_ratio:.3f} ({chance_hold_rate_ratio:.3f})"),
    Column("trades", "{trades_per_session:.2f}"),
    Column("Sharpe ± SE", "{sharpe:.2f} ± {sharpe_standard_error:.2f}"),
    Column("net bp [95 %]", "{mean_net_bps:+.2f} [{net_low_bps:+.2f}, {net_high_bps:+.2f}]"),
    Column("costs bp", "{costs_bps:.2f}"),
    Column(f"drawdown in any {YEAR_SESSIONS} sessions", "{year_drawdown_ratio:.2%}"),
    Column("within a session", "{max_intraday_drawdown_ratio:.2%}"),
)


def _accounts_table(results: Mapping[str, dict[str, Any]]) -> Table:
    rows = []
    for key, result in results.items():
        if PAIRS in result:
            own = {**result[PAIRS]["by_account"], "all pairs": result[PAIRS]["whole"][POLICY]}
            rows += [
                {"cell": key, "market": _market_of(key), "account": name, **_figures(metrics)}
                for name, metrics in own.items()
            ]
    columns = [Column("market", "{market}"), Column("run", "{cell}"), Column("pair", "{account}")]
    return Table("pairs", "Each pair, a third of the capital", [*columns, *ACCOUNT_COLUMNS], rows)


def _baselines_table(results: Mapping[str, dict[str, Any]]) -> Table:
    """Return the baselines of the first run of each form."""
    rows = []
    for key, result in results.items():
        for form in (PAIRS, NATIVE):
            if form not in result or not key.endswith("-0"):
                continue
            for name, metrics in result[form]["whole"].items():
                if name != POLICY:
                    rows.append({"market": _market_of(key), "form": form, "who": name, **_figures(metrics)})
    columns = [Column("market", "{market}"), Column("form", "{form}"), Column("who", "{who}")]
    return Table("baselines", "Baselines, first run of each form", [*columns, *ACCOUNT_COLUMNS], rows)


def _market_of(key: str) -> str:
    return "real bars" if key.startswith("real-") else "sample"


def _draw(figure: Figure, rows: Sequence[Mapping[str, Any]]) -> None:
    from stairways.reporting.drawing import PALETTE, add_axes

    tones = {PAIRS: "candidate", NATIVE: "tilted_gold", SMALLER: "random", GOLD: "gold"}
    chosen = [row for row in rows if row["sharpe"] is not None]
    chosen = sorted(chosen, key=lambda row: ((*FORMS, GOLD).index(row["form"]), row["run"]))
    names = [f"{row['form']}, run {row['run']}" for row in chosen]
    left = add_axes(figure, (228.0, 56.0, 250.0, 316.0))
    right = add_axes(figure, (520.0, 56.0, 270.0, 316.0))
    for place, row in enumerate(chosen):
        tone = PALETTE[tones[row["form"]]][0]
        half = NORMAL_95 * row["sharpe_standard_error"]
        left.plot([row["sharpe"] - half, row["sharpe"] + half], [place, place], color=tone, linewidth=1.6)
        left.plot([row["sharpe"]], [place], "o", color=tone, markersize=5)
        years = [100.0 * year for year in _years([row])]
        right.plot(years, [place] * len(years), "o", color=tone, markersize=5, alpha=0.75)
        right.plot([100.0 * row["median_year_drawdown_ratio"]], [place], "|", color=tone, markersize=15)
    for axes, limit in ((left, 0.0), (right, 100.0 * MAX_DRAWDOWN_RATIO)):
        axes.axvline(limit, color=PALETTE["ink"][0], linewidth=0.9, linestyle=(0, (4, 3)))
        axes.set_ylim(len(chosen) - 0.5, -0.5)
        axes.grid(axis="x")
    left.set_yticks(range(len(chosen)), names)
    right.set_yticks(range(len(chosen)), [""] * len(chosen))
    right.set_xlim(left=0.0)
    left.set_xlabel("annual net Sharpe ratio, 95 % interval")
    right.set_xlabel("drawdown of each unseen year, % (bar: median)")


def _text(job: Job, results: Mapping[str, dict[str, Any]], rows: Sequence[Mapping[str, Any]]) -> str:
    parts = [_method()]
    if job.quick:
        parts.append(
            "The quick form judges the shipped gold under a calibrated tilt, not tuned, and three legs of "
            "random weights, for their control alone, on a short market."
        )
    golds = [(key, result["gold"]) for key, result in results.items() if "gold" in result]
    parts += [
        f"{key}: trained in {gold['steps']:,} steps, {gold['skill_net_bps']:+.2f} bp a session before it was "
        f"made to over-hold; then it holds {gold['hold_rate_ratio']:.1%} and trades "
        f"{gold['trades_per_session']:.1f} times a session."
        for key, gold in golds
    ]
    for form in FORMS:
        own = _of([row for row in rows if not row["real"]], form)
        if own:
            passed = sum(row["passed"] for row in own)
            worst = max(row["year_drawdown_ratio"] for row in own)
            parts.append(
                f"*{form.capitalize()}* on the sample market: the command, which asks it of the worst "
                f"{YEAR_SESSIONS} sessions of the whole range, passes {passed} of {len(own)} runs (deepest "
                f"fall {worst:.2%}, net Sharpe ratio {_range(own, 'sharpe', '.2f')})."
            )
    real = [row for row in rows if row["real"] and row["form"] != GOLD]
    if real:
        passed = sum(row["passed"] for row in real)
        deepest = max(row["year_drawdown_ratio"] for row in real)
        parts.append(
            f"On real five-minute bars {passed} of {len(real)} judgements pass: net "
            f"{_range(real, 'mean_net_bps', '+.2f')} bp a session, "
            f"Sharpe ratio {_range(real, 'sharpe', '.2f')}, deepest fall {deepest:.2%} in "
            f"{real[0]['n_sessions']} sessions. No edge is known in those bars, and none was expected."
        )
    elif not job.quick:
        parts.append("No real bars were given.")
    return "\n\n".join(parts)


def _range(rows: Sequence[Mapping[str, Any]], name: str, form: str) -> str:
    values = [row[name] for row in rows if row[name] is not None]
    return f"{min(values):{form}} to {max(values):{form}}" if values else "not measured"


def _method() -> str:
    """Say how both forms are made and judged."""
    unit, n_symbols = TradingRules().unit_fraction, len(SYMBOLS)
    native, pairs = n_symbols * unit, PAIR_CAPITAL * n_symbols * unit
    n_pairs = comb(n_symbols, len(TWO))
    return f"""
*Through pairs*: a policy of two legs acts on each of the {n_pairs} pairs of the symbols, with 1/{n_pairs} of
the capital, a tilt and random numbers of its own. Features and regime of a pair are those it was made for; a
known symbol keeps its constants, the new one gets constants of its own sessions in the range the others were
fitted on, never of a session judged. NAV is the sum; holds and trades are those of the pairs' decisions.
*Three legs*: a gold trained on all symbols ({3**n_symbols} actions, {n_price_inputs(n_symbols)} +
{N_REGIME_FEATURES} inputs), then tuned. With the default unit it may put {native:.2f} of NAV to work where
the pairs may put {pairs:.2f}; the same artifacts are judged with {PAIR_CAPITAL:.2f} of the unit as well, at
the pairs' capital.

The plan fails this test at a drawdown over {MAX_DRAWDOWN_RATIO:.0%} or a Sharpe ratio of 0 or less, and names
no length of time. Within a session the gates ask for {GateConfig().max_drawdown_ratio:.0%} already, so that
{MAX_DRAWDOWN_RATIO:.0%} there asks nothing new: it stands in the table and is no bar. Over a range without
end the best policy there is falls deeper than any limit. The bars are of one unseen year at a time (the range
is cut into equal years, each counted from the NAV it began with); the command asks the same of the worst
{YEAR_SESSIONS} sessions anywhere in its range, which is stricter, and stands beside it.
"""
