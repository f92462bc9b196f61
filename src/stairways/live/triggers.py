"""The rollback triggers: values in, one trip each out; nothing is read, written or timed here.

==================  ============  ==============================================================  ===========
name                consequence   trips                                                           fail-closed
==================  ============  ==============================================================  ===========
person              rollback      somebody says so, with name and reason                          no
integrity           rollback      a digest or signature does not fit                              yes
drawdown            rollback      a session's NAV fell further from its peak than the limit       yes
net_return          rollback      the sequential test of the net return alarms                    no
trades_run          rollback      trades outside their band in three exchange sessions in a row   no
drift_and_gate      rollback      drift over its limit together with a failed gate                no
controller_alerts   rollback      more than three alerts of the controller within 24 hours        no
low_sharpe          alert         30-session Sharpe ratio below 0.5 at seven closes in a row      no
==================  ============  ==============================================================  ===========

Fail-closed triggers stop all trading while they could not be measured: an account whose fall nobody sees, and
a model whose bytes nobody vouches for. The others are then named for the caller, who decides.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from stairways.evaluation.sequential import SequentialState
from stairways.evaluation.trigger_config import TriggerConfig
from stairways.evaluation.verdicts import GateResult
from stairways.live.live_evidence import LiveEvidence, RecordedFigures, SessionRecord
from stairways.live.trips import Consequence, Outcome, Trip, first_tripped, rolls_back, stopping, unmeasured
from stairways.trading.metrics import BPS
from stairways.trading.sharpe import annual_sharpe, sharpe_standard_error

__all__ = [
    "TRIGGERS",
    "Outcome",
    "Trip",
    "first_tripped",
    "judge",
    "judge_figures",
    "rolls_back",
    "satisfies",
    "stopping",
    "unmeasured",
]

Judge = Callable[[LiveEvidence, TriggerConfig], Trip]

DRIFT_VERDICT = "parameter_drift"
"""The gate's own verdict on drift: counted as the failed gate, drift alone would roll back."""

_FAIL_CLOSED = ("integrity", "drawdown")
_ALERTS = ("low_sharpe",)


def _trip(name: str, outcome: Outcome, observed: float | None, threshold: str, n: int, reason: str) -> Trip:
    consequence = Consequence.ALERT if name in _ALERTS else Consequence.ROLLBACK
    return Trip(name, outcome, consequence, name in _FAIL_CLOSED, observed, threshold, n, reason)


def _measured(value: float | None) -> float | None:
    """Return a value, or None where it is none or not finite."""
    return value if value is not None and math.isfinite(value) else None


def person(evidence: LiveEvidence, config: TriggerConfig) -> Trip:
    """Trip where a person says so; nobody saying so is healthy."""
    order, threshold = evidence.person, "nobody orders a rollback"
    if order is None:
        return _trip("person", Outcome.HEALTHY, 0.0, threshold, 1, "nobody ordered a rollback")
    return _trip("person", Outcome.TRIPPED, 1.0, threshold, 1, f"{order.name}: {order.reason}")


def integrity(evidence: LiveEvidence, config: TriggerConfig) -> Trip:
    """Trip where the caller's check of digests and signature found a fault."""
    finding, threshold = evidence.integrity, "0 faults of digest or signature"
    if finding is None:
        return _trip("integrity", Outcome.UNMEASURED, None, threshold, 0, "digests were not checked")
    outcome = Outcome.HEALTHY if finding.intact else Outcome.TRIPPED
    return _trip("integrity", outcome, float(not finding.intact), threshold, 1, finding.detail)


def drawdown(evidence: LiveEvidence, config: TriggerConfig) -> Trip:
    """Trip where NAV fell further than the limit in any session, the open one included.

    The limit itself is borne.
    """
    limit, days = config.max_drawdown_ratio, evidence.days
    threshold = f"at most {limit:.4f} of NAV from peak to trough within a session"
    falls = {day.date: _measured(day.max_drawdown_ratio) for day in days if day is not None}
    known = {date: fall for date, fall in falls.items() if fall is not None and fall >= 0.0}
    if not days:
        return _trip("drawdown", Outcome.NOT_ENOUGH, None, threshold, 0, "no session yet")
    worst = max(known, key=lambda date: known[date], default=None)
    n_blind = len(days) - len(known)
    if worst is not None and known[worst] > limit:
        reason = f"NAV fell by {known[worst]:.2%} on {worst}"
        return _trip("drawdown", Outcome.TRIPPED, known[worst], threshold, len(known), reason)
    observed = None if worst is None else known[worst]
    if n_blind:
        reason = f"the drawdown of {n_blind:,} of {len(days):,} sessions is not known"
        return _trip("drawdown", Outcome.UNMEASURED, observed, threshold, len(known), reason)
    reason = f"the largest fall of {len(days):,} sessions was {observed:.2%}"
    return _trip("drawdown", Outcome.HEALTHY, observed, threshold, len(known), reason)


