"""A small market on disk, a gold that over-holds, and settings that take a moment: what the proofs of the
command line share."""

from __future__ import annotations

import copy
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import yaml

from markets import random_weights
from stairways.config import DateRange, load_settings
from stairways.market.features import FeatureConstants
from stairways.market.samples import sample_market
from stairways.market.sessions import Sessions
from stairways.policies.spec import PolicySpec
from stairways.registry.artifact import write_artifact
from stairways.tuning.market_access import open_dataset
from stairways.tuning.packing import pack_gold

SYMBOLS = ("NVDA", "MSFT")
N_SESSIONS = 140
N_TRAINED, N_TUNED = 60, 50
VALUES = ("open", "high", "low", "close", "volume")
PPO = {"n_envs": 8, "n_steps": 50, "minibatch": 200, "epochs": 2}
FAST = {
    "tune": {
        "algorithm": "ppo",
        "cycles": 3,
        "steps_per_cycle": 400,
        "ppo": PPO,
    },
    "gate": {
        "hold_tolerance_ratio": 0.08,
        "trades_band": [10.0, 24.0],
        "session_trades_band": [2, 50],
        "min_sessions_in_band_ratio": 0.5,
        "shadow_trades_band": [2, 60],
    },
    "dry_run": {"steps": 2_000, "n_envs": 5, "n_steps": 100},
}
"""Settings of a run of three cycles of one rollout each, judged in wide bands."""


def made_sessions(interval_minutes: int = 5, n_sessions: int = N_SESSIONS) -> Sessions:
    """Return the first sessions of the sample market."""
    market = sample_market(
        "planted", symbols=SYMBOLS, interval_minutes=interval_minutes, n_sessions=n_sessions
    )
    return market.sessions


def frame_of(sessions: Sessions, symbol: str) -> pl.DataFrame:
    """Return the bars of one symbol as a long frame with timestamps in UTC."""
    leg = sessions.symbols.index(symbol)
    there = np.arange(sessions.max_bars) < sessions.n_bars[:, None]
    offsets = np.arange(sessions.max_bars) * np.timedelta64(60 * sessions.interval_minutes, "s")
    start = (sessions.open_utc[:, None] + offsets)[there]
    columns = {name: getattr(sessions, name)[:, :, leg][there] for name in VALUES}
    return pl.DataFrame(
        {"symbol": [symbol] * len(start), "timestamp": start.astype("datetime64[us]"), **columns}
    ).with_columns(pl.col("timestamp").dt.replace_time_zone("UTC"))


def ranges_of(sessions: Sessions) -> dict[str, str]:
    """Return the session dates that train, tune and test, as the command line takes them."""
    edges = (0, N_TRAINED, N_TRAINED + N_TUNED, len(sessions))
    names = ("train", "tune", "test")
    return {
        name: f"{sessions.dates[first]}:{sessions.dates[behind - 1]}"
        for name, first, behind in zip(names, edges, edges[1:], strict=False)
    }


def write_yaml(path: Path, content: dict[str, Any]) -> Path:
    """Write settings."""
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def merged(*layers: dict[str, Any]) -> dict[str, Any]:
    """Merge nested settings; the later ones count more."""
    result: dict[str, Any] = {}
    for layer in layers:
        for key, value in copy.deepcopy(layer).items():
            both = isinstance(value, dict) and isinstance(result.get(key), dict)
            result[key] = merged(result[key], value) if both else value
    return result


def pack_holding_gold(folder: Path, bars: Path, train: str, *, kind: str = "mlp", **settings: Any) -> str:
    """Write a gold of random weights whose hold action stands 3 logits above the rest."""
    market = {"bars": str(bars), "symbols": SYMBOLS, "interval": "5min"}
    made = load_settings(None, merged({"market": market, "ranges": {"train": train}}, settings))
    dataset = open_dataset(made)
    dates = DateRange.model_validate(train)
    part = dataset.sessions.span(dates.first, dates.last)
    spec = PolicySpec(kind=kind, hidden=(16, 16), lstm_hidden=32 if kind == "lstm" else 0)
    weights = random_weights(spec, 3, scale=0.7)
    weights["policy.head.bias"][4] += 4.0
    constants = FeatureConstants.fit(dataset.raw, dataset.sessions, part)
    artifact = pack_gold(made, dataset, spec, weights, constants, part.stop, [dates])
    return write_artifact(folder, artifact, {"command": "gold train", "seed": 0, "steps": 0})


@dataclass(frozen=True)
class Market:
    """Bars on disk and what goes with them.

    Attributes:
        bars: Folder of Parquet files, one per symbol.
        sessions: The same as arrays.
        ranges: Session dates by name.
        gold: Folder of a gold trained on the first range.
        config: YAML file with fast settings.
    """

    bars: Path
    sessions: Sessions
    ranges: dict[str, str]
    gold: Path
    config: Path

    def options(self, *names: str) -> list[str]:
        """Return the options that name the market and some of its ranges."""
        dates = [part for name in names for part in (f"--{name}", self.ranges[name])]
        return ["--bars", str(self.bars), "--symbols", ",".join(SYMBOLS), "--interval", "5min", *dates]

    def tune(self, out: Path, *more: str, config: Path | None = None) -> list[str]:
        """Return the arguments of a tuning."""
        start = ["tune", "--gold", str(self.gold), "--out", str(out), "--config", str(config or self.config)]
        return [*start, *self.options("tune", "test"), *more]

    def evaluate(self, artifact: Path, *more: str, sessions: str = "test") -> list[str]:
        """Return the arguments of an evaluation."""
        dates = ["--sessions", self.ranges[sessions]]
        return ["evaluate", str(artifact), *self.options(), *dates, "--config", str(self.config), *more]


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def json_of(path: Path) -> dict[str, Any]:
    """Return a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def listing(folder: Path) -> dict[str, str]:
    """Return every file and folder below a folder, with the digest of each file."""
    return {
        str(path.relative_to(folder)): digest_of(path) if path.is_file() else "folder"
        for path in sorted(folder.rglob("*"))
    }
