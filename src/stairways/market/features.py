"""The base features of the bars, their normalisation constants and the table that policies see."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from stairways.errors import ArtifactError, MismatchError, RangeError
from stairways.market.feature_kernels import N_FEATURES, fill_features, fill_table, sum_deviations
from stairways.market.regime import DEFAULT_REGIME, REGIME_INPUTS, RegimeConfig
from stairways.market.regime_history import RegimeSeries, regime_history, require_numbers
from stairways.market.sessions import Sessions

CLIP = 5.0
# A feature that varies less than this, relative to its mean and to 1, varies by rounding only.
CONSTANT_FEATURE = 1e-12
_WHERE = "feature constants"


@dataclass(frozen=True)
class FeatureSpec:
    """One base feature.

    Attributes:
        name: Stable identifier.
        formula: What it is at bar t, in words, edges included.
        carries_over: Whether its mean runs on over a session's start (never over a segment's).
    """

    name: str
    formula: str
    carries_over: bool = False


BASE_FEATURES: tuple[FeatureSpec, ...] = (
    FeatureSpec("return_1", "close / previous close - 1; the session's first bar: close / open - 1"),
    FeatureSpec("return_5", "close / close 5 bars before - 1; in the first 5 bars since the first open"),
    FeatureSpec("return_15", "close / close 15 bars before - 1; in the first 15 bars since the first open"),
    FeatureSpec(
        "realised_volatility_20",
        "root mean square of the session's last 20 1-bar returns, of fewer in its first 19 bars",
    ),
    FeatureSpec(
        "rsi_14",
        "mean gain / (mean gain + mean loss) of closes, in [0, 1], Wilder's mean over 14 changes, plain "
        "while there are fewer, overnight moves included; 0.5 where the price has not moved",
        carries_over=True,
    ),
    FeatureSpec(
        "ema_12_ratio",
        "close / exponential mean of closes (weight 2/13) - 1, started at the segment's first close",
        carries_over=True,
    ),
    FeatureSpec(
        "ema_26_ratio",
        "close / exponential mean of closes (weight 2/27) - 1, started at the segment's first close",
        carries_over=True,
    ),
    FeatureSpec(
        "vwap_ratio",
        "close / mean of the session's closes weighted by volume - 1; 0 before the first volume",
    ),
    FeatureSpec(
        "log_volume",
        "log of volume / mean volume of the same bar in the segment's last 20 sessions, bars without "
        "volume left out; 0 where the bar has no volume or nothing stands before it",
    ),
    FeatureSpec(
        "bollinger_20",
        "(close - mean) / (2 population standard deviations) of the session's last 20 closes, of fewer "
        "in its first 19 bars; 0 where they are equal",
    ),
    FeatureSpec(
        "momentum_10",
        "10-bar return / (realised_volatility_20 x sqrt(10)); in the first 10 bars since the first open; "
        "0 where the volatility is 0",
    ),
    FeatureSpec("session_time", "bar index / (bars of the session by the calendar - 1), in [0, 1]"),
)
FEATURE_NAMES = tuple(spec.name for spec in BASE_FEATURES)


@dataclass(frozen=True, eq=False)
class RawFeatures:
    """Base features before standardisation, and the regime, at every bar.

    Attributes:
        symbols: Symbols in the order of the legs.
        n_bars: ``(n_sessions,)`` int64, bars of each session.
        values: ``(n_sessions, max_bars, n_symbols, 12)`` float64, finite; 0 behind a half day's end.
        regime: The regime over the same sessions.
    """

    symbols: tuple[str, ...]
    n_bars: NDArray[np.int64]
    values: NDArray[np.float64]
    regime: RegimeSeries

    def __post_init__(self) -> None:
        _freeze(self)


@dataclass(frozen=True, eq=False)
class FeatureConstants:
    """What standardises the base features; made from the training range alone.

    Attributes:
        symbols: Symbols in the order of the legs.
        mean: ``(n_symbols, 12)`` float64.
        scale: ``(n_symbols, 12)`` float64, population standard deviation; 1 for a feature that is
            constant over the training range.
    """

    symbols: tuple[str, ...]
    mean: NDArray[np.float64]
    scale: NDArray[np.float64]

    def __post_init__(self) -> None:
        shape = (len(self.symbols), N_FEATURES)
        if self.mean.shape != shape or self.scale.shape != shape:
            raise ArtifactError(
                f"mean {self.mean.shape} and scale {self.scale.shape} are not {shape}", where=_WHERE
            )
        if not (np.isfinite(self.mean).all() and np.isfinite(self.scale).all() and (self.scale > 0.0).all()):
            raise ArtifactError("mean or scale is not finite, or a scale is not positive", where=_WHERE)
        _freeze(self)

    @classmethod
    def fit(cls, raw: RawFeatures, sessions: Sessions, part: slice) -> Self:
        """Return the constants of the bars of one part of the sessions.

        Args:
            raw: Features of ``sessions``.
            sessions: Names the range in errors.
            part: The training range, as a slice of sessions.

        Raises:
            RangeError: If the part holds no session.
            MismatchError: If ``raw`` was made from other sessions.
        """
        if raw.symbols != sessions.symbols or not np.array_equal(raw.n_bars, sessions.n_bars):
            raise MismatchError(
                f"features of {','.join(raw.symbols)} over {len(raw.n_bars)} sessions, sessions of "
                f"{','.join(sessions.symbols)} over {len(sessions)}",
                where=_WHERE,
            )
        values, n_bars = raw.values[part], np.ascontiguousarray(raw.n_bars[part])
        if not n_bars.sum():
            raise RangeError(
                f"no bars in sessions {part.start}:{part.stop} of {len(sessions)}",
                where=_WHERE,
                remedy="give a training range that holds sessions",
            )
        zero = np.zeros(values.shape[2:])
        mean = _mean_deviation(values, n_bars, zero, power=1)
        deviation = np.sqrt(_mean_deviation(values, n_bars, mean, power=2))
        constant = deviation <= CONSTANT_FEATURE * np.maximum(np.abs(mean), 1.0)
        return cls(symbols=raw.symbols, mean=mean, scale=np.where(constant, 1.0, deviation))

    def as_record(self) -> dict[str, Any]:
        """Return the constants as plain JSON types; ``from_record`` restores them bit for bit."""
        return {
            "symbols": list(self.symbols),
            "features": list(FEATURE_NAMES),
            "mean": self.mean.tolist(),
            "scale": self.scale.tolist(),
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """Return the constants of a record.

        Raises:
            ArtifactError: If the record is damaged.
            MismatchError: If it was made for other features.
        """
        missing = {"symbols", "features", "mean", "scale"} - set(record)
        if missing:
            raise ArtifactError(f"the record lacks {', '.join(sorted(missing))}", where=_WHERE)
        if tuple(record["features"]) != FEATURE_NAMES:
            raise MismatchError(
                f"made for the features {record['features']}, this version has {list(FEATURE_NAMES)}",
                where=_WHERE,
            )
        try:
            mean = np.array(record["mean"], dtype=np.float64)
            scale = np.array(record["scale"], dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise ArtifactError(f"mean or scale is not a table of numbers: {error}", where=_WHERE) from error
        return cls(symbols=tuple(record["symbols"]), mean=mean, scale=scale)


@dataclass(frozen=True, eq=False)
class FeatureTable:
    """What policies see of the market, aligned to the sessions; 0 and False behind a half day's end.

    Attributes:
        names: Names of the columns, ``SYMBOL.feature`` and ``regime.input``.
        values: ``(n_sessions, max_bars, n_symbols * 12 + 3)`` float32: each symbol's standardised
            features, then the regime z-scores, all clipped to +-5.
        score: ``(n_sessions, max_bars)`` float64, regime score in [-3, 3].
        neutral: ``(n_sessions, max_bars)`` bool, the regime detector was still warming up.
        carried: ``(n_sessions, max_bars)`` bool, the regime repeats the session before.
        constants: What standardised the features.
    """

    names: tuple[str, ...]
    values: NDArray[np.float32]
    score: NDArray[np.float64]
    neutral: NDArray[np.bool_]
    carried: NDArray[np.bool_]
    constants: FeatureConstants

    def __post_init__(self) -> None:
        _freeze(self)


def compute_features(
    sessions: Sessions,
    regime: RegimeConfig = DEFAULT_REGIME,
    *,
    regime_start: Mapping[str, Any] | None = None,
    threads: int = 1,
) -> RawFeatures:
    """Return the base features and the regime at every bar.

    Args:
        sessions: The history, from the earliest session there is: the regime warms up on it.
        regime: How the regime score is made.
        regime_start: State of a regime detector to go on from; None starts from nothing.
        threads: Symbols whose features are computed beside each other; the same numbers.

    Raises:
        BarsError: If a price is not positive and finite, or a volume is negative or not finite.
        MismatchError: If ``regime_start`` does not fit.
    """
    require_numbers(sessions, "volume", least="from 0")
    series = regime_history(sessions, regime, start=regime_start)
    values = base_features(sessions, threads=threads)
    return RawFeatures(sessions.symbols, sessions.n_bars, values, series)


def base_features(sessions: Sessions, start: int = 0, *, threads: int = 1) -> NDArray[np.float64]:
    """Return the base features from one session on, made from the whole history.

    Args:
        sessions: The history; every price positive and finite, every volume finite and from 0.
        start: The first session wanted.
        threads: Symbols whose features are computed beside each other; the same numbers.

    Returns:
        ``(n_sessions - start, max_bars, n_symbols, 12)`` float64; 0 behind a half day's end.
    """
    values = np.zeros((len(sessions) - start, *sessions.close.shape[1:], N_FEATURES))

    def fill(part: slice) -> None:
        fill_features(
            sessions.open[..., part],
            sessions.close[..., part],
            sessions.volume[..., part],
            sessions.n_bars,
            sessions.segment,
            start,
            values[..., part, :],
        )

    if threads == 1:
        fill(slice(None))
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(fill, [slice(s, s + 1) for s in range(sessions.n_symbols)]))
    return values


def build_table(raw: RawFeatures, constants: FeatureConstants) -> FeatureTable:
    """Return the standardised table of the features.

    Raises:
        MismatchError: If the constants were made for other symbols.
    """
    if constants.symbols != raw.symbols:
        raise MismatchError(
            f"made for {','.join(constants.symbols)}, the features are of {','.join(raw.symbols)}",
            where=_WHERE,
        )
    names = [f"{symbol}.{name}" for symbol in raw.symbols for name in FEATURE_NAMES]
    names += [f"regime.{name}" for name in REGIME_INPUTS]
    values = np.zeros((*raw.values.shape[:2], len(names)), dtype=np.float32)
    fill_table(raw.values, raw.regime.z, raw.n_bars, constants.mean, constants.scale, CLIP, values)
    return FeatureTable(
        names=tuple(names),
        values=values,
        score=raw.regime.score,
        neutral=raw.regime.neutral,
        carried=raw.regime.carried,
        constants=constants,
    )


def _mean_deviation(
    values: NDArray[np.float64], n_bars: NDArray[np.int64], centre: NDArray[np.float64], *, power: int
) -> NDArray[np.float64]:
    sums = np.zeros((len(n_bars), *values.shape[2:]))
    sum_deviations(values, n_bars, centre, power, sums)
    mean: NDArray[np.float64] = sums.sum(axis=0) / n_bars.sum()
    return mean


def _freeze(record: Any) -> None:
    for field in fields(record):
        value = getattr(record, field.name)
        if isinstance(value, np.ndarray):
            value.setflags(write=False)
