"""Pooling: the test sessions of every window of a walk, read together as one account per policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from stairways.errors import RangeError
from stairways.evaluation.bootstrap import ReturnSeries, paired_comparison
from stairways.evaluation.verdicts import SKILL_MARK
from stairways.trading.ledger import SessionLedger
from stairways.trading.metrics import BPS
from stairways.tuning.backtest import OUT_OF_SAMPLE, figures, target_verdict
from stairways.tuning.course import BASELINES
from stairways.tuning.final import CANDIDATE
from stairways.tuning.seeds import Stream, stream

if TYPE_CHECKING:
    from stairways.config import Settings
    from stairways.evaluation.verdicts import Verdict

_ARRAYS = tuple(
    field.name for field in fields(SessionLedger) if field.name not in ("initial_nav_usd", "mode")
)


@dataclass(frozen=True, eq=False)
class Pooled:
    """The test sessions of every window, in date order, as one account per policy.

    Attributes:
        ledgers: What each policy did; the windows' accounts are chained, each going on with what the one
            before ended with.
        target: Whether the candidate met the target.
        record: Everything as plain JSON types.
    """

    ledgers: dict[str, SessionLedger]
    target: Verdict
    record: dict[str, Any]


def pool(
    windows: Sequence[dict[str, Any]], settings: Settings, *, target_sharpe: float, n_actions: int
) -> Pooled:
    """Read the test sessions of every window together.

    Args:
        windows: Records of windows, in date order, as ``WalkForward.run_window`` returns them.
        settings: Confidence, risk-free rate and seed.
        target_sharpe: Annual net Sharpe ratio to reach, for the candidate.
        n_actions: Size of the action space.

    Raises:
        RangeError: If windows share a test session or do not stand in date order.
    """
    common = [name for name in windows[0]["ledgers"] if all(name in w["ledgers"] for w in windows)]
    names = [name for name in dict.fromkeys((CANDIDATE, *BASELINES, *common)) if name in common]
    ledgers = {name: chain([ledger_of(window["ledgers"][name]) for window in windows]) for name in names}
    risk_free = settings.trading.risk_free_per_session
    target = target_verdict(
        ledgers[CANDIDATE],
        target_sharpe,
        risk_free_per_session=risk_free,
        sample=OUT_OF_SAMPLE,
    )
    own = ReturnSeries.net(ledgers[CANDIDATE])
    seed = stream(settings.seed, Stream.BOOTSTRAP, 0)
    pairs = {
        name: paired_comparison(
            own, ReturnSeries.net(ledger), confidence=settings.gate.confidence, seed=seed
        ).as_record()
        for name, ledger in ledgers.items()
        if name != CANDIDATE
    }
    record = {
        "n_windows": len(windows),
        "sample": OUT_OF_SAMPLE,
        "target": target.as_record(),
        "policies": {
            name: figures(
                ledger,
                target_sharpe,
                n_actions=n_actions,
                risk_free_per_session=risk_free,
                sample=OUT_OF_SAMPLE,
            )
            for name, ledger in ledgers.items()
        },
        "comparisons": {name: {**pair, "sample": OUT_OF_SAMPLE} for name, pair in pairs.items()},
        "windows_with_skill": sum(_shows_skill(window) for window in windows),
        "windows_accepted": sum(bool(window["run"]["accepted"]) for window in windows),
        "series": {
            "dates": ledgers[CANDIDATE].dates.astype(str).tolist(),
            "net_bps": {name: (ledger.returns_ratio * BPS).tolist() for name, ledger in ledgers.items()},
        },
    }
    return Pooled(ledgers, target, record)


def chain(ledgers: Sequence[SessionLedger]) -> SessionLedger:
    """Return several ledgers as one account: amounts of each are scaled to go on where the last ended.

    Returns, drawdowns, turnover and counts of a session do not change by it.

    Raises:
        RangeError: If their sessions do not stand in date order.
    """
    for before, after in pairwise(ledgers):
        if after.dates[0] <= before.dates[-1]:
            raise RangeError(f"{after.dates[0]} does not lie behind {before.dates[-1]}", where="windows")
    nav = ledgers[0].initial_nav_usd
    columns: dict[str, list[Any]] = {name: [] for name in _ARRAYS}
    for ledger in ledgers:
        factor = nav / ledger.initial_nav_usd
        for name, column in columns.items():
            values = getattr(ledger, name)
            column.append(values * factor if name.endswith("_usd") else values)
        nav = float(columns["nav_close_usd"][-1][-1])
    joined: dict[str, Any] = {name: np.concatenate(column) for name, column in columns.items()}
    return SessionLedger(initial_nav_usd=ledgers[0].initial_nav_usd, mode=ledgers[0].mode, **joined)


def ledger_record(ledger: SessionLedger) -> dict[str, Any]:
    """Return a ledger as plain JSON types, every number exact."""
    arrays = {name: getattr(ledger, name).tolist() for name in _ARRAYS if name != "dates"}
    plain = {"initial_nav_usd": ledger.initial_nav_usd, "mode": ledger.mode}
    return {**plain, "dates": ledger.dates.astype(str).tolist(), **arrays}


def ledger_of(record: Mapping[str, Any]) -> SessionLedger:
    """Return the ledger of a record."""
    arrays: dict[str, Any] = {name: np.array(record[name]) for name in _ARRAYS}
    arrays["dates"] = arrays["dates"].astype("datetime64[D]")
    return SessionLedger(initial_nav_usd=record["initial_nav_usd"], mode=record["mode"], **arrays)


def _shows_skill(window: dict[str, Any]) -> bool:
    return any(v["name"] == SKILL_MARK and v["passed"] for v in window["run"]["verdicts"])
