"""Pages to PagerDuty: written down first, sent then, removed when the receiver has them.

A new page goes before what has waited: it is what somebody must hear now, and a hundred stale pages at
a tenth of a second each would spend its whole budget. Only earlier pages of its own incident go first,
for a resolve must never overtake its trigger. What waits is sent along in the time that is left.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from threading import Thread
from typing import TypeVar

from stairways.errors import PagingError, StorageError
from stairways.monitoring.events_api import Answer, EventsApi
from stairways.monitoring.page import Page
from stairways.monitoring.pager import Delivery, FlushReport
from stairways.monitoring.spool import (
    DAMAGED,
    REFUSED,
    Claim,
    DamagedPageError,
    Entry,
    Spool,
    incident_digest,
)

Result = TypeVar("Result")

GRACE_SECONDS = 1.0
"""What a send may take beyond its budget, for a disk that is slow, before it is given up."""

_POLL_SECONDS = 0.02
_FAILURES_IN_A_ROW = 3


class PagerDutyPager:
    """Sends pages by the Events API v2 and keeps in a spool what could not be sent.

    Pages arrive at least once: a page whose answer was lost is sent again, and its key makes it the
    same incident. Pages of one incident arrive in the order in which they were given.

    Args:
        api: The receiver.
        spool: Where pages wait.
        budget_seconds: How long one page may take.
        drain_seconds: How much longer, within the budget, a delivered page may take to send along what
            waits.
        flush_seconds: How long a flush may take.
    """

    def __init__(
        self,
        api: EventsApi,
        spool: Spool,
        *,
        budget_seconds: float,
        drain_seconds: float,
        flush_seconds: float,
    ) -> None:
        self._api = api
        self._spool = spool
        self._budget_seconds = budget_seconds
        self._drain_seconds = drain_seconds
        self._flush_seconds = flush_seconds

    def send(self, page: Page) -> Delivery:
        """Send a page within the budget, or leave it in the spool; callable from anywhere.

        Raises:
            PagingError: If the receiver refused the page for good (it is set aside then), if it was
                neither delivered nor kept, or if the disk held everything up.
        """
        return _bounded(lambda: self._send(page), self._budget_seconds + GRACE_SECONDS)

    def flush(self) -> FlushReport:
        """Send what waits, in order, until the receiver can't be reached or the time is over.

        Raises:
            StorageError: If the spool can't be read.
            PagingError: If the disk held everything up.
        """
        return _bounded(self._flush, self._flush_seconds + GRACE_SECONDS)

    def _send(self, page: Page) -> Delivery:
        errand = _Errand.of(self._budget_seconds)
        entry, trouble = self._keep(page, errand)
        answer = self._send_unkept(page, errand) if entry is None else self._send_kept(entry, errand)
        if answer.verdict == "accepted":
            self._drain_after(errand)
        elif answer.verdict == "refused":
            raise PagingError(
                f"the page {page.dedup_key} was refused: {answer.reason}",
                where=str(self._spool.folder / REFUSED) if entry is not None else "",
                remedy="read the reason, mend the page and send it anew",
            )
        elif entry is None:
            raise PagingError(
                f"the page {page.dedup_key} was neither delivered ({answer.reason}) nor kept ({trouble})",
                remedy="tell people by other means now",
            )
        return Delivery(
            outcome="delivered" if answer.verdict == "accepted" else "spooled",
            dedup_key=answer.dedup_key or page.dedup_key,
            attempts=errand.attempts,
            seconds=errand.seconds,
            status=answer.status,
            reason=answer.reason,
            notes=errand.all_notes(),
        )

    def _keep(self, page: Page, errand: _Errand) -> tuple[Entry | None, str]:
        try:
            # Half of the time stays for the sending: a full or locked spool must not stop the page.
            return self._spool.put(page, errand.left / 2), ""
        except (PagingError, StorageError) as error:
            errand.notes.append(f"not kept: {error.line()}")
            return None, error.line()

    def _send_kept(self, entry: Entry, errand: _Errand) -> Answer:
        try:
            return self._bring(entry, errand)
        except StorageError as error:
            return Answer("silent", reason=error.line())

    def _send_unkept(self, page: Page, errand: _Errand) -> Answer:
        try:
            incident = incident_digest(page.dedup_key)
            earlier = [entry for entry in self._spool.entries() if entry.incident == incident]
            if earlier:
                answer = self._bring(earlier[-1], errand)
                if answer.verdict not in ("accepted", "refused"):
                    return replace(answer, reason=_waits_behind(answer))
        except StorageError as error:
            errand.notes.append(error.line())
        answer = self._api.post(page, errand.left)
        errand.attempts += answer.attempts
        return answer

    def _bring(self, own: Entry, errand: _Errand) -> Answer:
        """Send a page that is kept, after the earlier ones of its incident."""
        while True:
            queue = self._queue_up_to(own, errand)
            if own not in queue:
                return errand.answers.get(own.name) or self._fate(own)
            with self._spool.claim(queue[0]) as claim:
                answer = None if claim is None else self._deliver(claim, errand, errand.left)
            if answer is not None:
                if answer.verdict not in ("accepted", "refused"):
                    return answer if queue[0] == own else replace(answer, reason=_waits_behind(answer))
                continue
            if errand.left <= 0:
                return Answer(
                    "silent", reason="another process was sending this incident's pages all the time"
                )
            time.sleep(_POLL_SECONDS)

    def _queue_up_to(self, own: Entry, errand: _Errand) -> list[Entry]:
        return [
            entry
            for entry in self._spool.entries()
            if entry.incident == own.incident and entry <= own and entry.name not in errand.answers
        ]

    def _fate(self, own: Entry) -> Answer:
        """Return what another process made of a page of ours."""
        for where in (REFUSED, DAMAGED):
            if own.name in self._spool.aside(where):
                return Answer("refused", reason=f"another process set it aside as {where}")
        return Answer("accepted")

    def _deliver(self, claim: Claim, errand: _Errand, seconds: float) -> Answer:
        """Send one claimed page and clear it away; what is settled is entered in the errand."""
        try:
            page = claim.read()
        except DamagedPageError as error:
            answer = Answer("refused", reason=f"damaged: {error}")
            errand.damaged.append(f"{claim.set_aside(DAMAGED)}: {error}")
            errand.answers[claim.entry.name] = answer
            return answer
        answer = self._api.post(page, seconds)
        errand.attempts += answer.attempts
        if answer.verdict == "accepted":
            errand.answers[claim.entry.name] = answer
            errand.delivered.append(claim.entry.name)
            with errand.noting():
                claim.remove()
        elif answer.verdict == "refused":
            errand.answers[claim.entry.name] = answer
            with errand.noting():
                errand.refused.append(f"{claim.set_aside(REFUSED)}: {answer.reason}")
        return answer

    def _drain_after(self, errand: _Errand) -> None:
        """Send along what waits; nothing that goes wrong there is the new page's failure."""
        later = _Errand.of(min(self._drain_seconds, errand.left))
        later.answers |= errand.answers
        with errand.noting():
            if later.left > 0:
                self._drain(later)
        errand.notes += later.all_notes()

    def _flush(self) -> FlushReport:
        errand = _Errand.of(self._flush_seconds)
        reason = self._drain(errand)
        left = len(self._spool.entries())
        return FlushReport(
            delivered=tuple(errand.delivered),
            refused=tuple(errand.refused),
            damaged=tuple(errand.damaged),
            left=left,
            seconds=errand.seconds,
            reason=(reason or "; ".join(errand.notes) or "another process is sending") if left else "",
            notes=tuple(errand.notes),
        )

    def _drain(self, errand: _Errand) -> str:
        """Send what waits; return why it stopped, empty if everything was seen to."""
        errand.damaged += self._spool.tidy()
        passed_over: set[str] = set()
        failures, reason = 0, ""
        while True:
            entry = self._next(passed_over, errand)
            if entry is None:
                return reason
            if errand.left <= 0:
                return reason or f"{errand.budget_seconds:g} s are over"
            answer = self._deliver_one(entry, errand)
            if answer is None:
                if self._spool.holds(entry):
                    passed_over.add(entry.incident)
                continue
            if answer.verdict in ("accepted", "refused"):
                failures = 0
                continue
            reason = answer.reason
            failures += 1
            # A receiver that can't be reached is so for every page; one that fails at a page may take others.
            if answer.verdict != "failing" or answer.status == 429 or failures == _FAILURES_IN_A_ROW:
                return reason
            passed_over.add(entry.incident)

    def _deliver_one(self, entry: Entry, errand: _Errand) -> Answer | None:
        try:
            with self._spool.claim(entry) as claim:
                if claim is None:
                    return None
                return self._deliver(claim, errand, min(self._budget_seconds, errand.left))
        except StorageError as error:
            errand.notes.append(error.line())
            return None

    def _next(self, passed_over: set[str], errand: _Errand) -> Entry | None:
        waiting = self._spool.entries()
        free = (e for e in waiting if e.incident not in passed_over and e.name not in errand.answers)
        return next(free, None)


