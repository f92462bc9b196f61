"""Other futures: the same bars up to a moment, and something else or nothing after it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import cycle
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from stairways.market.sessions import Sessions

Kind = Literal["inside", "first bar", "last decision", "session end"]
KINDS: tuple[Kind, ...] = ("inside", "session end", "inside", "first bar", "inside", "last decision")
"""The order in which cuts are drawn: every second one inside a session, the others at its edges."""

PRICES = ("open", "high", "low", "close")
LEVEL_LOG_RANGE = 0.15
BAR_LOG_SD = 0.02
VOLUME_LOG_SD = 1.0

Future = Callable[[Sessions, "Cut", np.random.Generator], Sessions]


@dataclass(frozen=True, order=True)
class Cut:
    """A moment: the close of one bar. What comes after it is the future.

    Attributes:
        session: Index of the session.
        bar: Index of the bar, the last that is known.
        kind: Where in its session it lies.
    """

    session: int
    bar: int
    kind: Kind = "inside"


def draw_cuts(sessions: Sessions, part: slice, count: int, rng: np.random.Generator) -> tuple[Cut, ...]:
    """Draw moments within some sessions, each once, in time order.

    Inside sessions, at their first bar, at their last decision, and at their end, where the future begins
    with another session. A moment behind which there is nothing is never drawn.

    Args:
        sessions: All sessions.
        part: Those to draw from.
        count: Moments to draw; fewer where there are fewer.
        rng: Source of randomness.
    """
    waiting: dict[Kind, list[Cut]] = {
        kind: [moments[i] for i in rng.permutation(len(moments))]
        for kind, moments in _moments(sessions, part).items()
    }
    drawn: list[Cut] = []
    for kind in cycle(KINDS):
        if len(drawn) == count or not any(waiting.values()):
            break
        if waiting[kind]:
            drawn.append(waiting[kind].pop())
    return tuple(sorted(drawn))


def _moments(sessions: Sessions, part: slice) -> dict[Kind, list[Cut]]:
    found: dict[Kind, list[Cut]] = {kind: [] for kind in KINDS}
    for session in range(*part.indices(len(sessions))):
        last = int(sessions.n_bars[session]) - 1
        if last < 3:
            continue
        found["first bar"].append(Cut(session, 0, "first bar"))
        found["inside"] += [Cut(session, bar) for bar in range(1, last - 1)]
        found["last decision"].append(Cut(session, last - 1, "last decision"))
        if session + 1 < len(sessions):
            found["session end"].append(Cut(session, last, "session end"))
    return found


def truncated(sessions: Sessions, cut: Cut, rng: np.random.Generator) -> Sessions:
    """Return the sessions as a tape that breaks off after a moment.

    Later sessions are not there. Later bars of the same session stand as the loader writes bars that are
    missing: the last close, no volume, marked as filled.

    Args:
        sessions: All sessions.
        cut: The moment.
        rng: Not used: there is one way to know nothing.
    """
    known = sessions.select(slice(0, cut.session + 1))
    later = _later(known, cut)
    last_close = np.broadcast_to(known.close[cut.session, cut.bar], known.close.shape)
    opens, highs, lows, closes = (np.array(getattr(known, name)) for name in PRICES)
    for array in (opens, highs, lows, closes):
        array[later] = last_close[later]
    volume, filled = np.array(known.volume), np.array(known.filled)
    volume[later], filled[later] = 0.0, True
    return replace(known, open=opens, high=highs, low=lows, close=closes, volume=volume, filled=filled)


def perturbed(sessions: Sessions, cut: Cut, rng: np.random.Generator) -> Sessions:
    """Return the sessions with strongly changed prices and volumes after a moment.

    Per symbol the level moves by 6 to 16 % at once; every price moves by 2 % and every volume by a factor
    of e on top (log-normal, one standard deviation), each bar by itself. Highs and lows still enclose the
    bar. It is no stronger, so that an account with four times its NAV at work is not ruined.

    Args:
        sessions: All sessions.
        cut: The moment.
        rng: Source of randomness.
    """
    later = _later(sessions, cut)
    shape = sessions.close.shape
    level = rng.uniform(0.4, 1.0, shape[2]) * rng.choice([-1.0, 1.0], shape[2]) * LEVEL_LOG_RANGE

    def moved(values: NDArray[np.float64]) -> NDArray[np.float64]:
        changed = np.array(values)
        changed[later] *= np.exp(level + BAR_LOG_SD * rng.standard_normal(shape)[later])
        return changed

    opens, highs, lows, closes = (moved(getattr(sessions, name)) for name in PRICES)
    highs[later] = np.maximum(highs, np.maximum(opens, closes))[later]
    lows[later] = np.minimum(lows, np.minimum(opens, closes))[later]
    volume = np.array(sessions.volume)
    factor = np.exp(VOLUME_LOG_SD * rng.standard_normal(shape))
    volume[later] = np.rint((volume + 1.0) * factor)[later]
    return replace(sessions, open=opens, high=highs, low=lows, close=closes, volume=volume)


FUTURES: Mapping[str, Future] = MappingProxyType({"truncated": truncated, "perturbed": perturbed})


def _later(sessions: Sessions, cut: Cut) -> NDArray[np.bool_]:
    """Return the bars behind a moment, ``(n_sessions, max_bars)`` bool; nothing behind a half day's end."""
    later = np.zeros(sessions.close.shape[:2], dtype=np.bool_)
    later[cut.session, cut.bar + 1 :] = True
    later[cut.session + 1 :] = True
    return later & (np.arange(sessions.max_bars) < sessions.n_bars[:, None])
