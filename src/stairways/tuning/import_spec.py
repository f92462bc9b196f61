"""What the user says of a policy from elsewhere; its file says nothing that anyone should believe."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from pydantic import Field, ValidationError, model_validator

from stairways.config import DateRange, Interval, read_yaml
from stairways.errors import ConfigError
from stairways.learning.interchange.layout import POSITION, ForeignOrder, observation_columns
from stairways.market.features import FEATURE_NAMES, FeatureConstants
from stairways.operations_config import Part
from stairways.policies.spec import PolicySpec
from stairways.trading.rules import TradingRules

SPEC_BYTES = 2**20


class PolicyPart(Part):
    """Architecture, as it was given to PPO or RecurrentPPO.

    Attributes:
        kind: ``mlp`` for PPO's MlpPolicy, ``lstm`` for RecurrentPPO's MlpLstmPolicy.
        hidden: Widths of the tanh layers, the same for policy and value (``net_arch``).
        lstm_hidden: Width of the LSTM (``lstm_hidden_size``); for ``lstm``.
        lstm_layers: Layers of the LSTM (``n_lstm_layers``).
        critic_lstm: ``own`` (``enable_critic_lstm``) or ``shared`` (``shared_lstm``).
        regime: ``concat`` if the three regime inputs are among the columns, ``none`` if not.
        activation: Only ``tanh``.
        head: Only ``discrete``, one id for all legs.
    """

    kind: Literal["mlp", "lstm"] = "mlp"
    hidden: tuple[int, ...] = (64, 64)
    lstm_hidden: int = 0
    lstm_layers: int = 1
    critic_lstm: Literal["own", "shared"] = "own"
    regime: Literal["none", "concat"] = "none"
    activation: str = "tanh"
    head: str = "discrete"

    @model_validator(mode="after")
    def _can_be_expressed(self) -> Self:
        if self.activation != "tanh":
            raise ValueError(f"activation {self.activation} can't be expressed: only tanh is")
        if self.head != "discrete":
            raise ValueError(
                f"head {self.head} can't be expressed: only discrete is, one of 3^k actions for k symbols"
            )
        return self


class ColumnConstants(Part):
    """What one column was standardised with.

    Attributes:
        mean: Mean that was taken off.
        std: Standard deviation it was divided by.
    """

    mean: float = Field(allow_inf_nan=False)
    std: float = Field(gt=0, allow_inf_nan=False)


class FeaturePart(Part):
    """Constants of the features: given, or fitted on a range of the bars that are named.

    Attributes:
        constants: Of each of the 12 features of each symbol, by ``SYMBOL.feature``.
        fit: Session dates whose bars give them.
    """

    constants: dict[str, ColumnConstants] | None = None
    fit: DateRange | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.constants is None) == (self.fit is None):
            raise ValueError("give either constants, or the range of dates to fit them on")
        return self

    @property
    def source(self) -> DateRange | dict[str, ColumnConstants]:
        """The one that was given: a range to fit on, or constants by name."""
        return self.fit if self.fit is not None else self.constants or {}


class ProvenancePart(Part):
    """Where the policy comes from.

    Attributes:
        trained_by: Who trained it, with what.
        seen: Ranges of session dates that it was trained or chosen on; later tests must lie behind them.
        note: Anything else worth keeping.
    """

    trained_by: str = Field(min_length=1, max_length=500)
    seen: tuple[DateRange, ...] = Field(min_length=1, max_length=100)
    note: str = Field("", max_length=5_000)


class ImportSpec(Part):
    """All that must be known to use a foreign policy.

    Attributes:
        symbols: Symbols in the order of the legs.
        interval: Length of a bar.
        policy: Architecture.
        observation: Names of its columns in its order; None for the project's order.
        actions: Meanings of its actions in its order, such as ``sell,keep``; None for the project's.
        features: What its columns were standardised with.
        trading: Sizes, bounds and costs it was made for; None leaves them to the settings.
        provenance: Where it comes from.
    """

    symbols: tuple[str, ...]
    interval: Interval
    policy: PolicyPart = PolicyPart()
    observation: tuple[str, ...] | None = None
    actions: tuple[str, ...] | None = None
    features: FeaturePart
    trading: TradingRules | None = None
    provenance: ProvenancePart

    @model_validator(mode="after")
    def _makes_a_policy(self) -> Self:
        if len(self.symbols) not in (2, 3) or len(set(self.symbols)) != len(self.symbols):
            raise ValueError(f"symbols {','.join(self.symbols)}: name two or three different symbols")
        try:
            self.policy_spec()
        except ValidationError as error:
            raise ValueError(error.errors()[0]["msg"].removeprefix("Value error, ")) from error
        return self

    def policy_spec(self) -> PolicySpec:
        """Return the architecture as the project knows it."""
        shape = self.policy.model_dump(exclude={"activation", "head"})
        return PolicySpec(n_symbols=len(self.symbols), **shape)

    def order(self) -> ForeignOrder:
        """Return the order of its columns and actions.

        Raises:
            ConfigError: If a name is missing, unknown or stands twice.
        """
        return ForeignOrder.of(self.policy_spec(), self.symbols, self.observation, self.actions)

    def columns(self) -> tuple[str, ...]:
        """Return the names of the columns, in the project's order."""
        return observation_columns(self.symbols, with_regime=self.policy.regime == "concat")

    def constants_of(self, given: dict[str, ColumnConstants]) -> FeatureConstants:
        """Return given constants in the project's order.

        Raises:
            ConfigError: If a feature has none, or a name is no feature.
        """
        names = [f"{symbol}.{name}" for symbol in self.symbols for name in FEATURE_NAMES]
        missing, unknown = sorted(set(names) - set(given)), sorted(set(given) - set(names))
        if missing or unknown:
            raise ConfigError(
                f"missing: {', '.join(missing[:4]) or 'none'}; unknown: {', '.join(unknown[:4]) or 'none'}",
                where="features.constants",
                remedy=f"give mean and std of {len(names)} features; {POSITION} and regime have none",
            )
        shape = (len(self.symbols), len(FEATURE_NAMES))
        return FeatureConstants(
            symbols=self.symbols,
            mean=np.array([given[name].mean for name in names]).reshape(shape),
            scale=np.array([given[name].std for name in names]).reshape(shape),
        )

    def as_settings(self) -> dict[str, Any]:
        """Return what it says of the market and the rules, as settings."""
        market = {"symbols": list(self.symbols), "interval": self.interval}
        trading = {} if self.trading is None else {"trading": self.trading.model_dump(mode="json")}
        return {"market": market, **trading}


def load_import_spec(path: Path) -> ImportSpec:
    """Read a specification from a YAML file.

    Raises:
        ConfigError: If it can't be read, or a value is missing, unknown or can't be expressed.
    """
    if path.is_file() and path.stat().st_size > SPEC_BYTES:
        raise ConfigError(f"has more than {SPEC_BYTES:,} bytes", where=str(path), remedy="name the YAML file")
    try:
        spec = ImportSpec.model_validate(read_yaml(path))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        raise ConfigError(
            f"{message[:1].lower()}{message[1:]}",
            where=f"{path}, {place}" if place else str(path),
            remedy="correct the specification",
        ) from error
    try:
        spec.order()
        if isinstance(source := spec.features.source, dict):
            spec.constants_of(source)
    except ConfigError as error:
        raise ConfigError(error.what, where=f"{path}, {error.where}", remedy=error.remedy) from error
    return spec
