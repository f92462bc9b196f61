"""What the noise experiment found: shares with exact intervals, bars, pictures, words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from stairways.evaluation.gates import SKILL_NAMES
from stairways.market.samples import PLANTED, PLANTED_HARD
from stairways.proof.binomial import allowed_share, chance_of_at_least, clopper_pearson
from stairways.proof.experiment import Bar, Column, Findings, Plot, Table
from stairways.proof.noise_pictures import draw_acceptance, draw_curse, draw_trials
from stairways.proof.noise_procedure import CYCLES, SKILL, Size, small_settings
from stairways.proof.noise_trials import (
    COMMON,
    DEGREES,
    FAMILIES,
    HIDDEN,
    LAG_ONE,
    N_RESAMPLES,
    SESSIONS,
    TRIALS_PER_MARKET,
)
from stairways.tuning.ranges import SAMPLE_RANGES

if TYPE_CHECKING:
    from collections.abc import Callable

LEVEL, NOMINAL, LEAST_RUNS, LEAST_ACCEPTED_SHARE = 0.05, 0.025, 100, 0.5
ENOUGH_RUNS, SURE, SURE_OF_FEW = 25, 0.025, 0.1
"""From so many runs on a share of one half can be told from none of skill; with two runs the smallest count
above zero has a probability of 9.75 % at the false-acceptance level, so few runs are held to 10 %."""
TRUE_ACCEPTANCE = "acceptance on planted markets is no false acceptance"
WHERE = {
    "noise": "noise",
    "costless": "noise, trading free",
    "hard": "planted-hard",
    "planted": "planted",
}
READINGS = (
    ("noise", "net_unseen"),
    ("noise", "gross_unseen"),
    ("costless", "net_unseen"),
    ("hard", "net_unseen"),
    ("planted", "net_unseen"),
    ("noise", "net_select"),
    ("noise", "gross_select"),
    ("costless", "net_select"),
)
"""What is judged of which runs; the last three are tests on the sessions that selected the candidate."""


def findings(
    runs: Sequence[Mapping[str, Any]], trials: Sequence[Mapping[str, Any]], *, size: Size
) -> Findings:
    """Return rows, bars, tables, pictures and text.

    Args:
        runs: One record per run of the whole procedure.
        trials: Blocks of trials of the test alone.
        size: How small the runs were.
    """
    shares = [_share(runs, arm, reading) for arm, reading in READINGS if any(r["arm"] == arm for r in runs)]
    tested = _trial_rows(trials)
    curse = _curse(runs)
    return Findings(
        rows=[*shares, *tested, *(_run_row(run) for run in runs)],
        bars=_bars(runs, shares, tested),
        tables=[_acceptance_table(shares), _trial_table(tested), *_unjudged_table(runs)],
        plots=[
            Plot(
                "acceptance",
                "Share of runs whose skill is accepted, with exact 95 % intervals; the dashed line is the "
                f"{LEVEL:.0%} that a true null may reach.",
                lambda figure: draw_acceptance(figure, shares, LEVEL),
                (760.0, 340.0),
            ),
            Plot(
                "curse",
                "What the selected cycle adds to gold under the same tilt, net, on the sessions that "
                "selected it and on unseen ones; one dot is one run on noise, the cross their mean.",
                lambda figure: draw_curse(figure, curse),
                (520.0, 400.0),
            ),
            Plot(
                "trials",
                "The test alone: share of trials without any difference that each verdict accepts, with "
                f"exact 95 % intervals; dotted the nominal {NOMINAL:.1%} of one verdict, dashed {LEVEL:.0%}.",
                lambda figure: draw_trials(figure, tested, LEVEL),
                (760.0, 340.0),
            ),
        ],
        text=_text(runs, shares, tested, curse, size),
    )


def _of(runs: Iterable[Mapping[str, Any]], arm: str) -> list[Mapping[str, Any]]:
    return [run for run in runs if run["arm"] == arm]


def _share(runs: Sequence[Mapping[str, Any]], arm: str, reading: str) -> dict[str, Any]:
    """Return how often skill was accepted in one reading, over judged runs and over all."""
    chosen = _of(runs, arm)
    judged = [run for run in chosen if run["judged"]]
    kept = [run["readings"][reading] for run in judged]
    accepted = sum(verdicts[SKILL]["passed"] for verdicts in kept)
    low, high = clopper_pearson(accepted, len(judged))
    money, sessions = reading.split("_")
    row: dict[str, Any] = {
        "kind": "share",
        "arm": arm,
        "market": WHERE[arm],
        "reading": "net = gross" if arm == "costless" else money,
        "sessions": sessions,
        "n_sessions": judged[0][f"n_{sessions}"] if judged else None,
        "n_runs": len(chosen),
        "n_judged": len(judged),
        "accepted": accepted,
        "share": accepted / len(judged) if judged else None,
        "share_of_all": accepted / len(chosen),
        "low": low,
        "high": high,
    }
    for name in (*SKILL_NAMES, "tuning_adds"):
        row[name] = _mean(verdicts[name]["passed"] for verdicts in kept)
        row[f"{name}_bps"] = _mean(verdicts[name]["bps"] for verdicts in kept)
    return row


def _mean(values: Iterable[float]) -> float | None:
    kept = [float(value) for value in values]
    return fmean(kept) if kept else None


def _trial_rows(trials: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the counts of every family, length and verdict, blocks added up."""
    found: dict[tuple[str, int, str], list[int]] = {}
    for block in trials:
        for n_sessions, counts in block["accepted"].items():
            for name, count in counts.items():
                total = found.setdefault((block["family"], int(n_sessions), name), [0, 0])
                total[0] += count
                total[1] += block["n_trials"]
    rows = []
    order = [(family, n, name) for family in FAMILIES for n in SESSIONS for name in (*SKILL_NAMES, SKILL)]
    for family, n_sessions, name in order:
        accepted, n_trials = found[family, n_sessions, name]
        low, high = clopper_pearson(accepted, n_trials)
        rows.append(
            {
                "kind": "trials",
                "family": family,
                "n_sessions": n_sessions,
                "verdict": name,
                "n_trials": n_trials,
                "accepted": accepted,
                "share": accepted / n_trials,
                "low": low,
                "high": high,
            }
        )
    return rows


