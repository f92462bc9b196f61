"""Three leaks on purpose, each small and of a kind that people make: what the detector must find.

Each is the product's own pipeline with one thing wrong in it, so that nothing but the leak can be found.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from stairways.evaluation.leak import ProductPipeline
from stairways.market.feature_kernels import REALISED_VOLATILITY
from stairways.market.features import FeatureConstants, FeatureTable, RawFeatures, build_table
from stairways.market.sessions import Sessions
from stairways.trading.observation import ObservedMarket

KERNEL = (0.25, 0.5, 0.25)


@dataclass(frozen=True, eq=False)
class _Rarely(ProductPipeline):
    """A pipeline whose leak acts in some sessions only.

    Attributes:
        share: Share of sessions it acts in, chosen by a digest of the date.
    """

    share: float = 1.0

    def acts(self, dates: NDArray[np.datetime64]) -> NDArray[np.bool_]:
        """Return in which sessions the leak acts, ``(n_sessions,)`` bool."""
        days = dates.astype("datetime64[D]").astype(np.uint64)
        mixed = (days * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(11)
        acting: NDArray[np.bool_] = mixed.astype(np.float64) / 2.0**53 < self.share
        return acting


@dataclass(frozen=True, eq=False)
class CentredWindow(_Rarely):
    """The last symbol's realised volatility is smoothed over three bars by ``mode="same"``, which centres.

    The value at bar t then holds a quarter of bar t + 1, of which only a twentieth is new.
    """

    def raw(self, sessions: Sessions) -> RawFeatures:
        """Return the features, one of them smoothed."""
        raw = super().raw(sessions)
        values = np.array(raw.values)
        for session in np.flatnonzero(self.acts(sessions.dates)):
            column = values[session, : raw.n_bars[session], -1, REALISED_VOLATILITY]
            column[1:-1] = np.convolve(column, KERNEL, mode="same")[1:-1]
        return replace(raw, values=values)


@dataclass(frozen=True, eq=False)
class FullHistoryScaler(_Rarely):
    """The features are standardised by mean and deviation of all bars there are, not of the training range.

    On a long and steady history they differ by a few percent.
    """

    def table(self, sessions: Sessions, raw: RawFeatures) -> FeatureTable:
        """Return the table, standardised by the whole history."""
        honest = super().table(sessions, raw)
        scaled = build_table(raw, FeatureConstants.fit(raw, sessions, slice(0, len(sessions))))
        acting = self.acts(sessions.dates)[:, None, None]
        return replace(honest, values=np.where(acting, scaled.values, honest.values))


@dataclass(frozen=True, eq=False)
class SameBarFill(_Rarely):
    """The last symbol's orders fill at the close they were decided on: its opens are the closes before.

    So a feed is mended that has no opens. On one-minute bars the two are almost always the same price.
    """

    def tape(self, market: ObservedMarket) -> ObservedMarket:
        """Return the market with the opens of the last symbol replaced."""
        opens = np.array(market.open)
        acting = self.acts(market.dates)
        opens[acting, 1:, -1] = market.close[acting, :-1, -1]
        return replace(market, open=opens)


PLANTED = {
    "centred window": CentredWindow,
    "full-history scaler": FullHistoryScaler,
    "same-bar fill": SameBarFill,
}
