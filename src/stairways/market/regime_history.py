"""The market regime over a whole history of sessions: the streaming detector's numbers, bit for bit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
from numba import njit
from numpy.typing import NDArray

from stairways.errors import BarsError, MismatchError, RangeError
from stairways.market.regime import (
    DEFAULT_REGIME,
    RegimeConfig,
    RegimeDetector,
    between_sessions,
)
from stairways.market.regime_kernels import MOMENT_ROWS, N_INPUTS, WINDOW_BARS, run_history
from stairways.market.sessions import Sessions


@dataclass(frozen=True, eq=False)
class RegimeSeries:
    """The regime at every bar of a history of sessions; False and 0 behind a half day's end.

    Attributes:
        config: How the score was made.
        n_symbols: Number of symbols it was made from.
        z: ``(n_sessions, max_bars, 3)`` float64, z-scores of momentum, volatility and divergence, not
            clipped; 0 while neutral.
        score: ``(n_sessions, max_bars)`` float64 in [-3, 3]; 0 while neutral.
        neutral: ``(n_sessions, max_bars)`` bool, fewer than ``warm_up_sessions`` sessions were seen.
        carried: ``(n_sessions, max_bars)`` bool, the first 19 bars, which repeat the session before.
        sessions_seen: Completed sessions before the first one.
        session_moments: ``(n_kept + n_sessions, 4, 3)`` float64, moments of each session, led by those
            that the starting state brought.
        boundary_output: ``(n_sessions + 1, 4)`` float64, last z-scores and score before each session.
    """

    config: RegimeConfig
    n_symbols: int
    z: NDArray[np.float64]
    score: NDArray[np.float64]
    neutral: NDArray[np.bool_]
    carried: NDArray[np.bool_]
    sessions_seen: int
    session_moments: NDArray[np.float64]
    boundary_output: NDArray[np.float64]

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray):
                value.setflags(write=False)

    def __len__(self) -> int:
        return len(self.score)

    def state_before(self, index: int) -> dict[str, Any]:
        """Return the detector's state before session ``index``, for ``RegimeDetector.from_state``.

        Args:
            index: 0 to n_sessions; n_sessions is the state at the end.

        Raises:
            RangeError: If there is no such session.
        """
        if not 0 <= index <= len(self):
            raise RangeError(f"no session {index} among {len(self)}", where="regime history")
        stop = len(self.session_moments) - len(self) + index
        start = max(0, stop - self.config.window_sessions)
        return between_sessions(
            self.config,
            self.n_symbols,
            self.sessions_seen + index,
            self.session_moments[start:stop],
            self.boundary_output[index],
        )

    @property
    def end_state(self) -> dict[str, Any]:
        """The detector's state after the last session."""
        return self.state_before(len(self))


def regime_history(
    sessions: Sessions,
    config: RegimeConfig = DEFAULT_REGIME,
    *,
    start: Mapping[str, Any] | None = None,
) -> RegimeSeries:
    """Return the regime at every bar, chronologically, over all segments.

    Args:
        sessions: The history, from the earliest session there is.
        config: Weights, window and warm-up.
        start: State of a detector between sessions to go on from; None starts from nothing.

    Raises:
        BarsError: If a price is not positive and finite.
        MismatchError: If ``start`` was made for another config, other symbols or stands in a session.
    """
    require_numbers(sessions, "open", least="above 0")
    require_numbers(sessions, "close", least="above 0")
    before = start if start is not None else RegimeDetector(config, sessions.n_symbols).state()
    _require_match(before, config, sessions.n_symbols)
    n_sessions, max_bars = sessions.close.shape[:2]
    led = np.array(before["history"], dtype=np.float64).reshape(-1, MOMENT_ROWS, N_INPUTS)
    moments = np.concatenate((led, np.zeros((n_sessions, MOMENT_ROWS, N_INPUTS))))
    boundary = np.zeros((n_sessions + 1, N_INPUTS + 1))
    boundary[0] = before["output"]
    z, score = np.zeros((n_sessions, max_bars, N_INPUTS)), np.zeros((n_sessions, max_bars))
    run_history(
        np.ascontiguousarray(sessions.open),
        np.ascontiguousarray(sessions.close),
        np.ascontiguousarray(sessions.n_bars),
        np.array(config.weights),
        config.window_sessions,
        config.warm_up_sessions - before["sessions_seen"],
        moments,
        boundary,
        z,
        score,
    )
    inside = np.arange(max_bars) < sessions.n_bars[:, None]
    warm = np.arange(n_sessions)[:, None] + before["sessions_seen"] >= config.warm_up_sessions
    return RegimeSeries(
        config=config,
        n_symbols=sessions.n_symbols,
        z=z,
        score=score,
        neutral=inside & ~warm,
        carried=inside & (np.arange(max_bars) < WINDOW_BARS - 1),
        sessions_seen=before["sessions_seen"],
        session_moments=moments,
        boundary_output=boundary,
    )


def require_numbers(
    sessions: Sessions, name: Literal["open", "close", "volume"], *, least: Literal["above 0", "from 0"]
) -> None:
    """Refuse sessions in which a real bar's value is not a usable number.

    Raises:
        BarsError: With the first such symbol, date and bar.
    """
    values = getattr(sessions, name)
    session, bar, symbol = _first_unusable(values, sessions.n_bars, least == "above 0")
    if session >= 0:
        raise BarsError(
            f"{name} of bar {bar} is {values[session, bar, symbol]}, finite and {least} is needed",
            where=f"{sessions.symbols[symbol]} {sessions.dates[session]}",
            remedy="check the bars with `stairways bars check`",
        )


@njit(cache=True)
def _first_unusable(
    values: NDArray[np.float64], n_bars: NDArray[np.int64], above_zero: bool
) -> tuple[int, int, int]:
    """Return session, bar and symbol of the first value that is no usable number; -1 where all are."""
    for i in range(values.shape[0]):
        for t in range(n_bars[i]):
            for s in range(values.shape[2]):
                value = values[i, t, s]
                least = value > 0.0 if above_zero else value >= 0.0
                if not (least and value < np.inf):
                    return i, t, s
    return -1, -1, -1


def _require_match(state: Mapping[str, Any], config: RegimeConfig, n_symbols: int) -> None:
    found = RegimeDetector.from_state(state)
    if found.config != config:
        raise MismatchError(f"state was made with {found.config}, asked for {config}", where="regime history")
    if found.n_symbols != n_symbols:
        raise MismatchError(
            f"state was made for {found.n_symbols} symbols, the bars have {n_symbols}", where="regime history"
        )
    if state["present"] is not None:
        raise MismatchError(
            f"state stands at bar {state['present']['bars']} of a session",
            where="regime history",
            remedy="take it after end_session",
        )