def _run_row(run: Mapping[str, Any]) -> dict[str, Any]:
    flat = {name: value for name, value in run.items() if name != "readings"}
    for reading, verdicts in run.get("readings", {}).items():
        for name, verdict in verdicts.items():
            flat[f"{reading}_{name}"] = verdict["passed"]
            if "bps" in verdict:
                flat[f"{reading}_{name}_bps"] = verdict["bps"]
    return {"kind": "run", **flat}


def _curse(runs: Sequence[Mapping[str, Any]]) -> list[tuple[float, float]]:
    """Return what tuning added on the selecting and on the unseen sessions, net bp, per noise run."""
    return [
        (
            run["readings"]["net_select"]["tuning_adds"]["bps"],
            run["readings"]["net_unseen"]["tuning_adds"]["bps"],
        )
        for run in _of(runs, "noise")
        if run["judged"]
    ]


def _bars(
    runs: Sequence[Mapping[str, Any]], shares: Sequence[dict[str, Any]], tested: Sequence[dict[str, Any]]
) -> list[Bar]:
    judged = [run for run in runs if run["judged"]]
    n_noise = len(_of(runs, "noise"))
    n_judged = len(_of(judged, "noise"))
    least = min(LEAST_RUNS, n_noise)
    bars = [
        Bar(
            "runs on noise that were judged",
            float(n_judged),
            f">= {least}",
            n_judged >= least > 0,
            f"of {n_noise}; a run that failed for another reason is listed",
        ),
        *(_false_acceptance(row) for row in shares if row["arm"] in ("noise", "costless") and _unseen(row)),
    ]
    planted = [bar for row in shares if row["arm"] == "planted" for bar in _true_acceptance(row)]
    bars += planted or [Bar(TRUE_ACCEPTANCE, None, "runs on planted markets", False, "none was run")]
    for title, kept in (
        ("the test alone, worst single verdict", lambda row: row["verdict"] != SKILL),
        ("the test alone, all three verdicts together", lambda row: row["verdict"] == SKILL),
    ):
        bars.append(_worst(title, tested, kept))
    same = sum(run["as_the_final_gate"] for run in judged)
    bars.append(
        Bar(
            "runs whose figures here are those of the final gate, to the digest of every fill",
            float(same),
            f"= {len(judged)}",
            0 < len(judged) == same,
        )
    )
    return bars


