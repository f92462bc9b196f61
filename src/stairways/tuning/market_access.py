"""Opening the market that the settings name."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from stairways.config import MarketSettings, Settings
from stairways.errors import ConfigError
from stairways.market.dataset import Dataset, OpenedMarket, open_bars, open_sample
from stairways.tuning.memory import require_memory

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stairways.unpacking import Packed


def open_market(settings: Settings) -> OpenedMarket:
    """Load or generate the market of the settings, all of its sessions, without features."""
    market, check = settings.market, partial(require_memory, settings)
    if market.bars is None:
        return open_sample(market.sample, market.symbols, market.interval_minutes, check=check)
    return open_bars(
        market.bars,
        market.symbols,
        market.interval_minutes,
        strict=market.strict,
        split_table=market.split_table,
        check=check,
    )


def open_dataset(settings: Settings) -> Dataset:
    """Load or generate the market of the settings, all of its sessions, with their features."""
    return _with_features(open_market(settings), settings, None)


def open_for(packed: Packed, settings: Settings) -> Dataset:
    """Load or generate the market that an artifact shall be tuned on, with the features of all sessions.

    Raises:
        ConfigError: As ``open_market_for`` says.
    """
    market, start = open_market_for(packed, settings)
    return _with_features(market, settings, start)


def open_market_for(packed: Packed, settings: Settings) -> tuple[OpenedMarket, Mapping[str, Any] | None]:
    """Load or generate the market that an artifact shall be judged on, without features.

    Where the bars begin behind everything the artifact has seen, its saved regime state goes on, so
    that a regime that was warm is not warmed up again.

    Returns:
        The market, and the state that its regime goes on from; None where it starts from nothing.

    Raises:
        ConfigError: If the artifact was made on real bars and no bars were named: the default sample
            would be a market that nobody asked for.
    """
    made_on = packed.artifact.data_source
    unnamed = settings.market.bars is None and settings.market.sample == MarketSettings().sample
    if unnamed and not made_on.startswith("SYNTHETIC"):
        raise ConfigError(
            f"--bars is missing: the artifact was made on {made_on}",
            remedy="name the folder of the bars, or a sample market with its seed (planted:1)",
        )
    market = open_market(settings)
    first = market.sessions.dates[0].item()
    later = all(seen.last < first for seen in packed.seen)
    return market, packed.artifact.regime_state if later else None


def _with_features(market: OpenedMarket, settings: Settings, start: Mapping[str, Any] | None) -> Dataset:
    threads = settings.performance.preprocessing_threads
    return market.with_features(settings.market.regime, regime_start=start, threads=threads)
