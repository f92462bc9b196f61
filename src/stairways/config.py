"""Every setting of every command, in one typed tree; one YAML file can hold them all."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import math
from difflib import get_close_matches
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from stairways.control.actuators import RewardActuator, TiltActuator, plan_reward_actuator
from stairways.control.setpoints import SetPoints
from stairways.envs.reward import RewardConfig
from stairways.errors import ConfigError, RangeError
from stairways.evaluation.gate_config import GateConfig
from stairways.evaluation.improvement import ImprovementConfig
from stairways.evaluation.trigger_config import TriggerConfig
from stairways.learning.all_actions_config import AllActionsConfig
from stairways.learning.ppo_config import PPOConfig
from stairways.learning.schedules import Ramp
from stairways.market.regime import RegimeConfig
from stairways.monitoring.paging_config import PagingConfig
from stairways.operations_config import (
    CallSettings,
    Part,
    PerformanceSettings,
    RollbackConfig,
    ServiceConfig,
)
from stairways.policies.spec import RegimeInput
from stairways.trading.ledger import Mode
from stairways.trading.rules import TradingRules

Interval = Literal["1min", "5min"]
Preset = Literal["default", "plan"]

LONGEST_VALUE = 60
"""Characters of a value that a message shows."""


class DateRange(Part):
    """A range of session dates, both ends included; written ``FROM:TO``.

    Attributes:
        first: First date.
        last: Last date.
    """

    first: dt.date
    last: dt.date

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        first, colon, last = value.partition(":")
        if not colon:
            raise ValueError(f"{value!r} is no range; write FROM:TO, two dates such as 2025-05-12:2025-07-31")
        return {"first": first.strip(), "last": last.strip()}

    @model_validator(mode="after")
    def _ends_after_it_starts(self) -> Self:
        if self.last < self.first:
            raise ValueError(f"the range {self} ends before it starts")
        return self

    def __str__(self) -> str:
        return f"{self.first}:{self.last}"


class MarketSettings(Part):
    """Where bars come from: a folder, or a sample market.

    Attributes:
        bars: Folder of Parquet or CSV bars; None takes the sample.
        sample: Name of a sample market, ``NAME`` or ``NAME:SEED``; used without ``bars``.
        symbols: Two or three symbols, in the order of the legs.
        interval: Length of a bar.
        strict: Refuse bars with sessions that would have to be dropped.
        split_table: CSV of splits (symbol,date,ratio).
        regime: How the regime score is made.
    """

    bars: Path | None = None
    sample: str = "planted"
    symbols: tuple[str, ...] = ("NVDA", "MSFT")
    interval: Interval = "1min"
    strict: bool = False
    split_table: Path | None = None
    regime: RegimeConfig = RegimeConfig()

    @model_validator(mode="after")
    def _symbols_are_two_or_three(self) -> Self:
        if len(self.symbols) not in (2, 3) or len(set(self.symbols)) != len(self.symbols):
            raise ValueError(f"symbols {','.join(self.symbols)}: name two or three different symbols")
        return self

    @property
    def interval_minutes(self) -> int:
        """Length of a bar in minutes."""
        return 5 if self.interval == "5min" else 1


class RangeSettings(Part):
    """Session ranges, disjoint and in this order: train, tune, test.

    Attributes:
        train: Gold's training.
        tune: The candidate's tuning.
        test: Unseen sessions, for the record of gold or for the final gate.
        sessions: The sessions that ``evaluate`` judges.
    """

    train: DateRange | None = None
    tune: DateRange | None = None
    test: DateRange | None = None
    sessions: DateRange | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        named = [(n, getattr(self, n)) for n in ("train", "tune", "test") if getattr(self, n) is not None]
        for (name, before), (other, after) in pairwise(named):
            if after.first <= before.last:
                raise ValueError(
                    f"--{name} {before} and --{other} {after} must be disjoint and in this order"
                )
        return self


Actuator = Annotated[TiltActuator | RewardActuator, Field(discriminator="kind")]


class ControlSettings(Part):
    """What is controlled, by what, and how the policy is deployed.

    Attributes:
        points: Set points.
        actuator: ``tilt`` or ``reward``, with gains and bounds.
        mode: Deployment mode.
    """

    points: SetPoints = SetPoints()
    actuator: Actuator = TiltActuator()
    mode: Mode = "sampled"


class TuneSettings(Part):
    """Cycles of the main job.

    Attributes:
        cycles: Cycles at most.
        steps_per_cycle: Transitions of a cycle of PPO, exactly.
        early_stop_cycles: Cycles without improvement, in a row, that end the run.
        min_cycles: Cycles that are run in any case.
        shadow_replay_days: Sessions at the end of the tuning range kept for the shadow replay.
        select_share: Share of the sessions before them that judges cycles.
        improvement: When a cycle counts as better.
        regime: How regime inputs enter the candidate.
        rehearsal_sessions: Sessions before the tuning range, at most, that are trained on too; gold may have
            seen them. Without a number 2,000 for all actions (222 of three symbols) and none for PPO.
        algorithm: ``all_actions`` goes through recorded sessions and weighs every action of every position;
            ``ppo`` acts in a pool. ``auto`` takes the first for a feed-forward policy under the tilt, the
            second for an LSTM, the reward actuator or a reward that asks for the action before.
        all_actions: Settings of the first.
        ppo: Settings of the second.
    """

    cycles: int = Field(8, ge=1, le=1_000)
    steps_per_cycle: int = Field(6_000, ge=1)
    early_stop_cycles: int = Field(2, ge=1)
    min_cycles: int = Field(2, ge=1)
    shadow_replay_days: int = Field(3, ge=1)
    select_share: float = Field(0.25, gt=0, lt=1)
    improvement: ImprovementConfig = ImprovementConfig()
    regime: RegimeInput = "gate"
    rehearsal_sessions: int | None = Field(None, ge=0)
    algorithm: Literal["auto", "all_actions", "ppo"] = "auto"
    all_actions: AllActionsConfig = AllActionsConfig()
    ppo: PPOConfig = PPOConfig()


GOLD_PPO = PPOConfig(
    n_envs=256,
    n_steps=130,
    minibatch=8_320,
    epochs=10,
    learning_rate=Ramp(start=1e-3, end=2e-4, begin=0.6),
    gamma=0.97,
    entropy=Ramp(start=0.01, end=0.0, until=0.8),
    clip_gradients="each",
    normalise_advantages="rollout",
    reward_scale=0.33,
)

LSTM_EPOCHS = 4
"""Passes of an LSTM over a rollout: ten spoil it (docs/decisions.md)."""


class GoldSettings(Part):
    """How gold is trained: learn first, made to over-hold last.

    Attributes:
        policy: ``mlp`` or ``lstm``.
        hidden: Widths of the tanh layers.
        lstm_hidden: Width of the LSTM, for ``lstm``.
        lstm_layers: Layers of the LSTM.
        critic_lstm: Whether the value has its own.
        regime: How regime inputs enter.
        steps: Transitions of the learning stage at most; the stop rule may end it earlier.
        holdout_share: Share of the training range, its end, that is held out to judge learning.
        judge_every_rollouts: Rollouts between looks at the held-out sessions.
        least_progress: Share of ``steps`` before which learning is not stopped.
        patience: Looks without a better held-out result, in a row, that stop it.
        hold_bonus_bps: Bonus while learning; it only breaks the tie between keeping and re-affirming.
        cost_scale: Costs while learning, relative to the real ones, over the progress.
        ppo: The trainer's settings; an LSTM takes fewer passes unless they are given.
        over_hold_bonus_bps: First bonus of the over-hold stage.
        over_hold_growth: Factor on that bonus after each look that did not arrive.
        over_hold_learning_rate: Step size of the hold action's output bias.
        over_hold_rollouts: Rollouts between looks; ``over_hold_looks`` bounds their number.
        over_hold_looks: Looks after which a gold that does not over-hold is refused.
        over_hold_ratio: Hold rate to reach on the held-out sessions, sampled.
        over_hold_trades: Trades per session to come down to there, sampled.
    """

    policy: Literal["mlp", "lstm"] = "mlp"
    hidden: tuple[int, ...] = (64, 64)
    lstm_hidden: int = Field(64, ge=32, le=256)
    lstm_layers: int = Field(1, ge=1, le=2)
    critic_lstm: Literal["own", "shared"] = "own"
    regime: RegimeInput = "none"
    steps: int = Field(2_995_200, ge=1)
    holdout_share: float = Field(1 / 6, gt=0, lt=1)
    judge_every_rollouts: int = Field(5, ge=1)
    least_progress: float = Field(0.6, ge=0, le=1)
    patience: int = Field(6, ge=1)
    hold_bonus_bps: float = Field(0.03, ge=0)
    cost_scale: Ramp = Ramp(start=0.5, end=1.0, until=0.5)
    ppo: PPOConfig = GOLD_PPO
    over_hold_bonus_bps: float = Field(0.3, gt=0)
    over_hold_growth: float = Field(1.25, ge=1)
    over_hold_learning_rate: float = Field(3e-2, gt=0)
    over_hold_rollouts: int = Field(2, ge=1)
    over_hold_looks: int = Field(40, ge=1)
    over_hold_ratio: float = Field(0.87, gt=0, lt=1)
    over_hold_trades: float = Field(6.0, gt=0)

    @model_validator(mode="before")
    @classmethod
    def _an_lstm_passes_less_often(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("policy") == "lstm" and "ppo" not in data:
            return {**data, "ppo": GOLD_PPO.model_copy(update={"epochs": LSTM_EPOCHS})}
        return data


class DryRunSettings(Part):
    """The short run before a tuning.

    Attributes:
        steps: Transitions.
        n_envs: Accounts; ``n_steps`` steps a rollout.
        n_steps: Steps of a rollout.
        reward_floor_bps: Mean reward per decision below which a reward counts as collapsed.
        least_episodes: Whole sessions that must end.
    """

    steps: int = Field(5_000, ge=1)
    n_envs: int = Field(10, ge=1)
    n_steps: int = Field(100, ge=1)
    reward_floor_bps: float = Field(-2.0, lt=0)
    least_episodes: int = Field(2, ge=1)


_NO_PART_OF_A_RESULT = {"call", "paging", "performance", "rollback", "service"}


class Settings(Part):
    """The whole tree.

    Attributes:
        preset: ``plan`` takes the plan's controller, targets and shadow rule exactly as written.
        seed: Run seed; every random stream is spawned from it.
        market: Where bars come from.
        ranges: Session ranges.
        trading: Sizes, bounds and costs.
        reward: Weights of the reward.
        control: Set points, actuator, deployment mode.
        tune: Cycles.
        gold: Gold training.
        dry_run: The short run before.
        gate: Bounds of the gates.
        performance: How the work is done; no part of the digest but for what changes results.
        paging: Who is told when something goes wrong; no part of the digest.
        service: How the service is kept up; likewise.
        rollback: When a model must go; likewise.
        call: What belongs to one call alone.
    """

    preset: Preset = "default"
    seed: int = Field(0, ge=0, le=2**63 - 1)
    market: MarketSettings = MarketSettings()
    ranges: RangeSettings = RangeSettings()
    trading: TradingRules = TradingRules()
    reward: RewardConfig = RewardConfig()
    control: ControlSettings = ControlSettings()
    tune: TuneSettings = TuneSettings()
    gold: GoldSettings = GoldSettings()
    dry_run: DryRunSettings = DryRunSettings()
    gate: GateConfig = GateConfig()
    performance: PerformanceSettings = PerformanceSettings()
    paging: PagingConfig = PagingConfig()
    service: ServiceConfig = ServiceConfig()
    rollback: RollbackConfig = RollbackConfig()
    call: CallSettings = CallSettings()

    @model_validator(mode="after")
    def _gross_fits_the_legs(self) -> Self:
        wanted = self.trading.unit_fraction * len(self.market.symbols)
        if wanted > self.trading.max_gross:
            raise ValueError(
                f"{len(self.market.symbols)} units of {self.trading.unit_fraction} exceed "
                f"max_gross {self.trading.max_gross}"
            )
        return self

    @model_validator(mode="after")
    def _gate_judges_what_is_controlled(self) -> Self:
        for name, place, value in self._taken_over():
            given = getattr(self.gate, name)
            if name in self.gate.model_fields_set and given != value:
                raise ValueError(f"gate.{name} {given} contradicts {place} {value}: set {place} alone")
        low, high = self.gate.trades_band
        wanted = self.control.points.trades_per_session
        if not low <= wanted <= high:
            raise ValueError(
                f"control.points.trades_per_session {wanted} lies outside gate.trades_band "
                f"[{low}, {high}]: set both"
            )
        return self

    def _taken_over(self) -> tuple[tuple[str, str, Any], ...]:
        """Return the bounds that the gate takes from elsewhere: name, place, value."""
        return (
            ("hold_target_ratio", "control.points.hold_rate_ratio", self.control.points.hold_rate_ratio),
            ("deployment_mode", "control.mode", self.control.mode),
            ("shadow_sessions", "tune.shadow_replay_days", self.tune.shadow_replay_days),
        )

    def resolved_gate(self) -> GateConfig:
        """Return the gate with target, mode and shadow sessions of the rest of the settings."""
        return self.gate.model_copy(update={name: value for name, _, value in self._taken_over()})

    def as_record(self) -> dict[str, Any]:
        """Return the settings that make the result, as plain JSON types."""
        record: dict[str, Any] = self.model_dump(mode="json", exclude=_NO_PART_OF_A_RESULT)
        arithmetic = {
            **({"mixed_precision": True} if self.performance.mixed_precision else {}),
            **({"device": "cuda"} if self.performance.device == "cuda" else {}),
        }
        if arithmetic:
            record["performance"] = arithmetic
        return record | {"gate": self.resolved_gate().model_dump(mode="json")}

    def resolved_triggers(self) -> TriggerConfig:
        """Return the rollback triggers; bounds that they share with the gate are the gate's unless given."""
        triggers = self.rollback.triggers
        shared = {"drift_threshold_ratio", "max_drawdown_ratio", "session_trades_band"}
        taken = shared - triggers.model_fields_set
        return triggers.model_copy(update={name: getattr(self.gate, name) for name in taken})

    @property
    def digest(self) -> str:
        """SHA-256 of the resolved settings."""
        return hashlib.sha256(json.dumps(self.as_record(), sort_keys=True).encode()).hexdigest()