def _unseen(row: Mapping[str, Any]) -> bool:
    return bool(row["sessions"] == "unseen")


def _interval(row: Mapping[str, Any]) -> str:
    return f"[{row['low']:.1%}, {row['high']:.1%}]"


def _false_acceptance(row: Mapping[str, Any]) -> Bar:
    name = f"false acceptance of skill, {row['market']}, judged {row['reading']}"
    if row["share"] is None:
        return Bar(name, None, f"<= {LEVEL:.0%}", False, "no run was judged")
    most = allowed_share(LEVEL, row["n_judged"])
    return Bar(
        name,
        row["share"],
        f"<= {LEVEL:.0%} + 2 SE = {most:.1%}",
        row["share"] <= most,
        f"{row['accepted']} of {row['n_judged']}, exact 95 % interval {_interval(row)}; over all "
        f"{row['n_runs']} runs {row['share_of_all']:.1%}; {row['n_sessions']} unseen sessions, sampled",
    )


def _true_acceptance(row: Mapping[str, Any]) -> list[Bar]:
    """Return the bars that a gate which always refuses would miss.

    So many acceptances must be improbable at the false-acceptance level; and of enough runs at least half
    must be accepted.
    """
    accepted, n = row["accepted"], row["n_judged"]
    chance = chance_of_at_least(accepted, n, LEVEL)
    sure = SURE if n >= ENOUGH_RUNS else SURE_OF_FEW
    note = f"{accepted} of {n}, exact 95 % interval {_interval(row)}; {row['n_sessions']} unseen sessions"
    bars = [
        Bar(
            TRUE_ACCEPTANCE,
            chance if n else None,
            f"probability at {LEVEL:.0%} < {sure:.1%}",
            n > 0 and chance < sure,
            note,
        )
    ]
    if n >= ENOUGH_RUNS:
        bars.append(
            Bar(
                "acceptance on planted markets, sample strength",
                row["share"],
                f">= {LEAST_ACCEPTED_SHARE:.0%}",
                row["share"] >= LEAST_ACCEPTED_SHARE,
                note,
            )
        )
    return bars


def _worst(title: str, tested: Sequence[Mapping[str, Any]], keep: Callable[[Mapping[str, Any]], bool]) -> Bar:
    rows = [row for row in tested if keep(row)]
    worst = max(rows, key=lambda row: row["share"])
    most = allowed_share(LEVEL, worst["n_trials"])
    return Bar(
        f"{title}: false acceptance",
        worst["share"],
        f"<= {LEVEL:.0%} + 2 SE = {most:.1%}",
        worst["share"] <= most,
        f"{worst['verdict']}, {worst['family']}, {worst['n_sessions']} sessions: {worst['accepted']} of "
        f"{worst['n_trials']}, {_interval(worst)}; the worst of {len(rows)}",
    )


def _acceptance_table(shares: Sequence[dict[str, Any]]) -> Table:
    columns = [
        Column("market", "{market}"),
        Column("judged", "{reading}"),
        Column("on", "{n_sessions} {sessions} sessions"),
        Column("runs judged", "{n_judged} of {n_runs}"),
        Column("skill accepted [95 %]", "{accepted}: {share:.1%} [{low:.1%}, {high:.1%}]"),
        Column("of all runs", "{share_of_all:.1%}"),
        Column("beats gold: share, mean bp", "{beats_gold:.0%}, {beats_gold_bps:+.2f}"),
        Column("beats random", "{beats_random:.0%}, {beats_random_bps:+.2f}"),
        Column("beats all-hold", "{beats_all_hold:.0%}, {beats_all_hold_bps:+.2f}"),
        Column("tuning adds", "{tuning_adds:.0%}, {tuning_adds_bps:+.2f}"),
    ]
    title = "The whole procedure: share of runs whose skill is accepted, and each verdict by itself"
    return Table("acceptance", title, columns, shares)


