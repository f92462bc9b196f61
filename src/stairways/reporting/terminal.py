"""The terminal: a run while it goes, and what came of it.

On a terminal one bar follows the present stage; anywhere else plain lines come out, without control
characters. Every judgement is a word, and a colour only beside it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

from stairways.reporting.page import (
    best_words,
    chosen_words,
    failures,
    named_policies,
    number,
    observed_text,
    outcome,
    percent,
    probability,
    sharpe_text,
    threshold_text,
    tuning_share,
    words_of,
)
from stairways.reporting.tables import print_path, print_table, table_of

if TYPE_CHECKING:
    from types import TracebackType

    from rich.console import Console
    from rich.progress import Progress, TaskID
    from rich.table import Table

    from stairways.evaluation.gate_config import GateConfig
    from stairways.evaluation.verdicts import Verdict
    from stairways.learning.reports import RolloutReport

HEARTBEAT_SECONDS = 10.0
CURVE_ROWS = 14
STYLES = {"good": "green", "warn": "yellow", "bad": "red", "plain": "dim"}
PAGE_NAME = "summary.html"
NOT_JUDGED = "not judged"
NEVER_CUT = frozenset({"checkpoint.damaged"})
"""Events whose line goes on in the next one where a terminal is too narrow."""


# Columns of words give way first; a number is never cut.
@dataclass(frozen=True)
class Bands:
    """What hold rate and trades are judged against while a run goes.

    Attributes:
        hold_rate_ratio: Lower and upper end for the mean hold rate.
        trades: Lower and upper end for the mean trades per session.
    """

    hold_rate_ratio: tuple[float, float]
    trades: tuple[float, float]

    @classmethod
    def of(cls, gate: GateConfig) -> Self:
        """Return the bands of a gate."""
        target, tolerance = gate.hold_target_ratio, gate.hold_tolerance_ratio
        return cls((target - tolerance, target + tolerance), gate.trades_band)


def standing(value: float, band: tuple[float, float]) -> tuple[str, str]:
    """Return where a value stands against its band as a word and a tone; both ends are in."""
    if not math.isfinite(value):
        return "no number", "bad"
    if value < band[0]:
        return "too low", "warn"
    return ("too high", "warn") if value > band[1] else ("in band", "good")


class TerminalWatcher:
    """Follows a run on a console; a context manager that leaves the console as it found it.

    Args:
        console: Where to; its clock counts steps per second.
        bands: Bands to judge hold rate and trades by; None shows the figures alone.
    """

    def __init__(self, console: Console, bands: Bands | None = None) -> None:
        self.console = console
        self.bands = bands
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._name = ""
        self._total = 0
        self._base = 0
        self._last = 0
        self._began = self._spoke = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Take the bar away and show the cursor again."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def stage(self, name: str, steps: int) -> None:
        """Begin a bar of so many steps; 0 steps for work without a count."""
        self._name, self._total, self._base = name, steps, self._last
        self._began = self._spoke = self.console.get_time()
        if not self.console.is_terminal:
            self._line(f"{name}: {steps:,} steps" if steps else name)
            return
        progress = self._started()
        if self._task is not None:
            progress.remove_task(self._task)
        self._task = progress.add_task(name, total=steps or None, figures="")

    def rollout(self, report: RolloutReport) -> None:
        """Move the bar and show steps per second, hold rate and trades."""
        self._note_steps(report.steps)
        done = report.steps - self._base
        elapsed = self.console.get_time() - self._began
        speed = f"{done / elapsed:,.0f} steps/s" if elapsed > 0 else ""
        figures = self._figures(report)
        if self._progress is not None and self._task is not None:
            # where the room ends the speed is cut, not the judgement
            self._progress.update(self._task, completed=done, figures=f"{figures}  {speed}")
        elif self.console.get_time() - self._spoke >= HEARTBEAT_SECONDS:
            self._spoke = self.console.get_time()
            self._line(f"{self._name}: {done:,} of {self._total:,} steps  {speed}  {figures}")

    def event(self, word: str, name: str, fields: dict[str, Any]) -> None:
        """Print what is worth a line; the log holds everything."""
        line = event_line(word, name, fields)
        if line is not None:
            text, tone = line
            self._line(text, tone, whole=name in NEVER_CUT)

    def _note_steps(self, steps: int) -> None:
        # A resumed run begins in the middle: steps of stages before it were never seen here.
        if self._total and steps - self._base > self._total:
            self._base = (steps - 1) // self._total * self._total
        self._last = steps

    def _figures(self, report: RolloutReport) -> str:
        hold, trades = report.hold_rate_ratio, report.trades_per_session
        marked = self._progress is not None
        words = [f"hold {percent(hold)}", f"trades {number(trades, 1)}"]
        if self.bands is not None:
            pairs = ((hold, self.bands.hold_rate_ratio), (trades, self.bands.trades))
            marks = [standing(*pair) for pair in pairs]
            words = [
                f"{text} {f'[{STYLES[tone]}]{word}[/]' if marked else word}"
                for text, (word, tone) in zip(words, marks, strict=True)
            ]
        return "  ".join(words)

    def _started(self) -> Progress:
        if self._progress is None:
            from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

            self._progress = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=12),
                TaskProgressColumn(),
                TextColumn("{task.fields[figures]}"),
                console=self.console,
                transient=True,
            )
            self._progress.start()
        return self._progress

    def _line(self, text: str, tone: str = "", *, whole: bool = False) -> None:
        from rich.text import Text

        line = Text(" ".join(text.split("\n")), style=STYLES.get(tone, ""))
        if self.console.is_terminal and not whole:
            self.console.print(line, no_wrap=True, overflow="ellipsis", crop=True)
        else:
            self.console.print(line, soft_wrap=True)


def event_line(word: str, name: str, fields: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return the line and tone of an event worth showing, None for the others."""
    kind = "looked" if name.endswith(".looked") else name
    if kind not in EVENTS:
        return None
    text, tone = EVENTS[kind](fields)
    return f"{LEADS.get(kind, word):<7} {text}", tone