def net_return(evidence: LiveEvidence, config: TriggerConfig) -> Trip:
    """Trip where the sequential test has alarmed since the model went live.

    See :mod:`stairways.evaluation.sequential` for what is guaranteed. A missing return leaves the test
    unmeasured until the caller fills it in, unless what was seen suffices for an alarm.
    """
    test, days = config.net_return, evidence.closed_days
    threshold = (
        f"evidence below {test.threshold:,.4g}: at most {test.false_alarms_per_year:g} false alarms a year "
        f"while a session earns {test.floor_ratio * BPS:g} bp or more in the mean"
    )
    found = [None if day is None else _measured(day.net_return_ratio) for day in days]
    returns = [value for value in found if value is not None]
    before = evidence.tested or SequentialState.start(test)
    state = before.after(returns, test)
    n, observed = state.n_sessions, state.total
    seen = f"evidence {observed:,.4g} after {n:,} sessions, {state.n_capped:,} with a gain over the bound"
    if state.alarm_session is not None:
        reason = f"alarm in session {state.alarm_session:,}; {seen}"
        return _trip("net_return", Outcome.TRIPPED, observed, threshold, n, reason)
    n_blind = len(found) - len(returns)
    if n_blind:
        reason = f"{n_blind:,} sessions have no return; {seen}"
        return _trip("net_return", Outcome.UNMEASURED, observed, threshold, n, reason)
    if n == 0:
        return _trip("net_return", Outcome.NOT_ENOUGH, None, threshold, 0, "no session yet")
    return _trip("net_return", Outcome.HEALTHY, observed, threshold, n, seen)


def _outside(day: SessionRecord | None, evidence: LiveEvidence, config: TriggerConfig) -> bool | None:
    """Tell whether a session's trades lie outside their band, which shrinks with the session; None: unknown.

    Half days, and sessions that began late, are held against the band times their share of a full session.
    """
    full = evidence.full_session_bars
    if day is None or day.trades is None or day.n_bars < config.least_session_share_ratio * full:
        return None
    low, high = config.session_trades_band
    return not low * day.n_bars <= day.trades * full <= high * day.n_bars


def _trades_words(day: SessionRecord | None) -> str:
    if day is None or day.trades is None:
        return "not known"
    held = _measured(day.hold_rate_ratio)
    return f"{day.date}: {day.trades} trades" + ("" if held is None else f" at a hold rate of {held:.1%}")


def trades_run(evidence: LiveEvidence, config: TriggerConfig) -> Trip:
    """Trip where trades lay outside their band, on whichever side, in so many exchange sessions in a row.

    The ends of the band are inside. A session that is missing, too short or without a count never joins a run
    and never breaks one: where the run could go through it the trigger could not be measured, and a session
    inside the band next to it ends the doubt.
    """
    (low, high), length, days = config.session_trades_band, config.trades_run_sessions, evidence.closed_days
    threshold = (
        f"fewer than {length} sessions in a row outside {low} to {high} trades, pro rata on short ones"
    )
    sides = [_outside(day, evidence, config) for day in days]
    n = sum(side is not None for side in sides)
    run = longest = 0
    for side in sides:
        run = run + 1 if side else 0
        longest = max(longest, run)
    starts = range(len(days) - length + 1)
    tripped = [first for first in starts if all(sides[first : first + length])]
    if tripped:
        shown = days[tripped[-1] : tripped[-1] + length]
        reason = "; ".join(_trades_words(day) for day in shown)
        return _trip("trades_run", Outcome.TRIPPED, float(longest), threshold, n, reason)
    if len(days) < length:
        reason = f"{len(days)} of the {length} sessions that a run needs"
        return _trip("trades_run", Outcome.NOT_ENOUGH, float(longest) if n else None, threshold, n, reason)
    if any(False not in sides[first : first + length] for first in starts):
        reason = f"{len(days) - n:,} sessions have no count of trades, and a run may go through them"
        return _trip("trades_run", Outcome.UNMEASURED, float(longest) if n else None, threshold, n, reason)
    reason = f"the longest run outside was {longest} sessions; last, {_trades_words(days[-1])}"
    return _trip("trades_run", Outcome.HEALTHY, float(longest), threshold, n, reason)


