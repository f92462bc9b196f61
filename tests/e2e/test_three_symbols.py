"""Three symbols from the command line: trained, tuned and judged as they are, and through pairs."""

from __future__ import annotations

import json

import pytest
from workbench import FAST, frame_of, merged, pack_holding_gold, ranges_of, write_yaml

from stairways.market.samples import sample_market

SYMBOLS = "NVDA,MSFT,AAPL"
# so few steps teach it nothing, and it over-holds by halves: only the path is proven here
QUICK_GOLD = {
    "gold": {
        "steps": 3_200,
        "hidden": [16, 16],
        "judge_every_rollouts": 2,
        "ppo": {"n_envs": 16, "n_steps": 50, "minibatch": 400, "epochs": 2},
        "over_hold_bonus_bps": 20.0,
        "over_hold_learning_rate": 0.3,
        "over_hold_ratio": 0.8,
        "over_hold_trades": 30.0,
    }
}


@pytest.fixture(scope="module")
def bars(tmp_path_factory):
    """A folder of the bars of three symbols, and the ranges of its sessions."""
    folder = tmp_path_factory.mktemp("three") / "bars"
    folder.mkdir()
    sessions = sample_market(
        "planted", symbols=tuple(SYMBOLS.split(",")), interval_minutes=5, n_sessions=140
    ).sessions
    for symbol in sessions.symbols:
        frame_of(sessions, symbol).write_parquet(folder / f"{symbol}.parquet")
    return folder, ranges_of(sessions)


@pytest.fixture(scope="module")
def gold(bars, tmp_path_factory):
    """A gold of NVDA and MSFT on the same folder."""
    folder, ranges = bars
    place = tmp_path_factory.mktemp("two") / "gold"
    pack_holding_gold(place, folder, ranges["train"])
    return place


@pytest.mark.slow
def test_three_legs_are_trained_tuned_checked_and_judged(bars, cli, tmp_path):
    folder, ranges = bars
    market = ["--bars", folder, "--symbols", SYMBOLS, "--interval", "5min"]
    config = write_yaml(tmp_path / "fast.yml", merged(FAST, QUICK_GOLD))
    train = ["--train", ranges["train"], "--test", ranges["tune"], "--seed", "1", "--config", config]
    trained = cli("gold", "train", "--out", tmp_path / "gold", *market, *train)
    assert trained.status in (0, 1), trained.err
    dates = ["--tune", ranges["tune"], "--test", ranges["test"], "--config", config]
    tuned = cli("tune", "--gold", tmp_path / "gold", "--out", tmp_path / "run", *market, *dates)
    assert tuned.status in (0, 1), tuned.err
    artifact = tmp_path / "run" / "artifact"
    content = json.loads((artifact / "artifact.json").read_text(encoding="utf-8"))
    assert (content["n_actions"], len(content["symbols"])) == (27, 3)
    checked = cli("check", "leak", artifact, "--bars", folder, "--json")
    assert checked.status == 0, checked.out
    assert json.loads(checked.out)["futures"]["columns"] == 3 * 12 + 3 + 2
    judged = cli("cross-asset", artifact, *market, "--json")
    record = json.loads(judged.out)
    assert record["form"] == "native"
    assert record["accounts"] == ["NVDA-MSFT-AAPL"]
    assert record["whole"]["policy"]["chance_hold_rate_ratio"] == pytest.approx(1 / 27)
    sessions = record["data"]["sessions"]
    assert f"{sessions['first']}:{sessions['last']}" == ranges["test"]
    assert judged.status == (0 if record["run"]["passed"] else 1)


def test_two_legs_act_through_their_pairs(bars, gold, cli):
    folder, ranges = bars
    asked = ["--bars", folder, "--symbols", SYMBOLS, "--sessions", ranges["test"], "--seed", "5"]
    ended = cli("cross-asset", gold, *asked)
    words = " ".join(ended.out.split())
    assert ended.status in (0, 1), ended.err
    assert "through its pairs, a third of the capital each" in words
    assert "AAPL is new: its constants are fitted on 60 sessions" in words
    for name in ("NVDA-MSFT", "NVDA-AAPL", "MSFT-AAPL", "random", "buy and hold", "all hold"):
        assert name in words
    record = json.loads(cli("cross-asset", gold, *asked, "--json").out)
    assert record["made_for"] == ["NVDA", "MSFT"]
    whole = record["whole"]["policy"]
    assert f"{100 * whole['hold_rate_ratio']:.1f}% (11.1%)" in words
    assert f"{100 * whole['year_drawdown_ratio']:.2f}% drawdown in any year" in words
    assert "drawdown in drawdown in (chance) session" in words
    first, _, last = ranges["train"].partition(":")
    assert record["fitted_constants"] == [
        {"symbol": "AAPL", "first": first, "last": last, "n_sessions": 60, "in_range": True}
    ]
    assert record == json.loads(cli("cross-asset", gold, *asked, "--json").out) | {"run": record["run"]}


def test_the_seed_draws_the_decisions(bars, gold, cli):
    folder, ranges = bars
    asked = ["--bars", folder, "--symbols", SYMBOLS, "--sessions", ranges["test"], "--json"]
    one, two = (json.loads(cli("cross-asset", gold, *asked, "--seed", seed).out) for seed in ("1", "2"))
    assert one["whole"]["policy"] != two["whole"]["policy"]
    assert one["whole"]["buy_and_hold"] == two["whole"]["buy_and_hold"]


def test_bad_input_is_one_line(bars, gold, cli):
    folder, ranges = bars
    asked = ["--bars", folder, "--sessions", ranges["test"]]
    assert "name three" in cli("cross-asset", gold, *asked).complaint
    assert "--bars is missing" in cli("cross-asset", gold, "--symbols", SYMBOLS).complaint
    assert "ARTIFACT is missing" in cli("cross-asset").complaint
    early = ["--bars", folder, "--symbols", SYMBOLS, "--sessions", "2012-01-04:2012-01-20"]
    assert "constants of a new symbol" in cli("cross-asset", gold, *early).complaint
    ended = cli("cross-asset", gold, *asked, "--symbols", "NVDA,MSFT,TSLA")
    assert ended.status == 2
    assert "TSLA" in ended.complaint
