"""The watch: looks at what is live again and again, and takes the way back when a trigger trips.

It sees the champion's bytes and signature, what people report, and whatever evidence of sessions it is
handed. After a rollback it goes on watching what is live then.
"""

from __future__ import annotations

import datetime as dt
import errno
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from stairways.errors import SignatureError, SigningKeyError, StairwaysError, StorageError
from stairways.live.incidents import Incident, Incidents
from stairways.live.live_evidence import IntegrityFinding, LiveEvidence
from stairways.live.rehearsal import take_up, withdraw
from stairways.live.rollback import (
    Rollback,
    RollbackOrder,
    RollbackOutcome,
    aimed,
    go_on,
    roll_back,
    unfinished,
)
from stairways.live.targets import choose_target, gold_to_go_back_to
from stairways.live.triggers import judge
from stairways.live.trips import Trip, first_tripped
from stairways.monitoring.page import Page, incident_key
from stairways.registry.canonical import canonical_digest
from stairways.registry.store import ROLLBACK_LOCK

if TYPE_CHECKING:
    from stairways.evaluation.trigger_config import TriggerConfig
    from stairways.live.restart import Restarter
    from stairways.monitoring.pager import Pager
    from stairways.registry.registry import Registry

WATCH = "stairways watch"
OTHERS_SECONDS = 15.0
"""How long a way back that another process leads may take to the link; then the watch goes on with it."""
GOLD_SECONDS = 60.0
"""Between two looks at whether gold still verifies."""
Evidence = Callable[[], LiveEvidence]
_PASSING = frozenset({errno.EAGAIN, errno.EINTR, errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""What a system that has nothing left for now refuses a reading with."""


class Watch:
    """Watches one registry's champion.

    Args:
        registry: The registry.
        restarter: Who restarts the service.
        pager: Who tells people.
        triggers: When a model must go.
        evidence: What the account did; by default nothing is known of it.
    """

    def __init__(
        self,
        registry: Registry,
        restarter: Restarter,
        pager: Pager,
        triggers: TriggerConfig,
        evidence: Evidence = LiveEvidence,
    ) -> None:
        self.trips: tuple[Trip, ...] = ()
        self.faults: tuple[str, ...] = ()
        self._told: set[str] = set()
        self._registry = registry
        self._restarter = restarter
        self._pager = pager
        self._triggers = triggers
        self._evidence = evidence
        self._incidents = Incidents(registry.root)
        self._dealt_with: set[str] = set()
        # our own last one: where the journal can't be written nobody else knows of it
        self._unfinished: tuple[RollbackOutcome, ...] = ()
        self._seen: dict[str, float] = {}
        self._next_look_at_gold = 0.0
        self._gold_stands = True
        self._mistrusted = False

    def look(self) -> RollbackOutcome | None:
        """Look once; return the rollback that was taken, None where none was needed.

        What can't be read (evidence, an incident) is in ``faults`` and counts as not measured; the rest is
        judged all the same.

        Raises:
            StairwaysError: If it can't be seen what is live.
        """
        champion = self._registry.store.champion()
        self.faults = ()
        if champion is None:
            self.faults = self._link_lost()
            return None
        self.faults = self._way_back_lost()
        begun = self._begun(champion)
        if begun is not None:
            return self._gone_on(begun)
        self._end_drills()
        open_ones = {n: one for n, one in self._reported().items() if n not in self._dealt_with}
        name, incident = next(iter(open_ones.items()), (None, None))
        evidence = replace(
            self._known(),
            integrity=self._integrity(champion),
            person=None if incident is None else incident.order(),
        )
        self.trips = judge(evidence, self._triggers)
        tripped = first_tripped(self.trips)
        if tripped is None:
            return None
        if incident is not None and incident.is_drill and tripped.name == "person":
            # what really trips is no drill: one puts back what it went back from
            tripped = first_tripped(trip for trip in self.trips if trip.name != "person") or tripped
        since = time.monotonic()
        outcome = self._go_back(champion, tripped, name, incident, since)
        self._unfinished = (outcome,)
        self._remember(outcome)
        return outcome

    def take_up(self) -> tuple[RollbackOutcome, ...]:
        """Take up every rollback that a killed process left, whichever of its steps are open.

        Once, when the watch begins: a look goes on only with one whose link was not replaced. What else may
        be open (a page, the database) must not be tried at each.

        Raises:
            StorageError: If the journal can't be read, or holds what is not understood.
        """
        with suppress(StairwaysError):
            withdraw(self._registry)
        outcomes = go_on(self._registry, self._restarter, self._pager, self._triggers)
        self._remember(*outcomes)
        return outcomes

    def run(
        self,
        seconds: float,
        stop: Callable[[], bool],
        told: Callable[[RollbackOutcome], None],
        warned: Callable[[str], None],
    ) -> None:
        """Look again and again until told to stop; a look that fails is told, and followed by another.

        Args:
            seconds: Between two looks.
            stop: Whether to stop.
            told: Called after each rollback.
            warned: Called with each new fault, after it was paged.
        """
        begun: tuple[RollbackOutcome, ...] = ()
        # a journal that can't be read blinds no watch: each look tells it
        with suppress(StairwaysError):
            begun = self.take_up()
        for outcome in begun:
            told(outcome)
        while not stop():
            try:
                taken = self.look()
            except StairwaysError as error:
                taken, self.faults = None, (error.line(),)
            if taken is not None:
                told(taken)
            for line in self.faults:
                if line not in self._told:
                    self._told.add(line)
                    self._page(line)
                    warned(line)
            # what went away and comes back is told again
            self._told &= set(self.faults)
            time.sleep(seconds)

    def _link_lost(self) -> tuple[str, ...]:
        try:
            live = self._registry.history.tenures()
        except StairwaysError:
            return ()
        where = self._registry.store.link
        return (f"{where}: the champion's link is gone; {live[-1].model_id[:12]} was live",) if live else ()

    def _way_back_lost(self) -> tuple[str, ...]:
        """Return what to tell where no gold verifies any more: when one is needed it is too late."""
        try:
            self._registry.store.trust()
        except StairwaysError:
            # nobody is believed: that is told by itself, and says nothing about gold
            return ()
        if time.monotonic() >= self._next_look_at_gold:
            self._next_look_at_gold = time.monotonic() + GOLD_SECONDS
            self._gold_stands = gold_to_go_back_to(self._registry) is not None
        if self._gold_stands:
            return ()
        where = self._registry.store.artifacts
        return (f"{where}: no gold verifies: a way back would stop the service; restore gold from a copy",)

    def _end_drills(self) -> None:
        """Put back what a drill that was killed went back from."""
        try:
            self.faults = (*self.faults, *take_up(self._registry, WATCH))
        except StairwaysError as error:
            self.faults = (*self.faults, error.line())

    def _begun(self, champion: str) -> RollbackOutcome | None:
        """Return the way back from what is live that was begun and never replaced the link.

        It is gone on with: what had tripped need not trip again, and a new one at each look would page
        again at each.
        """
        # what another finished is forgotten: its model may be promoted again
        self._unfinished = tuple(one for one in self._unfinished if one.order.failed == champion)
        try:
            begun = (*unfinished(self._registry), *self._unfinished)
        except StairwaysError as error:
            self.faults = (*self.faults, error.line())
            begun = self._unfinished
        for outcome in begun:
            swap = outcome.step("swap")
            open_still = swap is None or not swap.settled
            if open_still and outcome.order.failed == champion and not outcome.order.is_drill:
                return outcome
        return None

    def _gone_on(self, outcome: RollbackOutcome) -> RollbackOutcome | None:
        """Go on with a way back, unless another process leads it; return it when the link is replaced."""
        name, registry = outcome.operation_id, self._registry
        seen = self._seen.setdefault(name, time.monotonic())
        with registry.store.lock_if_free(ROLLBACK_LOCK) as alone:
            if not alone and time.monotonic() < seen + OTHERS_SECONDS:
                return None
            outcome = aimed(registry, outcome, self._triggers)
            outcome = Rollback(registry, self._restarter, self._pager, outcome).run()
        self._unfinished = (outcome,)
        self._remember(outcome)
        swap = outcome.step("swap")
        if swap is not None and swap.settled:
            return outcome
        self.faults = (*self.faults, f"{outcome.what_happened()}; it is tried again at each look")
        return None

    def _remember(self, *outcomes: RollbackOutcome) -> None:
        """Remember incidents that were dealt with: one that can't be put aside must not roll back twice."""
        self._dealt_with |= {one.order.incident for one in outcomes if one.order.incident is not None}

    def _known(self) -> LiveEvidence:
        try:
            return self._evidence()
        except StairwaysError as error:
            self.faults = (*self.faults, error.line())
            return LiveEvidence()

    def _reported(self) -> dict[str, Incident]:
        found, faults = self._incidents.look()
        self.faults = (*self.faults, *(fault.line() for fault in faults))
        return found

    def _page(self, line: str) -> None:
        page = Page(
            summary=f"the watch can't see everything: {line}",
            severity="error",
            source="stairways",
            component="watch",
            dedup_key=incident_key("watch", "fault", canonical_digest(line)),
            occurred_at=self._registry.clock(),
        )
        try:
            self._pager.send(page)
        except StairwaysError as error:
            self.faults = (*self.faults, error.line())

    def _go_back(
        self, champion: str, tripped: Trip, name: str | None, incident: Incident | None, since: float
    ) -> RollbackOutcome:
        reported = incident if tripped.name == "person" else None
        target = choose_target(self._registry, champion, self._triggers)
        order = RollbackOrder(
            trigger=tripped.name,
            reason=tripped.reason,
            ordered_by=WATCH if reported is None else reported.name,
            failed=champion,
            target=target.digest,
            detected_at=self._registry.clock(),
            is_drill=reported is not None and reported.is_drill,
            incident=name,
            bars=not (tripped.name == "integrity" and self._mistrusted),
        )
        return roll_back(self._registry, self._restarter, self._pager, order, since=since)

    def _integrity(self, champion: str) -> IntegrityFinding | None:
        """Return whether what is live is as it was signed; None where it can't be told whom to believe.

        A trust list that is damaged says nothing about the model: it is no reason to bar that for good. Nor
        does a process that has no files or no memory left: it could verify no target either.
        """
        try:
            self._registry.store.trust()
        except StairwaysError as error:
            self.faults = (*self.faults, error.line())
            return None
        self._mistrusted = False
        try:
            trusted = self._registry.read(champion)
        except StairwaysError as error:
            if _is_passing(error):
                self.faults = (*self.faults, error.line())
                return None
            # its bytes may be as they were: whoever counts may sign them anew, or may read them
            self._mistrusted = isinstance(error, SignatureError | StorageError)
            return IntegrityFinding(intact=False, detail=error.line())
        return IntegrityFinding(intact=True, detail=f"signed by {trusted.signer.name}, every byte as signed")


def _is_passing(error: StairwaysError) -> bool:
    """Whether it is the system that refuses for a while, or the trust list that was damaged just now."""
    cause = error.__cause__
    passing = isinstance(cause, OSError) and cause.errno in _PASSING
    return passing or isinstance(error, SigningKeyError)


def page_of_end(registry: Path, error: StairwaysError, at: dt.datetime) -> Page:
    """Return the page that says that nobody watches any more.

    Args:
        registry: Folder that was watched.
        error: What ended it.
        at: When.
    """
    return Page(
        summary=f"the watch of {registry} ended: {error.line()}",
        severity="critical",
        source="stairways",
        component="watch",
        dedup_key=incident_key("watch", "ended", str(registry.resolve())),
        occurred_at=at,
    )