def _trial_table(tested: Sequence[dict[str, Any]]) -> Table:
    columns = [
        Column("returns", "{family}"),
        Column("sessions", "{n_sessions}"),
        Column("verdict", "{verdict}"),
        Column("accepted", "{accepted} of {n_trials}"),
        Column("share [95 %]", "{share:.1%} [{low:.1%}, {high:.1%}]"),
    ]
    return Table("trials", "The test alone, where no difference exists", columns, tested)


def _unjudged_table(runs: Sequence[Mapping[str, Any]]) -> list[Table]:
    rows = [run for run in runs if not run["judged"]]
    if not rows:
        return []
    columns = [
        Column("market", "{sample}"),
        Column("run seed", "{seed}"),
        Column("gold over-holds", "{gold_over_holds}"),
        Column("why it was not judged", "{reason}"),
    ]
    return [Table("not_judged", "Runs that were not judged", columns, rows)]


def _row(shares: Sequence[dict[str, Any]], arm: str, reading: str, sessions: str) -> dict[str, Any] | None:
    for row in shares:
        if (row["arm"], row["reading"], row["sessions"]) == (arm, reading, sessions):
            return row
    return None


def _text(
    runs: Sequence[Mapping[str, Any]],
    shares: Sequence[dict[str, Any]],
    tested: Sequence[dict[str, Any]],
    curse: Sequence[tuple[float, float]],
    size: Size,
) -> str:
    judged = [run for run in runs if run["judged"]]
    first = judged[0] if judged else {}
    refused = sum(not run.get("gold_over_holds", False) for run in judged)
    whole = sum(run["cycles"] == CYCLES for run in judged)
    made = small_settings("noise", 0, size)
    units = " x ".join(str(width) for width in made.gold.hidden)
    points = made.control.points
    paragraphs = [
        f"Each run has a market and a seed of its own and is led through the product's own procedure: gold "
        f"({size.gold_steps:,} steps, {units} units, bars of {made.market.interval_minutes} minutes, "
        f"{SAMPLE_RANGES['train'].replace(':', ' to ')}), {CYCLES} cycles of {size.passes_per_cycle} passes "
        "over the training sessions of the tuning range alone (nothing is rehearsed, unlike the default), on "
        f"all actions and without early stop, selection on {first.get('n_select', 0)} sessions, final gate "
        f"on {first.get('n_unseen', 0):,} unseen ones, sampled, set points {points.hold_rate_ratio:.0%} and "
        f"{points.trades_per_session:g} trades. {len(judged)} of {len(runs)} runs were judged; all {CYCLES} "
        f"cycles ran in {whole} (drift ends a run early). {refused} of the judged runs began from a gold "
        "that does not quite over-hold on its own test sessions; the product says so and tunes it all the "
        f"same. Skill is accepted where all {len(SKILL_NAMES)} of {', '.join(SKILL_NAMES)} pass; a run is "
        "accepted where behaviour and safety hold too.",
        "**Net and gross.** A net gate on noise is no fair coin: a policy that trades less saves costs and "
        "is truly better, so a single verdict may pass often and rightly. Two true nulls stand beside it: "
        "the same candidates judged on returns with their costs added back, and the whole procedure repeated "
        "in markets where trading is free.",
        _verdict_words(shares),
        _curse_words(shares, curse),
        f"**The test alone.** Fat-tailed pairs (Student's t with {DEGREES:g} degrees of freedom that share "
        f"{COMMON:.0%} of their variance), without and with an autocorrelation of {LAG_ONE:g}, and random "
        f"networks of {' x '.join(map(str, HIDDEN))} units against each other on noise markets without costs "
        f"({TRIALS_PER_MARKET} trials a market, so those are not quite independent), through the gate's own "
        f"verdicts with {N_RESAMPLES:,} resamples. One verdict is nominally {NOMINAL:.1%} (two-sided 95 %). "
        f"{_single_words(tested)} {_joint_words(tested)}",
    ]
    return "\n\n".join(paragraph for paragraph in paragraphs if paragraph)


