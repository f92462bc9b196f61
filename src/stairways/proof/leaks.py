"""The leak detector: what it finds, what it leaves alone, and how many moments it needs."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import comb, exp, expm1
from typing import TYPE_CHECKING, Any

import numpy as np

from stairways.config import load_settings
from stairways.evaluation.leak_futures import BAR_LOG_SD, KINDS, LEVEL_LOG_RANGE, VOLUME_LOG_SD
from stairways.market.features import FEATURE_NAMES, FeatureConstants
from stairways.proof.binomial import CONFIDENCE
from stairways.proof.experiment import Bar, Cell, Column, Experiment, Findings, Job, Plot, Table
from stairways.proof.extremes import largest
from stairways.proof.leak_trials import PLACES, POLICIES, effect, ground, run_check, single_cuts
from stairways.proof.planted_leaks import PLANTED
from stairways.registry.artifact import write_artifact
from stairways.tuning.leak_check import (
    BLOCKS,
    CUTS_PER_BLOCK,
    check_on,
    leak_settings_base,
)
from stairways.tuning.market_access import open_for
from stairways.tuning.shipped import shipped_gold
from stairways.unpacking import unpack

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CLEAN, PLANT, POWER, ARTIFACT = range(4)
DEFAULT_CUTS = BLOCKS * CUTS_PER_BLOCK
SHARES, QUICK_SHARES = (1.0, 0.2, 0.05), (1.0, 0.2)
POWER_PLACE = "planted 5 min, 2 symbols"
QUICK_PLACES = ("planted 5 min, 2 symbols", "planted 5 min, 3 symbols")
QUICK_POLICIES = ("MLP, sampled", "LSTM, sampled")
LEAST_POWER = 0.99
HONEST, FORGED = "shipped gold", "gold with constants of the whole history"
SAME_BAR = "same-bar fill"
FEW_CUTS = 12
DRAWN_CUTS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)


class Leaks(Experiment):
    """Planted leaks are found, the product is not accused, and what one moment is worth is counted."""

    name = "leaks"
    title = "Leak detector"
    question = "Does it find leaks that are planted, and does it leave the product's own pipeline alone?"
    data = "synthetic"

    def cells(self, job: Job) -> Sequence[Cell]:
        """Return clean runs by market and policy, planted leaks by market, moments by leak, the artifacts."""
        runs = 1 if job.quick else 2
        cells = [
            Cell(
                _slug("clean", place, policy), {"kind": CLEAN, "place": place, "policy": policy, "runs": runs}
            )
            for place in _places(job)
            for policy in (QUICK_POLICIES if job.quick else POLICIES)
        ]
        cells += [
            Cell(_slug("planted", place), {"kind": PLANT, "place": place, "runs": runs})
            for place in _places(job)
        ]
        cells += [
            Cell(
                _slug("moments", leak),
                {
                    "kind": POWER,
                    "leak": leak,
                    "shares": QUICK_SHARES if job.quick else SHARES,
                    "n_cuts": 60 if job.quick else 120,
                },
            )
            for leak in PLANTED
        ]
        return [*cells, Cell("artifact", {"kind": ARTIFACT})]

    def run(self, cell: Cell, job: Job) -> dict[str, Any]:
        """Run one cell."""
        arguments = cell.arguments
        if arguments["kind"] == CLEAN:
            return _run_clean(arguments["place"], arguments["policy"], arguments["runs"], job)
        if arguments["kind"] == PLANT:
            return _run_planted(arguments["place"], arguments["runs"], job)
        if arguments["kind"] == POWER:
            return _run_moments(arguments["leak"], arguments["shares"], arguments["n_cuts"], job)
        return _run_artifact(job)

    def conclude(self, job: Job, results: Mapping[str, dict[str, Any]]) -> Findings:
        """Count what was found, by whom, and with how many moments."""
        clean, planted, moments, effects, artifacts = (
            [row for result in results.values() for row in result.get(name, [])]
            for name in ("clean", "planted", "moments", "effects", "artifacts")
        )
        rows = [*clean, *planted, *moments, *effects, *artifacts]
        bars = [*_bars(clean, planted, moments, artifacts)]
        tables = [_found_table(planted), _clean_table(clean), _moments_table(moments), _effect_table(effects)]
        plot = Plot(
            "moments",
            "Chance that a leak is found, against the moments tried; a leak that acts in fewer sessions is "
            "rarer. The dashed line marks what the command tries",
            lambda figure: _draw(figure, moments),
            (820.0, 330.0),
        )
        return Findings(rows, bars, tables, [plot], _text(clean, moments, effects))


def _slug(*words: str) -> str:
    return "-".join("".join(c if c.isalnum() else "_" for c in word) for word in words)


def _places(job: Job) -> list[str]:
    if job.quick:
        return list(QUICK_PLACES)
    return [name for name, place in PLACES.items() if job.bars is not None or not place.real]


def _seed(job: Job, kind: int, *more: int) -> np.random.SeedSequence:
    return np.random.SeedSequence(job.seed, spawn_key=(kind, *more))


def _run_clean(place: str, policy: str, runs: int, job: Job) -> dict[str, Any]:
    market = ground(place, job)
    where = (list(PLACES).index(place), list(POLICIES).index(policy))
    rows = []
    for run in range(runs):
        report = run_check(market, policy, None, _seed(job, CLEAN, *where, run))
        record = report.as_record()
        first = record.pop("first_difference")
        rows.append(
            {
                "what": "clean",
                "place": place,
                "policy": policy,
                "run": run,
                **record,
                "unchecked": ", ".join(record["unchecked"]),
                "alarm": "" if first is None else f"{first['date']} bar {first['bar']} {first['what']}",
            }
        )
    return {"clean": rows}


def _run_planted(place: str, runs: int, job: Job) -> dict[str, Any]:
    market = ground(place, job)
    rows = []
    for number, leak in enumerate(PLANTED):
        for run in range(runs):
            where = (list(PLACES).index(place), number, run)
            report = run_check(market, "MLP, sampled", leak, _seed(job, PLANT, *where))
            first = report.first
            rows.append(
                {
                    "what": "planted",
                    "place": place,
                    "leak": leak,
                    "run": run,
                    "found": first is not None,
                    "named": first is not None and _is_named(leak, first.what, PLACES[place].symbols),
                    "trials": len(report.trials),
                    "differing_trials": sum(trial.difference is not None for trial in report.trials),
                    **({} if first is None else _shown(vars(first))),
                }
            )
    effects = [
        {"what": "effect", "place": place, **effect(market, leak, _seed(job, PLANT, number))}
        for number, leak in enumerate(PLANTED)
    ]
    return {"planted": rows, "effects": effects}


def _shown(first: Mapping[str, Any]) -> dict[str, Any]:
    names = ("date", "bar", "with_future", "without_future", "future", "reason")
    return {"first": first["what"], **{name: first[name] for name in names}}


def _is_named(leak: str, what: str, symbols: Sequence[str]) -> bool:
    """Tell whether the first difference is the thing that was made to leak, and nothing that follows."""
    if leak == "centred window":
        return what == f"{symbols[-1]}.realised_volatility_20"
    if leak == SAME_BAR:
        return what == f"fill {symbols[-1]}"
    return what in {f"{symbol}.{feature}" for symbol in symbols for feature in FEATURE_NAMES}


def _run_moments(leak: str, shares: Sequence[float], n_cuts: int, job: Job) -> dict[str, Any]:
    market = ground(POWER_PLACE, job)
    number = list(PLANTED).index(leak)
    rows = [
        {"what": "moments", **single_cuts(market, leak, share, n_cuts, _seed(job, POWER, number, index))}
        for index, share in enumerate(shares)
    ]
    return {"moments": rows}


def _run_artifact(job: Job) -> dict[str, Any]:
    """Check the shipped gold, and the same gold with constants of the whole history put into it."""
    packed = unpack(shipped_gold())
    settings = load_settings(None, {"seed": job.seed}, base=leak_settings_base(shipped_gold()))
    dataset = open_for(packed, settings)
    constants = FeatureConstants.fit(dataset.raw, dataset.sessions, slice(0, len(dataset.sessions)))
    forged = job.work / "forged"
    shutil.rmtree(forged, ignore_errors=True)
    write_artifact(forged, replace(packed.artifact, features=constants.as_record()), packed.loaded.record)
    rows = []
    for name, artifact in ((HONEST, packed), (FORGED, unpack(forged))):
        result = check_on(artifact, dataset, settings, gold=artifact)
        rows.append(
            {
                "what": "artifact",
                "artifact": name,
                "passed": result.passed,
                "differences": len(result.report.differences),
                "constants": result.constants.origin,
                "reason": result.constants.reason,
                "cut_points": result.report.n_cuts,
            }
        )
    return {"artifacts": rows}


def power(n_tried: int, n_shown: int, n_cuts: int) -> float:
    """Return the chance that so many moments, drawn from those tried without putting back, show a leak.

    Hypergeometric: 1 - C(tried - shown, cuts) / C(tried, cuts); with no more moments than were tried.
    """
    n_cuts = min(n_cuts, n_tried)
    return 1.0 - comb(n_tried - n_shown, n_cuts) / comb(n_tried, n_cuts)


def _bars(
    clean: Sequence[Mapping[str, Any]],
    planted: Sequence[Mapping[str, Any]],
    moments: Sequence[Mapping[str, Any]],
    artifacts: Sequence[Mapping[str, Any]],
) -> list[Bar]:
    kinds = [leak for leak in PLANTED if _all(row["found"] for row in planted if row["leak"] == leak)]
    named = sum(row["named"] for row in planted)
    alarms, unchecked = sum(row["alarm"] != "" for row in clean), sum(row["unchecked"] != "" for row in clean)
    bound = 1.0 - (1.0 - CONFIDENCE) ** (1.0 / max(1, len(clean)))
    always = [power(row["n_cuts"], row["shown"], DEFAULT_CUTS) for row in moments if row["share"] == 1.0]
    weakest = min(always) if len(always) == len(PLANTED) else None
    checked = {row["artifact"]: row for row in artifacts}
    honest, forged = checked.get(HONEST), checked.get(FORGED)
    return [
        Bar(
            "planted leaks found in every run",
            f"{len(kinds)} of {len(PLANTED)}",
            f"{len(PLANTED)} of {len(PLANTED)}",
            len(kinds) == len(PLANTED),
            f"{sum(row['found'] for row in planted)} of {len(planted)} runs, {DEFAULT_CUTS} moments each",
        ),
        Bar(
            "first difference is the thing planted",
            f"{named} of {len(planted)}",
            "every run",
            0 < named == len(planted),
            "column or fill, by name",
        ),
        Bar(
            "alarms on the clean pipeline",
            float(alarms) if clean else None,
            "0",
            bool(clean) and alarms == 0,
            f"{len(clean)} runs; with none, the rate is below {bound:.1%} with {CONFIDENCE:.0%} confidence",
        ),
        Bar(
            "clean runs with something unchecked",
            float(unchecked) if clean else None,
            "0",
            bool(clean) and unchecked == 0,
            "a column that never moved, decisions or fills",
        ),
        Bar(
            f"chance to find a leak with {DEFAULT_CUTS} moments, the least of {len(PLANTED)} leaks",
            weakest,
            f">= {LEAST_POWER}",
            weakest is not None and weakest >= LEAST_POWER,
            "the leak acts in every session; moments drawn without putting back",
        ),
        Bar(
            f"{HONEST}, by the command",
            None if honest is None else ("clean" if honest["passed"] else "accused"),
            "clean",
            honest is not None and honest["passed"],
            "" if honest is None else f"{honest['cut_points']} moments; constants {honest['reason']}",
        ),
        Bar(
            f"{FORGED}, by the command",
            None if forged is None else str(forged["constants"]),
            "leak",
            forged is not None and forged["constants"] == "leak" and not forged["passed"],
            "" if forged is None else forged["reason"],
        ),
    ]


def _all(found: Any) -> bool:
    every = list(found)
    return bool(every) and all(every)


def _found_table(planted: Sequence[Mapping[str, Any]]) -> Table:
    columns = [
        Column("market", "{place}"),
        Column("leak", "{leak}"),
        Column("found", "{n_found} of {runs} runs"),
        Column("changed futures that show it", "{shown} of {trials}"),
        Column("first difference, first run", "{date}, bar {bar}: {first}"),
        Column("with the future", "{with_future:.6g}"),
        Column("without", "{without_future:.6g}"),
    ]
    rows = []
    for place in dict.fromkeys(row["place"] for row in planted):
        for leak in PLANTED:
            own = [row for row in planted if (row["place"], row["leak"]) == (place, leak)]
            counts = {
                "runs": len(own),
                "n_found": sum(row["found"] for row in own),
                "trials": sum(row["trials"] for row in own),
                "shown": sum(row["differing_trials"] for row in own),
            }
            rows.append({**own[0], **counts})
    return Table("planted", "Planted leaks", columns, rows)


def _clean_table(clean: Sequence[Mapping[str, Any]]) -> Table:
    columns = [
        Column("market", "{place}"),
        Column("policy", "{policy}"),
        Column("alarms", "{alarms} of {runs} runs"),
        Column("moments", "{cut_points}"),
        Column("changed futures", "{trials}"),
        Column("bars held against each other", "{bar_comparisons:,}"),
        Column("decisions", "{decisions:,}"),
        Column("fills on changed bars", "{fills:,}"),
    ]
    rows = []
    for place, policy in dict.fromkeys((row["place"], row["policy"]) for row in clean):
        own = [row for row in clean if (row["place"], row["policy"]) == (place, policy)]
        names = ("cut_points", "trials", "bar_comparisons", "decisions", "fills")
        sums = {name: sum(row[name] for row in own) for name in names}
        alarms = sum(row["alarm"] != "" for row in own)
        rows.append({"place": place, "policy": policy, "runs": len(own), "alarms": alarms, **sums})
    return Table("clean", "The product's own pipeline", columns, rows)


def _moments_table(moments: Sequence[Mapping[str, Any]]) -> Table:
    columns = [
        Column("leak", "{leak}"),
        Column("acts in", "{share:.0%} of sessions"),
        Column("moments that show it", "{shown} of {n_cuts}"),
        Column("cut off", "{shown_truncated}"),
        Column("changed", "{shown_perturbed}"),
        Column("found with 1", "{power_1:.1%}"),
        Column(f"with {FEW_CUTS}", "{power_few:.1%}"),
        Column(f"with {DEFAULT_CUTS}", "{power_default:.1%}"),
    ]
    rows = [
        {
            **row,
            "power_1": power(row["n_cuts"], row["shown"], 1),
            "power_few": power(row["n_cuts"], row["shown"], FEW_CUTS),
            "power_default": power(row["n_cuts"], row["shown"], DEFAULT_CUTS),
        }
        for row in moments
    ]
    return Table("moments", "What one moment is worth", columns, rows)


def _effect_table(effects: Sequence[Mapping[str, Any]]) -> Table:
    columns = [
        Column("market", "{place}"),
        Column("leak", "{leak}"),
        Column("columns it moves", "{columns_moved}"),
        Column("by, standard deviations in the mean", "{mean_move_sd:.3f}"),
        Column("decisions it changes", "{decisions_changed_ratio:.2%}"),
        Column("net result, bp a session [95 %]", "{net_change_bps:+.2f} [{low_bps:+.2f}, {high_bps:+.2f}]"),
        Column("sessions", "{n_sessions}"),
    ]
    return Table("effect", "How small the leaks are, on the bars as they are", columns, effects)


def _draw(figure: Figure, moments: Sequence[Mapping[str, Any]]) -> None:
    from stairways.reporting.drawing import PALETTE, add_axes

    dashes: dict[float, Any] = {1.0: "-", 0.2: (0, (6, 2)), 0.05: (0, (2, 2))}
    tones = {1.0: "candidate", 0.2: "tilted_gold", 0.05: "random"}
    for index, leak in enumerate(PLANTED):
        axes = add_axes(figure, (62.0 + 254.0 * index, 52.0, 226.0, 236.0))
        for row in (row for row in moments if row["leak"] == leak):
            counts = [count for count in DRAWN_CUTS if count <= row["n_cuts"]]
            chances = [100.0 * power(row["n_cuts"], row["shown"], count) for count in counts]
            axes.plot(
                counts,
                chances,
                color=PALETTE[tones[row["share"]]][0],
                linestyle=dashes[row["share"]],
                marker="o",
                markersize=3.5,
                label=f"in {row['share']:.0%} of sessions",
            )
        axes.axvline(DEFAULT_CUTS, color=PALETTE["muted"][0], linewidth=0.8, linestyle=(0, (4, 3)))
        axes.set_xscale("log", base=2)
        axes.set_xticks([1, 2, 4, 8, 16, 32, 64], ["1", "2", "4", "8", "16", "32", "64"])
        axes.set_ylim(-4, 104)
        axes.set_title(leak, fontsize=10.5, loc="left")
        axes.set_xlabel("moments tried")
        axes.grid(axis="y")
        if index == 0:
            axes.set_ylabel("chance to find it, %")
        if index == 1:
            axes.legend(frameon=False, fontsize=9, loc="center left")


def _text(
    clean: Sequence[Mapping[str, Any]],
    moments: Sequence[Mapping[str, Any]],
    effects: Sequence[Mapping[str, Any]],
) -> str:
    compared = sum(row["bar_comparisons"] for row in clean)
    fills = sum(row["fills"] for row in clean)
    real = "" if any(PLACES[row["place"]].real for row in clean) else " No real bars were given."
    same_bar = _fill_words(moments, effects)
    return f"""