def _gate_failures(gate: GateResult | None) -> tuple[str, ...] | None:
    """Return the required verdicts that failed, drift apart; None where there is no gate to speak of."""
    if gate is None or not gate.required:
        return None
    return tuple(name for name in gate.failures() if name != DRIFT_VERDICT)


def _drift_and_gate(drift: float | None, gate: GateResult | None, config: TriggerConfig) -> Trip:
    name, limit = "drift_and_gate", config.drift_threshold_ratio
    threshold = f"at most {limit:g} of the norm of gold's parameters, or a gate without a failed verdict"
    found = _measured(drift)
    if found is None or found < 0.0:
        reason = "drift was not measured" if drift is None else f"{drift} is no distance"
        return _trip(name, Outcome.UNMEASURED, None, threshold, 0, reason)
    moved = f"parameters moved by {found:.1%} of gold's norm"
    if found <= limit:
        return _trip(name, Outcome.HEALTHY, found, threshold, 1, moved)
    failures = _gate_failures(gate)
    if failures is None:
        return _trip(name, Outcome.UNMEASURED, found, threshold, 1, f"{moved}, and no gate is at hand")
    if failures:
        reason = f"{moved}, and the gate failed: {', '.join(failures)}"
        return _trip(name, Outcome.TRIPPED, found, threshold, 1, reason)
    reason = f"{moved}, with a gate that passed: a promotion needs a waiver"
    return _trip(name, Outcome.WARNED, found, threshold, 1, reason)


def drift_and_gate(evidence: LiveEvidence, config: TriggerConfig) -> Trip:
    """Trip on drift over its limit together with a failed gate; drift alone warns.

    The limit itself is borne, and the gate's own verdict on drift is no second witness.
    """
    return _drift_and_gate(evidence.drift_ratio, evidence.gate, config)


def controller_alerts(evidence: LiveEvidence, config: TriggerConfig) -> Trip:
    """Trip where more alerts than are borne came within 24 hours, wherever those begin.

    A window that moves, and not the session's day: alerts at a close and at the next open belong together.
    Two that are exactly the window apart don't share one.
    """
    most = config.most_controller_alerts
    window = dt.timedelta(seconds=config.alert_window_seconds)
    threshold = f"at most {most} alerts of the controller within {window.total_seconds() / 3600:g} hours"
    if evidence.controller_alerts is None:
        reason = "nobody listened to the controller's alerts"
        return _trip("controller_alerts", Outcome.UNMEASURED, None, threshold, 0, reason)
    # differences of instants of one local zone would be off by an hour where its clocks change
    instants = sorted(instant.astimezone(dt.UTC) for instant in evidence.controller_alerts)
    counts = [sum(first <= other < first + window for other in instants) for first in instants]
    densest = max(counts, default=0)
    outcome = Outcome.TRIPPED if densest > most else Outcome.HEALTHY
    reason = f"{len(instants):,} alerts, at most {densest:,} of them within one window"
    if densest:
        reason += f" from {instants[counts.index(densest)].isoformat()}"
    return _trip("controller_alerts", outcome, float(densest), threshold, len(instants), reason)