def _cycle_finished(fields: Mapping[str, Any]) -> tuple[str, str]:
    against = best_words(int(fields.get("best_cycle", 0)))
    better = f"beats {against}" if fields.get("improved") else f"best stays {against}"
    return f"{fields.get('cycle', '')}  {_cycle_figures(fields)}  {better}", ""


def _shadow_replayed(fields: Mapping[str, Any]) -> tuple[str, str]:
    if fields.get("passed"):
        return f"{fields.get('cycle', '')}  passed", ""
    return f"{fields.get('cycle', '')}  FAILED: {fields.get('reason', '')}", "bad"


def _cycle_judged(fields: Mapping[str, Any]) -> tuple[str, str]:
    if fields.get("passed"):
        return f"{fields.get('cycle', '')}  in band and safe", "good"
    against = str(fields.get("failures", "")).replace(",", ", ")
    return f"{fields.get('cycle', '')}  NOT in band and safe: {words_of(against)}", "warn"


def _algorithm(fields: Mapping[str, Any]) -> str:
    words = {"all_actions": "all actions along recorded sessions", "ppo": "PPO in a pool"}
    rehearsed = f", {fields['rehearsed']:,} of them rehearsed" if fields.get("rehearsed") else ""
    return (
        f"trains on {words.get(str(fields.get('algorithm')), '')}: {fields.get('sessions', 0):,} "
        f"sessions{rehearsed}"
    )


def _stopped_early(fields: Mapping[str, Any]) -> tuple[str, str]:
    return f"{fields.get('cycle', '')}  {fields.get('reason', 'stopped early')}", "warn"


def _controller_alert(fields: Mapping[str, Any]) -> tuple[str, str]:
    where, decisions, limit = (fields.get(name) for name in ("where", "decisions_at_bound", "limit"))
    return f"ALERT {where}: multiplier at its bound for {decisions} decisions, over {limit}", "warn"


def _checkpoint_damaged(fields: Mapping[str, Any]) -> tuple[str, str]:
    kept = f"kept as {fields['kept_as']}; " if fields.get("kept_as") else ""
    used, cycles, steps = (fields.get(name) or 0 for name in ("used", "cycles_again", "steps_again"))
    back = f"{used} is used, cycles done again: {cycles} ({steps:,} steps)" if used else "no step is lost"
    return f"ALERT {fields.get('file', '')} {fields.get('reason', '')}; {kept}{back}", "warn"


