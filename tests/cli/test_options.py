"""Options that several commands share: what they refuse, and what is announced of the market."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from stairways.cli.options import announce_market, choice, market_overrides
from stairways.config import load_settings
from stairways.errors import ConfigError


def announced(**market):
    console = Console(file=io.StringIO(), width=80, force_terminal=False, _environ={})
    announce_market(console, load_settings(None, {"market": market}))
    return console.file.getvalue()


def test_a_market_that_nobody_named_is_announced_as_synthetic():
    line = "SYNTHETIC market planted (no --bars was given): MSFT,NVDA, 1min\n"
    assert announced(symbols=("MSFT", "NVDA")) == line
    assert announced(sample="noise:3").startswith("SYNTHETIC market noise:3 ")


def test_a_folder_is_announced_as_it_was_given_and_in_one_piece():
    folder = "somewhere/" + "deep/" * 30 + "bars"
    assert announced(bars=folder, interval="5min") == f"Bars in {folder}: NVDA,MSFT, 5min\n"


def test_a_name_that_is_none_of_an_option_s_is_refused_with_those_there_are():
    option = choice("--mode", "sampled", "greedy", help="Deployment mode.")
    assert option.metavar == "[sampled|greedy]"
    assert option.help == "Deployment mode."
    parse = option.parser
    assert parse("greedy") == "greedy"
    with pytest.raises(ConfigError) as caught:
        parse("greedi")
    assert caught.value.line() == "--mode: unknown value greedi; choose sampled or greedy"


def test_a_sample_that_there_is_not_is_refused_before_anything_else():
    with pytest.raises(ConfigError, match="--sample: unknown sample market plantd; choose one of planted"):
        market_overrides(None, "plantd", None, None, False, None)
