"""Volume of synthetic bars: the shape of the day and what moves volume around it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stairways.market.planted import PlantedSpec
from stairways.market.sessions import FULL_SESSION_MINUTES

SESSION_LOG_SD = 0.28
SESSION_VOLATILITY_CORRELATION_RATIO = 0.60
BAR_LOG_SD = 0.45
BAR_RETURN_CORRELATION_RATIO = 0.40

# Mean and standard deviation of log|z| for z ~ N(0, 1): -(gamma + log 2) / 2 and pi / sqrt(8).
_LOG_ABSOLUTE_MEAN = -(np.euler_gamma + np.log(2.0)) / 2.0
_LOG_ABSOLUTE_SD = np.pi / np.sqrt(8.0)


def volume_profile(n_minutes: int) -> NDArray[np.float64]:
    """Return the mean volume of every minute relative to the mean of a full session's minutes.

    A smooth U: about eight times the mid-day level in the opening minute, five times in the
    closing one, where real tapes of large stocks lie. A half day follows the same shape, shorter.

    Args:
        n_minutes: Minutes of the session.

    Returns:
        ``(n_minutes,)`` float64; its mean over a full session is 1.
    """
    return np.asarray(_shape(n_minutes) / _shape(FULL_SESSION_MINUTES).mean(), dtype=np.float64)


def _shape(n_minutes: int) -> NDArray[np.float64]:
    passed = (np.arange(n_minutes) + 0.5) / n_minutes
    left = 1.0 - passed
    opening = 3.0 * np.exp(-passed / 0.010) + 1.4 * np.exp(-passed / 0.12)
    closing = 2.0 * np.exp(-left / 0.012) + 0.8 * np.exp(-left / 0.10)
    return np.asarray(0.6 + opening + closing, dtype=np.float64)


def scenario_volume(
    mean_shares: NDArray[np.float64],
    session_noise: NDArray[np.float64],
    session_volatility: NDArray[np.float64],
    bar_noise: NDArray[np.float64],
    shocks: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return volumes that rise with the session's volatility and with the size of the bar's move.

    ``log volume = log mean + 0.28 * N_session + 0.45 * N_bar``, where N_session correlates by 0.6
    with the session's log volatility and N_bar by 0.4 with log|return|.

    Args:
        mean_shares: ``(n_sessions, 390)`` float64, the mean volume of each minute.
        session_noise: ``(n_sessions,)`` float64, independent N(0, 1).
        session_volatility: ``(n_sessions,)`` float64, the session's log volatility, unit variance.
        bar_noise: ``(n_sessions, 390)`` float64, independent N(0, 1).
        shocks: ``(n_sessions, 390)`` float64, the returns in units of their volatility.

    Returns:
        ``(n_sessions, 390)`` float64, whole shares.
    """
    shared = SESSION_VOLATILITY_CORRELATION_RATIO
    session_log = SESSION_LOG_SD * (shared * session_volatility + (1.0 - shared**2) ** 0.5 * session_noise)
    move = (np.log(np.abs(shocks) + 1e-12) - _LOG_ABSOLUTE_MEAN) / _LOG_ABSOLUTE_SD
    linked = BAR_RETURN_CORRELATION_RATIO
    bar_log = BAR_LOG_SD * (linked * move + (1.0 - linked**2) ** 0.5 * bar_noise)
    return np.asarray(np.rint(mean_shares * np.exp(session_log[:, None] + bar_log)), dtype=np.float64)


def planted_volume(
    mean_shares: NDArray[np.float64],
    signal: NDArray[np.float64],
    bar_noise: NDArray[np.float64],
    spec: PlantedSpec,
) -> NDArray[np.float64]:
    """Return volumes that show the planted signal: ``mean * exp(a * s + sd * N)``, whole shares.

    Args:
        mean_shares: ``(n_sessions, 390)`` float64, the mean volume of each minute.
        signal: ``(n_sessions, 390)`` float64, s.
        bar_noise: ``(n_sessions, 390)`` float64, independent N(0, 1).
        spec: The planted signal's constants.

    Returns:
        ``(n_sessions, 390)`` float64.
    """
    deviation = spec.volume_loading * signal + spec.volume_noise_sd * bar_noise
    return np.asarray(np.rint(mean_shares * np.exp(deviation)), dtype=np.float64)
