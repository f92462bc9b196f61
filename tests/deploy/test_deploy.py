"""The files in deploy/, and every command that deploy/, README.md and docs/ name: all of them exist."""

from __future__ import annotations

import configparser
import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

from stairways.cli import main
from stairways.config import load_settings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
UNITS = ("stairways.service", "stairways-watch.service")
PAGES = ("README.md", *(f"docs/{name}.md" for name in ("registry", "rollback", "paging")))


def check(words):
    """Fail unless a command with all of its options is one of the command line's."""
    command = get_command(main.app)
    words = list(words)
    while hasattr(command, "commands"):
        assert words, "a group without a command"
        name = words.pop(0)
        assert name in command.commands, f"no command {name}"
        command = command.commands[name]
    options = {name for parameter in command.params for name in parameter.opts}
    for word in words:
        if word.startswith("-"):
            assert word.split("=")[0] in options, f"{command.name} has no {word}"


def unit_of(name):
    class Lines(dict):
        """Keys that stand more than once keep all of their values."""

        def __setitem__(self, key, value):
            if isinstance(value, list) and key in self:
                self[key].extend(value)
            else:
                super().__setitem__(key, value)

    parser = configparser.RawConfigParser(strict=False, dict_type=Lines)
    parser.optionxform = str
    parser.read_string((DEPLOY / name).read_text(encoding="utf-8"))
    return parser


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_runs_a_command_that_there_is_under_a_user_that_can_t_do_much(name):
    service = unit_of(name)["Service"]
    program, *words = shlex.split(service["ExecStart"])
    assert program.endswith("/stairways")
    check(words)
    assert (service["User"], service["Restart"]) == ("stairways", "always")
    for bar in ("NoNewPrivileges", "ProtectHome", "PrivateTmp", "RestrictSUIDSGID"):
        assert service[bar] == "yes", bar
    assert service["ProtectSystem"] == "strict"
    assert service["CapabilityBoundingSet"] == ""
    # the watch reaches the service's control socket, which stands in TMPDIR
    text = (DEPLOY / name).read_text(encoding="utf-8")
    assert "Environment=TMPDIR=/run/stairways\n" in text
    assert "RuntimeDirectory=stairways\n" in text
    assert "RuntimeDirectoryPreserve=yes\n" in text


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd")
def test_systemd_understands_the_units(tmp_path):
    for name in UNITS:
        text = (DEPLOY / name).read_text(encoding="utf-8")
        text = text.replace("/opt/stairways/bin/stairways", "/bin/true").replace("=stairways\n", "=root\n", 2)
        (tmp_path / name).write_text(text, encoding="utf-8")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *UNITS],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
    )
    ours = [line for line in done.stderr.splitlines() if "stairways" in line]
    assert (done.returncode, ours) == (0, []), done.stderr


def test_compose_runs_commands_that_there_are_without_rights_or_ports():
    compose = yaml.safe_load((DEPLOY / "compose.yml").read_text(encoding="utf-8"))
    assert set(compose["services"]) == {"serve", "watch"}
    for service in compose["services"].values():
        check(service["command"])
        assert service["read_only"]
        assert service["user"] == "10001:10001"
        assert service["cap_drop"] == ["ALL"]
        assert "ports" not in service
        volumes = {volume.split(":")[0] for volume in service["volumes"]}
        assert volumes >= {"registry", "sockets"} == set(compose["volumes"])
    assert compose["services"]["serve"]["build"] == {"context": "..", "dockerfile": "deploy/Dockerfile"}


def test_the_image_serves_as_nobody_in_particular_and_asks_itself_whether_it_is_ready():
    text = re.sub(r"\\\n", " ", (DEPLOY / "Dockerfile").read_text(encoding="utf-8"))
    lines = dict(re.findall(r"^(\w+) (.*)$", text.split("FROM")[-1], re.MULTILINE))
    assert lines["USER"] == "stairways"
    program = json.loads(lines["ENTRYPOINT"])
    assert program == ["stairways"]
    check(json.loads(lines["CMD"]))
    name, *words = json.loads(lines["HEALTHCHECK"].split("CMD ", 1)[1])
    assert name == "stairways"
    check(words)
    for source in re.findall(r"^COPY (?!--from)(.*) \S+$", text, re.MULTILINE):
        assert all((ROOT / part).exists() for part in source.split())


def test_the_example_settings_are_settings():
    file = DEPLOY / "settings.yml"
    sections = yaml.safe_load(file.read_text(encoding="utf-8"))
    assert set(sections) == {"service", "rollback", "paging"}
    settings = load_settings(file, {})
    assert settings.service.restart == "supervisor"
    assert settings.rollback.drill_every_days == 7


def commands_of(page):
    text = (ROOT / page).read_text(encoding="utf-8").replace("\\\n", " ")
    named = re.findall(r"^    stairways (.*?)(?: *#.*)?$", text, re.MULTILINE)
    quoted = re.findall(r"`stairways ([^`]*)`", text)
    return [line for line in named + quoted if not line.startswith("-")]


@pytest.mark.parametrize("page", PAGES)
def test_a_page_names_commands_and_options_that_there_are(page):
    found = commands_of(page)
    assert found
    for line in found:
        words = shlex.split(line.split(" | ")[0].split(" > ")[0].split(" & ")[0])
        if words in (["keys"], ["page"], ["registry"], ["rollback"], ["audit"]):
            continue
        check(words)
