"""What a run leaves: summary, log, settings, artifact; and what evaluate makes of it."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys

import numpy as np
import polars as pl
import pytest
from workbench import FAST, json_of, merged, write_yaml

from stairways.config import Settings, load_settings
from stairways.registry.artifact import read_artifact

POLICY_KEYS = {
    "initial_nav_usd",
    "n_sessions",
    "mode",
    "hold_rate_ratio",
    "trades_per_session",
    "sharpe",
    "sharpe_standard_error",
    "probabilistic_sharpe",
    "max_intraday_drawdown_ratio",
    "sessions_over_2pct_drawdown",
    "turnover_ratio",
    "net_return_ratio",
    "costs_bps",
}
VERDICT_KEYS = {"name", "passed", "observed", "threshold", "n", "reason"}
RUN_KEYS = {"steps", "wall_seconds", "digest", "accepted"}
BASELINES = {"tilted_gold", "all_hold", "buy_and_hold", "random"}


@pytest.fixture
def judged(market, cli, tuned, tmp_path):
    """The candidate of the run on the test sessions, by evaluate alone."""
    ended = cli(
        *market.evaluate(
            tuned / "artifact", "--json", "--fills", tmp_path / "fills.csv", "--nav", tmp_path / "nav.csv"
        )
    )
    assert ended.status == 1
    assert ended.err == ""
    return json.loads(ended.out)


class TestSummary:
    def test_every_policy_and_the_run_have_their_keys(self, tuned):
        summary = json_of(tuned / "summary.json")
        assert {"data", "gold", "candidate", "baselines", "verdicts", "run"} <= summary.keys()
        assert summary["baselines"].keys() == BASELINES
        for policy in (summary["gold"], summary["candidate"], *summary["baselines"].values()):
            assert policy.keys() >= POLICY_KEYS
            assert policy["n_sessions"] == 30
        assert summary["run"].keys() >= RUN_KEYS
        assert all(verdict.keys() >= VERDICT_KEYS for verdict in summary["verdicts"])
        names = [verdict["name"] for verdict in summary["verdicts"]]
        assert len(set(names)) == len(names)
        assert {"hold_rate", "shadow_replay", "integrity", "beats_gold", "tuning_adds"} <= set(names)
        assert set(summary["required"]) <= set(names)

    def test_accepted_is_what_the_required_verdicts_say(self, tuned):
        summary = json_of(tuned / "summary.json")
        passed = {verdict["name"]: verdict["passed"] for verdict in summary["verdicts"]}
        assert summary["run"]["accepted"] == all(passed[name] for name in summary["required"])

    def test_the_digest_is_the_artifact_s_and_steps_are_exact(self, tuned):
        run = json_of(tuned / "summary.json")["run"]
        loaded = read_artifact(tuned / "artifact")
        assert run["digest"] == loaded.digest
        assert run["weights_digest"] == loaded.artifact.weights_digest
        assert run["gold_digest"] == read_artifact(tuned / "gold").digest == loaded.artifact.parent_digest
        assert run["steps"] == 3 * 400
        assert [cycle["steps"] for cycle in json_of(tuned / "summary.json")["cycles"]] == [400, 800, 1200]

    def test_the_folder_holds_what_it_should_and_nothing_else(self, tuned):
        assert {path.name for path in tuned.iterdir()} == {
            "artifact",
            "checkpoint",
            "checkpoint.previous",
            "config.json",
            "gold",
            "run.json",
            "summary.html",
            "summary.json",
            "summary.png",
            "training.log",
        }

    def test_learning_rates_are_above_zero_from_end_to_end(self, tuned):
        rates = [
            rollout["learning_rate"]
            for cycle in json_of(tuned / "summary.json")["cycles"]
            for rollout in cycle["training"]
        ]
        assert len(rates) == 3
        assert min(rates) > 0


class TestLog:
    def test_one_line_per_event_with_its_word(self, tuned):
        lines = (tuned / "training.log").read_text(encoding="utf-8").splitlines()
        stamp, words = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", "(RUN|CONTROL|CYCLE|SHADOW|GATE)"
        pattern = rf"{stamp} {words} [a-z_]+[.a-z_]* .+"
        assert all(re.fullmatch(pattern, line) for line in lines)
        words = [line.split()[1] for line in lines if re.search("(CYCLE|SHADOW|GATE)", line)]
        assert words.count("SHADOW") == 3
        stopped_early = sum("run.stopped_early" in line for line in lines)
        assert words.count("CYCLE") == 6 + stopped_early
        assert words.count("GATE") >= 3 + 12

    def test_the_learning_rate_is_logged_and_above_zero(self, tuned):
        found = re.findall(r"cycle\.finished .*learning_rate=(\S+)", (tuned / "training.log").read_text())
        assert len(found) == 3
        assert all(float(rate) > 0 for rate in found)

    def test_the_authority_stands_before_the_first_cycle(self, tuned):
        text = (tuned / "training.log").read_text(encoding="utf-8")
        assert 0 < text.index("authority of tilt") < text.index("CYCLE cycle.started")


class TestSettings:
    def test_the_resolved_settings_load_back_with_the_same_digest(self, tuned):
        record = json_of(tuned / "config.json")
        settings = Settings.model_validate(record)
        assert settings.as_record() == record
        assert settings.digest == json_of(tuned / "run.json")["config_digest"]
        assert settings.digest == json_of(tuned / "summary.json")["run"]["config_digest"]

    def test_they_are_a_config_file_that_makes_the_same_run(self, market, cli, tuned, tmp_path):
        config = tmp_path / "again.yml"
        config.write_text((tuned / "config.json").read_text())
        assert load_settings(config, {}).digest == json_of(tuned / "run.json")["config_digest"]
        ended = cli("tune", "--out", tmp_path / "run", "--config", config, "--gold", market.gold)
        assert ended.status == 1
        again, before = (json_of(out / "summary.json")["run"] for out in (tmp_path / "run", tuned))
        for name in ("digest", "fills_digest", "config_digest"):
            assert again[name] == before[name]


class TestEvaluate:
    def test_it_reproduces_the_summary_exactly(self, judged, tuned):
        summary = json_of(tuned / "summary.json")
        assert judged["candidate"] == summary["candidate"]
        assert judged["gold"] == summary["gold"]
        assert judged["run"]["steps"] == summary["run"]["candidate_steps"]
        for name in ("digest", "weights_digest", "fills_digest", "seed"):
            assert judged["run"][name] == summary["run"][name]
        assert judged["data"]["digest"] == summary["data"]["digest"]
        assert judged["baselines"] == summary["baselines"]
        assert judged["comparisons"] == summary["comparisons"]

    def test_it_has_the_same_keys(self, judged):
        assert judged["baselines"].keys() == BASELINES
        for policy in (judged["gold"], judged["candidate"], judged["policy"], *judged["baselines"].values()):
            if policy is judged["policy"]:
                assert policy["role"] == "candidate"
            assert policy.keys() >= POLICY_KEYS
        assert judged["run"].keys() >= RUN_KEYS
        assert all(verdict.keys() >= VERDICT_KEYS for verdict in judged["verdicts"])

    def test_a_gold_by_itself(self, market, cli, tuned):
        ended = cli(*market.evaluate(market.gold, "--json", "--seed", "7"))
        record = json.loads(ended.out)
        assert ended.status == 1
        assert record["candidate"] is None
        assert record["gold"] == {k: v for k, v in record["policy"].items() if k != "role"}
        assert record["gold"] == json_of(tuned / "summary.json")["gold"]

    def test_for_people_it_names_bars_seed_and_what_is_not_judged(self, market, cli):
        ended = cli(*market.evaluate(market.gold, "--seed", "7"))
        words = " ".join(ended.out.split())
        assert ended.status == 1
        assert ended.out.startswith(f"Bars in {market.bars}: NVDA,MSFT, 5min\n")
        assert f"Bars: {market.bars}" in words
        assert "Seed 7 drew the actions" in words
        assert "beats_gold not judged is gold itself" in words

    def test_sessions_that_the_artifact_has_seen_are_counted(self, market, cli, tuned, judged):
        assert judged["data"]["in_sample_sessions"] == 0
        record = json.loads(cli(*market.evaluate(tuned / "artifact", "--json", sessions="tune")).out)
        assert record["data"]["in_sample_sessions"] == 50

    def test_the_market_of_the_artifact_is_the_default(self, market, cli, tuned):
        """Symbols, interval, costs and controller come from the artifact; bars and sessions are named."""
        ended = cli(
            "evaluate",
            tuned / "artifact",
            "--bars",
            market.bars,
            "--sessions",
            market.ranges["test"],
            "--json",
        )
        assert json.loads(ended.out)["candidate"] == json_of(tuned / "summary.json")["candidate"]

    def test_it_needs_no_torch(self, market, tuned):
        """Who judges and acts runs where torch is not installed."""
        arguments = market.evaluate(tuned / "artifact", "--json")
        code = (
            "import sys\nsys.modules['torch'] = None\nfrom stairways.cli.main import run\n"
            f"sys.exit(run({arguments!r}))"
        )
        done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
        assert done.returncode == 1, done.stderr
        assert json.loads(done.stdout)["candidate"] == json_of(tuned / "summary.json")["candidate"]


class TestExports:
    """The files alone, read by another library."""

    @pytest.fixture
    def files(self, judged, tmp_path):
        return tmp_path / "fills.csv", tmp_path / "nav.csv"

    def test_headers_are_exact(self, files):
        headers = [path.read_text().splitlines()[0] for path in files]
        assert headers == [
            "time_utc,symbol,side,quantity,price,commission_usd,slippage_usd",
            "time_utc,nav_usd",
        ]

    def test_numbers_parse_back_exactly(self, files):
        for path in files:
            for row in path.read_text().splitlines()[1:]:
                for text in row.split(",")[(4 if path.name == "fills.csv" else 1) :]:
                    assert repr(float(text)) == text
                    assert math.isfinite(float(text))

    def test_times_are_opens_of_bars_or_closes_of_sessions(self, files, market):
        fills, nav = (pl.read_csv(path, try_parse_dates=True) for path in files)
        test = market.sessions.select(slice(110, 140))
        step = np.timedelta64(300, "s")
        ends = {
            opened + step * (bar + 1)
            for opened, count in zip(test.open_utc, test.n_bars, strict=True)
            for bar in range(int(count))
        }
        closes = {
            opened + step * int(count) for opened, count in zip(test.open_utc, test.n_bars, strict=True)
        }
        opens = {end - step for end in ends} - set(test.open_utc)
        assert set(nav["time_utc"].to_numpy().astype("datetime64[s]")) == ends
        assert nav["time_utc"].is_sorted() and nav["time_utc"].n_unique() == len(nav)
        assert set(fills["time_utc"].to_numpy().astype("datetime64[s]")) <= opens | closes
        assert fills["time_utc"].is_sorted()

    def test_the_nav_follows_from_the_fills_and_the_bars(self, files, market, judged):
        fills, nav = (pl.read_csv(path, try_parse_dates=True) for path in files)
        bars = pl.concat([pl.read_parquet(path) for path in sorted(market.bars.glob("*.parquet"))])
        closes = bars.select(
            pl.col("timestamp").dt.offset_by("5m").alias("time_utc"), "symbol", "close"
        ).sort("time_utc")
        signed = pl.when(pl.col("side") == "buy").then(1).otherwise(-1) * pl.col("quantity")
        flows = fills.with_columns(shares=signed, cash=-signed * pl.col("price") - pl.col("commission_usd"))
        # A fill at a bar's open counts at that bar's end; one at the session's close at that very time.
        marks = nav["time_utc"].to_numpy()
        last = {day: group[-1] for day, group in _by_day(marks).items()}
        at = flows["time_utc"].to_numpy()
        end = np.array([t if t == last[t.astype("M8[D]")] else t + np.timedelta64(300, "s") for t in at])
        total = np.full(len(marks), judged["policy"]["initial_nav_usd"])
        total += _running(end, flows["cash"].to_numpy(), marks)
        for symbol in ("NVDA", "MSFT"):
            own = (flows["symbol"] == symbol).to_numpy()
            shares = _running(end[own], flows["shares"].to_numpy()[own].astype(float), marks)
            prices = closes.filter(pl.col("symbol") == symbol)
            index = np.searchsorted(prices["time_utc"].to_numpy(), marks)
            assert (prices["time_utc"].to_numpy()[index] == marks).all()
            total += shares * prices["close"].to_numpy()[index]
        assert np.abs(total / nav["nav_usd"].to_numpy() - 1.0).max() < 1e-9
        assert total[-1] / total[0] > 0
        net = nav["nav_usd"][-1] / judged["policy"]["initial_nav_usd"] - 1.0
        assert net == pytest.approx(judged["policy"]["net_return_ratio"], abs=1e-12)
        assert len(fills) == round(judged["policy"]["trades_per_session"] * 30)


def _by_day(marks):
    days: dict = {}
    for mark in marks:
        days.setdefault(mark.astype("M8[D]"), []).append(mark)
    return days


def _running(times, amounts, marks):
    order = np.argsort(times, kind="stable")
    sums = np.concatenate([[0.0], np.cumsum(amounts[order])])
    return sums[np.searchsorted(times[order], marks, side="right")]


class TestWithoutProvenSkill:
    """``gate.require_skill: false``: in band and safe is enough, and every later output says so."""

    def test_accepted_and_marked_everywhere(self, market, cli, tmp_path):
        gate = {"require_skill": False, "max_drawdown_ratio": 0.2}
        run_settings = write_yaml(tmp_path / "c.yml", merged(FAST, {"gate": gate}))
        out = tmp_path / "run"
        ended = cli(*market.tune(out, "--seed", "7", config=run_settings))
        assert ended.status == 0
        assert "Accepted WITHOUT PROVEN SKILL" in " ".join(ended.out.split())
        summary = json_of(out / "summary.json")
        assert summary["run"]["accepted"] is True
        assert summary["run"]["skill_proven"] is False
        mark = next(verdict for verdict in summary["verdicts"] if verdict["name"] == "skill_proven")
        assert not mark["passed"]
        assert "not required" in mark["threshold"]
        assert "beats_gold" not in summary["required"]
        record = read_artifact(out / "artifact").record
        assert record["accepted"] is True
        assert any(v["name"] == "skill_proven" and not v["passed"] for v in record["verdicts"])
        assert "without proven skill" in (out / "summary.html").read_text(encoding="utf-8").lower()

        arguments = market.evaluate(out / "artifact", "--config", run_settings)
        judged = cli(*arguments, "--json")
        assert judged.status == 0
        assert json.loads(judged.out)["run"]["skill_proven"] is False
        shown = cli(*arguments)
        assert shown.status == 0
        assert re.search(r"skill_proven +no ", shown.out)

    def test_out_of_band_it_is_refused_all_the_same(self, market, cli, tmp_path):
        gate = {"gate": {"require_skill": False, "max_drawdown_ratio": 0.2, "session_trades_band": [1, 2]}}
        config = write_yaml(tmp_path / "c.yml", merged(FAST, gate))
        ended = cli(*market.tune(tmp_path / "run", config=config))
        assert ended.status == 1
        assert "Refused" in ended.out
        assert json_of(tmp_path / "run" / "summary.json")["run"]["accepted"] is False
