"""Every option has its place in one YAML file, and has the same effect there."""

from __future__ import annotations

import pytest
import yaml
from typer.main import get_command
from workbench import merged

from stairways.cli.main import app, run
from stairways.config import load_settings

NOT_SETTINGS = {
    "config": "names the file itself",
    "artifact": "call.artifact, tested apart",
    "out": "call.out, tested apart: the start of every command line here names it",
    "help": "",
}
NEGATED = "--no-"
PLACES = {
    "bars": ("market.bars", "somewhere", "somewhere"),
    "sample": ("market.sample", "noise:3", "noise:3"),
    "symbols": ("market.symbols", "MSFT,NVDA", ["MSFT", "NVDA"]),
    "interval": ("market.interval", "5min", "5min"),
    "strict": ("market.strict", None, True),
    "split-table": ("market.split_table", "s.csv", "s.csv"),
    "train": ("ranges.train", "2012-01-03:2012-02-03", "2012-01-03:2012-02-03"),
    "tune": ("ranges.tune", "2012-03-05:2012-04-03", "2012-03-05:2012-04-03"),
    "test": ("ranges.test", "2012-05-03:2012-06-04", "2012-05-03:2012-06-04"),
    "sessions": ("ranges.sessions", "2012-05-03:2012-06-04", "2012-05-03:2012-06-04"),
    "seed": ("seed", "9", 9),
    "preset": ("preset", "plan", "plan"),
    "actuator": ("control.actuator", "reward", {"kind": "reward"}),
    "mode": ("control.mode", "greedy", "greedy"),
    "cycles": ("tune.cycles", "3", 3),
    "algorithm": ("tune.algorithm", "ppo", "ppo"),
    "steps-per-cycle": ("tune.steps_per_cycle", "4000", 4000),
    "early-stop-threshold": ("tune.improvement.improvement_threshold", "0.05", 0.05),
    "shadow-replay-days": ("tune.shadow_replay_days", "4", 4),
    "database": ("call.database", "sqlite:///x.db", "sqlite:///x.db"),
    "policy": ("gold.policy", "lstm", "lstm"),
    "gold": ("call.gold", "g", "g"),
    "fills": ("call.fills", "f.csv", "f.csv"),
    "nav": ("call.nav", "n.csv", "n.csv"),
    "json": ("call.json_output", None, True),
    "resume": ("call.resume", None, True),
    "validate-warmstart": ("call.validate_warmstart", NEGATED, False),
    ("evaluate", "interval"): ("market.interval", "1min", "1min"),
    ("gold", "steps"): ("gold.steps", "66560", 66560),
    ("dry-run", "steps"): ("dry_run.steps", "7000", 7000),
}
PLACES |= {name: (f"call.{name}", "x", "x") for name in ("spec", "sb3", "onnx")}
COMMANDS = ("bars", "gold", "dry-run", "tune", "evaluate", "export")


def options_of(command):
    """Return the options of a command without dashes."""
    found = get_command(app)
    for word in {"bars": ["bars", "check"], "gold": ["gold", "train"]}.get(command, [command]):
        found = found.commands[word]
    return [max(p.opts, key=len).removeprefix("--") for p in found.params]


OPTIONS = [(command, option) for command in COMMANDS for option in options_of(command)]


def nested(place, value):
    """Return a value at a dotted place as nested settings."""
    for part in reversed(place.split(".")):
        value = {part: value}
    return value


class Resolved(Exception):  # noqa: N818 - no error, a way out
    """Carries the settings that a command resolved, so that it goes no further."""


@pytest.fixture
def resolve(monkeypatch, market, tmp_path):
    """Return the settings that a command line resolves to."""

    def stop(*arguments, **named):
        raise Resolved(load_settings(*arguments, **named))

    monkeypatch.setattr("stairways.config.load_settings", stop)

    def resolved(command, *more):
        start = {
            "bars": ["bars", "check"],
            "gold": ["gold", "train", "--out", str(tmp_path / "o")],
            "dry-run": ["dry-run"],
            "tune": ["tune", "--out", str(tmp_path / "o")],
            "evaluate": ["evaluate", str(market.gold)],
            "export": ["export", str(market.gold)],
        }[command]
        with pytest.raises(Resolved) as caught:
            run([*start, *more])
        return caught.value.args[0]

    return resolved


@pytest.mark.parametrize(("command", "option"), OPTIONS)
def test_an_option_is_a_setting_or_no_matter_of_settings(command, option):
    assert option in NOT_SETTINGS or option in PLACES or (command, option) in PLACES


@pytest.mark.parametrize(("command", "option"), [pair for pair in OPTIONS if pair[1] not in NOT_SETTINGS])
def test_it_has_the_same_effect_in_the_file(resolve, tmp_path, command, option):
    place, text, value = PLACES.get((command, option)) or PLACES[option]
    if option == "bars":
        # named on the command line it is looked for at once, and noted so that it is found from anywhere
        (tmp_path / text).mkdir()
        (tmp_path / text / "NVDA.csv").touch()
        text = value = str(tmp_path / text)
    config = tmp_path / "c.yml"
    config.write_text(yaml.safe_dump(nested(place, value)))
    if text == NEGATED:
        by_option = resolve(command, f"--no-{option}")
    else:
        by_option = resolve(command, f"--{option}", *([] if text is None else [text]))
    assert resolve(command, "--config", str(config)) == by_option
    assert resolve(command) != by_option


@pytest.mark.parametrize("command", [["tune"], ["gold", "train"]])
def test_where_to_write_can_stand_in_the_file(tmp_path, command, capsys):
    occupied = tmp_path / "occupied"
    occupied.mkdir()
    (occupied / "mine.txt").write_text("mine")
    config = tmp_path / "c.yml"
    config.write_text(yaml.safe_dump(nested("call.out", str(occupied))))
    assert run([*command, "--config", str(config)]) == 2
    assert str(occupied) in capsys.readouterr().err
    assert run(command) == 2
    assert "--out is missing" in capsys.readouterr().err


def test_what_to_judge_can_stand_in_the_file(tmp_path, capsys):
    config = tmp_path / "c.yml"
    config.write_text(yaml.safe_dump(nested("call.artifact", str(tmp_path / "nothing"))))
    sessions = ["--sessions", "2012-05-03:2012-06-04"]
    assert run(["evaluate", "--config", str(config), *sessions]) == 2
    assert "nothing" in capsys.readouterr().err
    assert run(["evaluate", *sessions]) == 2
    assert "ARTIFACT is missing" in capsys.readouterr().err


def test_the_command_line_counts_more_than_the_file(resolve, tmp_path):
    config = tmp_path / "c.yml"
    config.write_text(yaml.safe_dump(merged(nested("seed", 3), nested("tune.cycles", 5))))
    settings = resolve("tune", "--config", str(config), "--seed", "4")
    assert (settings.seed, settings.tune.cycles) == (4, 5)


def test_a_sample_on_the_command_line_takes_the_place_of_bars_in_the_file(resolve, tmp_path):
    config = tmp_path / "c.yml"
    config.write_text(yaml.safe_dump(nested("market.bars", "somewhere")))
    market = resolve("tune", "--config", str(config), "--sample", "planted").market
    assert (market.bars, market.sample) == (None, "planted")
