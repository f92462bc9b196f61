"""The planted signal: what a known-answer market hides in its bars, and the truth behind it."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numba import njit
from numpy.typing import NDArray

from stairways.errors import ConfigError
from stairways.market.sessions import FULL_SESSION_MINUTES


@dataclass(frozen=True)
class PlantedSpec:
    """Constants of the planted signal; all times are minutes.

    The close of minute t is ``close[t-1] * (1 + sd * noise + b * v0 * s[t-1] * active[t-1])``: the
    signal s drives the next minute's return in the active regime and not in the quiet one. The
    drift is in constant basis points, it scales neither with the time of day nor with volatility,
    so that (minutes to go, regime, s, position) is the whole state of the exact oracle.

    Attributes:
        strength: b, the drift at s = 1 in units of v0; 0 plants nothing and keeps every draw.
        persistence: phi of the AR(1) signal per minute; its stationary law is N(0, 1).
        switch_probability: Chance per minute that the regime changes (psw).
        volatility_ratio: Volatility in the active regime over that in the quiet one.
        volume_loading: a, the change of log volume per unit of s.
        volume_noise_sd: Standard deviation of the noise in log volume.
    """

    strength: float
    persistence: float = 0.97
    switch_probability: float = 1.0 / 780.0
    volatility_ratio: float = 2.0
    volume_loading: float = 0.6
    volume_noise_sd: float = 0.2

    def __post_init__(self) -> None:
        bounds = {
            "strength": 0.0 <= self.strength <= 1.0,
            "persistence": 0.0 <= self.persistence < 1.0,
            "switch_probability": 0.0 < self.switch_probability <= 0.5,
            "volatility_ratio": self.volatility_ratio >= 1.0,
            "volume_noise_sd": self.volume_noise_sd >= 0.0,
        }
        for name, sound in bounds.items():
            if not sound:
                raise ConfigError(
                    f"{name} {getattr(self, name)} is out of bounds",
                    where="planted signal",
                    remedy=(
                        "0 <= strength <= 1, 0 <= persistence < 1, 0 < switch_probability <= 0.5, "
                        "volatility_ratio >= 1 and volume_noise_sd >= 0 are needed"
                    ),
                )


@dataclass(frozen=True, eq=False)
class PlantedTruth:
    """What the market hides: never part of the sessions, only of oracles and judgements.

    With bars of five minutes each value is the one of the bar's last minute. Values behind a half
    day's last bar are 0 and False.

    Attributes:
        signal: ``(n_sessions, max_bars, n_symbols)`` float64, s at each bar's close.
        active: ``(n_sessions, max_bars)`` bool, True in the active regime, common to all symbols.
        strength: b of `PlantedSpec`.
        persistence: phi of `PlantedSpec`, per minute.
        switch_probability: psw of `PlantedSpec`, per minute.
        unit_drift_ratio: ``(n_symbols,)`` float64, v0 = rv / sqrt(390) of each symbol.
    """

    signal: NDArray[np.float64]
    active: NDArray[np.bool_]
    strength: float
    persistence: float
    switch_probability: float
    unit_drift_ratio: NDArray[np.float64]

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray):
                value.setflags(write=False)


def unit_drift_ratio(realised_volatility_ratio: float) -> float:
    """Return v0, the volatility of one minute of a session with this median volatility."""
    return float(realised_volatility_ratio / np.sqrt(FULL_SESSION_MINUTES))


@njit(cache=True)
def stationary_ar1(noise: NDArray[np.float64], persistence: float) -> NDArray[np.float64]:
    """Return unit-variance AR(1) paths that start from their stationary law in every row.

    ``x[0] = e[0]``, ``x[t] = phi * x[t-1] + sqrt(1 - phi**2) * e[t]`` with e ~ N(0, 1).

    Args:
        noise: ``(n_paths, n_steps)`` float64, independent N(0, 1).
        persistence: phi, in [0, 1).

    Returns:
        ``(n_paths, n_steps)`` float64.
    """
    innovation = np.sqrt(1.0 - persistence * persistence)
    paths = np.empty_like(noise)
    for row in range(noise.shape[0]):
        value = 0.0
        for step in range(noise.shape[1]):
            shock = noise[row, step]
            value = shock if step == 0 else persistence * value + innovation * shock
            paths[row, step] = value
    return paths


@njit(cache=True)
def active_minutes(
    uniform: NDArray[np.float64], n_minutes: NDArray[np.int64], switch_probability: float
) -> NDArray[np.bool_]:
    """Return the regime of every minute; the chain runs on through the night.

    Args:
        uniform: ``(n_sessions, 390)`` float64, independent U(0, 1). The very first draw decides the
            regime at the start (one half each); every other one whether it switches.
        n_minutes: ``(n_sessions,)`` int64, minutes of each session.
        switch_probability: Chance of a switch from a minute to the next.

    Returns:
        ``(n_sessions, 390)`` bool, False behind a half day's last minute.
    """
    active = np.zeros(uniform.shape, dtype=np.bool_)
    state = uniform[0, 0] < 0.5
    for session in range(uniform.shape[0]):
        for minute in range(n_minutes[session]):
            first = session == 0 and minute == 0
            if not first and uniform[session, minute] < switch_probability:
                state = not state
            active[session, minute] = state
    return active


def regime_volatility_factor(active: NDArray[np.bool_], volatility_ratio: float) -> NDArray[np.float64]:
    """Return the factor on volatility, sqrt(ratio) when active and its inverse when quiet."""
    quiet = volatility_ratio**-0.5
    return np.asarray(np.where(active, volatility_ratio * quiet, quiet), dtype=np.float64)


def planted_drift(
    signal: NDArray[np.float64], active: NDArray[np.bool_], strength: float, unit_ratio: float
) -> NDArray[np.float64]:
    """Return the drift of every minute's simple return, ``b * v0 * s[t-1] * active[t-1]``.

    Args:
        signal: ``(n_sessions, 390)`` float64, s at each minute's close.
        active: ``(n_sessions, 390)`` bool.
        strength: b.
        unit_ratio: v0.

    Returns:
        ``(n_sessions, 390)`` float64; 0 in a session's first minute, since s starts anew there.
    """
    drift = np.zeros_like(signal)
    drift[:, 1:] = strength * unit_ratio * signal[:, :-1] * active[:, :-1]
    return drift
