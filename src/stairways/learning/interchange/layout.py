"""Where a policy of stable-baselines3 keeps what: names of its weights, order of its columns and actions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stairways.errors import ConfigError
from stairways.market.features import FEATURE_NAMES
from stairways.market.regime import REGIME_INPUTS
from stairways.policies.spec import PolicySpec
from stairways.trading.actions import action_meanings

POSITION = "position"
_HEADS = {"policy.head": "action_net", "value.head": "value_net"}


def observation_columns(symbols: Sequence[str], *, with_regime: bool) -> tuple[str, ...]:
    """Return the names of the columns a trunk sees, in the project's order.

    Args:
        symbols: Symbols in the order of the legs.
        with_regime: Whether the three regime inputs stand behind the price inputs.
    """
    price = [f"{symbol}.{name}" for symbol in symbols for name in (*FEATURE_NAMES, POSITION)]
    return (*price, *(f"regime.{name}" for name in REGIME_INPUTS)) if with_regime else tuple(price)


def sb3_names(spec: PolicySpec) -> dict[str, str]:
    """Return the name that stable-baselines3 or sb3-contrib gives each weight of a specification."""
    return {name: _sb3_name(name) for name in spec.shapes()}


def _sb3_name(name: str) -> str:
    part, _, leaf = name.rpartition(".")
    if part in _HEADS:
        return f"{_HEADS[part]}.{leaf}"
    trunk, _, layer = part.partition(".")
    if layer == "lstm":
        return f"lstm_{'actor' if trunk == 'policy' else 'critic'}.{leaf}"
    # every layer is followed by its activation, which is an element of the sequence too
    return f"mlp_extractor.{trunk}_net.{2 * int(layer)}.{leaf}"


@dataclass(frozen=True)
class ForeignOrder:
    """How a foreign policy orders what it sees and does.

    Attributes:
        columns: For each column of ours, its place in the foreign observation.
        actions: For each action of ours, its id in the foreign policy.
    """

    columns: tuple[int, ...]
    actions: tuple[int, ...]

    @classmethod
    def of(
        cls,
        spec: PolicySpec,
        symbols: Sequence[str],
        columns: Sequence[str] | None,
        actions: Sequence[str] | None,
    ) -> ForeignOrder:
        """Return the order of named columns and actions; None stands for the project's own.

        Raises:
            ConfigError: If a name is missing, unknown or stands twice.
        """
        ours = observation_columns(symbols, with_regime=spec.regime == "concat")
        meanings = action_meanings(spec.n_symbols)
        return cls(
            _places("observation", ours, ours if columns is None else columns),
            _places("actions", meanings, meanings if actions is None else actions),
        )

    def applied(
        self, spec: PolicySpec, weights: Mapping[str, NDArray[np.float32]]
    ) -> dict[str, NDArray[np.float32]]:
        """Return weights of the foreign order, under our names, in our order."""
        ordered = dict(weights)
        for name in _first_layers(spec):
            ordered[name] = np.ascontiguousarray(weights[name][:, self.columns])
        for leaf in ("weight", "bias"):
            ordered[f"policy.head.{leaf}"] = np.ascontiguousarray(
                weights[f"policy.head.{leaf}"][list(self.actions)]
            )
        return ordered


def _first_layers(spec: PolicySpec) -> tuple[str, ...]:
    """Return the weights whose columns are those of the observation."""
    if spec.kind == "mlp":
        return ("policy.0.weight", "value.0.weight")
    own = spec.critic_lstm == "own"
    return tuple(f"{trunk}.lstm.weight_ih_l0" for trunk in (("policy", "value") if own else ("policy",)))


def _places(what: str, ours: Sequence[str], theirs: Sequence[str]) -> tuple[int, ...]:
    missing, unknown = sorted(set(ours) - set(theirs)), sorted(set(theirs) - set(ours))
    if missing or unknown:
        raise ConfigError(
            f"missing: {', '.join(missing[:4]) or 'none'}; unknown: {', '.join(unknown[:4]) or 'none'}",
            where=what,
            remedy=f"name each of the {len(ours)} once, such as {ours[0]}",
        )
    if len(theirs) != len(ours):
        twice = next(name for name in theirs if list(theirs).count(name) > 1)
        raise ConfigError(f"{twice} stands twice", where=what, remedy=f"name each of the {len(ours)} once")
    return tuple(list(theirs).index(name) for name in ours)
