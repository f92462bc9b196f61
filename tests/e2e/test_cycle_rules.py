"""Rows 16, 17 and 18: the first best is gold, a least number of cycles, and what follows from drift."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from workbench import FAST, json_of, merged, write_yaml

from stairways.evaluation.bootstrap import ReturnSeries
from stairways.registry.artifact import read_artifact
from stairways.tuning import cycle as cycle_module
from stairways.tuning import run as run_module
from stairways.tuning.best import Best
from stairways.tuning.run import TuneRun

NEVER_BETTER = {"improvement": {"min_improvement_se": 1e9}}
NO_BAND = {"session_trades_band": [0, 0]}
ANY_DRIFT = {"drift_threshold_ratio": 1e-12}


@pytest.fixture
def tuned_with(market, cli, tmp_path, monkeypatch):
    """Run a tuning with other settings; return how it ended, its summary and its log."""
    monkeypatch.setattr("stairways.reporting.page.summary_page", lambda _summary: "<!doctype html>")

    def tune(tune=None, gate=None):
        config = write_yaml(tmp_path / "c.yml", merged(FAST, {"tune": tune or {}, "gate": gate or {}}))
        ended = cli(*market.tune(tmp_path / "run", "--seed", "7", config=config))
        assert ended.status in (0, 1), ended.err
        log = (tmp_path / "run" / "training.log").read_text(encoding="utf-8")
        return ended, json_of(tmp_path / "run" / "summary.json"), log

    return tune


class TestEarlyStop:
    @pytest.mark.parametrize(
        ("early_stop", "least", "expected"),
        [(1, 2, 2), (1, 1, 1), (2, 2, 2), (1, 3, 3), (3, 2, 3), (9, 9, 4)],
    )
    def test_the_least_number_of_cycles_holds_against_an_early_stop(
        self, tuned_with, early_stop, least, expected
    ):
        tune = {"cycles": 4, "early_stop_cycles": early_stop, "min_cycles": least, **NEVER_BETTER}
        _, summary, log = tuned_with(tune)
        assert [cycle["cycle"] for cycle in summary["cycles"]] == list(range(1, expected + 1))
        assert not any(cycle["improved"] for cycle in summary["cycles"])
        assert ("run.stopped_early" in log) == (expected < 4)
        assert ("early stop" in summary["run"]["stopped"]) == (expected < 4)

    def test_a_run_that_never_beat_gold_says_so_of_its_candidate(self, tuned_with):
        ended, _, log = tuned_with({"cycles": 1, **NEVER_BETTER})
        assert ended.out.startswith("Bars in /")
        assert "least bad: no cycle beat gold" in ended.out
        assert "best stays untilted gold" in ended.out
        assert "best_cycle=0" in log

    def test_an_improvement_starts_the_count_anew(self, tuned_with, monkeypatch):
        """The second cycle is made the better one: one without before it and one behind never make two."""
        assess, judged = cycle_module.assess_improvement, []

        def second_is_better(*arguments, **named):
            judged.append(assess(*arguments, **named))
            return replace(judged[-1], improved=len(judged) == 2)

        monkeypatch.setattr(cycle_module, "assess_improvement", second_is_better)
        _, summary, _ = tuned_with({"cycles": 3, "early_stop_cycles": 2, "min_cycles": 1})
        assert [cycle["improved"] for cycle in summary["cycles"]] == [False, True, False]
        assert summary["run"]["cycle"] == 2
        assert summary["run"]["stopped"] == "all cycles were run"


class TestFirstBest:
    def test_it_is_gold_s_own_result_on_the_select_sessions(self, tuned_with, monkeypatch):
        found, measured = [], TuneRun._gold_as_best

        def noted(self, bench):
            found.append(measured(self, bench))
            return found[-1]

        monkeypatch.setattr(TuneRun, "_gold_as_best", noted)
        _, summary, _ = tuned_with({"cycles": 2, **NEVER_BETTER})
        [best] = found
        assert isinstance(best, Best) and isinstance(best.returns, ReturnSeries)
        assert (best.cycle, best.weights) == (0, None)
        for cycle in summary["cycles"]:
            gain = cycle["select"]["mean_net_bps"] - best.returns.returns_ratio.mean() * 1e4
            assert cycle["improvement"]["comparison"]["mean_difference_bps"] == pytest.approx(gain, abs=1e-9)

    def test_where_nothing_is_better_the_best_cycle_in_band_is_judged(self, tuned_with):
        _, summary, _ = tuned_with({"cycles": 3, **NEVER_BETTER, "early_stop_cycles": 9})
        scores = {cycle["cycle"]: cycle["select"]["mean_net_bps"] for cycle in summary["cycles"]}
        assert all(cycle["gate_passed"] for cycle in summary["cycles"])
        assert summary["run"]["cycle"] == max(scores, key=scores.get)


class TestDrift:
    def test_alone_it_warns_and_goes_on(self, tuned_with, tmp_path):
        ended, summary, log = tuned_with({"early_stop_cycles": 9}, ANY_DRIFT)
        assert [cycle["drift_action"] for cycle in summary["cycles"]] == ["warning"] * 3
        assert all(cycle["drift"]["exceeded"] and cycle["gate_passed"] for cycle in summary["cycles"])
        assert "run.stopped_early" not in log
        # Promotion over the threshold needs a waiver: the final gate asks for drift all the same.
        assert ended.status == 1
        assert not next(v for v in summary["verdicts"] if v["name"] == "parameter_drift")["passed"]

    def test_with_a_failed_gate_it_rolls_back_and_stops(self, tuned_with):
        ended, summary, log = tuned_with({"early_stop_cycles": 9}, ANY_DRIFT | NO_BAND)
        assert [cycle["drift_action"] for cycle in summary["cycles"]] == ["rollback"]
        assert re.search("CYCLE run.stopped_early cycle=1 .*rolled back to gold", log)
        assert "rolled back" in summary["run"]["stopped"]
        assert ended.status == 1

    def test_it_is_checked_before_the_early_stop(self, tuned_with):
        """Both would end the run in the first cycle; the rollback is what is said and done."""
        tune = {"early_stop_cycles": 1, "min_cycles": 1, **NEVER_BETTER}
        _, summary, _ = tuned_with(tune, ANY_DRIFT | NO_BAND)
        assert "rolled back" in summary["run"]["stopped"]

    @pytest.mark.parametrize("first", [{}, {"session_trades_band": (0, 0)}], ids=["in band", "out of band"])
    def test_a_rollback_hands_on_the_best_before_it(self, tuned_with, monkeypatch, tmp_path, first):
        """Only the second cycle drifts and fails; the candidate is the first one's, in its band or not."""
        cycles, run_cycle = [], run_module.run_cycle

        def second_fails(bench, *arguments, **named):
            changes = ANY_DRIFT | {"session_trades_band": (0, 0)} if cycles else first
            settings = bench.settings
            gate = settings.gate.model_copy(update=changes)
            bench = replace(bench, settings=settings.model_copy(update={"gate": gate}))
            cycles.append(run_cycle(bench, *arguments, **named))
            return cycles[-1]

        monkeypatch.setattr(run_module, "run_cycle", second_fails)
        _, summary, _ = tuned_with({"early_stop_cycles": 9})
        assert [cycle["drift_action"] for cycle in summary["cycles"]] == [None, "rollback"]
        assert "rolled back to the best before" in summary["run"]["stopped"]
        assert summary["run"]["cycle"] == 1
        written = read_artifact(tmp_path / "run" / "artifact").artifact.weights
        assert all((written[name] == value).all() for name, value in cycles[0].weights.items())

    def test_without_drift_a_failed_gate_goes_on(self, tuned_with):
        ended, summary, _ = tuned_with({"early_stop_cycles": 9}, NO_BAND)
        assert [cycle["drift_action"] for cycle in summary["cycles"]] == [None] * 3
        assert not any(cycle["gate_passed"] or cycle["improved"] for cycle in summary["cycles"])
        assert ended.status == 1