def _test_looked_at(fields: Mapping[str, Any]) -> tuple[str, str]:
    return f"look {fields.get('looks', 0):,} at {fields.get('sessions', 0):,} unseen sessions", ""


def _cycle_figures(fields: Mapping[str, Any]) -> str:
    return "  ".join(
        (
            f"hold {percent(fields.get('hold_rate'))}",
            f"trades {number(fields.get('trades'), 1)}",
            f"net {number(fields.get('net_bps'), 1, sign=True)} bp",
            f"drift {percent(fields.get('drift'))}",
        )
    )


def _look_figures(fields: Mapping[str, Any]) -> str:
    steps = fields.get("steps", 0)
    return "  ".join(
        (
            f"{words_of(str(fields.get('stage', '')))} {steps:>9,}",
            f"hold {percent(fields.get('hold_rate_ratio')):>6}",
            f"trades {number(fields.get('trades_per_session'), 1):>5}",
            f"net {number(fields.get('mean_net_bps'), 1, sign=True):>6} bp",
        )
    )


EVENTS: Mapping[str, Callable[[Mapping[str, Any]], tuple[str, str]]] = MappingProxyType(
    {
        "cycle.finished": _cycle_finished,
        "shadow.replayed": _shadow_replayed,
        "gate.judged": _cycle_judged,
        "run.stopped_early": _stopped_early,
        "algorithm.chosen": lambda fields: (_algorithm(fields), ""),
        "run.resumed": lambda fields: (f"resumed run {fields.get('run_id', '')}", ""),
        "controller.alert": _controller_alert,
        "checkpoint.damaged": _checkpoint_damaged,
        "test.looked_at": _test_looked_at,
        "authority.measured": lambda fields: (str(fields.get("text", "")), ""),
        "looked": lambda fields: (_look_figures(fields), ""),
    }
)

# The log says GATE of both; only one of them is the gate that decides.
LEADS: Mapping[str, str] = MappingProxyType({"gate.judged": "CHECK", "test.looked_at": "FINAL GATE"})


def print_outcome(console: Console, summary: Mapping[str, Any], folder: Path | None = None) -> None:
    """Print verdicts, policies and the last sentence of a tuning run.

    Args:
        console: Where to.
        summary: Content of summary.json.
        folder: The run folder, for the path of summary.html; None leaves the path away.
    """
    from rich.text import Text

    from stairways.reporting.multiple_testing import print_multiple_testing

    said = outcome(summary)
    console.print()
    print_verdicts(console, summary["verdicts"], required=summary["required"])
    console.print()
    print_table(console, _policy_table(summary))
    console.print()
    print_multiple_testing(console, summary["multiple_testing"])
    console.print()
    print_data(console, summary["data"], summary["data"].get("folder"))
    console.print()
    console.print(Text(f"Candidate: {chosen_words(summary)}"))
    console.print(Text(f"FINAL GATE: {said.sentence}", style=f"bold {STYLES[said.tone]}"))
    for name, reason in said.failed:
        console.print(Text(f"  {name}: {reason}"))
    if folder is not None:
        print_path(console, "Summary", folder / PAGE_NAME)


