"""Run the experiments behind docs/experiments.md with the product's own commands, and write the page.

    python tools/experiments.py run [NAME ...]    run what is not there yet, two processes at a time
    python tools/experiments.py write             write docs/experiments.md from the run folders

Bars are read from --bars DIR; experiments that need them are left out, and said so, where it is absent.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RUNS = Path("runs/experiments")
PAGE = ROOT / "docs" / "experiments.md"
STAIRWAYS = Path(sys.executable).parent / "stairways"


@dataclass(frozen=True)
class Job:
    """One command and the folder it fills."""

    name: str
    out: Path
    arguments: tuple[str, ...]

    @property
    def command(self) -> str:
        """The command as a person would type it."""
        return "stairways " + shlex.join([*self.arguments, "--out", str(self.out)])

    @property
    def done(self) -> bool:
        """Whether its result is there."""
        return any((ROOT / self.out / name).exists() for name in ("summary.json", "record.json"))


def jobs(bars: Path) -> dict[str, list[Job]]:
    """Return every experiment's commands, in the order they must run."""
    real5 = ("--bars", str(bars), "--symbols", "NVDA,MSFT", "--interval", "5min")
    real1 = ("--bars", str(bars), "--symbols", "NVDA,SPY", "--interval", "1min")
    tune5 = (*real5, "--tune", "2025-05-12:2025-07-31", "--test", "2025-08-01:2025-12-31")
    tune1 = (*real1, "--tune", "2025-11-01:2025-11-28", "--test", "2025-11-29:2025-12-24")
    gold5 = RUNS / "real5" / "gold"
    gold1 = RUNS / "real1" / "gold"
    lstm = RUNS / "lstm" / "gold"

    def job(name: str, folder: str, *arguments: str) -> Job:
        return Job(name, RUNS / folder, arguments)

    return {
        "gold": [job("gold", f"gold/{s}", "gold", "train", "--seed", str(s)) for s in (1, 2, 3, 4)],
        "sample": [job("sample", f"sample/{s}", "tune", "--seed", str(s)) for s in range(10)],
        "noise": [
            job(
                "noise",
                f"noise/{s}",
                *("tune", "--sample", f"noise:{s}", "--seed", str(s)),
                *("--config", "tools/all_cycles.yml"),
            )
            for s in range(4)
        ],
        "second": [
            job("second", f"second/{s}", "tune", "--sample", "planted:2", "--seed", str(s)) for s in range(3)
        ],
        "ppo": [job("ppo", f"ppo/{s}", "tune", "--algorithm", "ppo", "--seed", str(s)) for s in range(3)],
        "plan": [job("plan", "plan/0", "tune", "--preset", "plan", "--seed", "0")],
        "reward": [job("reward", "reward/0", "tune", "--actuator", "reward", "--seed", "0")],
        "greedy": [job("greedy", "greedy/0", "tune", "--mode", "greedy", "--seed", "0")],
        "real5": [
            job(
                "real5",
                "real5/gold",
                *("gold", "train", *real5, "--seed", "1"),
                *("--train", "2022-02-02:2022-11-22", "--test", "2022-11-25:2023-01-05"),
            ),
            *(
                job("real5", f"real5/{s}", "tune", "--gold", str(gold5), *tune5, "--seed", str(s))
                for s in range(5)
            ),
        ],
        "real1": [
            job(
                "real1",
                "real1/gold",
                *("gold", "train", *real1, "--seed", "1"),
                *("--train", "2025-09-15:2025-10-31", "--test", "2025-11-01:2025-11-28"),
            ),
            *(
                job("real1", f"real1/{s}", "tune", "--gold", str(gold1), *tune1, "--seed", str(s))
                for s in range(3)
            ),
        ],
        "lstm": [
            job("lstm", "lstm/gold", "gold", "train", "--policy", "lstm", "--seed", "1"),
            job("lstm", "lstm/0", "tune", "--gold", str(lstm), "--seed", "0"),
        ],
    }


def run_all(chosen: list[str], bars: Path) -> None:
    """Run what is not there yet; the first command of an experiment that others need runs first."""
    every = jobs(bars)
    for name in chosen or list(every):
        if name.startswith("real") and not bars.is_dir():
            print(f"{name}: left out, no bars at {bars}")
            continue
        todo = [job for job in every[name] if not job.done]
        first = [job for job in todo if "train" in job.arguments and name != "gold"]
        for job in first:
            run_one(job)
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(run_one, [job for job in todo if job not in first]))


def run_one(job: Job) -> None:
    """Run one command and say how it ended; a refusal is a result."""
    command = [str(STAIRWAYS), *job.arguments, "--out", str(job.out)]
    if "tune" in job.arguments[:1] and (ROOT / job.out / "run.json").exists():
        command.append("--resume")
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    print(f"{job.name} {job.out.name}: exit {ended.returncode} {ended.stderr.strip()[-300:]}", flush=True)


