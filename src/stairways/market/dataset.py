"""A market ready to be used: sessions, their features and what is known about them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stairways.market.features import (
    FeatureConstants,
    FeatureTable,
    RawFeatures,
    build_table,
    compute_features,
)
from stairways.market.loading import load_bars
from stairways.market.regime import RegimeConfig
from stairways.market.samples import SyntheticMarket, sample_market
from stairways.market.sessions import Sessions
from stairways.market.splits import SplitTable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from stairways.market.quality import QualityReport

    Check = Callable[[Sessions], None]


@dataclass(frozen=True, eq=False)
class OpenedMarket:
    """Every session there is of some symbols, before any feature.

    Attributes:
        sessions: All sessions, in date order.
        quality: What loading kept, filled and dropped; None for a generated market.
        synthetic: The generated market behind the sessions; None for bars from disk.
    """

    sessions: Sessions
    quality: QualityReport | None
    synthetic: SyntheticMarket | None

    def with_features(
        self, regime: RegimeConfig, *, regime_start: Mapping[str, Any] | None = None, threads: int = 1
    ) -> Dataset:
        """Return the market with features and regime over its whole history.

        Args:
            regime: How the regime score is made.
            regime_start: State of a regime detector to go on from; None starts from nothing.
            threads: Symbols whose features are computed beside each other; the same numbers.
        """
        raw = compute_features(self.sessions, regime, regime_start=regime_start, threads=threads)
        return Dataset(self.sessions, raw, self.quality, self.synthetic)


@dataclass(frozen=True, eq=False)
class Dataset:
    """Every session there is of some symbols, with features and regime over the whole history.

    The regime warms up on every earlier session, whatever range is asked for later.

    Attributes:
        sessions: All sessions, in date order.
        raw: Features before standardisation, and the regime.
        quality: What loading kept, filled and dropped; None for a generated market.
        synthetic: The generated market behind the sessions; None for bars from disk.
    """

    sessions: Sessions
    raw: RawFeatures
    quality: QualityReport | None
    synthetic: SyntheticMarket | None

    def table(self, constants: FeatureConstants) -> FeatureTable:
        """Return the feature table under given constants."""
        return build_table(self.raw, constants)


def open_bars(
    folder: Path,
    symbols: Sequence[str],
    interval_minutes: int,
    *,
    strict: bool = False,
    split_table: Path | None = None,
    check: Check = lambda _: None,
) -> OpenedMarket:
    """Load bars from a folder and ``check`` their sessions."""
    splits = SplitTable.from_csv(split_table) if split_table is not None else None
    loaded = load_bars(folder, symbols, interval_minutes, strict=strict, splits=splits)
    check(loaded.sessions)
    return OpenedMarket(loaded.sessions, loaded.quality, None)


def open_sample(
    name: str, symbols: Sequence[str], interval_minutes: int, *, check: Check = lambda _: None
) -> OpenedMarket:
    """Generate a sample market and ``check`` its sessions."""
    market = sample_market(name, symbols=symbols, interval_minutes=interval_minutes)
    check(market.sessions)
    return OpenedMarket(market.sessions, None, market)
