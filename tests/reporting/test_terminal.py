import io
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console
from summaries import (
    evaluation,
    fallen_back,
    gold_record,
    no_sharpe,
    refused,
    rollout,
    summary,
    verdict,
    without_skill,
)

from stairways.evaluation.gate_config import GateConfig
from stairways.evaluation.verdicts import Group, Verdict
from stairways.reporting.terminal import (
    Bands,
    TerminalWatcher,
    event_line,
    print_evaluation,
    print_gold,
    print_outcome,
    print_verdicts,
    standing,
)

BANDS = Bands((0.52, 0.58), (15.0, 18.0))
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f]")
DAMAGED = {"file": "checkpoint", "reason": "is empty", "kept_as": "checkpoint.damaged-1"}
FINISHED = {
    "cycle": 3, "steps": 6_000, "hold_rate": 0.547, "trades": 16.4, "net_bps": 3.22, "drift": 0.014,
    "improved": True, "reason": "+0.87 standard errors above the best so far",
}  # fmt: skip


class Clock:
    """A clock that moves when told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def plain_console(width: int = 80, clock: Clock | None = None) -> Console:
    """Return a console that is no terminal."""
    return Console(
        file=io.StringIO(), width=width, get_time=clock or Clock(), force_terminal=False, _environ={}
    )


def terminal_console(width: int = 80) -> Console:
    """Return a console that is a terminal."""
    return Console(file=io.StringIO(), width=width, force_terminal=True, _environ={"TERM": "xterm"})


def written(console: Console) -> str:
    """Return what was written to a console."""
    return console.file.getvalue()


def test_module_is_cheap_to_import():
    code = (
        "import sys, stairways.reporting.terminal\n"
        "print([n for n in ('rich', 'jinja2', 'matplotlib', 'torch', 'numpy') if n in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_standing_is_a_word_and_both_ends_are_in():
    assert standing(15.0, (15.0, 18.0)) == ("in band", "good")
    assert standing(18.0, (15.0, 18.0)) == ("in band", "good")
    assert standing(14.9, (15.0, 18.0)) == ("too low", "warn")
    assert standing(18.1, (15.0, 18.0)) == ("too high", "warn")
    assert standing(float("nan"), (15.0, 18.0)) == ("no number", "bad")


def test_bands_come_from_the_gate():
    bands = Bands.of(GateConfig())
    assert bands.hold_rate_ratio == pytest.approx((0.52, 0.58))
    assert bands.trades == (15.0, 18.0)


def test_elsewhere_than_on_a_terminal_lines_are_plain():
    clock = Clock()
    console = plain_console(clock=clock)
    with TerminalWatcher(console, BANDS) as watcher:
        watcher.stage("cycle 1/8", 6_000)
        for steps in (2_000, 4_000, 6_000):
            clock.now += 6.0
            watcher.rollout(rollout(steps, hold_rate_ratio=0.7))
        watcher.event("CYCLE", "cycle.finished", FINISHED)
        watcher.stage("final gate", 0)
    text = written(console)
    assert CONTROL.search(text) is None
    assert text.splitlines() == [
        "cycle 1/8: 6,000 steps",
        "cycle 1/8: 4,000 of 6,000 steps  333 steps/s  hold 70.0% too high  trades 16.5 in band",
        "CYCLE   3  hold 54.7%  trades 16.4  net +3.2 bp  drift 1.4%  beats untilted gold",
        "final gate",
    ]


def test_a_terminal_shows_one_bar_with_words_beside_the_colours():
    console = terminal_console()
    with TerminalWatcher(console, BANDS) as watcher:
        watcher.stage("cycle 1/8", 6_000)
        watcher.rollout(rollout(2_000, hold_rate_ratio=0.4, trades=20.0))
        task = watcher._progress.tasks[0]
        assert (task.completed, task.total) == (2_000, 6_000)
        line = re.sub(r"\[/?\w*\]", "", task.fields["figures"])
        assert re.fullmatch(r"hold 40.0% too low  trades 20.0 too high  (\S+ steps/s)?", line)
        watcher.stage("cycle 2/8", 6_000)
        assert [task.description for task in watcher._progress.tasks] == ["cycle 2/8"]
        watcher.rollout(rollout(4_000))
        assert watcher._progress.tasks[0].completed == 2_000
    assert watcher._progress is None


def test_the_bar_of_a_terminal_fits_80_columns():
    console = Console(
        file=io.StringIO(), width=80, force_terminal=True, record=True, _environ={"TERM": "xterm"}
    )
    with TerminalWatcher(console, BANDS) as watcher:
        watcher.stage("gold over-holds", 2_995_200)
        watcher.rollout(rollout(33_280, hold_rate_ratio=1.0, trades=100.25))
        task = watcher._progress.tasks[0]
        figures = task.fields["figures"].rpartition("  ")[0] + "  1,234,567 steps/s"
        watcher._progress.update(task.id, figures=figures)
        watcher._progress.refresh()
        text = "\n".join(
            "".join(segment.text for segment in line)
            for line in console.render_lines(watcher._progress.get_renderable(), pad=False)
        )
    assert len(text.splitlines()) == 1
    assert "trades 100.2 too high" in text


def test_ctrl_c_leaves_the_console_as_it_was():
    console = terminal_console()
    with pytest.raises(KeyboardInterrupt), TerminalWatcher(console) as watcher:
        watcher.stage("cycle 1/8", 6_000)
        watcher.rollout(rollout(2_000))
        raise KeyboardInterrupt
    text = written(console)
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")
    watcher.close()


def test_a_resumed_run_counts_the_steps_of_its_own_stage():
    console = terminal_console()
    with TerminalWatcher(console) as watcher:
        watcher.stage("cycle 5/8", 6_000)
        watcher.rollout(rollout(26_000))
        assert watcher._progress.tasks[0].completed == 2_000
        watcher.rollout(rollout(28_000))
        assert watcher._progress.tasks[0].completed == 4_000


def test_bands_that_are_not_given_judge_nothing():
    clock = Clock()
    console = plain_console(clock=clock)
    watcher = TerminalWatcher(console)
    watcher.stage("gold learns", 100)
    clock.now = 20.0
    watcher.rollout(rollout(50))
    assert written(console).splitlines()[-1].endswith("hold 55.0%  trades 16.5")


@pytest.mark.parametrize(
    ("word", "name", "fields", "line"),
    [
        ("GATE", "gate.judged", {"cycle": 3, "passed": False, "failures": "hold_rate,shadow_replay"},
         "CHECK   3  NOT in band and safe: hold rate, shadow replay"),
        ("GATE", "gate.judged", {"cycle": 3, "passed": True, "failures": "none"},
         "CHECK   3  in band and safe"),
        ("SHADOW", "shadow.replayed", {"cycle": 3, "passed": True, "reason": "x"}, "SHADOW  3  passed"),
        ("SHADOW", "shadow.replayed", {"cycle": 3, "passed": False, "reason": "x"}, "SHADOW  3  FAILED: x"),
        ("CYCLE", "run.stopped_early", {"cycle": 4, "reason": "early stop: 2 cycles"},
         "CYCLE   4  early stop: 2 cycles"),
        ("GATE", "test.looked_at", {"sessions": 1000, "looks": 2},
         "FINAL GATE look 2 at 1,000 unseen sessions"),
        ("CYCLE", "cycle.finished", {},
         "CYCLE     hold none  trades none  net none bp  drift none  best stays untilted gold"),
        ("CYCLE", "cycle.finished", FINISHED | {"best_cycle": 2},
         "CYCLE   3  hold 54.7%  trades 16.4  net +3.2 bp  drift 1.4%  beats cycle 2"),
        ("CYCLE", "cycle.finished", FINISHED | {"best_cycle": 2, "improved": False},
         "CYCLE   3  hold 54.7%  trades 16.4  net +3.2 bp  drift 1.4%  best stays cycle 2"),
        ("RUN", "checkpoint.damaged", DAMAGED | {"used": "checkpoint.previous", "cycles_again": 1,
                                                 "steps_again": 6_000},
         "RUN     ALERT checkpoint is empty; kept as checkpoint.damaged-1; checkpoint.previous is used, "
         "cycles done again: 1 (6,000 steps)"),
        ("RUN", "checkpoint.damaged", DAMAGED,
         "RUN     ALERT checkpoint is empty; kept as checkpoint.damaged-1; no step is lost"),
        ("RUN", "checkpoint.damaged", DAMAGED | {"reason": "is missing", "kept_as": None},
         "RUN     ALERT checkpoint is missing; no step is lost"),
    ],
)  # fmt: skip
def test_notable_events_are_one_line(word, name, fields, line):
    assert event_line(word, name, fields)[0] == line


def test_an_alert_of_a_damaged_checkpoint_is_whole_on_a_narrow_terminal():
    console = terminal_console(width=40)
    fields = DAMAGED | {"used": "checkpoint.previous", "cycles_again": 1, "steps_again": 6_000}
    with TerminalWatcher(console) as watcher:
        watcher.event("RUN", "checkpoint.damaged", fields)
    assert "cycles done again: 1 (6,000 steps)" in written(console)


def test_other_events_stay_in_the_log():
    assert event_line("GATE", "verdict.given", {"verdict": "hold_rate"}) is None
    assert event_line("RUN", "warm_start.checked", {}) is None


@pytest.mark.parametrize("console", [plain_console(), terminal_console()], ids=["plain", "terminal"])
def test_an_event_is_never_two_lines_and_its_text_is_no_markup(console):
    TerminalWatcher(console).event(
        "CYCLE", "run.stopped_early", {"cycle": 1, "reason": "[red]long[/red]\n" + "word " * 40}
    )
    text = re.sub(r"\x1b\[[0-9;]*m", "", written(console))
    assert len(text.splitlines()) == 1
    assert "[red]long[/red]" in text


def outcome_text(made: dict, folder: Path | None = None, width: int = 80) -> str:
    console = plain_console(width)
    print_outcome(console, made, folder)
    return written(console)


@pytest.mark.parametrize("made", [summary(), summary(synthetic=False, oracle=False), without_skill()])
def test_outcome_fits_80_columns_and_cuts_nothing(made):
    text = outcome_text(made)
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    assert CONTROL.search(text) is None
    for given in made["verdicts"]:
        assert given["name"] in text


def test_figures_are_never_folded_even_when_they_are_wide():
    made = summary(n_sessions=1_000)
    wide = {
        "hold_rate_ratio": 1.0, "sharpe": -12.25, "sharpe_standard_error": 10.75, "mean_net_bps": -123.45,
        "max_drawdown_ratio": 0.98765, "trades_per_session": 777.25, "costs_bps": 123.45,
    }  # fmt: skip
    made["baselines"]["buy_and_hold"] |= wide
    text = outcome_text(made)
    for figure in ("100.0%", "-12.25 ± 10.75", "-123.45", "98.77%", "777.25", "123.45"):
        assert figure in text
    assert max(map(len, text.splitlines())) <= 80


def test_a_narrow_console_loses_no_figure():
    assert "3.50 ± 0.50" in outcome_text(_with_sharpe(), width=50)


def _with_sharpe() -> dict:
    made = summary()
    made["candidate"] |= {"sharpe": 3.5, "sharpe_standard_error": 0.5}
    return made


def test_outcome_ends_with_the_path_in_one_piece():
    folder = Path("/runs") / ("long" * 30)
    assert outcome_text(summary(), folder).splitlines()[-1] == f"Summary: {folder}/summary.html"


def test_outcome_says_what_happened():
    assert "FINAL GATE: Refused: 1 of 10" in outcome_text(refused("hold_rate"))
    assert "FINAL GATE: Accepted: in its bands" in outcome_text(summary())
    assert "Refused: 1 of 10 required" in outcome_text(refused("hold_rate"))
    assert "hold_rate: the reason of hold_rate" in outcome_text(refused("hold_rate"))
    assert "Accepted WITHOUT PROVEN SKILL" in outcome_text(without_skill())
    assert "SYNTHETIC" in outcome_text(summary())
    assert "SYNTHETIC" not in outcome_text(summary(synthetic=False))


def test_outcome_names_the_candidate_s_cycle_and_a_fallback_as_such():
    assert "Candidate: cycle 2 of 2, the last that beat the best before it" in outcome_text(summary())
    assert "Candidate: cycle 2 of 2, least bad: no cycle beat gold" in outcome_text(fallen_back())


def test_outcome_without_numbers_names_them_missing():
    made = summary(n_sessions=1)
    made["candidate"] = no_sharpe()
    text = outcome_text(made)
    assert "none" in text
    assert re.search(r"\b(nan|None)\b", text) is None


def evaluation_text(record: dict) -> str:
    console = plain_console()
    print_evaluation(console, record)
    return written(console)


def test_an_evaluation_says_whose_draw_it_is():
    text = " ".join(evaluation_text(evaluation()).split())
    assert "Seed 3 drew the actions, and one draw scatters: another --seed draws others" in text
    greedy = " ".join(evaluation_text(evaluation(mode="greedy")).split())
    assert "Seed 3 drew the resamples of the intervals alone: every action is greedy" in greedy


def test_gold_is_not_judged_against_itself():
    text = evaluation_text(evaluation("gold"))
    assert re.search(r"beats_gold +not judged +is gold itself ", text)
    assert "  beats_gold: not judged, it is gold itself" in text
    assert "beats_gold" not in re.sub(r"beats_gold(:| +not judged)", "", text)
    assert "not judged" not in evaluation_text(evaluation())
    assert max(map(len, text.splitlines())) <= 80


def test_an_evaluation_that_passes_says_what_tuning_adds():
    text = " ".join(evaluation_text(evaluation()).split())
    assert "The candidate c0d01059 passes. What tuning itself adds is not shown (-1.40 to +1.00 bp" in text


def test_verdicts_are_shown_from_objects_and_from_records():
    given = Verdict("hold_rate", Group.BEHAVIOUR, False, 0.5, "0.550 ± 0.030 of decisions", 40, "no")
    first, second = plain_console(), plain_console()
    print_verdicts(first, [given])
    print_verdicts(second, [given.as_record()])
    assert written(first) == written(second)
    assert "FAILED" in written(first)
    assert "50.0%" in written(first)


def test_a_required_verdict_that_is_missing_is_shown_as_failed():
    console = plain_console()
    print_verdicts(console, [verdict("hold_rate")], required=["hold_rate", "integrity"])
    line = next(line for line in written(console).splitlines() if line.startswith("integrity"))
    assert "FAILED" in line
    assert "never judged" in line


def test_gold_shows_curve_skill_and_verdicts():
    console = plain_console()
    print_gold(console, gold_record(), "ab" * 32, Path("/golds/one"))
    text = written(console)
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    assert "33,280" in text
    assert "998,400" in text
    assert "14 of 30 looks" in text
    assert "before over-hold" in text
    said = "832,000 steps of learning and 166,400 of over-holding in 92 s; all steps were taken."
    assert f"Gold over-holds as it should: {said}" in " ".join(text.split())
    assert text.splitlines()[-1] == "Artifact abababababab: /golds/one"


def test_bars_are_named_by_their_folder_as_it_was_given():
    assert "Bars: ../data/of/bars\n" in outcome_text(summary(synthetic=False))
    record = gold_record()
    record |= {"data_source": "bars in bars", "config": {"market": {"bars": "../data/of/bars"}}}
    console = plain_console()
    print_gold(console, record, "ab" * 32, Path("/golds/one"))
    assert "Bars: ../data/of/bars\n" in written(console)
    assert "SYNTHETIC" not in written(console)


def test_gold_that_does_not_over_hold_says_so():
    record = gold_record(n_looks=3)
    record["verdicts"][0]["passed"] = False
    console = plain_console()
    print_gold(console, record, "ab" * 32, Path("/golds/one"))
    assert "Gold does NOT over-hold as it should" in written(console)
    assert "looks;" not in written(console)
