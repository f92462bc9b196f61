"""From settings to a pager."""

from __future__ import annotations

from collections.abc import Mapping

from stairways.monitoring.log_pager import LogPager
from stairways.monitoring.pager import Pager, ThresholdPager
from stairways.monitoring.paging_config import PagingConfig
from stairways.monitoring.routing_key import RoutingKey
from stairways.monitoring.spool import Spool


def pager_of(config: PagingConfig, environment: Mapping[str, str]) -> Pager:
    """Return the pager that the settings ask for; what is wrong with them is said now, not at the first page.

    Args:
        config: Settings.
        environment: Environment variables, where the routing key may be.

    Raises:
        ConfigError: If there is no routing key, or others may read its file.
        StorageError: If the spool can't be made, or others may read it.
    """
    if config.to == "log":
        return ThresholdPager(LogPager(config.log_file), config.least_severity)
    from stairways.monitoring.events_api import EventsApi
    from stairways.monitoring.pagerduty import PagerDutyPager

    if config.routing_key_file is not None:
        key = RoutingKey.from_file(config.routing_key_file)
    else:
        key = RoutingKey.from_environment(config.routing_key_variable, environment)
    spool = spool_of(config)
    spool.prepare()
    api = EventsApi(
        config.base_url,
        key,
        connect_seconds=config.connect_seconds,
        read_seconds=config.read_seconds,
        attempts=config.attempts,
        first_wait_seconds=config.first_wait_seconds,
    )
    pager = PagerDutyPager(
        api,
        spool,
        budget_seconds=config.budget_seconds,
        drain_seconds=config.drain_seconds,
        flush_seconds=config.flush_seconds,
    )
    return ThresholdPager(pager, config.least_severity)


def spool_of(config: PagingConfig) -> Spool:
    """Return the spool of the settings; nothing is made on the disk yet."""
    return Spool(config.spool_folder, max_pages=config.spool_max_pages, max_bytes=config.spool_max_bytes)
