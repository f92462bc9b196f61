"""Opening the market that the settings name."""

from __future__ import annotations

from stairways.config import Settings
from stairways.market.dataset import Dataset, open_bars, open_sample
from stairways.market.regime import RegimeConfig


def open_dataset(settings: Settings, regime: RegimeConfig | None = None) -> Dataset:
    """Load or generate the market of the settings, all of its sessions.

    Args:
        settings: Where bars come from.
        regime: How the regime is made, where an artifact says so; otherwise the settings' own.
    """
    market = settings.market
    chosen = regime or market.regime
    if market.bars is None:
        return open_sample(market.sample, market.symbols, market.interval_minutes, regime=chosen)
    return open_bars(
        market.bars,
        market.symbols,
        market.interval_minutes,
        regime=chosen,
        strict=market.strict,
        split_table=market.split_table,
    )