def _single_words(tested: Sequence[Mapping[str, Any]]) -> str:
    """Say where a single verdict accepts more than it nominally should, beyond chance."""
    single = [row for row in tested if row["verdict"] != SKILL]
    over = [row for row in single if row["low"] > NOMINAL]
    if not over:
        return "No share of a single verdict lies above that with its whole exact interval."
    places = dict.fromkeys(f"{row['family']} at {row['n_sessions']:,} sessions" for row in over)
    return f"{len(over)} of {len(single)} shares lie above it with their whole interval: {', '.join(places)}."


def _verdict_words(shares: Sequence[dict[str, Any]]) -> str:
    noise, planted = _row(shares, "noise", "net", "unseen"), _row(shares, "planted", "net", "unseen")
    if noise is None or planted is None or noise["share"] is None or planted["share"] is None:
        return ""
    words = (
        f"On noise, net, {noise['accepted']} of {noise['n_judged']} runs show skill ({_interval(noise)}); "
        f'"better than gold" alone would have passed {noise["beats_gold"]:.0%}. On planted markets of the '
        f"sample strength the same small procedure accepts {planted['accepted']} of {planted['n_judged']} "
        f"({_interval(planted)})"
    )
    hard = _row(shares, "hard", "net", "unseen")
    if hard is not None and hard["share"] is not None:
        words += (
            f", on planted-hard, whose signal is {_hard_strength_ratio():.0%} as strong, {hard['accepted']} "
            f"of {hard['n_judged']} ({_interval(hard)})"
        )
    return words + "."


def _hard_strength_ratio() -> float:
    hard, usual = PLANTED_HARD.planted, PLANTED.planted
    if hard is None or usual is None:
        raise ValueError("a planted market has no planted signal")
    return hard.strength / usual.strength


def _curse_words(shares: Sequence[dict[str, Any]], curse: Sequence[tuple[float, float]]) -> str:
    seen, unseen = _row(shares, "noise", "gross", "select"), _row(shares, "noise", "gross", "unseen")
    if seen is None or unseen is None or not curse or seen["share"] is None or unseen["share"] is None:
        return ""
    better = fmean(select > 0 for select, _ in curse)
    return (
        f"**Why unseen sessions decide.** On the sessions that selected it, the winner stands "
        f"{fmean(select for select, _ in curse):+.2f} bp a session above gold under the same tilt, and above "
        f"it in {better:.0%} of the runs on noise; on unseen sessions "
        f"{fmean(unseen for _, unseen in curse):+.2f} bp. Gross, the selecting sessions would have accepted "
        f"tuning_adds in {seen['tuning_adds']:.0%} of the runs (unseen {unseen['tuning_adds']:.0%}), "
        f"beats_random in {seen['beats_random']:.0%} ({unseen['beats_random']:.0%}), beats_gold in "
        f"{seen['beats_gold']:.0%} ({unseen['beats_gold']:.0%}) and skill in {seen['share']:.1%} "
        f"({unseen['share']:.1%}).{_together_words(seen)}"
    )


def _together_words(seen: Mapping[str, Any]) -> str:
    """Say what holds the share of all verdicts together down, where it lies below each of them."""
    if seen["share"] >= min(seen[name] for name in SKILL_NAMES):
        return ""
    return (
        f" That {len(SKILL_NAMES)} intervals must lie above 0 at once on so few sessions holds the last "
        "figure down; it is no sign of fairness."
    )


def _joint_words(tested: Sequence[dict[str, Any]]) -> str:
    joint = [row for row in tested if row["verdict"] == SKILL]
    worst = max(joint, key=lambda row: row["share"])
    return (
        f"All three together accept at most {worst['share']:.1%} ({worst['family']}, "
        f"{worst['n_sessions']} sessions)."
    )
