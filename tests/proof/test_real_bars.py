"""The walk on real bars: the short form where they are, and what is read from its windows."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from toys import Silent

from ledgers import make_ledger
from stairways.config import load_settings
from stairways.errors import ConfigError
from stairways.evaluation.gates import SKILL_NAMES
from stairways.proof.experiment import Job
from stairways.proof.real_bar_findings import CANDIDATE, POLICIES, _allowed_skill, conclude
from stairways.proof.real_bars import MARKETS, SEEDS, RealBars
from stairways.proof.runner import run_experiment
from stairways.trading.metrics import measure
from stairways.tuning.pooling import ledger_record

SHARED_DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
needs_shared_data = pytest.mark.skipif(
    not SHARED_DATA.is_dir(), reason="the real bars do not lie beside the checkout"
)


WITHIN = "share of single windows within both"
UNSHOWN = "windows accepted, or marked as skilled, whose paired intervals do not show it"


def window_of(
    seed, number, *, hold=0.55, trades=16, skill=False, accepted=False, shown=None, drawdown=0.01, n=40
):
    """Return the record of one window with ledgers by hand."""
    rng = np.random.default_rng([seed, number])
    ledgers = {}
    for policy in POLICIES:
        returns = np.zeros(n) if policy == "all_hold" else rng.normal(0.0, 0.004, n)
        ledger = make_ledger(
            returns,
            decisions=100,
            holds=round(100 * hold),
            trades=trades,
            drawdown=drawdown,
        )
        ledgers[policy] = replace(ledger, dates=ledger.dates + np.timedelta64(200 * number, "D"))
    dates = ledgers[CANDIDATE].dates
    span = {"first": str(dates[0]), "last": str(dates[-1]), "n_sessions": n}
    metrics = {name: measure(ledger, n_actions=9).as_record() for name, ledger in ledgers.items()}
    shown = skill if shown is None else shown
    verdicts = [
        {"name": name, "passed": skill, "interval": [0.5, 1.5] if shown else [-0.5, 0.5]}
        for name in SKILL_NAMES
    ]
    verdicts.append({"name": "skill_proven", "passed": skill, "interval": None})
    return {
        "market": "two",
        "symbols": ["NVDA", "MSFT"],
        "seed": seed,
        "window": number,
        "ranges": {"train": span, "tune": span, "test": span},
        "gaps": 1,
        "neutral_regime_ratio": 0.0,
        "run": {"accepted": accepted, "skill_proven": skill, "verdicts": verdicts},
        "policies": metrics,
        "ledgers": {name: ledger_record(ledger) for name, ledger in ledgers.items()},
    }


def walks(**changes):
    return [window_of(seed, number, **changes) for seed in (0, 1) for number in (0, 1)]


def found(windows):
    return conclude(windows, load_settings(None, {}), quick=False)


def failed(windows):
    return [bar.name.removeprefix("NVDA+MSFT: ") for bar in found(windows).bars if not bar.passed]


class TestBars:
    def test_sound_windows_hold_every_bar(self):
        assert failed(walks()) == []

    @pytest.mark.parametrize(
        ("changes", "names"),
        [
            (
                {"hold": 0.60},
                ["hold rate off its target, points, worst seed", "share of single windows within both"],
            ),
            ({"trades": 19}, ["trades off their target, worst seed", "share of single windows within both"]),
            ({"drawdown": 0.021}, ["largest intraday drawdown of a session, %"]),
            ({"skill": True, "accepted": True}, ["windows whose gate shows skill"]),
            ({"accepted": True}, [UNSHOWN]),
            (
                {"skill": True, "accepted": True, "shown": False},
                ["windows whose gate shows skill", UNSHOWN],
            ),
        ],
    )
    def test_what_is_off_is_missed(self, changes, names):
        assert failed(walks(**changes)) == names

    def test_one_window_without_a_baseline_is_missed(self):
        windows = walks()
        del windows[2]["policies"]["random"]
        assert failed(windows) == ["windows with every baseline"]

    def test_a_verdict_on_skill_that_was_never_given_shows_none(self):
        windows = walks()
        windows[0]["run"] |= {"accepted": True, "verdicts": []}
        assert failed(windows) == [UNSHOWN]

    @pytest.mark.parametrize(("n", "allowed"), [(1, 0), (4, 1), (20, 2), (100, 9)])
    def test_chance_may_show_skill_now_and_then(self, n, allowed):
        assert _allowed_skill(n) == allowed


class TestFigures:
    def test_seeds_are_means_of_single_accounts(self):
        findings = found(walks())
        [row] = [r for r in findings.rows if r["kind"] == "market" and r["policy"] == CANDIDATE]
        seeds = [r for r in findings.rows if r["kind"] == "seed" and r["policy"] == CANDIDATE]
        assert (row["n_seeds"], row["n_sessions"]) == (2, 80)
        assert row["net_bps"] == pytest.approx(np.mean([seed["mean_net_bps"] for seed in seeds]))
        assert row["sharpe"] == pytest.approx(np.mean([seed["sharpe"] for seed in seeds]))
        assert row["low_bps"] < row["net_bps"] < row["high_bps"]

    def test_differences_are_paired(self):
        findings = found(walks())
        rows = {r["policy"]: r for r in findings.rows if r["kind"] == "market"}
        pairs = {r["reference"]: r for r in findings.rows if r["kind"] == "pair"}
        assert set(pairs) == set(POLICIES) - {CANDIDATE}
        for name, pair in pairs.items():
            expected = rows[CANDIDATE]["net_bps"] - rows[name]["net_bps"]
            assert pair["difference_bps"] == pytest.approx(expected)

    def test_a_policy_without_variance_has_no_sharpe_ratio(self):
        findings = found(walks())
        [row] = [r for r in findings.rows if r["kind"] == "market" and r["policy"] == "all_hold"]
        assert "sharpe" not in row
        assert "| all hold | 0.550 (0.111) | 16.00 | - |" in findings.tables[0].markdown()


def test_gaps_are_told_where_there_are_some():
    text = found(walks()).text
    assert "80 unseen sessions from" in text
    assert "the bars have gaps" in text
    assert "at or above the plan's 0.6 in" in text


def test_without_bars_nothing_is_made_up(tmp_path):
    with pytest.raises(ConfigError, match="real bars"):
        RealBars().cells(Job(0, True, None, tmp_path))
    assert SEEDS["two"] >= 5
    assert MARKETS["three"] == ("NVDA", "MSFT", "AAPL")


@pytest.mark.slow
@pytest.mark.shared_data
@needs_shared_data
def test_the_short_form(tmp_path):
    outcome = run_experiment(
        "stairways.proof.real_bars:RealBars",
        tmp_path / "x",
        seed=0,
        quick=True,
        bars=SHARED_DATA,
        follower=Silent(),
        processes=1,
    )
    assert [bar.name for bar in outcome.findings.bars if not bar.passed] == []
    results = json.loads((tmp_path / "x" / "results.json").read_text())
    windows = [row for row in results["rows"] if row["kind"] == "window"]
    assert {row["policy"] for row in windows} >= set(POLICIES)
    for row in windows:
        assert row["train_last"] < row["tune_first"] <= row["tune_last"] < row["test_first"]
    for name in ("markets.csv", "differences.md", "windows.csv", "seeds.md", "equity.png", "means.svg"):
        assert (tmp_path / "x" / name).stat().st_size > 100
    assert "bars have gaps" in (tmp_path / "x" / "report.md").read_text()
