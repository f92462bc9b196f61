"""Opening the market that the settings name."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from stairways.config import MarketSettings, Settings
from stairways.errors import ConfigError
from stairways.market.dataset import Dataset, open_bars, open_sample
from stairways.tuning.memory import require_memory

if TYPE_CHECKING:
    from stairways.unpacking import Packed


def open_dataset(settings: Settings) -> Dataset:
    """Load or generate the market of the settings, all of its sessions."""
    market, threads = settings.market, settings.performance.preprocessing_threads
    if market.bars is None:
        return open_sample(
            market.sample,
            market.symbols,
            market.interval_minutes,
            regime=market.regime,
            threads=threads,
            check=partial(require_memory, settings),
        )
    return open_bars(
        market.bars,
        market.symbols,
        market.interval_minutes,
        regime=market.regime,
        strict=market.strict,
        split_table=market.split_table,
        threads=threads,
        check=partial(require_memory, settings),
    )


def open_for(packed: Packed, settings: Settings) -> Dataset:
    """Load or generate the market that an artifact shall be judged or tuned on.

    Where the bars begin behind everything the artifact has seen, its saved regime state goes on, so
    that a regime that was warm is not warmed up again.

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
    dataset = open_dataset(settings)
    first = dataset.sessions.dates[0].item()
    if all(seen.last < first for seen in packed.seen):
        return dataset.going_on(packed.artifact.regime_state)
    return dataset
