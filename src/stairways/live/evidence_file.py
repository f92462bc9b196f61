"""Evidence from a file: what the process that trades writes down of each session, for the watch to judge.

::

    {"model": DIGEST, "sessions": [{"date": "2026-07-01", "n_bars": 390, "net_return_ratio": 0.001,
      "max_drawdown_ratio": 0.004, "trades": 17, "hold_rate_ratio": 0.55, "closed": true}, ...],
     "controller_alerts": ["2026-07-01T15:00:00Z", ...]}

Sessions are those since the model went live. What the file says of another model than the one that is live is
not counted. Drift and gate come from the model's own signed record.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stairways.errors import StairwaysError, StorageError
from stairways.evaluation.gate_config import GateConfig
from stairways.live.live_evidence import LiveEvidence, SessionRecord
from stairways.live.targets import figures_of
from stairways.market.calendar import exchange_sessions
from stairways.market.sessions import FULL_SESSION_MINUTES
from stairways.registry.files import read_json_object

if TYPE_CHECKING:
    from stairways.registry.registry import Registry

_REMEDY = "see what writes it; docs/registry.md says what it holds"


class EvidenceFile:
    """Reads the evidence anew at each look.

    Args:
        registry: Says what is live.
        path: The file; None where nobody writes one.
        gate: Says which verdicts make a gate.
    """

    def __init__(self, registry: Registry, path: Path | None, gate: GateConfig) -> None:
        self._registry = registry
        self._path = path
        self._gate = gate

    def __call__(self) -> LiveEvidence:
        """Return what is known of the model that is live.

        Raises:
            StorageError: If the file can't be read or is no evidence: whoever watches must know.
        """
        champion = self._registry.store.champion()
        if champion is None:
            return LiveEvidence()
        known = self._of_record(champion)
        if self._path is None:
            return LiveEvidence(**known)
        record = read_json_object(self._path, remedy=_REMEDY)
        if record.get("model") != champion:
            return LiveEvidence(**known)
        try:
            return LiveEvidence(**known, **_parse(record, self._registry.clock()))
        except (StairwaysError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise StorageError(f"is no evidence ({error})", where=str(self._path), remedy=_REMEDY) from error

    def _of_record(self, champion: str) -> dict[str, Any]:
        try:
            loaded = self._registry.read(champion).loaded
        except StairwaysError:
            # the watch judges integrity itself
            return {}
        figures = figures_of(loaded.record, self._gate)
        bars = FULL_SESSION_MINUTES // loaded.artifact.interval_minutes
        is_gold = loaded.artifact.role == "gold"
        return {
            "drift_ratio": 0.0 if is_gold else figures.drift_ratio,
            "full_session_bars": bars,
            "gate": figures.gate,
        }


def _parse(record: dict[str, Any], now: dt.datetime) -> dict[str, Any]:
    sessions = tuple(
        SessionRecord(**(one | {"date": dt.date.fromisoformat(one["date"])})) for one in record["sessions"]
    )
    alerts = tuple(dt.datetime.fromisoformat(text) for text in record["controller_alerts"])
    if not sessions:
        return {"controller_alerts": alerts}
    last = max(sessions[-1].date, (now - dt.timedelta(days=1)).date())
    dates = exchange_sessions(sessions[0].date, last).dates
    return {
        "controller_alerts": alerts,
        "exchange_dates": tuple(date.item() for date in dates),
        "sessions": sessions,
    }
