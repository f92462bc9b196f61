"""What the rollback triggers look at: all that is known of the model that is live, as facts."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from itertools import pairwise

from stairways.errors import InputError
from stairways.evaluation.sequential import SequentialState
from stairways.evaluation.verdicts import GateResult
from stairways.market.sessions import FULL_SESSION_MINUTES


@dataclass(frozen=True)
class SessionRecord:
    """What the account did in one session; None and NaN stand for "not measured".

    Attributes:
        date: The exchange's date.
        n_bars: Bars of it in which the model was live; fewer on half days and after a late start.
        net_return_ratio: NAV at the close / NAV at the previous close - 1, net of costs; 0 for a session that
            was sat out flat, which is no missing one.
        max_drawdown_ratio: Largest (peak - NAV) / peak over the session's marks so far, the peak counted
            from its open, unrealised results included.
        trades: Executed orders, forced closes included.
        hold_rate_ratio: Holds / decisions; shown beside the trades, and judged by no trigger.
        closed: Whether the session is over. Of an open one only the drawdown is judged.
    """

    date: dt.date
    n_bars: int
    net_return_ratio: float | None
    max_drawdown_ratio: float | None
    trades: int | None
    hold_rate_ratio: float | None
    closed: bool = True


@dataclass(frozen=True)
class IntegrityFinding:
    """What the check of digests and signature found.

    Attributes:
        intact: Whether everything is as it was signed.
        detail: What was checked, and what differs.
    """

    intact: bool
    detail: str


@dataclass(frozen=True)
class PersonalOrder:
    """A person who wants the model gone.

    Attributes:
        name: Who.
        reason: Why.

    Raises:
        InputError: If either is empty.
    """

    name: str
    reason: str

    def __post_init__(self) -> None:
        if not self.name.strip() or not self.reason.strip():
            raise InputError(
                f"a rollback ordered by {self.name!r} for {self.reason!r}", remedy="give a name and a reason"
            )


@dataclass(frozen=True)
class LiveEvidence:
    """All that is known since the model went live, or since a person resumed it.

    Triggers judge everything in here, so that a call that comes late misses nothing; what a person has
    already answered for is left out by the caller.

    Attributes:
        sessions: What the account did, in date order; only the last may be open.
        exchange_dates: Every date on which the exchange had or has a session, from the first that should have
            a record to the last; a date without a record is a missing session.
        full_session_bars: Bars of a full session: 390 of one minute, 78 of five.
        tested: Where the sequential test stood before the first of ``sessions``; None for its start.
        drift_ratio: Parameter drift from gold; None if not measured.
        gate: The last gate of this model; None if none is at hand.
        controller_alerts: Instants of the controller's alerts; None if nobody listened.
        integrity: The last check of digests and signature; None if none was made.
        person: A person's order; None if nobody gave one, which is a fact and not a gap.

    Raises:
        InputError: If dates don't ascend, a record lies on no exchange date or is open before the last, bars
            or trades are impossible, or an instant has no timezone.
    """

    sessions: tuple[SessionRecord, ...] = ()
    exchange_dates: tuple[dt.date, ...] = ()
    full_session_bars: int = FULL_SESSION_MINUTES
    tested: SequentialState | None = None
    drift_ratio: float | None = None
    gate: GateResult | None = None
    controller_alerts: tuple[dt.datetime, ...] | None = None
    integrity: IntegrityFinding | None = None
    person: PersonalOrder | None = None

    def __post_init__(self) -> None:
        self._check_dates()
        for record in self.sessions:
            self._check_record(record)
        for instant in self.controller_alerts or ():
            if instant.tzinfo is None:
                raise InputError(f"the alert of {instant} has no timezone", remedy="give instants in UTC")

    def _check_dates(self) -> None:
        recorded = [record.date for record in self.sessions]
        for name, dates in (("sessions", recorded), ("exchange dates", self.exchange_dates)):
            for earlier, later in pairwise(dates):
                if later <= earlier:
                    raise InputError(f"{name} do not ascend: {later} follows {earlier}")
        strange = sorted(set(recorded) - set(self.exchange_dates))
        if strange:
            raise InputError(
                f"session {strange[0]} is none of the exchange's", remedy="give the dates of its calendar"
            )

    def _check_record(self, record: SessionRecord) -> None:
        if not 1 <= record.n_bars <= self.full_session_bars:
            raise InputError(
                f"session {record.date} has {record.n_bars} of 1 to {self.full_session_bars} bars",
                remedy="leave out sessions in which the model was not live",
            )
        if record.trades is not None and record.trades < 0:
            raise InputError(f"session {record.date} has {record.trades} trades")
        if not record.closed and record.date != self.exchange_dates[-1]:
            raise InputError(
                f"session {record.date} is open, but {self.exchange_dates[-1]} has begun",
                remedy="close its record",
            )

    @property
    def days(self) -> tuple[SessionRecord | None, ...]:
        """The record of each exchange date; None where it is missing."""
        found = {record.date: record for record in self.sessions}
        return tuple(found.get(date) for date in self.exchange_dates)

    @property
    def closed_days(self) -> tuple[SessionRecord | None, ...]:
        """The record of each exchange date, without the session that is open."""
        return tuple(record for record in self.days if record is None or record.closed)


@dataclass(frozen=True)
class RecordedFigures:
    """What a stored model's own record says of it; None and NaN stand for "not measured".

    Attributes:
        trades_per_session: Mean trades per session, in the mode of deployment.
        max_intraday_drawdown_ratio: Largest intraday drawdown of the recorded sessions.
        n_sessions: Sessions behind both.
        drift_ratio: Parameter drift from gold; 0 for gold itself.
        gate: Its gate; None where none was asked.
    """

    trades_per_session: float | None
    max_intraday_drawdown_ratio: float | None
    n_sessions: int
    drift_ratio: float | None
    gate: GateResult | None
