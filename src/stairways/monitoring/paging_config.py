"""How people are paged: every setting of it, none of them a secret."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator

from stairways.monitoring.page import Severity

Seconds = Annotated[float, Field(gt=0.0, le=3_600.0)]

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
"""Hosts that a key may reach without encryption."""

# PagerDuty's keys have neither a dot, a slash nor an underscore.
_VARIABLE = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)+")
_LIKE_A_KEY = re.compile(r"[A-Za-z0-9]{32}")


class PagingConfig(BaseModel):
    """Where pages go, how long that may take, and where they wait meanwhile.

    Attributes:
        to: ``log`` appends pages to ``log_file``; ``pagerduty`` sends them.
        log_file: File of ``log``.
        base_url: Receiver of the Events API v2; https, or http on this machine.
        routing_key_file: File that holds the routing key; its owner alone may have rights on it.
        routing_key_variable: Environment variable that holds it, where no file is named.
        least_severity: Less severe triggers are withheld.
        budget_seconds: How long sending one page may take, retries included: what a rollback may wait.
        connect_seconds: How long one connection may take to come about.
        read_seconds: How long the receiver may be silent.
        attempts: Requests of one page at most.
        first_wait_seconds: Wait before the second request, doubled each time, plus up to as much by
            chance; a receiver's Retry-After counts instead.
        drain_seconds: How much longer, within the budget, a delivered page may take to send along what
            waits; 0 leaves that to ``stairways page flush``.
        flush_seconds: How long a flush may take.
        spool_folder: Where pages wait. Processes that page for one system share it.
        spool_max_pages: Pages that may lie there, those set aside included.
        spool_max_bytes: Bytes that may lie there.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    to: Literal["log", "pagerduty"] = "log"
    log_file: Path = Path("paging/pages.jsonl")
    base_url: str = "https://events.pagerduty.com"
    routing_key_file: Path | None = None
    routing_key_variable: str = "STAIRWAYS_ROUTING_KEY"
    least_severity: Severity = "info"
    budget_seconds: Seconds = 5.0
    connect_seconds: Seconds = 2.0
    read_seconds: Seconds = 3.0
    attempts: int = Field(5, ge=1, le=100)
    first_wait_seconds: float = Field(0.1, ge=0.0, le=60.0)
    drain_seconds: float = Field(1.0, ge=0.0, le=60.0)
    flush_seconds: Seconds = 60.0
    spool_folder: Path = Path("paging/spool")
    spool_max_pages: int = Field(1_000, ge=1, le=100_000)
    spool_max_bytes: int = Field(64_000_000, ge=1_000_000)

    # The messages of these three do not repeat the value: it may be a key or a password.
    @field_validator("base_url")
    @classmethod
    def _keeps_the_key_from_the_wire(cls, value: str) -> str:
        try:
            parts = urlsplit(value)
            host, _ = parts.hostname, parts.port
        except ValueError:
            parts, host = urlsplit(""), None
        if not host or parts.scheme not in ("https", "http") or not re.fullmatch(r"[!-~]+", value):
            raise ValueError("base_url must be an address such as https://events.pagerduty.com")
        if parts.username is not None or parts.query or parts.fragment:
            raise ValueError("base_url must hold neither a user, a query nor a fragment")
        if parts.scheme == "http" and host not in LOOPBACK:
            raise ValueError("base_url must start with https://: the routing key goes there")
        return value.rstrip("/")

    @field_validator("routing_key_variable")
    @classmethod
    def _names_a_variable(cls, value: str) -> str:
        if not _VARIABLE.fullmatch(value):
            raise ValueError(
                "routing_key_variable must be the name of a variable, such as STAIRWAYS_ROUTING_KEY, "
                "never the key itself"
            )
        return value

    @field_validator("routing_key_file")
    @classmethod
    def _names_a_file(cls, value: Path | None) -> Path | None:
        if value is not None and _LIKE_A_KEY.fullmatch(str(value)):
            raise ValueError("routing_key_file must be the path of a file, never the key itself")
        return value
