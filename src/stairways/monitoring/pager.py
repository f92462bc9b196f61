"""What every pager does, and what it answers."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol

from stairways.monitoring.page import SEVERITIES, Page, Severity

Outcome = Literal["delivered", "spooled", "withheld"]


@dataclass(frozen=True)
class Delivery:
    """What became of a page.

    Attributes:
        outcome: ``delivered``: the receiver said that it has it; ``spooled``: it lies on disk and is sent
            later; ``withheld``: less severe than the settings ask for, and not sent.
        dedup_key: Key of the incident, the receiver's where it named one.
        attempts: Requests made, those for earlier pages of the incident included; 0 if another process
            sent the page meanwhile.
        seconds: How long it took.
        status: HTTP status of the last answer; None without one.
        reason: Why it is not delivered; empty where it is.
        notes: What else a person should know: a page set aside, a spool that can't be written.
    """

    outcome: Outcome
    dedup_key: str
    attempts: int
    seconds: float
    status: int | None = None
    reason: str = ""
    notes: tuple[str, ...] = ()

    def as_record(self) -> dict[str, Any]:
        """Return the delivery in plain JSON types."""
        return {**asdict(self), "notes": list(self.notes)}


@dataclass(frozen=True)
class FlushReport:
    """What became of the pages that waited.

    Attributes:
        delivered: Names of the spooled pages that were sent, in the order they were sent in.
        refused: Pages that the receiver will never take, each with its reason; they are set aside.
        damaged: Files that are no page of ours, each with its reason; they are set aside.
        left: Pages that still wait.
        seconds: How long it took.
        reason: Why pages are left; empty where none is.
        notes: What else a person should know.
    """

    delivered: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    damaged: tuple[str, ...] = ()
    left: int = 0
    seconds: float = 0.0
    reason: str = ""
    notes: tuple[str, ...] = ()

    @property
    def clean(self) -> bool:
        """Whether everything that waited was delivered."""
        return not (self.refused or self.damaged or self.left)

    def as_record(self) -> dict[str, Any]:
        """Return the report in plain JSON types."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}


class Pager(Protocol):
    """Tells people on call; one class per way to reach them."""

    def send(self, page: Page) -> Delivery:
        """Send a page, or keep it for later.

        Raises:
            PagingError: If the receiver refused it for good, or it was neither delivered nor kept.
        """
        ...

    def flush(self) -> FlushReport:
        """Send what waits, in order.

        Raises:
            StorageError: If the place where pages wait can't be read.
        """
        ...


class ThresholdPager:
    """Hands on the pages that are severe enough; what is over is told in any case.

    Args:
        pager: Who sends them.
        least: Triggers below it are withheld; an acknowledge or resolve never is, whatever it says.
    """

    def __init__(self, pager: Pager, least: Severity) -> None:
        self._pager = pager
        self._least = least

    def send(self, page: Page) -> Delivery:
        """Send a page as :meth:`Pager.send` does, or withhold it."""
        if page.action == "trigger" and SEVERITIES.index(page.severity) < SEVERITIES.index(self._least):
            reason = f"severity {page.severity} is below {self._least}"
            return Delivery("withheld", page.dedup_key, attempts=0, seconds=0.0, reason=reason)
        return self._pager.send(page)

    def flush(self) -> FlushReport:
        """Send what waits."""
        return self._pager.flush()
