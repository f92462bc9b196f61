"""Features and regime of a part of a history, the whole history's numbers bit for bit.

What a session takes from those before it is bounded, or cheap:

- The volume profile is made from the last 20 sessions; exponential means and relative strength run over
  every earlier bar, which costs a fiftieth of all features.
- The regime judges a session by the moments of the sessions in its window, and a session's moments are
  made from its own bars alone, whatever went before. Its first 19 bars repeat the last output before
  them, which stands at the end of the last earlier session that has 20 bars. So a detector started
  one window before that session, with empty moments for what lies behind, gives the same outputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from stairways.market.features import RawFeatures, base_features
from stairways.market.regime import DEFAULT_REGIME, RegimeConfig, between_sessions
from stairways.market.regime_history import RegimeSeries, regime_history, require_numbers
from stairways.market.regime_kernels import MOMENT_ROWS, N_INPUTS, WINDOW_BARS
from stairways.market.sessions import Sessions


def features_of_part(
    sessions: Sessions,
    part: slice,
    regime: RegimeConfig = DEFAULT_REGIME,
    *,
    regime_start: Mapping[str, Any] | None = None,
    threads: int = 1,
) -> RawFeatures:
    """Return what ``compute_features`` of the whole history holds for a part of it.

    Args:
        sessions: The history, from the earliest session there is; all of it is checked.
        part: The sessions wanted.
        regime: How the regime score is made.
        regime_start: State of a regime detector before the first session; None starts from nothing.
        threads: Symbols whose features are computed beside each other; the same numbers.

    Raises:
        BarsError: If a price is not positive and finite, or a volume is negative or not finite.
        MismatchError: If ``regime_start`` does not fit.
    """
    require_numbers(sessions, "volume", least="from 0")
    require_numbers(sessions, "open", least="above 0")
    require_numbers(sessions, "close", least="above 0")
    led = sessions.select(slice(0, part.stop))
    series = _regime_from(led, part.start, regime, regime_start)
    values = base_features(led, part.start, threads=threads)
    return RawFeatures(sessions.symbols, sessions.n_bars[part], values, series)


def _regime_from(
    sessions: Sessions, first: int, config: RegimeConfig, start: Mapping[str, Any] | None
) -> RegimeSeries:
    """Return the regime from one session on."""
    before = regime_history(sessions.select(slice(0, 0)), config, start=start)
    judged = np.flatnonzero(sessions.n_bars[:first] >= WINDOW_BARS)
    begin = max(0, int(judged[-1]) - config.window_sessions) if len(judged) else 0
    seen = before.sessions_seen + begin
    state = before.end_state
    if begin > 0:
        forgotten = np.zeros((min(seen, config.window_sessions), MOMENT_ROWS, N_INPUTS))
        state = between_sessions(config, sessions.n_symbols, seen, forgotten, np.zeros(N_INPUTS + 1))
    return _cut(regime_history(sessions.select(slice(begin, None)), config, start=state), first - begin)


def _cut(series: RegimeSeries, first: int) -> RegimeSeries:
    """Return the series from one session on, with the moments of the window before it."""
    led = len(series.session_moments) - len(series) + first
    return RegimeSeries(
        config=series.config,
        n_symbols=series.n_symbols,
        z=series.z[first:],
        score=series.score[first:],
        neutral=series.neutral[first:],
        carried=series.carried[first:],
        sessions_seen=series.sessions_seen + first,
        session_moments=series.session_moments[max(0, led - series.config.window_sessions) :],
        boundary_output=series.boundary_output[first:],
    )
