import io

import numpy as np
import pytest
from rich.console import Console

from stairways.evaluation.gate_config import GateConfig
from stairways.evaluation.gate_explained import explain_gate
from stairways.evaluation.gates import JUDGES
from stairways.reporting.gate_terminal import print_gate


@pytest.fixture(scope="module")
def record():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("stairways.evaluation.gate_explained._runs", lambda _: 20)
        return explain_gate(GateConfig(), 300, np.random.SeedSequence(0))


def printed(record, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=False, _environ={})
    print_gate(console, record)
    return console.file.getvalue()


def test_every_judge_stands_with_its_bound_and_meaning(record):
    words = " ".join(printed(record).split())
    for judge in record["judges"]:
        assert f"{judge['name']}: " in words
        assert judge["meaning"] in words
    assert "hold_rate: 55.0% ± 3.0 points of decisions" in words
    assert f"asks {len(JUDGES)} judges; 10 must pass" in words
    assert "Information, does not gate" in words


def test_the_tables_show_the_figures_of_the_record(record):
    text = printed(record)
    lines = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line.split()}
    assert lines["300"] == ["3.25", "2.57", "1.62", "1.15", "0.81", "0.36"]
    needed = [f"{row['n_sessions']:,}" for row in record["power"]["needed"] if row["difference_annual"] == 1]
    assert " ".join(needed) in " ".join(text.split())
    assert needed == ["3,165", "1,978", "792", "396", "198", "40"]
    assert "Power with 300 sessions" in text
    for row in record["power"]["simulated"]:
        assert f"{100 * row['low_ratio']:.1f} to {100 * row['high_ratio']:.1f}%" in text


def test_80_columns_are_enough(record):
    assert max(len(line) for line in printed(record).splitlines()) <= 80


def test_without_a_number_of_sessions_no_power_is_shown(record):
    alone = {**record, "power": {**record["power"], "n_sessions": None, "at_n_sessions": []}}
    assert "Power with" not in printed(alone)


def test_skill_that_is_not_required_does_not_gate(monkeypatch):
    monkeypatch.setattr("stairways.evaluation.gate_explained._runs", lambda _: 5)
    found = explain_gate(GateConfig(require_skill=False), None, np.random.SeedSequence(0))
    text = printed(found)
    assert "Skill, does not gate" in text
    assert "7 must pass" in text


def test_the_odds_of_the_shadow_rule_stand_there(record):
    words = " ".join(printed(record).split())
    assert (
        "Shadow replay, default rule, 3 sessions: a policy without skill passes with probability 99" in words
    )
    assert "It tests safety and behaviour, not skill." in words


def test_none_is_explained_only_where_it_stands(record):
    words = "none: fewer sessions than the gate asks for"
    assert words not in printed(record)
    lacking = [{**entry, "difference_annual": None} for entry in record["power"]["detectable"]]
    assert words in printed({**record, "power": {**record["power"], "detectable": lacking}})


@pytest.mark.parametrize(
    ("ratio", "high", "words"),
    [
        (
            0.762,
            0.795,
            "accepts 76.2 to 76.2%, where 80% is asked: it is more careful than the formula, so take more",
        ),
        (0.81, 0.85, "accepts 81.0 to 81.0%: no difference to the 80% asked that chance would not make"),
        (0.79, 0.83, "accepts 79.0 to 79.0%: no difference to the 80% asked that chance would not make"),
    ],
)
def test_the_simulated_share_is_set_against_the_power_asked(record, ratio, high, words):
    simulated = [
        entry if entry["difference_annual"] == 0 else {**entry, "ratio": ratio, "high_ratio": high}
        for entry in record["power"]["simulated"]
    ]
    text = printed({**record, "power": {**record["power"], "simulated": simulated}})
    assert words in " ".join(text.split())
    assert max(len(line) for line in text.splitlines()) <= 80