PLAN: dict[str, Any] = {
    "preset": "plan",
    "control": {
        "actuator": plan_reward_actuator().model_dump(),
        "points": {"hold_mode": "regime"},
    },
    "gate": {"shadow_rule": "plan"},
    "tune": {"algorithm": "ppo"},
    "gold": {
        "steps": 409_600,
        "least_progress": 1.0,
        "ppo": {
            **GoldSettings().ppo.model_dump(),
            "n_envs": 64,
            "n_steps": 128,
            "minibatch": 1_024,
            "epochs": 10,
            "learning_rate": {"start": 3e-4, "end": 3e-4},
        },
    },
}


def load_settings(
    path: Path | None,
    overrides: dict[str, Any],
    preset: Preset | None = None,
    base: dict[str, Any] | None = None,
) -> Settings:
    """Merge what an artifact states, a preset, a YAML file and the command line's options.

    Args:
        path: YAML file; None for no file.
        overrides: Nested dict of the options that were given; they count most.
        preset: Preset of the command line; the file's counts without one.
        base: Nested dict of what an artifact states; it counts least.

    Raises:
        ConfigError: If a key is unknown, a value is out of bounds, or the file can't be read.
    """
    content = read_yaml(path) if path is not None else {}
    chosen = preset or content.get("preset", "default")
    layers = [base or {}, PLAN if chosen == "plan" else {}, content, overrides]
    merged: dict[str, Any] = {}
    for layer in layers:
        merged = _merge(merged, layer)
    merged["preset"] = chosen
    try:
        made = Settings.model_validate(merged)
    except ValidationError as error:
        raise _as_config_error(error, path, content, overrides) from error
    boundless = _not_finite(made.as_record())
    if boundless:
        raise ConfigError("the value is not finite", where=boundless[0], remedy="give a finite number")
    return made


