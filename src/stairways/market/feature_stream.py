"""What a policy sees, bar by bar: the rows of the whole history's table, bit for bit.

The statistics that look back beyond the session's start (exponential means, relative strength, the volume
profile, the regime) are brought to the present by leading the stream through the history there is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
from numba import njit
from numpy.typing import NDArray

from stairways.errors import ArtifactError, BarsError, MismatchError, StairwaysError
from stairways.market.feature_kernels import (
    CARRIED,
    LOG_VOLUME,
    N_FEATURES,
    PROFILE_SESSIONS,
    bounded,
    fill_carried_bar,
    fill_session_bar,
    log_volume,
    start_segment,
    sum_volume,
)
from stairways.market.features import CLIP, FeatureConstants
from stairways.market.regime import DEFAULT_REGIME, RegimeConfig, RegimeDetector, RegimeReading
from stairways.market.regime_history import regime_history
from stairways.market.sessions import Sessions

Numbers = Sequence[float] | NDArray[np.float64]
STATE_VERSION = 1
_WHERE = "feature stream"
_STATE = "state of the feature stream"


class _Memory(NamedTuple):
    """Arrays that the compiled bar reads and writes; one row per symbol where it says n_symbols.

    Attributes:
        opens: ``(n_symbols,)`` first opens of the session.
        close: ``(n_symbols, max_bars)`` of the session so far; ``volume`` likewise.
        traded: ``(n_symbols, 2)`` sums of the VWAP.
        carried: ``(n_symbols, 6)`` what runs on over a session's start.
        rows: ``(n_symbols, max_bars, 12)`` base features of the session so far.
        total: ``(max_bars, n_symbols)`` the profile's volume; ``traded_bars`` its bars with volume.
        mean: ``(n_symbols, 12)`` of the constants; ``scale`` likewise.
        columns: ``(n_symbols,)`` first column of each symbol in an observation.
    """

    opens: NDArray[np.float64]
    close: NDArray[np.float64]
    volume: NDArray[np.float64]
    traded: NDArray[np.float64]
    carried: NDArray[np.float64]
    rows: NDArray[np.float64]
    total: NDArray[np.float64]
    traded_bars: NDArray[np.float64]
    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    columns: NDArray[np.int64]


class FeatureStream:
    """Makes one observation per bar, positions left at 0.

    Args:
        constants: What standardises the features.
        detector: The regime detector, between sessions.
        max_bars: Bars of a full session.
    """

    def __init__(self, constants: FeatureConstants, detector: RegimeDetector, max_bars: int) -> None:
        n = len(constants.symbols)
        if detector.n_symbols != n:
            raise MismatchError(
                f"the regime detector is of {detector.n_symbols} symbols, the constants of {n}", where=_WHERE
            )
        self.constants = constants
        self.detector = detector
        self.max_bars = max_bars
        self._memory = _Memory(
            opens=np.zeros(n),
            close=np.zeros((n, max_bars)),
            volume=np.zeros((n, max_bars)),
            traded=np.zeros((n, 2)),
            carried=np.zeros((n, CARRIED)),
            rows=np.zeros((n, max_bars, N_FEATURES)),
            total=np.zeros((max_bars, n)),
            traded_bars=np.zeros((max_bars, n)),
            mean=np.array(constants.mean),
            scale=np.array(constants.scale),
            columns=np.arange(n) * (N_FEATURES + 1),
        )
        self._profile: deque[NDArray[np.float64]] = deque(maxlen=PROFILE_SESSIONS)
        self._row = np.zeros(n * (N_FEATURES + 1) + 3, np.float32)
        self._z = np.zeros(3)
        self._fresh_segment = True
        self._n_bars = 0
        self._bar: int | None = None

    @property
    def n_inputs(self) -> int:
        """Length of an observation."""
        return len(self._row)

    @classmethod
    def after(
        cls,
        history: Sessions,
        constants: FeatureConstants,
        regime: RegimeConfig = DEFAULT_REGIME,
        *,
        detector: RegimeDetector | None = None,
    ) -> Self:
        """Return a stream that goes on behind a history.

        Args:
            history: Sessions before the first one to come, from the earliest there is.
            constants: What standardises the features.
            regime: How the regime score is made; its detector starts with the history.
            detector: A detector that has seen the history already.

        Raises:
            MismatchError: If the constants were made for other symbols.
        """
        if constants.symbols != history.symbols:
            raise MismatchError(
                f"constants of {','.join(constants.symbols)}, bars of {','.join(history.symbols)}",
                where=_WHERE,
            )
        if detector is None:
            detector = RegimeDetector.from_state(regime_history(history, regime).end_state)
        stream = cls(constants, detector, history.max_bars)
        if len(history):
            _carry(history.open, history.close, history.n_bars, history.segment, stream._memory.carried)
            stream._fresh_segment = False
            last = np.flatnonzero(history.segment == history.segment[-1])
            stream._profile.extend(history.volume[i, : history.n_bars[i]].copy() for i in last)
        return stream

    def state(self) -> dict[str, Any]:
        """Return the state between sessions as plain JSON types; ``from_state`` restores it bit for bit.

        Raises:
            StairwaysError: If a session is open.
        """
        if self._bar is not None:
            raise StairwaysError(
                f"a state is taken between sessions, bar {self._bar} of one is next", where=_WHERE
            )
        return {
            "version": STATE_VERSION,
            "symbols": list(self.constants.symbols),
            "max_bars": self.max_bars,
            "fresh_segment": self._fresh_segment,
            "carried": self._memory.carried.tolist(),
            "profile": [volume.tolist() for volume in self._profile],
            "regime": self.detector.state(),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any], constants: FeatureConstants) -> Self:
        """Return a stream that goes on where a state was taken.

        Raises:
            ArtifactError: If the state is damaged or of another version.
            MismatchError: If it was taken of other symbols than the constants'.
        """
        if state.get("version") != STATE_VERSION:
            raise ArtifactError(f"version {state.get('version')} is not {STATE_VERSION}", where=_STATE)
        if state.get("symbols") != list(constants.symbols):
            raise MismatchError(
                f"a state of {state.get('symbols')}, constants of {list(constants.symbols)}", where=_STATE
            )
        n = len(constants.symbols)
        try:
            stream = cls(constants, RegimeDetector.from_state(state["regime"]), int(state["max_bars"]))
            stream._memory.carried[:] = _finite(state["carried"], (n, CARRIED))
            profile = [np.array(volume, np.float64) for volume in state["profile"]]
            stream._profile.extend(_finite(volume, (len(volume), n)) for volume in profile)
            fresh = state["fresh_segment"]
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactError(f"the state is damaged: {error!r}", where=_STATE) from error
        if not isinstance(fresh, bool) or len(profile) > PROFILE_SESSIONS:
            raise ArtifactError("the state is damaged", where=_STATE)
        stream._fresh_segment = fresh
        return stream

    def start_session(self, n_bars: int, *, new_segment: bool = False) -> None:
        """Begin a session.

        Args:
            n_bars: Bars it has by the calendar.
            new_segment: Whether the sessions before are not its past (a gap in the bars).

        Raises:
            StairwaysError: If a session is open, or has more bars than the stream was made for.
        """
        if not 1 <= n_bars <= self.max_bars:
            raise StairwaysError(f"a session of {n_bars} bars, 1 to {self.max_bars} are known", where=_WHERE)
        self.detector.start_session()
        if new_segment:
            self._profile.clear()
            self._fresh_segment = True
        memory = self._memory
        memory.total[:] = 0.0
        memory.traded_bars[:] = 0.0
        for volume in self._profile:
            sum_volume(volume[:n_bars], memory.total, memory.traded_bars)
        memory.traded[:] = 0.0
        self._n_bars, self._bar = n_bars, 0

    def update(
        self, opens: Numbers, closes: Numbers, volumes: Numbers
    ) -> tuple[NDArray[np.float32], RegimeReading]:
        """Take the next bar and return the observation at its close, and the regime.

        Args:
            opens: ``(n_symbols,)`` opening prices, USD; of the first bar only they count.
            closes: ``(n_symbols,)`` closing prices, USD.
            volumes: ``(n_symbols,)`` shares.

        Returns:
            ``(n_inputs,)`` float32, a buffer that the next bar overwrites; and the regime's reading.

        Raises:
            BarsError: If a price is not positive and finite, or a volume is negative or not finite.
            StairwaysError: If no session is open, or it is over.
        """
        t = self._bar
        if t is None or t >= self._n_bars:
            problem = "no session is open" if t is None else f"the session of {self._n_bars} bars is over"
            raise StairwaysError(problem, where=_WHERE, remedy="call start_session for each session")
        volume = np.asarray(volumes, np.float64)
        if not (np.isfinite(volume).all() and (volume >= 0.0).all()):
            raise BarsError(f"a volume of bar {t} is negative or not finite: {volume.tolist()}", where=_WHERE)
        reading = self.detector.update(opens, closes)
        self._z[:] = reading.z
        _take_bar(
            t,
            self._n_bars,
            self._fresh_segment,
            np.asarray(opens, np.float64),
            np.asarray(closes, np.float64),
            volume,
            self._z,
            self._memory,
            self._row,
        )
        self._fresh_segment = False
        self._bar = t + 1
        return self._row, reading

    def end_session(self) -> None:
        """Complete the session: its volume enters the profile, its regime inputs the window.

        Raises:
            StairwaysError: If no session is open.
        """
        if self._bar is None:
            raise StairwaysError("no session is open", where=_WHERE, remedy="call start_session first")
        self.detector.end_session()
        self._profile.append(self._memory.volume[:, : self._bar].T.copy())
        self._bar = None


def _finite(value: Any, shape: tuple[int, ...]) -> NDArray[np.float64]:
    array = np.array(value, np.float64)
    if array.shape != shape or not np.isfinite(array).all():
        raise ValueError(f"numbers of shape {array.shape}, {shape} finite ones are needed")
    return array


@njit(cache=True, error_model="numpy")
def _carry(
    opens: NDArray[np.float64],
    close: NDArray[np.float64],
    n_bars: NDArray[np.int64],
    segment: NDArray[np.int64],
    carried: NDArray[np.float64],
) -> None:
    """Lead what is carried, ``(n_symbols, 6)``, through a history."""
    out = np.zeros((1, N_FEATURES))
    for s in range(close.shape[2]):
        for i in range(close.shape[0]):
            if i == 0 or segment[i] != segment[i - 1]:
                start_segment(carried[s], opens[i, 0, s], close[i, 0, s])
            for t in range(n_bars[i]):
                fill_carried_bar(0, close[i, t, s], carried[s], out)


@njit(cache=True, error_model="numpy")
def _take_bar(
    t: int,
    n_bars: int,
    fresh_segment: bool,
    opens: NDArray[np.float64],
    closes: NDArray[np.float64],
    volumes: NDArray[np.float64],
    z: NDArray[np.float64],
    memory: _Memory,
    row: NDArray[np.float32],
) -> None:
    for s in range(len(closes)):
        if t == 0:
            memory.opens[s] = opens[s]
            if fresh_segment:
                start_segment(memory.carried[s], opens[s], closes[s])
        memory.close[s, t], memory.volume[s, t] = closes[s], volumes[s]
        out = memory.rows[s]
        fill_session_bar(t, n_bars, memory.opens[s], memory.close[s], memory.volume[s], memory.traded[s], out)
        fill_carried_bar(t, closes[s], memory.carried[s], out)
        out[t, LOG_VOLUME] = log_volume(volumes[s], memory.total[t, s], memory.traded_bars[t, s])
        for f in range(N_FEATURES):
            standard = (out[t, f] - memory.mean[s, f]) / memory.scale[s, f]
            row[memory.columns[s] + f] = bounded(standard, CLIP)
    first = len(row) - len(z)
    for k in range(len(z)):
        row[first + k] = bounded(z[k], CLIP)
