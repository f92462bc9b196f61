"""The page of a run: one offline file, and the words that page and terminal share.

Every number comes from the summary. Fractions become percent here and nowhere before; what the summary
does not hold is named as missing, with the reason, and never filled in.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

ROWS_SHOWN = 20
# Verdicts whose observed value is a fraction; the others count, or measure bp of NAV per session.
FRACTIONS = {
    "hold_rate": 1,
    "session_trades_band": 1,
    "intraday_drawdown": 1,
    "parameter_drift": 1,
    "drawdown": 2,
    "gold_over_holds": 1,
    "sign_self_test": 1,
}
BASIS_POINTS = ("beats_gold", "beats_random", "beats_all_hold", "tuning_adds")
UNITS = {
    "trades_per_session": "trades",
    "gold_trades_little": "trades",
    "shadow_replay": "broken",
    "integrity": "changed",
    "skill_proven": "passed",
    "out_of_sample": "seen",
}
# Ratios that are no share of anything, and have no unit.
PLAIN = ("sharpe",)
GROUP_WORDS = {
    "behaviour": "Behaviour",
    "safety": "Safety",
    "skill": "Skill",
    "information": "Information",
}
POLICY_NOTES = {
    "candidate": "what this run made",
    "gold": "the baseline it started from",
    "tilted_gold": "gold, tilted to the same set points",
    "random": "random at equal turnover",
    "all_hold": "never trades",
    "buy_and_hold": "one unit long all session",
    "oracle": "knows the planted process",
}
IN_LOGITS = ("hold_bound", "trade_lowest", "trade_highest", "log_probability_floor")
RANGE_WORDS = {
    "rehearsed": "weights change here too",
    "train": "weights change here",
    "select": "judges every cycle",
    "shadow": "shadow replay",
    "test": "read once in this run, by the final gate",
}


@dataclass(frozen=True)
class Outcome:
    """What happened, for the top of every output.

    Attributes:
        word: ``ACCEPTED``, ``ACCEPTED WITHOUT PROVEN SKILL`` or ``REFUSED``.
        tone: ``good``, ``warn`` or ``bad``.
        sentence: The same in one sentence.
        failed: Name and reason of each verdict that stands against it.
    """

    word: str
    tone: str
    sentence: str
    failed: tuple[tuple[str, str], ...]


def summary_page(summary: dict[str, Any]) -> str:
    """Return the page of a tuning run as one HTML file without scripts or outside references.

    Args:
        summary: What ``tune_summary`` returns, with the series for the pictures.

    Raises:
        KeyError: If the summary lacks a part that every run has.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    from stairways.reporting.drawing import PALETTE
    from stairways.reporting.multiple_testing import multiple_testing_lines
    from stairways.reporting.pictures import all_pictures

    pictures = {picture.name: picture for picture in all_pictures(summary)}
    environment = Environment(
        loader=PackageLoader("stairways.reporting", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["drawing"] = Markup
    environment.filters["minus"] = lambda text: re.sub(r"(?<![\w-])-(?=\d)", "\N{MINUS SIGN}", str(text))
    return environment.get_template("summary.html.j2").render(
        outcome=outcome(summary),
        data=_data(summary["data"]),
        facts=_facts(summary),
        groups=verdict_groups(summary["verdicts"], summary["required"]),
        policies=_policies(summary),
        pairs=_pairs(summary),
        cycles=[_cycle(cycle, summary) for cycle in summary.get("cycles") or []],
        choice=multiple_testing_lines(summary["multiple_testing"]),
        control=_control(summary["control"]),
        run=_run(summary),
        looks=summary["run"].get("looks"),
        pictures=pictures,
        palette={role.replace("_", "-"): pair for role, pair in PALETTE.items()},
    )


def outcome(summary: Mapping[str, Any]) -> Outcome:
    """Say what happened; a run whose required verdicts did not all pass counts as refused."""
    n = f"{summary['candidate']['n_sessions']:,} unseen sessions"
    against = failures(summary["verdicts"], summary["required"])
    if against or not summary["run"]["accepted"]:
        names = _listed([words_of(name) for name, _ in against]) or "the gate gives no reason"
        count = f"{len(against)} of {len(summary['required'])} required verdicts did not pass"
        return Outcome("REFUSED", "bad", f"Refused: {count} on {n}: {names}.", against)
    if not summary["run"]["skill_proven"]:
        lacking = [v for v in summary["verdicts"] if v["group"] == "skill" and not v["passed"]]
        names = _listed([words_of(v["name"]) for v in lacking])
        sentence = f"Accepted WITHOUT PROVEN SKILL: in its bands and safe on {n}" + (
            f"; not shown: {names}." if names else "."
        )
        sentence += tuning_share(summary["verdicts"])
        reasons = tuple((v["name"], v["reason"]) for v in lacking)
        return Outcome("ACCEPTED WITHOUT PROVEN SKILL", "warn", sentence, reasons)
    sentence = f"Accepted: in its bands, safe and with proven skill on {n}."
    return Outcome("ACCEPTED", "good", sentence + tuning_share(summary["verdicts"]), ())


def tuning_share(verdicts: Sequence[Mapping[str, Any]]) -> str:
    """Say, behind an acceptance, that the tuning itself is not shown to add anything; empty where it is."""
    adds = next((verdict for verdict in verdicts if verdict["name"] == "tuning_adds"), None)
    if adds is None or adds["passed"]:
        return ""
    if adds["interval"] is None:
        return " What tuning itself adds was not measured: the tilt or gold may carry the result."
    low, high = adds["interval"]
    measured = f"({interval_text('tuning_adds', (low, high))} bp against gold tilted to the same set points)"
    if high < 0.0:
        return f" Tuning itself took away {measured}: the tilt or gold carries the result."
    return f" What tuning itself adds is not shown {measured}: the tilt or gold may carry the result."


def failures(verdicts: Sequence[Mapping[str, Any]], required: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Return name and reason of each required verdict that is missing or did not pass."""
    given = {verdict["name"]: verdict for verdict in verdicts}
    return tuple(
        (name, given[name]["reason"] if name in given else "was never judged")
        for name in required
        if name not in given or not given[name]["passed"]
    )


def verdict_groups(verdicts: Sequence[Mapping[str, Any]], required: Sequence[str]) -> list[dict[str, Any]]:
    """Return the verdicts by group, a required one that was never judged included, ready to show."""
    given = {verdict["name"] for verdict in verdicts}
    rows = [_verdict(verdict, required) for verdict in verdicts]
    rows += [_never_judged(name) for name in required if name not in given]
    groups = []
    for name in dict.fromkeys([*GROUP_WORDS, *(row["group"] for row in rows)]):
        members = [row for row in rows if row["group"] == name]
        if members:
            count = f"{sum(row['passed'] for row in members)} of {len(members)} passed"
            asked = any(row["required"] for row in members)
            title = GROUP_WORDS.get(name, words_of(name).capitalize())
            groups.append(
                {"title": title, "rows": members, "note": count if asked else f"{count}; does not gate"}
            )
    return groups


def _verdict(verdict: Mapping[str, Any], required: Sequence[str]) -> dict[str, Any]:
    asked = not required or verdict["name"] in required
    word, tone = ("passed", "good") if verdict["passed"] else ("FAILED", "bad")
    if not asked:
        word, tone = ("yes", "plain") if verdict["passed"] else ("no", "plain")
    interval = verdict["interval"]
    return {
        "name": verdict["name"],
        "group": str(verdict["group"]),
        "passed": verdict["passed"],
        "required": asked,
        "word": word,
        "tone": tone,
        "observed": observed_text(verdict["name"], verdict["observed"]),
        "interval": "" if interval is None else interval_text(verdict["name"], interval),
        "threshold": threshold_text(verdict["name"], verdict["threshold"]),
        "n": f"{verdict['n']:,}",
        "reason": verdict["reason"],
    }


def _never_judged(name: str) -> dict[str, Any]:
    lacking = {"name": name, "passed": False, "observed": None, "threshold": "a verdict", "n": 0}
    return _verdict({**lacking, "group": "missing", "reason": "was never judged", "interval": None}, [name])


def observed_text(name: str, value: float | None) -> str:
    """Return what a verdict observed, with its unit."""
    if value is None:
        return "not measured"
    if name in FRACTIONS:
        return percent(value, FRACTIONS[name])
    if name in BASIS_POINTS:
        return f"{number(value, 2, sign=True)} bp"
    if name in UNITS:
        return f"{number(value, 2 if UNITS[name] == 'trades' else 0)} {UNITS[name]}"
    if name in PLAIN:
        return number(value)
    return f"{value:.4g}" if math.isfinite(value) else "not finite"


def interval_text(name: str, interval: Sequence[float]) -> str:
    """Return the interval of what a verdict observed."""
    low, high = interval
    if name in FRACTIONS:
        return f"{number(100 * low, 1)} to {percent(high)}"
    sign = name in BASIS_POINTS
    return f"{number(low, 2, sign=sign)} to {number(high, 2, sign=sign)}"


def threshold_text(name: str, threshold: str) -> str:
    """Return a threshold with its fractions as percent, tolerances as points."""
    if name not in FRACTIONS and name != "shadow_replay":
        return threshold

    def shown(found: re.Match[str]) -> str:
        digits = max(0, len(found["decimals"]) - 2)
        unit = " points" if found["tolerance"] else "%"
        return f"{found['tolerance'] or ''}{100 * float(found['value']):.{digits}f}{unit}"

    pattern = r"(?P<tolerance>± )?(?<![\d.])(?P<value>[01]\.(?P<decimals>\d+))(?![\d.%])(?! (?:bp|logits))"
    return re.sub(pattern, shown, threshold)


def percent(ratio: float | None, digits: int = 1, *, sign: bool = False) -> str:
    """Return a fraction as percent."""
    return "none" if ratio is None else f"{number(100.0 * ratio, digits, sign=sign)}%"


def number(value: float | None, digits: int = 2, *, sign: bool = False) -> str:
    """Return a number with fixed decimals and never a negative zero; what is not finite is named so."""
    if value is None:
        return "none"
    if not math.isfinite(value):
        return "not finite"
    rounded = round(value, digits) + 0.0
    return f"{rounded:+,.{digits}f}" if sign and rounded != 0.0 else f"{rounded:,.{digits}f}"


def probability(value: float | None) -> str:
    """Return a probability as percent; one that rounds to 0 or 1 as a bound."""
    if value is None:
        return "none"
    if value > 0.999:
        return ">99.9%"
    return "<0.1%" if value < 0.001 else percent(value)


def sharpe_text(metrics: Mapping[str, Any]) -> str:
    """Return a Sharpe ratio with its standard error, or why there is none."""
    if metrics["sharpe"] is None or metrics["sharpe_standard_error"] is None:
        return no_sharpe(metrics["n_sessions"])
    return f"{number(metrics['sharpe'])} ± {number(metrics['sharpe_standard_error'])}"


def no_sharpe(n_sessions: int) -> str:
    """Say why there is no Sharpe ratio."""
    from stairways.trading.sharpe import MIN_SHARPE_SESSIONS

    return "not enough sessions" if n_sessions < MIN_SHARPE_SESSIONS else "no variance"


def named_policies(summary: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the metrics of every policy in the order in which they are shown."""
    every = {name: summary.get(name) for name in ("policy", "candidate", "gold")}
    found = {name: metrics for name, metrics in every.items() if metrics is not None}
    found |= summary.get("baselines", {})
    known = [name for name in POLICY_NOTES if name in found]
    return {name: found[name] for name in dict.fromkeys([*known, *found])}


def chosen_words(summary: Mapping[str, Any]) -> str:
    """Return which cycle the candidate is, and that it is the least bad one where none became the best."""
    cycles, chosen = summary.get("cycles") or [], summary["run"].get("cycle")
    lacking = least_bad(summary)
    return f"cycle {chosen} of {len(cycles)}, {lacking or 'the last that beat the best before it'}"


def least_bad(summary: Mapping[str, Any]) -> str:
    """Say that the chosen cycle is only the least bad one; empty where a cycle became the best so far."""
    cycles = summary.get("cycles") or []
    if not cycles or any(cycle["improved"] for cycle in cycles):
        return ""
    only_better = any(cycle["improvement"]["improved"] for cycle in cycles)
    return f"least bad: no cycle beat gold{' in band and safe' if only_better else ''}"


def best_words(cycle: int) -> str:
    """Return what a cycle was measured against: a cycle before it, or gold as it is."""
    return f"cycle {cycle}" if cycle else "untilted gold"


def words_of(name: str) -> str:
    """Return an identifier as words."""
    return name.replace("_", " ")


def _listed(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)


def _facts(summary: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return the four figures that stand at the top, each with what it is measured against."""
    ours, gold, gate = summary["candidate"], summary["gold"], summary["gate"]
    low, high = gate["trades_band"]
    target = f"{percent(gate['hold_target_ratio'], 0)} ± {100 * gate['hold_tolerance_ratio']:g} points"
    proof = ours["probabilistic_sharpe"]
    true_sharpe = "" if proof is None else f"P(true > 0) {probability(proof)}, "
    return [
        {
            "name": "Hold rate",
            "value": percent(ours["hold_rate_ratio"]),
            "note": f"band of the mean {target}; gold {percent(gold['hold_rate_ratio'])}",
        },
        {
            "name": "Trades per session",
            "value": number(ours["trades_per_session"]),
            "note": f"band of the mean {low:g} to {high:g}; gold {number(gold['trades_per_session'])}",
        },
        {
            "name": "Net result, bp of NAV per session",
            "value": number(ours["mean_net_bps"], sign=True),
            "note": f"95% {_between(ours['mean_net_bps_interval'], 2, sign=True)}; "
            f"gold {number(gold['mean_net_bps'], sign=True)}",
        },
        {
            "name": "Sharpe ratio, annual",
            "value": sharpe_text(ours),
            "note": f"{true_sharpe}n = {ours['n_sessions']:,}; gold {sharpe_text(gold)}",
        },
    ]


def _between(interval: Sequence[float] | None, digits: int, *, scale: float = 1.0, sign: bool = False) -> str:
    if interval is None:
        return "no interval with 1 session"
    return " to ".join(number(scale * end, digits, sign=sign) for end in interval)


def _policies(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    from stairways.reporting.drawing import PALETTE

    rows = []
    for name, metrics in named_policies(summary).items():
        proof = metrics["probabilistic_sharpe"]
        true = "" if proof is None else f", P {probability(proof)}"
        rows.append(
            {
                "name": words_of(name),
                "role": name.replace("_", "-") if name in PALETTE else "ink",
                "note": POLICY_NOTES.get(name, ""),
                "mode": metrics["mode"],
                "cells": (
                    (percent(metrics["hold_rate_ratio"]),
                     _between(metrics["hold_rate_interval"], 1, scale=100)),
                    (percent(metrics["chance_hold_rate_ratio"]), ""),
                    (number(metrics["trades_per_session"]), _between(metrics["trades_interval"], 2)),
                    (sharpe_text(metrics),
                     f"n = {metrics['n_sessions']:,}{true}"),
                    (number(metrics["mean_net_bps"], sign=True),
                     _between(metrics["mean_net_bps_interval"], 2, sign=True)),
                    (percent(metrics["net_return_ratio"], sign=True), ""),
                    (number(metrics["costs_bps"]), f"turnover {percent(metrics['turnover_ratio'], 0)}"),
                    (percent(metrics["max_drawdown_ratio"], 2),
                     f"{percent(metrics['max_intraday_drawdown_ratio'], 2)} intraday"),
                ),
            }
        )  # fmt: skip
    return rows


def _pairs(summary: Mapping[str, Any]) -> list[dict[str, str]]:
    return [
        {
            "name": words_of(name),
            "difference": number(pair["mean_difference_bps"], sign=True),
            "error": number(pair["standard_error_bps"]),
            "interval": _between(pair["interval_bps"], 2, sign=True),
            "confidence": f"{pair['confidence']:.0%}",
            "positive": probability(pair["probability_positive"]),
            "n": f"{pair['n_sessions']:,}",
            "block": number(pair["block_length_sessions"], 1),
            "correlation": "none" if pair["correlation"] is None else number(pair["correlation"]),
        }
        for name, pair in (summary.get("comparisons") or {}).items()
    ]


def _cycle(cycle: Mapping[str, Any], summary: Mapping[str, Any]) -> dict[str, Any]:
    select, drift, better = cycle["select"], cycle["drift"], cycle["improvement"]
    failed = [v["name"] for v in cycle["verdicts"] if not v["passed"] and v["name"] != "parameter_drift"]
    shadow = next((v for v in cycle["verdicts"] if v["name"] == "shadow_replay"), None)
    distance = better["difference_in_standard_errors"]
    errors = "no number" if distance is None else f"{number(distance, sign=True)} SE"
    rolling = cycle.get("rolling_100_episode_sharpe")
    share = cycle.get("rolling_share_of_cycle")
    results = ", ".join(number(value, 1, sign=True) for value in cycle["shadow"]["returns_bps"])
    return {
        "number": cycle["cycle"],
        "steps": f"{cycle['steps']:,} steps",
        "chosen": cycle["cycle"] == summary["run"].get("cycle"),
        "least_bad": least_bad(summary).partition(": ")[2],
        "cells": (
            (percent(select["hold_rate_ratio"]), _between(select["hold_rate_interval"], 1, scale=100)),
            (number(select["trades_per_session"]), _between(select["trades_interval"], 2)),
            (number(select["mean_net_bps"], sign=True),
             _between(select["mean_net_bps_interval"], 1, sign=True)),
            (errors, f"{_improvement_words(cycle)} (against {_against(cycle, summary)})"),
            (percent(drift["relative"]), f"limit {percent(drift['threshold'], 0)}"),
            (f"{drift['mean_kl']:.1e}", percent(drift["equal_greedy_share"])),
            ("passed" if cycle["gate_passed"] else "FAILED", _listed([words_of(n) for n in failed])),
            ("not run" if shadow is None else "passed" if shadow["passed"] else "FAILED", f"{results} bp"),
            (f"{cycle['training'][-1]['learning_rate']:.1e}", ""),
            ("none" if rolling is None else number(rolling),
             "" if share is None else percent(share, 0)),
        ),
    }  # fmt: skip


def _improvement_words(cycle: Mapping[str, Any]) -> str:
    if cycle["improved"]:
        return "improved"
    better = cycle["improvement"]
    if not better["improved"]:
        return str(better["reason"])
    return "not kept: drift over its limit" if cycle["gate_passed"] else "not kept: out of band or not safe"


def _against(cycle: Mapping[str, Any], summary: Mapping[str, Any]) -> str:
    before = [one["cycle"] for one in summary["cycles"] if one["improved"] and one["cycle"] < cycle["cycle"]]
    return best_words(max(before, default=0))


def _control(control: Mapping[str, Any]) -> dict[str, Any]:
    points, actuator = control["points"], control["actuator"]
    preflight = control.get("preflight") or {}
    text = preflight.get("text") or "this summary holds no authority report"
    target = percent(points["hold_rate_ratio"])
    if points["hold_mode"] == "regime":
        slope = number(100 * points["regime_slope_ratio"], 1, sign=True)
        target += (
            f" {slope} points per unit of regime score, within {percent(points['lowest_hold_rate_ratio'], 0)}"
            f" to {percent(points['highest_hold_rate_ratio'], 0)}"
        )
    rows = [
        ("Target hold rate", f"{target} ({points['hold_mode']})"),
        ("Target trades", f"{points['trades_per_session']:g} per full session, pro rata on half days"),
        ("Actuator", str(actuator["kind"])),
        ("Deployment mode", str(control["mode"])),
        *(
            (words_of(name).capitalize(), _setting(name, value))
            for name, value in actuator.items()
            if name != "kind"
        ),
    ]
    return {
        "rows": rows,
        "authority": preflight.get("authority"),
        "text": f"{text[0].upper()}{text[1:]}",
        "verdicts": [_verdict(verdict, ()) for verdict in preflight.get("verdicts", ())],
    }


def _setting(name: str, value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{words_of(key)} {item}" for key, item in value.items())
    return f"{value} logits" if name in IN_LOGITS else str(value)


def _data(data: Mapping[str, Any]) -> dict[str, Any]:
    folder = data.get("folder")
    rows = [
        ("Source", data["source"]),
        *([("Folder", str(folder))] if folder else []),
        ("Symbols", ", ".join(data["symbols"])),
        ("Bars", f"{data['interval_minutes']} min"),
        ("Sessions loaded", f"{data['n_sessions']:,}"),
        ("Neutral regime", f"{percent(data['neutral_regime_ratio'])} of decisions on the unseen sessions"),
        ("Digest", data["digest"]),
    ]
    ranges = [
        {"name": name, "note": RANGE_WORDS.get(name, ""), **part, "n_sessions": f"{part['n_sessions']:,}"}
        for name, part in data["ranges"].items()
    ]
    quality = data.get("quality")
    return {
        "synthetic": data["synthetic"],
        "source": data["source"],
        "rows": rows,
        "ranges": ranges,
        "quality": None if quality is None else _quality(quality),
        "no_quality": "the bars were made, not loaded" if data["synthetic"] else "the load gave none",
    }


def _quality(quality: Mapping[str, Any]) -> dict[str, Any]:
    dropped = quality["dropped"]
    counts = {
        "Sessions kept": f"{quality['sessions']:,}, {quality['first']} to {quality['last']}",
        "Sessions dropped": f"{len({entry['date'] for entry in dropped}):,}",
        "Half days": f"{len(quality['half_days']):,}",
        "Segments": f"{len(quality['segments']):,}",
        "Rows of absent sessions": f"{len(quality['absent']):,}",
        "Split table rows": f"{len(quality['splits']):,}",
        "Files": f"{len(quality['files']):,} used, {len(quality['files_unused']):,} unused",
    }
    return {
        "rows": list(counts.items()),
        "symbols": quality["per_symbol"],
        "dropped": dropped[:ROWS_SHOWN],
        "more": max(0, len(dropped) - ROWS_SHOWN),
    }


def _run(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    run = summary["run"]
    shown: dict[str, Callable[[Any], str]] = {
        "wall_seconds": lambda value: f"{value:,.1f} s",
        "steps": lambda value: f"{value:,}",
        "candidate_steps": lambda value: f"{value:,}",
        "command": lambda value: f"stairways {value}",
        "cycle": lambda _: chosen_words(summary).removeprefix("cycle "),
        "warm_start_max_probability_difference": lambda value: f"{value:.1e} at most, to gold",
    }
    renamed = {
        "cycle": "candidate's cycle",
        "warm_start_max_probability_difference": "warm start",
        "looks": "looks at the test range",
    }
    rows = []
    for name, value in run.items():
        text = ("yes" if value else "no") if isinstance(value, bool) else shown.get(name, str)(value)
        rows.append((renamed.get(name, words_of(name)).capitalize(), text))
    return rows