def print_evaluation(console: Console, record: Mapping[str, Any], folder: Path | None = None) -> None:
    """Print verdicts and policies of an evaluation, its seed, and how many of its sessions were seen before.

    Args:
        console: Where to.
        record: What ``evaluate --json`` prints.
        folder: Folder of the bars as it was given; None for a sample market.
    """
    from rich.text import Text

    data = record["data"]
    seen = data["in_sample_sessions"]
    # the artifact is shown once, under its role
    shown = {**record, "policy": None}
    not_judged = {"beats_gold": "is gold itself"} if record["policy"]["role"] == "gold" else {}
    print_verdicts(console, record["verdicts"], required=record["required"], not_judged=not_judged)
    console.print()
    print_table(console, _policy_table(shown, "judged" if seen else "unseen"))
    console.print()
    print_data(console, data, folder)
    console.print(Text(_seed_words(record)))
    if data["made_on"] != data["source"]:
        console.print(Text(f"The artifact was made on other bars: {data['made_on']}", style="yellow"))
    if seen:
        console.print(Text(f"IN SAMPLE: the artifact has seen {seen:,} of these sessions", style="yellow"))
    console.print()
    role, digest = record["policy"]["role"], record["run"]["digest"][:12]
    against = failures(record["verdicts"], record["required"])
    said, tone, share = "does not pass", "bad", ""
    if record["run"]["accepted"]:
        proven = record["run"]["skill_proven"]
        said, tone = ("passes", "good") if proven else ("passes WITHOUT PROVEN SKILL", "warn")
        share = tuning_share(record["verdicts"])
    style = STYLES[tone]
    console.print(Text(f"The {role} {digest} {said}.{share}", style=f"bold {style}"))
    for name, reason in against:
        why = f"not judged, it {not_judged[name]}" if name in not_judged else reason
        console.print(Text(f"  {name}: {why}"))


def _seed_words(record: Mapping[str, Any]) -> str:
    seed = f"Seed {record['run']['seed']}"
    if record["policy"]["mode"] != "sampled":
        return f"{seed} drew the resamples of the intervals alone: every action is greedy"
    return f"{seed} drew the actions, and one draw scatters: another --seed draws others"


def print_data(console: Console, data: Mapping[str, Any], folder: Path | str | None = None) -> None:
    """Print where the bars came from, SYNTHETIC in so many words, and how much was decided at neutral.

    Args:
        console: Where to.
        data: The ``data`` section of a summary.
        folder: Folder of the bars as it was given; without it their source stands there.
    """
    from rich.text import Text

    _print_source(console, data["source"], folder)
    neutral = percent(data["neutral_regime_ratio"])
    console.print(Text(f"Neutral regime (warming up) in {neutral} of the decisions"))


def _print_source(console: Console, source: str, folder: Path | str | None) -> None:
    from rich.text import Text

    if source.startswith("SYNTHETIC"):
        console.print(Text(f"SYNTHETIC bars: {source.removeprefix('SYNTHETIC ')}", style="yellow"))
    else:
        console.print(Text(f"Bars: {folder or source}"), soft_wrap=True)


