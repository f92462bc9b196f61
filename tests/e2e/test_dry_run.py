"""``stairways dry-run``: what it prints for people and for programs."""

from __future__ import annotations

import json


def arguments_of(market, *more):
    return ["dry-run", "--gold", market.gold, "--config", market.config, *market.options("tune"), *more]


def test_it_says_on_which_bars_and_with_which_learner_it_ran(market, cli):
    ended = cli(*arguments_of(market))
    assert ended.status in (0, 1), ended.err
    lines = ended.out.splitlines()
    assert lines[0] == f"Bars in {market.bars}: NVDA,MSFT, 5min"
    assert f"Bars: {market.bars}" in lines
    assert lines[-1].startswith("Trained here: PPO in a pool of accounts")
    assert "trains on all actions instead" in lines[-1]


def test_for_programs_standard_output_is_json_alone(market, cli):
    record = json.loads(cli(*arguments_of(market, "--json")).out)
    assert record["run"]["command"] == "dry-run"