def low_sharpe(evidence: LiveEvidence, config: TriggerConfig) -> Trip:
    """Alert where the rolling Sharpe ratio was low at so many closes in a row, up to the last one.

    Never a rollback: at a true Sharpe ratio of 0.7 this rule trips nearly every year (docs/rollback.md).
    """
    window, run, bar = config.sharpe_window_sessions, config.sharpe_run_sessions, config.sharpe_bar_annual
    threshold = f"a Sharpe ratio of {window} sessions of at least {bar:g} at one of the last {run} closes"
    days, needed = evidence.closed_days, window + run - 1
    if len(days) < needed:
        reason = f"not enough sessions: {len(days)}, at least {needed} needed"
        return _trip("low_sharpe", Outcome.NOT_ENOUGH, None, threshold, len(days), reason)
    found = [None if day is None else _measured(day.net_return_ratio) for day in days[-needed:]]
    returns = np.array([value for value in found if value is not None])
    if len(returns) < needed:
        reason = f"{needed - len(returns)} of the last {needed} sessions have no return"
        return _trip("low_sharpe", Outcome.UNMEASURED, None, threshold, len(returns), reason)
    ratios = [annual_sharpe(returns[first : first + window]) for first in range(run)]
    error = sharpe_standard_error(returns[-window:])
    if error is None or None in ratios:
        reason = f"{window} sessions without variance have no Sharpe ratio"
        return _trip("low_sharpe", Outcome.UNMEASURED, None, threshold, window, reason)
    known = [ratio for ratio in ratios if ratio is not None]
    n_low = sum(ratio < bar for ratio in known)
    outcome = Outcome.TRIPPED if n_low == run else Outcome.HEALTHY
    reason = f"{known[-1]:.2f} ± {error:.2f} (n = {window}), low at {n_low} of the last {run} closes"
    return _trip("low_sharpe", outcome, known[-1], threshold, window, reason)


TRIGGERS: Mapping[str, Judge] = MappingProxyType(
    {
        "person": person,
        "integrity": integrity,
        "drawdown": drawdown,
        "net_return": net_return,
        "trades_run": trades_run,
        "drift_and_gate": drift_and_gate,
        "controller_alerts": controller_alerts,
        "low_sharpe": low_sharpe,
    }
)
"""Every trigger by name, the gravest first: a rollback is named after the first that trips."""


def judge(evidence: LiveEvidence, config: TriggerConfig) -> tuple[Trip, ...]:
    """Return what every trigger found, in the order of ``TRIGGERS``."""
    return tuple(ask(evidence, config) for ask in TRIGGERS.values())


def _recorded_drawdown(figures: RecordedFigures, config: TriggerConfig) -> Trip:
    limit, found = config.max_drawdown_ratio, _measured(figures.max_intraday_drawdown_ratio)
    threshold = f"at most {limit:.4f} of NAV from peak to trough within a session"
    if found is None or found < 0.0:
        return _trip("drawdown", Outcome.UNMEASURED, None, threshold, 0, "no drawdown is recorded")
    outcome = Outcome.TRIPPED if found > limit else Outcome.HEALTHY
    reason = f"the largest fall of {figures.n_sessions:,} sessions was {found:.2%}"
    return _trip("drawdown", outcome, found, threshold, figures.n_sessions, reason)


def _recorded_trades(figures: RecordedFigures, config: TriggerConfig) -> Trip:
    (low, high), found = config.session_trades_band, _measured(figures.trades_per_session)
    threshold = f"{low} to {high} trades per session in the mean"
    if found is None:
        return _trip("trades_run", Outcome.UNMEASURED, None, threshold, 0, "no trades are recorded")
    outcome = Outcome.HEALTHY if low <= found <= high else Outcome.TRIPPED
    reason = f"{found:.2f} trades per session in the mean of {figures.n_sessions:,} sessions"
    return _trip("trades_run", outcome, found, threshold, figures.n_sessions, reason)


def judge_figures(figures: RecordedFigures, config: TriggerConfig) -> tuple[Trip, ...]:
    """Hold a stored model's own record against the triggers that a record can speak of."""
    return (
        _recorded_drawdown(figures, config),
        _recorded_trades(figures, config),
        _drift_and_gate(figures.drift_ratio, figures.gate, config),
    )


def satisfies(figures: RecordedFigures, config: TriggerConfig) -> bool:
    """Tell whether a stored model may be the target of a rollback: by its own record no trigger would trip.

    Fails closed: what the record does not say is not satisfied. Drift alone is borne, as it is live. A mean
    of trades inside the band does not keep single sessions inside; it keeps the model from tripping at once.
    """
    borne = (Outcome.HEALTHY, Outcome.WARNED)
    return all(trip.outcome in borne for trip in judge_figures(figures, config))