def load(job: Job) -> dict[str, Any] | None:
    """Return a run's summary, or a gold's record."""
    for name in ("summary.json", "record.json"):
        path = ROOT / job.out / name
        if path.exists():
            content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return content
    return None


def codes(done: list[Job]) -> list[str]:
    """Return the digests of the code that runs were made by, the first twelve digits; one, if all is well."""
    states = [json.loads((ROOT / job.out / "run.json").read_text(encoding="utf-8")) for job in done]
    return sorted({str(state.get("code", "not noted"))[:12] for state in states})


def number(value: float | None, digits: int = 2) -> str:
    """Return a figure, or a dash where there is none."""
    return "-" if value is None else f"{value:.{digits}f}"


def verdict(summary: dict[str, Any], name: str) -> dict[str, Any]:
    """Return one verdict of a summary."""
    return next(v for v in summary["verdicts"] if v["name"] == name)


def interval(pair: dict[str, Any] | None) -> str:
    """Return a paired difference with its interval."""
    if pair is None:
        return "-"
    low, high = pair["interval_bps"]
    return f"{pair['mean_difference_bps']:+.2f} [{low:+.2f}, {high:+.2f}]"


def tune_table(found: list[tuple[Job, dict[str, Any]]]) -> list[str]:
    """Return a table with one line per run."""
    lines = [
        "| run | hold rate | trades | sessions with 5-25 | sessions over 2 % | Sharpe ± SE | net bp "
        "| above gold | above random | above all-hold | tuning adds | accepted |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for job, summary in found:
        m, pairs = summary["candidate"], summary["comparisons"]
        lines.append(
            f"| {job.out.name} | {m['hold_rate_ratio']:.4f} | {m['trades_per_session']:.2f} "
            f"| {m['sessions_in_trade_band_ratio']:.1%} | {m['sessions_over_2pct_drawdown']} "
            f"| {number(m['sharpe'])} ± {number(m['sharpe_standard_error'])} | {m['mean_net_bps']:+.2f} "
            f"| {interval(pairs.get('gold'))} | {interval(pairs.get('random'))} "
            f"| {interval(pairs.get('all_hold'))} | {interval(pairs.get('tilted_gold'))} "
            f"| {'yes' if summary['run']['accepted'] else 'no'} |"
        )
    return lines


def policy_table(summary: dict[str, Any]) -> list[str]:
    """Return a table with one line per policy of one run."""
    lines = [
        "| policy | hold rate (chance) | trades | Sharpe ± SE | net bp [95 %] | costs bp | largest intraday drawdown | turnover |",
        "|---|---|---|---|---|---|---|---|",
    ]
    rows = {"candidate": summary["candidate"], "gold": summary["gold"], **summary["baselines"]}
    for name, m in rows.items():
        low, high = m["mean_net_bps_interval"]
        lines.append(
            f"| {name} | {m['hold_rate_ratio']:.3f} ({m['chance_hold_rate_ratio']:.3f}) "
            f"| {m['trades_per_session']:.2f} | {number(m['sharpe'])} ± {number(m['sharpe_standard_error'])} "
            f"| {m['mean_net_bps']:+.2f} [{low:+.2f}, {high:+.2f}] | {m['costs_bps']:.2f} "
            f"| {m['max_intraday_drawdown_ratio']:.2%} | {m['turnover_ratio']:.2f} |"
        )
    return lines


def gold_table(found: list[tuple[Job, dict[str, Any]]]) -> list[str]:
    """Return a table with one line per gold."""
    lines = [
        "| seed | held-out net bp at the chosen weights | skill before over-hold: Sharpe ± SE, net bp "
        "| gold: hold rate, trades | gold: Sharpe, net bp | seconds |",
        "|---|---|---|---|---|---|",
    ]
    for _, record in found:
        before, gold = record["before_over_hold"], record["gold"]
        held = max(look["mean_net_bps"] for look in record["curve"] if look["stage"] == "learn")
        lines.append(
            f"| {record['seed']} | {held:+.2f} | {number(before['sharpe'])} ± "
            f"{number(before['sharpe_standard_error'])}, {before['mean_net_bps']:+.2f} "
            f"| {gold['hold_rate_ratio']:.3f}, {gold['trades_per_session']:.2f} "
            f"| {number(gold['sharpe'])}, {gold['mean_net_bps']:+.2f} | {record['wall_seconds']:.0f} |"
        )
    return lines


TITLES = {
    "gold": "Gold on the sample market",
    "sample": "The main job on the sample market",
    "noise": "Noise: markets without a signal, every cycle run (docs/evidence.md has more of them, smaller)",
    "ppo": "PPO in the plan's cycles on the sample market",
    "second": "A second sample market (seed 2), gold of the first",
    "plan": "The plan's controller as written",
    "reward": "The reward actuator with an integral",
    "greedy": "Greedy deployment, integral running",
    "real5": "Real bars, 5 minutes, NVDA + MSFT",
    "real1": "Real bars, 1 minute, NVDA + SPY",
    "lstm": "An LSTM gold",
}

INTRODUCTION = """# Experiments

Written by `python tools/experiments.py write` from the run folders of the commands below; no figure is
typed. Sample and noise markets are SYNTHETIC. Hold rates and trades were measured on the unseen sessions
in deployment mode (sampled unless said); the hold rate of chance is 1/9. Differences are net basis points
of NAV per session with two-sided 95 % intervals (paired stationary bootstrap, studentised). "Tuning adds"
compares the candidate with gold under the same tilt.
"""


def write_page() -> None:
    """Write docs/experiments.md from what is there."""
    parts = [INTRODUCTION]
    for name, every in jobs(Path("BARS")).items():
        found = [(job, content) for job in every if (content := load(job)) is not None]
        parts.append(f"## {TITLES[name]}\n")
        if not found:
            parts.append("Not run.\n")
            continue
        golds = [(job, content) for job, content in found if "curve" in content]
        tunes = [(job, content) for job, content in found if "candidate" in content]
        parts += [f"    {group[0][0].command}\n" for group in (golds, tunes) if group]
        if golds:
            parts.append("\n".join(gold_table(golds)) + "\n")
        if tunes:
            parts.append("\n".join(tune_table(tunes)) + "\n")
            parts.append(f"Code that makes results: {', '.join(codes([job for job, _ in tunes]))}.\n")
            parts.append(summarise(tunes))
            parts.append("\n".join(policy_table(tunes[0][1])) + "\n")
    PAGE.write_text("\n".join(parts), encoding="utf-8")


def summarise(tunes: list[tuple[Job, dict[str, Any]]]) -> str:
    """Return what the runs of an experiment say together."""
    summaries = [summary for _, summary in tunes]
    band = sum(
        verdict(s, "hold_rate")["passed"] and verdict(s, "trades_per_session")["passed"] for s in summaries
    )
    skill = sum(verdict(s, "skill_proven")["passed"] for s in summaries)
    data = summaries[0]["data"]
    test = data["ranges"]["test"]
    net = [s["candidate"]["mean_net_bps"] for s in summaries]
    adds = [s["comparisons"]["tilted_gold"]["mean_difference_bps"] for s in summaries]
    price = [s["baselines"]["tilted_gold"]["mean_net_bps"] - s["gold"]["mean_net_bps"] for s in summaries]
    costs = [s["baselines"]["tilted_gold"]["costs_bps"] - s["gold"]["costs_bps"] for s in summaries]
    lines = [
        f"In band {band} of {len(tunes)}, skill proven in {skill} of {len(tunes)}; {test['n_sessions']} unseen "
        f"sessions {test['first']} to {test['last']}; {data['neutral_regime_ratio']:.1%} of their decisions "
        f"at a neutral regime; drift {min(s['cycles'][-1]['drift']['relative'] for s in summaries):.3f} to "
        f"{max(s['cycles'][-1]['drift']['relative'] for s in summaries):.3f}; "
        f"{min(s['run']['wall_seconds'] for s in summaries):.0f} to "
        f"{max(s['run']['wall_seconds'] for s in summaries):.0f} s a run, two at a time.",
        f"Over the runs: net result {sum(net) / len(net):+.2f} bp in the mean ({min(net):+.2f} to "
        f"{max(net):+.2f}), tuning adds {sum(adds) / len(adds):+.2f} bp in the mean ({min(adds):+.2f} to "
        f"{max(adds):+.2f}). Runs share the unseen sessions, so their spread is that of tuning and of the "
        "numbers drawn for actions, not of markets.",
        f"Price of the trade budget, gold at the candidate's hold rate and trades less gold as it is: "
        f"{sum(price) / len(price):+.2f} bp net per session in the mean ({min(price):+.2f} to {max(price):+.2f}), "
        f"of which costs {-sum(costs) / len(costs):+.2f} bp.",
        summaries[0]["control"]["preflight"]["text"][:1].upper()
        + summaries[0]["control"]["preflight"]["text"][1:]
        + ".",
        "Policies of the first run:",
    ]
    return "\n\n".join(lines) + "\n"


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("action", choices=["run", "write"])
    parser.add_argument("names", nargs="*", help="experiments; all by default")
    parser.add_argument("--bars", type=Path, default=ROOT.parent / "shared" / "data")
    arguments = parser.parse_args()
    if arguments.action == "run":
        run_all(arguments.names, arguments.bars)
    write_page()


if __name__ == "__main__":
    main()
