"""The benchmarks' arithmetic, on a clock that says what it is told: turns, ratios, bars, page, comparison."""

from __future__ import annotations

import json
import math

import pytest
from benchmarks.harness import Bar, Row, rates, ratio_row, ratios, value_row

from benchmarks import __main__ as command
from benchmarks import report


class Clock:
    """Advances by what the work says it took."""

    def __init__(self):
        self.now, self.order = 0.0, []

    def __call__(self):
        return self.now

    def work(self, name, seconds, units):
        def done():
            self.order.append(name)
            self.now += seconds
            return units

        return done


def test_everyone_warms_up_once_and_turns_change_from_round_to_round():
    clock = Clock()
    found = rates({"a": clock.work("a", 2.0, 10.0), "b": clock.work("b", 4.0, 5.0)}, 3, clock=clock)
    assert clock.order == ["a", "b", "a", "b", "b", "a", "a", "b"]
    assert found == {"a": [5.0] * 3, "b": [1.25] * 3}
    assert ratios(found["a"], found["b"]) == [4.0] * 3


def test_work_that_did_nothing_is_no_rate():
    clock = Clock()
    with pytest.raises(ValueError, match=r"idle did 0\.0 units"):
        rates({"idle": clock.work("idle", 1.0, 0.0)}, 1, clock=clock)


def test_a_row_takes_the_median_of_the_rounds_ratios_not_the_ratio_of_medians():
    found = {"ours": [10.0, 40.0, 30.0], "peer": [10.0, 10.0, 30.0]}
    row = ratio_row("r", "x/s", found, ours="ours", peer="peer", bar=Bar(2.0, at_least=True, text=">= 2x"))
    assert (row.observed, row.spread, row.ours, row.peer) == (1.0, (1.0, 4.0), 30.0, 10.0)
    assert row.passed is False
    assert row.record()["bar"] == ">= 2x"


@pytest.mark.parametrize(
    ("observed", "at_least", "passed"),
    [(2.0, True, True), (1.9, True, False), (2.0, False, True), (2.1, False, False), (math.nan, True, False),
     (math.nan, False, False)],
)  # fmt: skip
def test_bars_hold_at_their_limit_and_never_for_nothing(observed, at_least, passed):
    assert value_row("v", "s", [observed], bar=Bar(2.0, at_least=at_least, text="2")).passed is passed


def row_record(name, spread, *, peer=1.0, passed=None):
    row = Row(name, "x/s", 1.0, peer, "peer", sum(spread) / 2, spread, None, 3)
    return {"group": "regime", **row.record(), "passed": passed}


def test_only_ratios_beyond_the_spread_of_both_runs_fell_behind():
    before = [
        row_record("slower", (4.0, 5.0)),
        row_record("same", (4.0, 5.0)),
        row_record("alone", (4.0, 5.0), peer=None),
    ]
    now = [
        row_record("slower", (3.0, 3.9)),
        row_record("same", (3.0, 4.1)),
        row_record("alone", (1.0, 2.0), peer=None),
    ]
    found = command.behind([*now, row_record("new", (1.0, 1.0))], before)
    assert len(found) == 1
    assert found[0].startswith("slower: 3.45x, was 4.5x (4 to 5)")


def test_the_page_holds_the_table_and_keeps_what_stands_around_it(tmp_path, monkeypatch):
    results, page = tmp_path / "latest.json", tmp_path / "page.md"
    machine = {"cpu": "C", "cores": 2, "system": "S", "python": "3.11", "versions": {"torch": "2"}}
    rows = [row_record("one", (2.0, 4.0), passed=True), row_record("two", (2.0, 4.0), passed=False)]
    results.write_text(json.dumps({"machine": machine, "rows": rows}))
    page.write_text(f"before\n{report.BEGIN}\nstale row\n{report.END}\nafter\n")
    monkeypatch.setattr(report, "RESULTS", results)
    monkeypatch.setattr(report, "PAGE", page)
    report.write_page()
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("after\n")
    assert "stale" not in text
    assert "| one | 1 x/s | 1 (peer) | 3x (2 to 4) | - | holds |" in text
    assert "| two | 1 x/s | 1 (peer) | 3x (2 to 4) | - | **missed** |" in text
    page.write_text("nothing to replace")
    with pytest.raises(ValueError, match="lacks"):
        report.write_page()


def test_an_unknown_name_is_refused_with_those_there_are(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["benchmarks", "regimes"])
    assert command.main() == 2
    assert "no benchmark regimes; there are environment," in capsys.readouterr().err


def test_every_group_is_a_module_with_rows():
    from pathlib import Path

    for group in (*command.GROUPS, *command.LONG):
        text = (Path(command.__file__).parent / f"{group}.py").read_text(encoding="utf-8")
        assert "def rows() -> list[Row]:" in text, group