def _not_finite(value: Any, place: str = "") -> list[str]:
    """Return the places of a record that hold a number without bound or none at all."""
    if isinstance(value, dict):
        return [found for name, part in value.items() for found in _not_finite(part, f"{place}.{name}")]
    if isinstance(value, list):
        return [found for part in value for found in _not_finite(part, place)]
    return [place.lstrip(".")] if isinstance(value, float) and not math.isfinite(value) else []


def setting_differences(before: dict[str, Any], now: dict[str, Any], prefix: str = "") -> list[str]:
    """Return what differs between two records of settings, each as ``place: now, not before``."""
    found: list[str] = []
    for name in sorted(before.keys() | now.keys()):
        old, new, place = before.get(name), now.get(name), f"{prefix}{name}"
        if isinstance(old, dict) and isinstance(new, dict):
            found += setting_differences(old, new, f"{place}.")
        elif old != new:
            found.append(f"{place} is {_brief(new)}, not {_brief(old)}")
    return found


def _as_config_error(
    error: ValidationError, path: Path | None, content: dict[str, Any], overrides: dict[str, Any]
) -> ConfigError | RangeError:
    first = error.errors()[0]
    loc = tuple(str(part) for part in first["loc"])
    place = ".".join(loc)
    from_file = path is not None and _stands_in(content, loc) and not _stands_in(overrides, loc)
    where = f"{path}, {place}" if from_file and place else place or "options"
    if first["type"] == "extra_forbidden":
        return ConfigError("there is no such setting", where=where, remedy=_known_settings(loc))
    if first["type"] == "union_tag_not_found":
        return ConfigError("its kind is missing", where=where, remedy="write kind: tilt or kind: reward")
    if first["type"] == "union_tag_invalid":
        tag = _brief(first["ctx"]["tag"])
        return ConfigError(f"unknown kind {tag}", where=where, remedy="write kind: tilt or kind: reward")
    if first["type"] == "literal_error":
        known = first["ctx"]["expected"].replace("'", "")
        return ConfigError(f"unknown value {_brief(first['input'])}", where=where, remedy=f"choose {known}")
    if first["type"].startswith("date"):
        remedy = "write FROM:TO, two dates such as 2025-05-12:2025-07-31"
        return RangeError(f"{_brief(first['input'])} is no date", where=where, remedy=remedy)
    if first["type"] == "value_error":
        message = first["msg"].removeprefix("Value error, ")
    else:
        message = f"{first['msg'][:1].lower()}{first['msg'][1:]}, not {_brief(first['input'])}"
    kind = RangeError if loc[:1] == ("ranges",) else ConfigError
    return kind(message, where=where, remedy="correct the value")


