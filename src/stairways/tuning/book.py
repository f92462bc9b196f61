"""The book of a run: what each cycle leaves in the log, in gate.db and for the summary."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from stairways.evaluation.improvement import rolling_100_episode_sharpe
from stairways.evaluation.verdicts import find
from stairways.registry.records import CycleRecord, DriftRecord

if TYPE_CHECKING:
    from stairways.evaluation.replay import Replay
    from stairways.registry.database import GateDatabase
    from stairways.registry.generations import Damage
    from stairways.tuning.cycle import CycleResult
    from stairways.tuning.run_folder import Clock, RunLog


@dataclass
class RunBook:
    """Everything a run has written down so far.

    Attributes:
        log: The run's log.
        clock: Tells the time.
        episodes: Net return of every training session that ended, in order.
        episode_cycles: The cycle each of them ended in.
        records: One record per finished cycle, as the summary shows it.
        wall_seconds: Seconds of the run before it was last resumed.
    """

    log: RunLog
    clock: Clock
    episodes: list[float] = field(default_factory=list)
    episode_cycles: list[int] = field(default_factory=list)
    records: list[dict[str, Any]] = field(default_factory=list)
    wall_seconds: float = 0.0

    @property
    def steps(self) -> int:
        """Transitions of all finished cycles."""
        return int(self.records[-1]["steps"]) if self.records else 0

    @property
    def best_cycle(self) -> int:
        """The best so far, which the next cycle is measured against; 0 is gold as it is, without a tilt."""
        return max((int(record["cycle"]) for record in self.records if record["improved"]), default=0)

    def note(
        self,
        database: GateDatabase,
        run_id: str,
        result: CycleResult,
        *,
        improved: bool,
        drift_action: str | None,
    ) -> None:
        """Write a finished cycle down: log, database, record.

        Args:
            database: gate.db.
            run_id: The run.
            result: What the cycle did.
            improved: Whether it is the best so far.
            drift_action: What followed from its drift; None for nothing.
        """
        for report in result.reports:
            # a staggered account's first session is a fragment, and an episode is a whole session
            whole = [episode.return_ratio for episode in report.episodes if episode.whole]
            self.episodes += whole
            self.episode_cycles += [result.cycle] * len(whole)
        rolling, share = None, None
        if self.episodes:
            rolling, share = rolling_100_episode_sharpe(np.array(self.episodes), self.episode_cycles)
        log_cycle(self.log, result, improved=improved, best_cycle=self.best_cycle)
        alert = alert_at_bound(self.log, result.select, f"cycle {result.cycle}")
        cycle = self._cycle_row(run_id, result, improved, (rolling, share))
        database.record_cycle(cycle, drift=self._drift_row(run_id, result, drift_action))
        self.records.append(
            {
                **result.as_record(),
                "rolling_100_episode_sharpe": rolling,
                "rolling_share_of_cycle": share,
                "improved": improved,
                "drift_action": drift_action,
                "controller_alert": alert,
            }
        )

    def alarm(self, damage: Damage, cycles: int = 0, steps: int = 0) -> None:
        """Tell whoever watches the run, and its log, of a damaged checkpoint.

        Args:
            damage: What is damaged, and what is used in its place.
            cycles: Finished cycles that are done again for it.
            steps: The steps of those cycles.
        """
        self.log.event(
            "RUN",
            "checkpoint.damaged",
            file=damage.place.name,
            reason=damage.reason,
            kept_as=None if damage.aside is None else damage.aside.name,
            used=None if damage.used is None else damage.used.name,
            cycles_again=cycles,
            steps_again=steps,
        )

    def snapshot(self) -> dict[str, Any]:
        """Return the book as plain JSON types, for a checkpoint."""
        return {
            "episodes": self.episodes,
            "episode_cycles": self.episode_cycles,
            "records": self.records,
            "wall_seconds": self.wall_seconds,
        }

    def restore(self, plain: Mapping[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.episodes, self.episode_cycles = plain["episodes"], plain["episode_cycles"]
        self.records, self.wall_seconds = plain["records"], float(plain["wall_seconds"])

    def _cycle_row(
        self, run_id: str, result: CycleResult, improved: bool, rolling: tuple[float | None, float | None]
    ) -> CycleRecord:
        metrics, gain = result.metrics, result.improvement.relative_gain
        return CycleRecord(
            run_id=run_id,
            cycle_id=result.cycle,
            start_ts=result.started_at,
            end_ts=result.ended_at,
            sharpe=metrics.sharpe,
            max_dd=metrics.max_drawdown_ratio,
            trades_per_day=metrics.trades_per_session,
            shadow_pass=find(result.gate.verdicts, "shadow_replay").passed,
            rel_param_drift=result.drift.relative,
            gate_passed=result.gate.passed,
            hold_rate=metrics.hold_rate_ratio,
            learning_rate=result.learning_rate,
            steps=result.steps,
            verdicts=result.gate.verdicts,
            created_at=self.clock(),
            improvement_pct=None if gain is None else 100.0 * gain,
            note=("improved; " if improved else "") + result.improvement.reason,
            sharpe_standard_error=metrics.sharpe_standard_error,
            rolling_100_episode_sharpe=rolling[0],
            rolling_share_of_cycle=rolling[1],
        )

    def _drift_row(self, run_id: str, result: CycleResult, action: str | None) -> DriftRecord:
        drift = result.drift
        return DriftRecord(
            run_id=run_id,
            cycle_id=result.cycle,
            l2_norm_drift=drift.l2_norm,
            relative_drift=drift.relative,
            threshold_exceeded=drift.exceeded,
            mean_kl=drift.mean_kl,
            equal_greedy_share=drift.equal_greedy_share,
            timestamp=self.clock(),
            action_taken=action,
        )


def alert_at_bound(log: RunLog, run: Replay, where: str) -> bool:
    """Raise an alert when a multiplier stood at its bound for more than a session; tell whether it did."""
    limit = run.market.full_session_decisions
    alert = run.longest_at_bound > limit
    if alert:
        log.event(
            "CONTROL", "controller.alert", where=where, decisions_at_bound=run.longest_at_bound, limit=limit
        )
    return alert


def log_cycle(log: RunLog, result: CycleResult, *, improved: bool, best_cycle: int) -> None:
    """Write a cycle's three lines: CYCLE, SHADOW and GATE; ``best_cycle`` is what it was measured against."""
    metrics, gate = result.metrics, result.gate
    log.event(
        "CYCLE",
        "cycle.finished",
        cycle=result.cycle,
        steps=result.reports[-1].steps,
        hold_rate=metrics.hold_rate_ratio,
        trades=metrics.trades_per_session,
        net_bps=metrics.mean_net_bps,
        drift=result.drift.relative,
        learning_rate=result.learning_rate,
        improved=improved,
        best_cycle=best_cycle,
        reason=result.improvement.reason,
    )
    shadow = find(gate.verdicts, "shadow_replay")
    log.event("SHADOW", "shadow.replayed", cycle=result.cycle, passed=shadow.passed, reason=shadow.reason)
    failures = ",".join(gate.failures()) or "none"
    log.event("GATE", "gate.judged", cycle=result.cycle, passed=gate.passed, failures=failures)
