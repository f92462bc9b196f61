"""The policies that experiments on control start from, and the market they act on.

An *over-holder* is a gold. An *over-trader* is the same gold with two numbers changed in its output layer:
the bias of hold is lowered until it holds less than chance, then all logits are divided by a common factor
until it trades often enough. Its trunk, and so what it knows, is untouched.
"""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stairways.config import DateRange, load_settings
from stairways.errors import TrainingError
from stairways.evaluation.replay import Replay, replay
from stairways.policies.program import compile_program
from stairways.policies.spec import PolicySpec
from stairways.trading.actions import hold_action
from stairways.trading.observation import observe
from stairways.tuning.market_access import open_dataset
from stairways.tuning.ranges import SAMPLE_RANGES, span_of
from stairways.tuning.run_folder import Silent
from stairways.unpacking import unpack

if TYPE_CHECKING:
    from stairways.config import Settings
    from stairways.market.dataset import Dataset
    from stairways.policies.program import Weights
    from stairways.trading.observation import ObservedMarket
    from stairways.trading.rules import TradingRules
    from stairways.unpacking import Packed

SAMPLE = "planted"
OVER_HOLD_RATIO = 0.80
OVER_TRADES = 60.0
WANTED_TRADES = 66.0
"""An over-trader is built on earlier sessions than it is judged on; the tenth above the bar is for that."""
BIAS_STEP_LOGITS, FLATTENING, MOST_STEPS = -2.0, 0.9, 40

# nothing in an artifact may depend on when it was made
EPOCH = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)


@dataclass(frozen=True)
class Flattened:
    """What turned a gold into an over-trader.

    Attributes:
        hold_bias_logits: Added to the output bias of hold.
        scale_ratio: Factor on all logits, 1 or less.
    """

    hold_bias_logits: float
    scale_ratio: float

    def of(self, spec: PolicySpec, weights: Weights) -> dict[str, Any]:
        """Return the weights of the over-trader."""
        head_weight, head_bias = (
            np.array(weights["policy.head.weight"]),
            np.array(weights["policy.head.bias"]),
        )
        head_bias[hold_action(spec.n_symbols)] += np.float32(self.hold_bias_logits)
        scale = np.float32(self.scale_ratio)
        return {**weights, "policy.head.weight": head_weight * scale, "policy.head.bias": head_bias * scale}


@cache
def sample_dataset(sample: str) -> Dataset:
    """Return a sample market; kept, since the cells of a process share it."""
    return open_dataset(load_settings(None, {"market": {"sample": sample}}))


@cache
def observed_by(folder: Path, sample: str = SAMPLE) -> ObservedMarket:
    """Return every session of a sample market as an artifact's policy sees it."""
    dataset = sample_dataset(sample)
    return observe(dataset.sessions, dataset.table(unpack(folder).constants))


def sample_part(name: str, sample: str = SAMPLE) -> slice:
    """Return where one of the sample's ranges lies: ``train``, ``record``, ``tune`` or ``test``."""
    return span_of(sample_dataset(sample).sessions, DateRange.model_validate(SAMPLE_RANGES[name]), name)


def train_gold(folder: Path, overrides: dict[str, Any]) -> Packed:
    """Train a gold on a sample market; one that stands there from a call that was stopped is taken.

    Args:
        folder: Folder of the artifact.
        overrides: Settings that differ from the defaults.
    """
    from stairways.tuning.gold import GoldTraining

    if not (folder / "manifest.json").is_file():
        settings: Settings = load_settings(None, overrides)
        GoldTraining(settings, folder, clock=lambda: EPOCH, watcher=Silent()).run()
    return unpack(folder)


def without_over_hold(gold: dict[str, Any]) -> dict[str, Any]:
    """Return settings of gold training whose second stage changes nothing: the policy as it learned."""
    stage = {"over_hold_bonus_bps": 1e-9, "over_hold_learning_rate": 1e-9, "over_hold_rollouts": 1}
    return {**gold, **stage, "over_hold_ratio": 1e-9, "over_hold_trades": 1e6}


def over_trader(
    spec: PolicySpec, weights: Weights, market: ObservedMarket, rules: TradingRules, key: int
) -> Flattened:
    """Find the over-trader of a gold.

    Args:
        spec: The gold's architecture.
        weights: Its weights.
        market: Sessions to measure on; none that a result is reported on.
        rules: Sizes, bounds and costs.
        key: Key of the decisions.

    Raises:
        TrainingError: If no such policy is found.
    """
    chance = 1.0 / spec.n_actions
    made = Flattened(0.0, 1.0)
    for _ in range(MOST_STEPS):
        held, trades = behaviour(
            replay(market, compile_program(spec, made.of(spec, weights)), rules, run_seed=key)
        )
        if held >= chance:
            made = Flattened(made.hold_bias_logits + BIAS_STEP_LOGITS, made.scale_ratio)
        elif trades < WANTED_TRADES:
            made = Flattened(made.hold_bias_logits, made.scale_ratio * FLATTENING)
        else:
            return made
    raise TrainingError(
        f"holds {held:.1%} and trades {trades:.1f} a session with {made}", where="over-trader of a gold"
    )


def biased_lstm(seed: np.random.SeedSequence) -> tuple[PolicySpec, dict[str, Any]]:
    """Return an LSTM of random weights whose hold bias makes it an over-holder; it takes no training."""
    from stairways.learning.network import PolicyNetwork
    from stairways.learning.runtime import generator_of

    spec = PolicySpec(kind="lstm", hidden=(32,), lstm_hidden=32)
    weights = PolicyNetwork(spec, generator_of(seed)).export_weights()
    # the initial action layer is a hundredth of an orthogonal one: as good as uniform
    weights["policy.head.weight"] = weights["policy.head.weight"] * np.float32(100.0)
    weights["policy.head.bias"][hold_action(spec.n_symbols)] = np.float32(math.log(8 * 19.0))
    return spec, weights


def behaviour(run: Replay) -> tuple[float, float]:
    """Return hold rate and trades per session of a replay."""
    ledger = run.ledger
    return float(ledger.holds.sum() / ledger.decisions.sum()), float(ledger.trades.mean())
