"""The noise experiment: exact shares, the test alone, the procedure, and bars that can be missed."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
from toys import Silent

from stairways.evaluation.bootstrap import ReturnSeries
from stairways.proof.binomial import allowed_share, chance_of_at_least, clopper_pearson
from stairways.proof.experiment import Job
from stairways.proof.noise import FULL_RUNS, Noise
from stairways.proof.noise_procedure import CYCLES, FULL, SKILL, Size, run_once, small_settings
from stairways.proof.noise_report import _hard_strength_ratio, _together_words, findings
from stairways.proof.noise_trials import FAMILIES, SESSIONS, _accepted, _drawn, run_trials
from stairways.proof.runner import WORK_IDENTITY, run_experiment

VERDICTS = ("beats_gold", "beats_random", "beats_all_hold")


class TestShares:
    @pytest.mark.parametrize(
        ("k", "n", "low", "high"),
        [
            # 1 - 0.025^(1/n) for no success (the exact form of the rule of three), and its mirror
            (0, 100, 0.0, 1 - 0.025 ** (1 / 100)),
            (100, 100, 0.025 ** (1 / 100), 1.0),
            # Clopper and Pearson's own form of 4 of 20 and of 10 of 100, as tables give them
            (4, 20, 0.0573, 0.4366),
            (10, 100, 0.0490, 0.1762),
            (0, 0, 0.0, 1.0),
        ],
    )
    def test_exact_interval(self, k, n, low, high):
        assert clopper_pearson(k, n) == pytest.approx((low, high), abs=6e-5)

    def test_two_standard_errors(self):
        assert allowed_share(0.05, 100) == pytest.approx(0.05 + 2 * 0.0217945, abs=1e-6)

    def test_chance_by_adding_up(self):
        from math import comb

        by_hand = sum(comb(30, i) * 0.05**i * 0.95 ** (30 - i) for i in range(4, 31))
        assert chance_of_at_least(4, 30, 0.05) == pytest.approx(by_hand, rel=1e-12)
        assert chance_of_at_least(0, 30, 0.05) == 1.0


class TestTrials:
    def test_returns_have_the_spread_and_the_memory_they_are_said_to_have(self):
        for family, memory in (("independent", 0.0), ("autocorrelated", 0.15)):
            drawn = _drawn(family, 60, np.random.SeedSequence(1))
            candidate = np.array([trial["candidate"] for trial in drawn])
            gold = np.array([trial["gold"] for trial in drawn])
            assert candidate.std() == pytest.approx(3e-3, rel=0.05)
            lagged = np.mean([np.corrcoef(row[1:], row[:-1])[0, 1] for row in candidate])
            # 60,000 returns: a standard error of 0.004
            assert lagged == pytest.approx(memory, abs=0.016)
            assert np.corrcoef(candidate.ravel(), gold.ravel())[0, 1] == pytest.approx(0.5, abs=0.05)
            assert ((candidate / candidate.std()) ** 4).mean() > 4.0

    @pytest.mark.parametrize("family", FAMILIES)
    def test_counts_are_of_every_length_and_verdict_and_repeat(self, family):
        found = run_trials(family, 3, np.random.SeedSequence(2))
        assert found == run_trials(family, 3, np.random.SeedSequence(2))
        assert set(found["accepted"]) == {str(n) for n in SESSIONS}
        for counts in found["accepted"].values():
            assert set(counts) == {*VERDICTS, SKILL}
            assert all(0 <= count <= 3 for count in counts.values())
            assert counts[SKILL] <= min(counts[name] for name in VERDICTS)

    def test_a_true_difference_is_seen_and_one_missing_verdict_stops_all(self):
        rng = np.random.default_rng(3)
        dates = np.arange(250).astype("datetime64[D]")

        def series(mean):
            return ReturnSeries(dates, rng.normal(mean, 3e-3, 250))

        skilled = {"candidate": series(2e-3), "gold": series(0.0), "random": series(0.0)}
        assert all(_accepted(skilled, np.random.SeedSequence(4)).values())
        beaten = _accepted({**skilled, "gold": series(2.2e-3)}, np.random.SeedSequence(4))
        assert beaten == {"beats_gold": False, "beats_random": True, "beats_all_hold": True, SKILL: False}

    def test_policies_differ_and_trade(self):
        from stairways.proof.noise_trials import _policies

        trials = _policies(2, np.random.SeedSequence(5))
        for trial in trials:
            assert all(len(series) == SESSIONS[-1] and series.std() > 1e-5 for series in trial.values())
        assert not np.array_equal(trials[0]["candidate"], trials[1]["candidate"])
        assert not np.array_equal(trials[0]["candidate"], trials[0]["gold"])


class TestCells:
    def test_no_two_runs_share_a_market_or_a_seed(self, tmp_path):
        cells = [c for c in Noise().cells(Job(0, False, None, tmp_path)) if "arm" in c.arguments]
        assert len(cells) == sum(FULL_RUNS.values())
        assert FULL_RUNS["noise"] >= 100
        assert FULL_RUNS["planted"] >= 30
        assert len({cell.arguments["sample"].split(":")[1] for cell in cells}) == len(cells)
        assert len({cell.arguments["seed"] for cell in cells}) == len(cells)

    def test_another_run_seed_gives_other_markets(self, tmp_path):
        def markets(seed):
            cells = Noise().cells(Job(seed, True, None, tmp_path))
            return {cell.arguments.get("sample") for cell in cells} - {None}

        assert not markets(0) & markets(1)

    def test_trials_add_up_to_a_thousand_of_each_family(self, tmp_path):
        cells = [c.arguments for c in Noise().cells(Job(0, False, None, tmp_path)) if "family" in c.arguments]
        for family in FAMILIES:
            assert sum(given["n_trials"] for given in cells if given["family"] == family) == 1_000


class TestProcedure:
    def test_only_what_makes_it_small_is_set(self):
        made = small_settings("noise:5", 3, FULL)
        assert (made.tune.cycles, made.seed, made.market.interval) == (CYCLES, 3, "5min")
        assert made.tune.early_stop_cycles > CYCLES
        assert made.gate == small_settings("planted:5", 3, FULL).gate
        assert made.trading.costs.half_spread_bps == 0.75
        free = small_settings("noise:5", 3, FULL, costless=True)
        assert (free.trading.costs.commission_bps, free.trading.costs.half_spread_bps) == (0.0, 0.0)
        assert free.model_dump(exclude={"trading"}) == made.model_dump(exclude={"trading"})

    def test_a_gold_that_never_over_holds_is_not_judged_and_says_why(self, tmp_path):
        settings = small_settings("noise:5", 3, Size(gold_steps=20_480, passes_per_cycle=1))
        gold = settings.gold.model_copy(update={"over_hold_looks": 1, "over_hold_bonus_bps": 1e-6})
        found = run_once(settings.model_copy(update={"gold": gold}), tmp_path / "run")
        assert found["judged"] is False
        assert "over-hold stage: gold holds" in found["reason"]
        assert not (tmp_path / "run").exists()


def judged(arm, accepted, *, market="noise", **more):
    """Return the record of a judged run all of whose verdicts are alike."""
    verdict = {"passed": accepted, "bps": 1.0 if accepted else -1.0, "interval_bps": [0.5, 1.5]}
    verdicts = {name: dict(verdict) for name in (*VERDICTS, "tuning_adds")} | {SKILL: {"passed": accepted}}
    readings = {f"{r}_{s}": copy.deepcopy(verdicts) for r in ("net", "gross") for s in ("unseen", "select")}
    return {
        "arm": arm, "sample": f"{market}:1", "seed": 1, "judged": True, "reason": "", "cycles": 8,
        "gold_over_holds": True, "as_the_final_gate": True, "n_unseen": 1000, "n_select": 64,
        "readings": readings, **more,
    }  # fmt: skip


def trials(share=0.0, n_trials=1_000):
    counts = {name: round(share * n_trials) for name in (*VERDICTS, SKILL)}
    return [
        {"family": family, "n_trials": n_trials, "accepted": {str(n): counts for n in SESSIONS}}
        for family in FAMILIES
    ]


def bar(found, words):
    [chosen] = [bar for bar in found.bars if words in bar.name]
    return chosen


SOUND = [judged("noise", i < 3) for i in range(100)] + [judged("planted", i < 27) for i in range(30)]


class TestBars:
    def test_a_sound_gate_holds_them_all(self):
        found = findings(SOUND, trials(0.02), size=FULL)
        assert found.passed
        assert bar(found, "judged net").observed == 0.03
        assert bar(found, "sample strength").observed == 0.9
        assert "3 of 100, exact 95 % interval [0.6%, 8.5%]" in bar(found, "judged net").note

    def test_noise_accepted_too_often_is_missed(self):
        runs = [judged("noise", i < 10) for i in range(100)] + SOUND[100:]
        assert not bar(findings(runs, trials(), size=FULL), "judged net").passed
        assert not bar(findings(runs, trials(), size=FULL), "judged gross").passed
        # 9.36 % are allowed of 100 runs
        runs = [judged("noise", i < 9) for i in range(100)] + SOUND[100:]
        assert bar(findings(runs, trials(), size=FULL), "judged net").passed

    def test_a_gate_that_always_refuses_is_missed(self):
        runs = SOUND[:100] + [judged("planted", False) for _ in range(30)]
        found = findings(runs, trials(), size=FULL)
        assert not bar(found, "no false acceptance").passed
        assert not bar(found, "sample strength").passed

    def test_of_few_runs_as_many_as_can_tell(self):
        few = [judged("noise", False)] * 2
        assert findings([*few, judged("planted", True), judged("planted", False)], trials(), size=FULL).passed
        found = findings([*few, *[judged("planted", False)] * 2], trials(), size=FULL)
        assert not bar(found, "no false acceptance").passed

    def test_runs_that_failed_are_listed_and_counted_apart(self):
        lost = [
            {"arm": "noise", "sample": "noise:9", "seed": 4, "judged": False, "reason": "gold did not hold"}
        ] * 10
        found = findings([*lost, *SOUND[:90], *SOUND[100:]], trials(), size=FULL)
        assert not bar(found, "runs on noise that were judged").passed
        assert bar(found, "judged net").observed == 3 / 90
        assert "over all 100 runs 3.0%" in bar(found, "judged net").note
        [table] = [table for table in found.tables if table.name == "not_judged"]
        assert table.markdown().count("gold did not hold") == 10

    def test_nothing_judged_passes_nothing(self):
        lost = [{"arm": "noise", "sample": "noise:9", "seed": 4, "judged": False, "reason": "no"}] * 100
        refused = [{**lost[0], "arm": "planted"}] * 30
        found = findings([*lost, *refused], trials(), size=FULL)
        for words in ("were judged", "judged net", "judged gross", "no false acceptance", "final gate"):
            assert not bar(found, words).passed

    def test_runs_that_were_never_made_hold_nothing(self):
        found = findings(SOUND[100:], trials(), size=FULL)
        assert not bar(found, "runs on noise that were judged").passed
        found = findings(SOUND[:100], trials(), size=FULL)
        assert not bar(found, "no false acceptance").passed

    def test_a_test_that_claims_too_often_is_missed(self):
        found = findings(SOUND, trials(0.07), size=FULL)
        assert not bar(found, "worst single verdict").passed
        assert not bar(found, "all three verdicts together").passed

    def test_figures_that_are_not_the_final_gates_are_missed(self):
        runs = [*SOUND[:-1], {**SOUND[-1], "as_the_final_gate": False}]
        assert not bar(findings(runs, trials(), size=FULL), "final gate").passed


class TestWords:
    def test_the_procedure_is_told_as_it_is_set(self):
        text = findings(SOUND, trials(), size=FULL).text
        assert "(307,200 steps, 16 units, bars of 5 minutes, 2012-03-29 to 2018-03-15), 8 cycles" in text
        assert "set points 55% and 16.5 trades" in text

    def test_single_verdicts_that_claim_too_often_are_named(self):
        assert "No share of a single verdict lies above that" in findings(SOUND, trials(0.02), size=FULL).text
        text = findings(SOUND, trials(0.06), size=FULL).text
        assert "27 of 27 shares lie above it with their whole interval: independent at 60 sessions" in text

    def test_what_holds_the_joint_share_down_is_said_where_it_is_down(self):
        seen = {"share": 0.1, "beats_gold": 0.5, "beats_random": 0.4, "beats_all_hold": 0.3}
        assert "3 intervals must lie above 0 at once" in _together_words(seen)
        assert _together_words({**seen, "share": 0.3}) == ""

    def test_the_hard_market_s_strength_is_that_of_the_samples(self):
        assert _hard_strength_ratio() == pytest.approx(0.0289 / 0.0515)


@pytest.mark.slow
def test_the_quick_form_holds_its_bars(tmp_path):
    folder = tmp_path / "noise"
    outcome = run_experiment(
        "stairways.proof.noise:Noise", folder, seed=0, quick=True, bars=None, follower=Silent(), processes=1
    )
    assert [bar.name for bar in outcome.findings.bars if not bar.passed] == []
    assert outcome.passed
    names = {path.name for path in folder.iterdir() if path.is_file()}
    assert {"results.json", "report.md", "command.txt", "acceptance.csv", "trials.md"} <= names
    assert {"acceptance.png", "curse.svg", "trials.png"} <= names
    runs = [row for row in json.loads((folder / "results.json").read_text())["rows"] if row["kind"] == "run"]
    assert len(runs) == 3
    for row in runs:
        assert (row["judged"], row["cycles"], row["in_band"]) == (True, CYCLES, True)
        # costs are what lies between the two readings against holding always
        gap = row["gross_unseen_beats_all_hold_bps"] - row["net_unseen_beats_all_hold_bps"]
        assert gap == pytest.approx(row["costs_bps"], rel=1e-6)
    assert [path.name for path in (folder / "work").iterdir()] == [WORK_IDENTITY]
