"""What the outside may rely on: names, words and numbers that don't change by accident."""

from __future__ import annotations

import inspect
from importlib.metadata import entry_points
from importlib.resources import files

import pytest
from typer.main import get_command

import stairways
from stairways import errors
from stairways.cli import main
from stairways.control import DualLaneController

COMMON = {"bars", "sample", "symbols", "interval", "config", "strict", "split-table"}
OPTIONS = {
    ("bars", "check"): {"bars", "symbols", "interval", "config", "strict", "split-table", "json"},
    ("gold", "train"): COMMON | {"train", "test", "out", "seed", "policy", "steps", "preset"},
    ("gold", "import"): COMMON | {"model", "spec", "out", "seed"},
    ("export",): {"artifact", "sb3", "onnx", "config"},
    ("dry-run",): COMMON
    | {"gold", "tune", "seed", "preset", "actuator", "steps", "validate-warmstart", "json"},
    ("tune",): COMMON
    | {"gold", "tune", "test", "out", "seed", "preset", "actuator", "mode", "cycles"}
    | {"steps-per-cycle", "algorithm", "early-stop-threshold", "shadow-replay-days", "database", "resume"},
    ("backtest",): {"artifact", "scenario", "bars", "symbols", "interval", "in-sample", "costs", "out"}
    | {"walk-forward", "train-sessions", "tune-sessions", "test-sessions", "step-sessions"}
    | {"seed", "config", "json"},
    ("gate", "explain"): {"config", "sessions", "preset", "json"},
    ("evaluate",): COMMON | {"artifact", "sessions", "gold", "json", "fills", "nav", "mode", "seed"},
    ("check", "leak"): COMMON | {"artifact", "sessions", "mode", "seed", "json"},
    ("cross-asset",): COMMON | {"artifact", "sessions", "mode", "seed", "json"},
    ("frontier",): COMMON
    | {"artifact", "gold", "sessions", "points", "tuned", "tune", "cycles", "hold", "out", "seed", "mode"}
    | {"json"},
    ("page", "test"): {"severity", "resolve", "config", "json"},
    ("page", "flush"): {"config", "json"},
    ("page", "spool"): {"config", "json"},
    ("keys", "new"): {"file", "openssf"},
    ("keys", "trust"): {"public", "name", "registry", "database", "by"},
    ("keys", "list"): {"registry", "json"},
    ("keys", "retire"): {"key_id", "reason", "registry", "database", "by"},
    ("keys", "revoke"): {"key_id", "reason", "registry", "database", "by"},
    ("sign",): {"artifact", "key", "openssf", "bundle"},
    ("verify",): {"artifact", "registry", "openssf", "public", "bundle"},
    ("prove",): {"names", "all", "list", "quick", "bars", "seed", "out", "page"},
}


def command_of(words):
    found = get_command(main.app)
    for word in words:
        found = found.commands[word]
    return found


def test_the_package_has_a_version_and_nothing_else():
    assert stairways.__version__.count(".") == 2
    public = {name for name, value in vars(stairways).items() if not name.startswith("_")}
    assert {name for name in public if not inspect.ismodule(getattr(stairways, name))} == set()


def test_the_command_is_installed():
    [script] = entry_points(group="console_scripts", name="stairways")
    assert script.load() is main.main


def test_the_commands():
    app = get_command(main.app)
    assert set(app.commands) == {
        "audit",
        "backtest",
        "bars",
        "check",
        "cross-asset",
        "dry-run",
        "evaluate",
        "export",
        "frontier",
        "gate",
        "gold",
        "keys",
        "page",
        "promote",
        "prove",
        "registry",
        "rollback",
        "serve",
        "sign",
        "tune",
        "verify",
        "waive",
        "watch",
    }
    assert set(app.commands["audit"].commands) == {"clock", "show", "sign", "verify"}
    assert set(app.commands["keys"].commands) == {"list", "new", "retire", "revoke", "trust"}
    assert set(app.commands["registry"].commands) == {
        "add", "backup", "check", "create", "diff", "list", "live", "reconcile", "show",
    }  # fmt: skip
    assert set(app.commands["rollback"].commands) == {"drill", "finish", "list", "now", "resume"}
    assert set(app.commands["bars"].commands) == {"check"}
    assert set(app.commands["check"].commands) == {"leak"}
    assert set(app.commands["gate"].commands) == {"explain"}
    assert set(app.commands["gold"].commands) == {"import", "train"}
    assert set(app.commands["page"].commands) == {"test", "flush", "spool"}
    assert set(app.commands["audit"].commands) == {"clock", "show", "sign", "verify"}
    assert set(app.commands["keys"].commands) == {"list", "new", "retire", "revoke", "trust"}
    assert set(app.commands["registry"].commands) == {
        "add",
        "backup",
        "check",
        "create",
        "diff",
        "list",
        "live",
        "reconcile",
        "show",
    }
    assert set(app.commands["rollback"].commands) == {"drill", "finish", "list", "now", "resume"}


@pytest.mark.parametrize("words", OPTIONS, ids=" ".join)
def test_the_same_words_everywhere(words):
    names = {max(p.opts, key=len).removeprefix("--") for p in command_of(words).params}
    assert names - {"help"} == OPTIONS[words]


@pytest.mark.parametrize("words", OPTIONS, ids=" ".join)
def test_every_option_has_a_word_of_help(words):
    silent = [p.opts[0] for p in command_of(words).params if not getattr(p, "help", None)]
    assert not silent


def test_exit_statuses():
    statuses = (main.PASSED, main.REFUSED, main.BAD_INPUT, main.FAILED, main.INTERRUPTED)
    assert statuses == (0, 1, 2, 3, 130)


def test_the_tree_of_errors_is_the_one_that_is_drawn():
    drawn = [
        line.strip("│├└─ ").split(" ")[0] for line in inspect.getdoc(errors).splitlines() if "Error " in line
    ]
    defined = [name for name, value in vars(errors).items() if inspect.isclass(value)]
    assert sorted(drawn) == sorted(defined)


def test_the_controller_of_the_plan_is_importable_by_its_name():
    signature = inspect.signature(DualLaneController)
    assert next(iter(signature.parameters)) == "base_hold_bonus"
    defaults = {name: p.default for name, p in signature.parameters.items()}
    assert (defaults["kp_fast"], defaults["kp_slow"], defaults["slow_period"]) == (0.25, 0.05, 25)
    assert list(inspect.signature(DualLaneController.compute_bonus).parameters)[1:] == [
        "hold_error",
        "market_mult",
    ]


def test_the_shipped_gold_is_small_and_the_package_is_typed():
    root = files("stairways")
    assert (root / "py.typed").is_file()
    gold = root / "data" / "gold"
    assert sum(len(file.read_bytes()) for file in gold.iterdir()) < 1_000_000
