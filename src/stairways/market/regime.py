"""The market regime detector, bar by bar.

Three inputs are measured within one session over 20 bars: momentum (mean over symbols of the 20-bar
return), volatility (mean over symbols of the standard deviation of 1-bar returns) and divergence
(1 - mean pairwise correlation of 1-bar returns). Each is judged against the last 30 completed
sessions and the present session's earlier bars; the score is their weighted sum, clipped to +-3.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stairways.errors import ArtifactError, BarsError, StairwaysError
from stairways.market.regime_kernels import (
    MOMENT_ROWS,
    N_INPUTS,
    WINDOW_BARS,
    judge_inputs,
    merge,
    step_bar,
)

Prices = Sequence[float] | NDArray[np.float64]
REGIME_INPUTS = ("momentum", "volatility", "divergence")
STATE_VERSION = 1
_WHERE = "regime detector"
_MEMORY_BARS = 2 * WINDOW_BARS + 1


class RegimeConfig(BaseModel):
    """How the three inputs become one score.

    Attributes:
        momentum_weight: Weight of the momentum z-score; the three weights are relative, ``weights``
            divides them by their sum.
        volatility_weight: Weight of the volatility z-score.
        divergence_weight: Weight of the divergence z-score.
        window_sessions: Completed sessions that the statistics look back on.
        warm_up_sessions: Completed sessions before the first score that is not 0.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    momentum_weight: float = Field(default=0.4, gt=0.0)
    volatility_weight: float = Field(default=0.3, gt=0.0)
    divergence_weight: float = Field(default=0.3, gt=0.0)
    window_sessions: int = Field(default=30, ge=1)
    warm_up_sessions: int = Field(default=50, ge=0)

    @property
    def weights(self) -> tuple[float, float, float]:
        """Weights of momentum, volatility and divergence, summing to 1."""
        total = self.momentum_weight + self.volatility_weight + self.divergence_weight
        return (
            self.momentum_weight / total,
            self.volatility_weight / total,
            self.divergence_weight / total,
        )


DEFAULT_REGIME = RegimeConfig()


class RegimeReading(NamedTuple):
    """What the detector says at one bar.

    Attributes:
        z: Z-scores of momentum, volatility and divergence, not clipped.
        score: Regime score in [-3, 3].
        neutral: True while the detector warms up; z and score are 0 then.
        carried: True in a session's first 19 bars: z and score are the last ones of the session before.
    """

    z: tuple[float, float, float]
    score: float
    neutral: bool
    carried: bool


