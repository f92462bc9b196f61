"""Pages, spools and pagers for tests: everything as small and as quick as it can be."""

import datetime as dt
import json
from pathlib import Path

from stairways.monitoring.events_api import EventsApi
from stairways.monitoring.page import Page
from stairways.monitoring.pagerduty import PagerDutyPager
from stairways.monitoring.routing_key import RoutingKey
from stairways.monitoring.spool import Spool

KEY = "R0SECRETR0SECRETR0SECRETR0SECRET"
NOON = dt.datetime(2026, 3, 2, 12, tzinfo=dt.UTC)


def a_page(key="a", action="trigger", number=0, at=NOON, **changes):
    fields = {
        "summary": f"page {number} of {key}",
        "severity": "critical",
        "source": "host",
        "component": "rollback",
        "dedup_key": key,
        "occurred_at": at,
        "action": action,
        "details": {"number": number},
    }
    return Page(**fields | changes)


def a_spool(folder, max_pages=1_000, max_bytes=10_000_000):
    return Spool(folder, max_pages=max_pages, max_bytes=max_bytes)


def a_pager(url, spool, *, budget=5.0, attempts=3, drain=1.0, read=1.0, transport=None, flush=20.0):
    api = EventsApi(
        url,
        RoutingKey(KEY),
        connect_seconds=1.0,
        read_seconds=read,
        attempts=attempts,
        first_wait_seconds=0.0,
        transport=transport,
    )
    return PagerDutyPager(api, spool, budget_seconds=budget, drain_seconds=drain, flush_seconds=flush)


def spooled(spool):
    """Return key and action of every page that waits, in order."""
    pages = [spool.peek(entry) for entry in spool.entries()]
    return [(page.dedup_key, page.action) for page in pages]


def config_file(folder: Path, url: str, **changes) -> Path:
    """Return a settings file that pages to a receiver; JSON is YAML."""
    key = folder / "key"
    key.write_text(KEY)
    key.chmod(0o600)
    paging = {
        "to": "pagerduty",
        "base_url": url,
        "routing_key_file": str(key),
        "spool_folder": str(folder / "spool"),
        "first_wait_seconds": 0.0,
        "budget_seconds": 5.0,
        "read_seconds": 1.0,
    }
    path = folder / "config.yaml"
    path.write_text(json.dumps({"paging": paging | changes}))
    return path