def _stands_in(content: Any, loc: tuple[str, ...]) -> bool:
    """Tell whether a layer of settings has something to do with a place; tags of a union are passed over."""
    for part in loc:
        if not isinstance(content, dict):
            return True
        if part in content:
            content = content[part]
        elif part != content.get("kind"):
            return False
    return bool(loc) and content != {}


def _known_settings(loc: tuple[str, ...]) -> str:
    """Return the settings that stand beside an unknown one, those that look like it first."""
    record: Any = Settings().model_dump(mode="json")
    for part in loc[:-1]:
        record = record.get(part, record) if isinstance(record, dict) else record
    names = sorted(record) if isinstance(record, dict) else []
    near = get_close_matches(loc[-1], names, n=1)
    return f"did you mean {near[0]}?" if near else f"settings there: {', '.join(names)}"


def _brief(value: Any) -> str:
    text = str(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}..."


def _merge(base: dict[str, Any], top: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in top.items():
        if isinstance(value, dict) and isinstance(merged.get(key), dict):
            same = value.get("kind", merged[key].get("kind")) == merged[key].get("kind")
            merged[key] = _merge(merged[key], value) if same else value
        else:
            merged[key] = value
    return merged


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds one mapping; an empty file holds an empty one.

    Raises:
        ConfigError: If it can't be read, or holds something else.
    """
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"can't be read ({error})", where=str(path)) from error
    except yaml.YAMLError as error:
        raise ConfigError(f"is no YAML ({error})", where=str(path)) from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError("must hold a mapping of settings", where=str(path))
    return content