@dataclass
class _Errand:
    """One call's time, and what has come of it so far."""

    started: float
    budget_seconds: float
    attempts: int = 0
    answers: dict[str, Answer] = field(default_factory=dict)
    delivered: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, budget_seconds: float) -> _Errand:
        return cls(time.monotonic(), budget_seconds)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    @property
    def left(self) -> float:
        return self.budget_seconds - self.seconds

    def all_notes(self) -> tuple[str, ...]:
        """Return everything a person should know beside the page's own fate."""
        refused = (f"refused: {line}" for line in self.refused)
        damaged = (f"damaged: {line}" for line in self.damaged)
        return (*self.notes, *refused, *damaged)

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Note what the disk refuses: the page's own fate is settled, and counts more."""
        try:
            yield
        except StorageError as error:
            self.notes.append(error.line())


def _waits_behind(answer: Answer) -> str:
    return f"an earlier page of this incident goes first and could not be sent: {answer.reason}"


def _bounded(work: Callable[[], Result], seconds: float) -> Result:
    """Do something in a thread that is left behind when it takes too long.

    Neither a disk that hangs nor an event loop that runs in the caller's thread can hold up or break a
    page then.
    """
    future: Future[Result] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001 - the caller gets it
            future.set_exception(error)

    Thread(target=run, name="stairways-pager", daemon=True).start()
    done, _ = wait([future], timeout=seconds)
    if not done:
        raise PagingError(
            f"no end within {seconds:g} s; what became of the page is unknown",
            remedy="look at the spool's disk, and at the receiver",
        )
    return future.result()