class RegimeDetector:
    """Streaming regime detector; constant cost a bar, state as plain JSON.

    The statistics never subtract an old value: moments are kept per session and merged once, at a
    session's start, so that rounding of one session is gone when the session leaves the window.

    Args:
        config: Weights, window and warm-up.
        n_symbols: Symbols whose bars come in, at least 1 (divergence needs 2 to say anything).
    """

    def __init__(self, config: RegimeConfig, n_symbols: int) -> None:
        if n_symbols < 1:
            raise StairwaysError(f"n_symbols is {n_symbols}, at least 1 is needed", where=_WHERE)
        self.config = config
        self.n_symbols = n_symbols
        self._weights = np.array(config.weights)
        self._sessions_seen = 0
        self._history = np.zeros((0, MOMENT_ROWS, N_INPUTS))
        self._output = np.zeros(N_INPUTS + 1)
        self._bars: int | None = None
        self._moments = np.zeros((2, MOMENT_ROWS, N_INPUTS))
        self._memory = np.zeros((n_symbols, _MEMORY_BARS))
        self._prices = np.zeros((2, n_symbols))

    @property
    def sessions_seen(self) -> int:
        """Completed sessions so far, over all segments."""
        return self._sessions_seen

    @property
    def neutral(self) -> bool:
        """Whether the detector is still warming up."""
        return self._sessions_seen < self.config.warm_up_sessions

    def start_session(self) -> None:
        """Begin a session: merge the window's sessions, forget the bars of the one before.

        Raises:
            StairwaysError: If a session is open already.
        """
        if self._bars is not None:
            raise StairwaysError(
                f"a session is open at bar {self._bars}", where=_WHERE, remedy="call end_session first"
            )
        self._bars = 0
        merge(self._history, self._moments[0])
        self._moments[1] = 0.0
        self._memory[:] = 0.0

    def update(self, opens: Prices, closes: Prices) -> RegimeReading:
        """Take the next bar of the session and return what it says.

        Args:
            opens: ``(n_symbols,)`` opening prices, USD; only the first bar's count.
            closes: ``(n_symbols,)`` closing prices, USD.

        Raises:
            BarsError: If a price is not a positive finite number, or one is missing.
            StairwaysError: If no session is open.
        """
        bar = self._open_bar()
        self._take_prices(bar, opens, closes)
        neutral = self.neutral
        if not step_bar(bar, self._prices, self._memory, self._moments, self._weights, neutral, self._output):
            raise BarsError(
                f"a price of bar {bar} is not positive and finite: {self._prices.tolist()}", where=_WHERE
            )
        self._bars = bar + 1
        return self._reading(neutral, carried=bar < WINDOW_BARS - 1)

    def observe(self, momentum: float, volatility: float, divergence: float) -> RegimeReading:
        """Judge one bar's inputs against those before it, then add them to the statistics.

        Raises:
            BarsError: If an input is not finite.
            StairwaysError: If no session is open.
        """
        self._open_bar()
        if not math.isfinite(momentum + volatility + divergence):
            raise BarsError(
                f"regime inputs are not finite: {momentum}, {volatility}, {divergence}", where=_WHERE
            )
        neutral = self.neutral
        judge_inputs(momentum, volatility, divergence, self._moments, self._weights, neutral, self._output)
        return self._reading(neutral, carried=False)

    def score(self, momentum: float, volatility: float, divergence: float) -> float:
        """Return the regime score of one bar's inputs, in [-3, 3]; see ``observe``."""
        return self.observe(momentum, volatility, divergence).score

    def end_session(self) -> None:
        """Complete the session: it enters the window, the oldest one leaves where there are too many.

        Raises:
            StairwaysError: If no session is open.
        """
        self._open_bar()
        kept = np.concatenate((self._history, self._moments[1:]))
        self._history = kept[-self.config.window_sessions :].copy()
        self._sessions_seen += 1
        self._bars = None

    def state(self) -> dict[str, Any]:
        """Return the whole state as plain JSON types; ``from_state`` restores it bit for bit."""
        record = between_sessions(
            self.config, self.n_symbols, self._sessions_seen, self._history, self._output
        )
        if self._bars is not None:
            record["present"] = {
                "bars": self._bars,
                "moments": self._moments.tolist(),
                "memory": self._memory.tolist(),
            }
        return record

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Return a detector that goes on where ``state`` was taken.

        Raises:
            ArtifactError: If the state is damaged or of another version.
        """
        if _field(state, "version") != STATE_VERSION:
            raise ArtifactError(f"version {state['version']} is not {STATE_VERSION}", where=_WHERE)
        try:
            config = RegimeConfig.model_validate(_field(state, "config"))
        except ValidationError as error:
            raise ArtifactError(f"config is damaged: {error}", where=_WHERE) from error
        detector = cls(config, _whole(state, "n_symbols", 1))
        detector._sessions_seen = _whole(state, "sessions_seen", 0)
        kept = min(detector._sessions_seen, config.window_sessions)
        detector._history = _array(state, "history", (kept, MOMENT_ROWS, N_INPUTS))
        detector._output = _array(state, "output", (N_INPUTS + 1,))
        present = _field(state, "present")
        if present is not None:
            detector._bars = _whole(present, "bars", 0)
            detector._moments = _array(present, "moments", detector._moments.shape)
            detector._memory = _array(present, "memory", detector._memory.shape)
        return detector

    def _open_bar(self) -> int:
        if self._bars is None:
            raise StairwaysError("no session is open", where=_WHERE, remedy="call start_session first")
        return self._bars

    def _take_prices(self, bar: int, opens: Prices, closes: Prices) -> None:
        if len(opens) != self.n_symbols or len(closes) != self.n_symbols:
            raise BarsError(
                f"bar {bar} has {len(opens)} opens and {len(closes)} closes for {self.n_symbols} symbols",
                where=_WHERE,
            )
        self._prices[0] = opens
        self._prices[1] = closes

    def _reading(self, neutral: bool, *, carried: bool) -> RegimeReading:
        momentum, volatility, divergence, score = self._output.tolist()
        return RegimeReading((momentum, volatility, divergence), score, neutral, carried)


def between_sessions(
    config: RegimeConfig,
    n_symbols: int,
    sessions_seen: int,
    history: NDArray[np.float64],
    output: NDArray[np.float64],
) -> dict[str, Any]:
    """Return the state of a detector that stands between two sessions.

    Args:
        config: The detector's config.
        n_symbols: Number of symbols.
        sessions_seen: Completed sessions.
        history: ``(n_kept, 4, 3)`` moments of the last sessions, oldest first.
        output: ``(4,)`` last z-scores and score.
    """
    return {
        "version": STATE_VERSION,
        "config": config.model_dump(mode="json"),
        "n_symbols": n_symbols,
        "sessions_seen": sessions_seen,
        "history": history.tolist(),
        "output": output.tolist(),
        "present": None,
    }


def _field(record: Any, key: str) -> Any:
    if not isinstance(record, Mapping) or key not in record:
        raise ArtifactError(f"the state lacks {key!r}", where=_WHERE)
    return record[key]


def _whole(record: Any, key: str, least: int) -> int:
    value = _field(record, key)
    if not isinstance(value, int) or value < least:
        raise ArtifactError(f"{key} is {value!r}, a whole number from {least} is needed", where=_WHERE)
    return value


def _array(record: Any, key: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
    try:
        array = np.array(_field(record, key), dtype=np.float64).reshape(shape)
    except (TypeError, ValueError) as error:
        raise ArtifactError(f"{key} does not have the shape {shape}", where=_WHERE) from error
    if not np.isfinite(array).all():
        raise ArtifactError(f"{key} holds a number that is not finite", where=_WHERE)
    return array