`stairways check leak ARTIFACT` runs the pipeline that judges and deploys (features, constants, observation,
actor, tilt, fills) on bars whose future after some moment is cut off, or changed: prices by up to
{expm1(LEVEL_LOG_RANGE):.0%} at once and {BAR_LOG_SD:.0%} a bar, volumes by a factor of
{exp(VOLUME_LOG_SD):.1f}. Everything up to the moment must be the same, bit for bit: every feature, regime
input, multiplier, action, order, fill and NAV. Fills are held against the changed bars as well: an order
decided at bar t must be made from the open of t + 1, wherever that went.
{KINDS.count("inside") / len(KINDS):.0%} of the moments lie inside sessions, the others at their first bar,
their last decision and their end. A column that no change ever moved counts as not checked, and that fails.

{len(PLANTED)} leaks are planted, one at a time. *Centred window*: the last symbol's realised volatility is
smoothed by `convolve(mode="same")`. *Full-history scaler*: mean and deviation of all bars instead of the
training range's. *Same-bar fill*: the last symbol's opens are the closes before them.{same_bar}
Markets have half days and broken segments, policies have random weights, and the tilt runs in regime mode:
decisions then depend on all there is. A changed decision changes the position and the multipliers behind it,
so that a column that moves very little can change many decisions.

