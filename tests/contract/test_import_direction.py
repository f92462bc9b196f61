"""Import direction: data goes one way, and so do imports; light things stay light."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import stairways

SOURCE = Path(stairways.__file__).parent
BELOW = {
    "errors": set(),
    "compiled_cache": set(),
    "market": {"errors"},
    "trading": {"errors", "market"},
    "control": {"errors", "market", "trading"},
    "envs": {"errors", "market", "trading", "control"},
    "policies": {"errors", "market", "trading", "control"},
    "learning": {"errors", "market", "trading", "control", "envs", "policies"},
    "evaluation": {"errors", "market", "trading", "control", "envs", "policies"},
    "registry": {"errors", "evaluation"},
    "monitoring": {"errors", "registry"},
    "operations_config": {"errors", "evaluation"},
    "config": {
        "errors", "market", "trading", "control", "envs", "policies", "learning", "evaluation", "monitoring",
        "operations_config",
    },
    "unpacking": {"errors", "config", "market", "trading", "control", "policies", "evaluation", "registry"},
    "live": {
        "errors", "config", "market", "trading", "control", "policies", "evaluation", "registry",
        "monitoring", "unpacking", "operations_config", "compiled_cache",
    },
    "reporting": {"errors", "config", "market", "trading", "control", "evaluation", "registry"},
    "tuning": {
        "errors", "config", "market", "trading", "control", "envs", "policies", "learning", "evaluation",
        "registry", "reporting", "unpacking", "operations_config",
    },
    "proof": {
        "errors", "config", "market", "trading", "control", "envs", "policies", "learning", "evaluation",
        "registry", "reporting", "tuning", "unpacking", "operations_config",
    },
}  # fmt: skip
"""What each room may import; ``cli`` may import everything, and nothing imports ``cli``."""

READS_TYPES = {"reporting": {"tuning", "learning", "envs", "policies"}}
"""What a room may name in annotations alone, beside what it may import."""

HEAVY = (
    "torch",
    "numba",
    "pandas",
    "polars",
    "matplotlib",
    "sqlalchemy",
    "scipy",
    "exchange_calendars",
    "ray",
    "httpx2",
    "stamina",
    "stable_baselines3",
    "sb3_contrib",
    "onnx",
    "onnxruntime",
    "cryptography",
    "model_signing",
)


def room_of(name: str) -> str:
    """Return the room of a module such as ``stairways.market.bars``."""
    return name.split(".")[1] if "." in name else ""


def imports_of(path: Path) -> list[tuple[str, bool]]:
    """Return every import of our own in a file, wherever it stands, and whether it is for types alone."""
    found: list[tuple[str, bool]] = []

    def visit(node: ast.AST, for_types: bool) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for child in node.body:
                visit(child, True)
            for child in node.orelse:
                visit(child, for_types)
            return
        if isinstance(node, ast.Import):
            found.extend((alias.name, for_types) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found.extend(
                (name if node.module == "stairways" else node.module or "", for_types) for name in names
            )
        for child in ast.iter_child_nodes(node):
            visit(child, for_types)

    visit(ast.parse(path.read_text(encoding="utf-8")), False)
    return [(name, for_types) for name, for_types in found if name.split(".")[0] == "stairways"]


def modules() -> list[Path]:
    """Return every source file that belongs to a room."""
    return sorted(path for path in SOURCE.rglob("*.py") if path != SOURCE / "__init__.py")


def room_of_file(path: Path) -> str:
    """Return the room a file stands in, or the name of a module beside the rooms."""
    return path.relative_to(SOURCE).with_suffix("").parts[0]


def test_every_room_is_known():
    assert {room_of_file(path) for path in modules()} <= BELOW.keys() | {"cli"}


def test_the_rule_has_no_circle():
    open_rooms, order = dict(BELOW), []
    while open_rooms:
        free = [room for room, below in open_rooms.items() if not below & open_rooms.keys()]
        assert free, f"a circle among {sorted(open_rooms)}"
        order += free
        open_rooms = {room: below for room, below in open_rooms.items() if room not in free}
    assert order.index("market") < order.index("trading") < order.index("envs") < order.index("tuning")


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_go_one_way(path):
    room = room_of_file(path)
    if room == "cli":
        return
    allowed = BELOW[room] | {room}
    for name, for_types in imports_of(path):
        target = room_of(name)
        if target in ("", "__version__"):
            continue
        assert target != "cli", f"{path}: {name}"
        reads = READS_TYPES.get(room, set()) if for_types else set()
        assert target in allowed | reads, f"{path.relative_to(SOURCE)} imports {name}"


def test_the_parser_sees_imports_wherever_they_stand(tmp_path):
    file = tmp_path / "module.py"
    file.write_text(
        "import os, stairways.market.bars\n"
        "from stairways import errors\n"
        "if TYPE_CHECKING:\n    from stairways.tuning.run import TuneRun\n"
        "def f():\n    from stairways.envs import pool\n"
    )
    assert imports_of(file) == [
        ("stairways.market.bars", False),
        ("stairways.errors", False),
        ("stairways.tuning.run", True),
        ("stairways.envs", False),
    ]
    assert room_of("stairways.envs.pool") == "envs"


def loaded_by(code: str) -> set[str]:
    """Return the heavy packages that a fresh process has loaded after some code."""
    program = f"{code}\nimport json, sys\nprint(json.dumps([n for n in {HEAVY!r} if n in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


class TestWeight:
    def test_the_package_and_the_command_line_are_light(self):
        assert loaded_by("import stairways, stairways.cli.main, stairways.errors") == set()

    @pytest.mark.parametrize("words", [["--help"], ["tune", "--help"], ["verify", "--help"]], ids=" ".join)
    def test_help_is_light(self, words):
        code = f"from stairways.cli.main import run\nassert run({words}) == 0"
        assert loaded_by(code) == set()

    def test_a_typing_mistake_is_told_without_loading_a_thing(self):
        code = "from stairways.cli.main import run\nassert run(['tune', '--sed', '3']) == 2"
        assert loaded_by(code) == set()

    def test_a_foreign_policy_is_read_without_torch_or_its_library(self):
        names = ", ".join(
            f"stairways.tuning.{name}" for name in ("gold_import", "import_spec", "policy_export")
        )
        assert not loaded_by(f"import {names}") & {
            "torch",
            "stable_baselines3",
            "sb3_contrib",
            "onnx",
            "onnxruntime",
        }

    def test_what_judges_and_acts_needs_no_torch(self):
        rooms = "market.dataset trading.metrics control policies.actor evaluation.replay evaluation.gates"
        more = "evaluation.calibration registry.artifact registry.database config tuning.evaluate"
        names = ", ".join(f"stairways.{name}" for name in f"{rooms} {more}".split())
        assert not loaded_by(f"import {names}") & {"torch", "matplotlib", "ray"}

    def test_compiled_placing_is_loaded_when_bars_are(self):
        assert loaded_by("import stairways.market.bars, stairways.market.loading") == set()