def print_verdicts(
    console: Console,
    verdicts: Sequence[Verdict | Mapping[str, Any]],
    *,
    required: Sequence[str] | None = None,
    not_judged: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Print verdicts as a table of at most 80 columns.

    Args:
        console: Where to.
        verdicts: Verdicts, or their records.
        required: Names that gate; a missing one is shown as failed. None: all of those given gate.
        not_judged: Names of verdicts that had nothing to judge, with the reason in a few words.
    """
    from rich.text import Text

    records = [verdict if isinstance(verdict, Mapping) else verdict.as_record() for verdict in verdicts]
    table = table_of(("verdict", "result", "observed", "threshold", "n"), right=("observed", "n"))
    for record in records:
        gates = required is None or record["name"] in required
        lacking = not_judged.get(record["name"])
        table.add_row(
            Text(record["name"]),
            _result(passed=bool(record["passed"]), gates=gates) if lacking is None else NOT_JUDGED,
            Text(lacking or observed_text(record["name"], record["observed"])),
            Text(threshold_text(record["name"], record["threshold"])),
            Text(f"{record['n']:,}"),
        )
    given = {record["name"] for record in records}
    for name in [name for name in required or () if name not in given]:
        table.add_row(Text(name), _result(passed=False, gates=True), "never judged", "a verdict", "0")
    print_table(console, table)


def print_gold(console: Console, record: Mapping[str, Any], digest: str, folder: Path) -> None:
    """Print the learning curve, the test sessions and the verdicts of a gold training.

    Args:
        console: Where to.
        record: How gold was made, as its artifact keeps it.
        digest: Identity of the artifact.
        folder: Its folder.
    """
    from rich.text import Text

    console.print()
    print_table(console, _curve_table(record["curve"]))
    console.print()
    print_table(console, _skill_table(record))
    console.print()
    print_verdicts(console, record["verdicts"])
    accepted = all(verdict["passed"] for verdict in record["verdicts"])
    word = "Gold over-holds as it should" if accepted else "Gold does NOT over-hold as it should"
    console.print()
    steps, seconds = _gold_steps(record), f"{record['wall_seconds']:,.0f} s"
    style = f"bold {STYLES['good' if accepted else 'bad']}"
    console.print(Text(f"{word}: {steps} in {seconds}; {record['stopped']}.", style=style))
    _print_source(console, record["data_source"], record["config"]["market"]["bars"])
    print_path(console, f"Artifact {digest[:12]}", folder)


def _gold_steps(record: Mapping[str, Any]) -> str:
    """Return the steps of both stages; they are counted on from one to the other."""
    learned = max(look["steps"] for look in record["curve"] if look["stage"] == "learn")
    return f"{learned:,} steps of learning and {record['steps'] - learned:,} of over-holding"


def _result(*, passed: bool, gates: bool) -> Any:
    from rich.text import Text

    if not gates:
        return Text("yes" if passed else "no", style=STYLES["plain"])
    return Text("passed" if passed else "FAILED", style=STYLES["good"] if passed else "bold red")


def _policy_table(summary: Mapping[str, Any], which: str = "unseen") -> Table:
    from rich.text import Text

    policies = named_policies(summary)
    first = next(iter(policies.values()))
    title = f"On {first['n_sessions']:,} {which} sessions, {first['mode']}"
    columns = ("policy", "hold", "trades", "Sharpe ± SE", "P(> 0)", "net bp", "costs bp", "drawdown")
    table = table_of(columns, right=columns[1:], title=title)
    for name, metrics in policies.items():
        proof = metrics["probabilistic_sharpe"]
        # "not enough sessions" would not fit: the title has their number, the page the words.
        sharpe = sharpe_text(metrics) if metrics["sharpe"] is not None else "none"
        table.add_row(
            Text(words_of(name), style="bold" if name == "candidate" else ""),
            percent(metrics["hold_rate_ratio"]),
            number(metrics["trades_per_session"]),
            sharpe,
            "none" if proof is None else probability(proof),
            number(metrics["mean_net_bps"], sign=True),
            number(metrics["costs_bps"]),
            percent(metrics["max_drawdown_ratio"], 2),
        )
    table.caption = "net and costs: bp of NAV per session; Sharpe: annual, net of costs"
    return table


def _curve_table(curve: Sequence[Mapping[str, Any]]) -> Table:
    columns = ("stage", "steps", "hold", "trades", "net bp", "Sharpe ± SE", "bonus bp")
    table = table_of(columns, right=columns[1:], title="Looks at the held-out sessions")
    for look in _thinned(curve):
        table.add_row(
            words_of(look["stage"]),
            f"{look['steps']:,}",
            percent(look["hold_rate_ratio"]),
            number(look["trades_per_session"], 1),
            number(look["mean_net_bps"], sign=True),
            sharpe_text(look),
            number(look["hold_bonus_bps"]),
        )
    if len(curve) > CURVE_ROWS:
        table.caption = f"{CURVE_ROWS} of {len(curve)} looks; the artifact's record holds all"
    return table


def _skill_table(record: Mapping[str, Any]) -> Table:
    where = "on the test sessions" if record["test"]["unseen"] else "on held-out sessions"
    columns = (where, "n", "hold", "trades", "net bp", "Sharpe ± SE", "P(> 0)")
    table = table_of(columns, right=columns[1:])
    for name, key in (("before over-hold", "before_over_hold"), ("gold", "gold")):
        metrics = record[key]
        proof = metrics["probabilistic_sharpe"]
        table.add_row(
            name,
            f"{metrics['n_sessions']:,}",
            percent(metrics["hold_rate_ratio"]),
            number(metrics["trades_per_session"], 1),
            number(metrics["mean_net_bps"], sign=True),
            sharpe_text(metrics),
            "none" if proof is None else probability(proof),
        )
    return table


def _thinned(curve: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Keep the first and last look and evenly spaced ones between."""
    if len(curve) <= CURVE_ROWS:
        return list(curve)
    last = len(curve) - 1
    return [curve[round(i * last / (CURVE_ROWS - 1))] for i in range(CURVE_ROWS)]