The clean pipeline was run {len(clean)} times: {compared:,} bars held against each other,
{fills:,} fills on changed bars.{real} What the detector can't see: a leak that acts in so few sessions that
no moment falls into one, and choices people made after looking at the sessions judged. The second is why
looks are counted; the first is what the picture shows.
"""


def _fill_words(moments: Sequence[Mapping[str, Any]], effects: Sequence[Mapping[str, Any]]) -> str:
    """Say what a fill on its own bar leaves in the result, and what brings it to light."""
    made = [row for row in effects if row["leak"] == SAME_BAR]
    tried = [row for row in moments if row["leak"] == SAME_BAR]
    if not made or not tried:
        return ""
    most = largest(abs(row["net_change_bps"]) for row in made)
    n_cuts, by_cutting, by_changing = (
        sum(row[name] for row in tried) for name in ("n_cuts", "shown_truncated", "shown_perturbed")
    )
    meaning = (
        "it shows best where the open is made to differ from the close before it"
        if by_changing > by_cutting
        else "making the open differ from the close before it shows it no more often"
    )
    return (
        f" On the bars as they are the last changes the net result by {most:.3f} bp a session at most; "
        f"cutting the future off showed it at {by_cutting} of {n_cuts} moments, changing it at "
        f"{by_changing}: {meaning}."
    )
