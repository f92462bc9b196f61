"""Nothing that can run code of a file is called anywhere in the package, and the linter knows it all."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

import pytest

import stairways

SOURCE = Path(stairways.__file__).parent
ROOT = SOURCE.parents[1]
MODULES = {
    "pickle",
    "_pickle",
    "cPickle",
    "cloudpickle",
    "dill",
    "joblib",
    "marshal",
    "shelve",
    "stable_baselines3.common.save_util",
}
"""Modules that unpickle; nothing of them is imported."""
CALLS = {
    "torch.load",
    "torch.save",
    "torch.hub",
    "torch.jit.load",
    "torch.package",
    "yaml.load",
    "yaml.unsafe_load",
    "yaml.full_load",
    "stable_baselines3.PPO.load",
    "stable_baselines3.common.base_class.BaseAlgorithm.load",
    "stable_baselines3.common.policies.BasePolicy.load",
    "sb3_contrib.RecurrentPPO.load",
    "stable_baselines3.common.vec_env.VecNormalize.load",
}
FOREIGN_LOADS = {"load_from_zip_file", "load_replay_buffer", "load_from_vec_env", "set_parameters"}
"""Names of stable-baselines3 that lead to a file."""
OUR_LOADS = {"safetensors.numpy", "json"}
BANNED_BY_LINTER = (MODULES - {"cPickle"}) | CALLS


def unsafe_in(code: str) -> list[str]:
    """Return what some code has of it: modules, calls by their dotted name, pickles allowed to numpy."""
    tree, found = ast.parse(code), []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if _within(alias.name, MODULES)]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found += [name for name in names if _within(name, MODULES) or name in CALLS]
            ours = node.module in OUR_LOADS or node.module.startswith("stairways.")
            if not ours and any(alias.name == "load" for alias in node.names):
                found.append(f"{node.module}.load")
        elif isinstance(node, ast.Attribute):
            dotted = ast.unparse(node)
            if _within(dotted, CALLS | MODULES) or node.attr in FOREIGN_LOADS:
                found.append(dotted)
            if node.attr == "load" and dotted != "json.load":
                found.append(dotted)
        elif isinstance(node, ast.Name) and node.id in FOREIGN_LOADS:
            found.append(node.id)
        elif isinstance(node, ast.keyword) and node.arg in ("allow_pickle", "weights_only"):
            found.append(node.arg)
    return found


def _within(name: str, banned: set[str]) -> bool:
    return any(name == word or name.startswith(f"{word}.") for word in banned)


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCE)))
def test_no_module_loads_what_can_run_code(path):
    assert unsafe_in(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from pickle import loads",
        "import dill as d",
        "from stable_baselines3.common.save_util import load_from_zip_file",
        "import stable_baselines3.common.save_util as s",
        "def f():\n    import torch\n    return torch.load('x')",
        "torch.load('x', weights_only=False)",
        "torch.jit.load('x')",
        "from torch import load",
        "model = PPO.load('x.zip')",
        "BasePolicy.load('x')",
        "VecNormalize.load('x', env)",
        "model.set_parameters('x.zip')",
        "model.load_replay_buffer('x')",
        "np.load('x')",
        "np.load('x', allow_pickle=True)",
        "numpy.lib.format.read_array(f, allow_pickle=True)",
        "yaml.load(text, Loader)",
        "yaml.unsafe_load(text)",
    ],
)
def test_the_search_finds(code):
    assert unsafe_in(code)


def test_the_search_leaves_alone_what_is_safe():
    lines = (
        "import json",
        "json.load(f)",
        "yaml.safe_load(t)",
        "from safetensors.numpy import load",
        "load(b)",
        "model.save(f)",
    )
    assert unsafe_in("\n".join(lines)) == []


def test_the_linter_bans_the_same():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    banned = settings["tool"]["ruff"]["lint"]["flake8-tidy-imports"]["banned-api"]
    assert set(banned) >= BANNED_BY_LINTER
    for path in SOURCE.rglob("*.py"):
        assert "noqa: TID251" not in path.read_text(encoding="utf-8"), path
