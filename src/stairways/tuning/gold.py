"""Gold: a policy that learns first and is made to over-hold last.

Stage one learns with costs that rise to the real ones; held-out sessions of the training range judge
it, and stop it when it no longer gets better. Stage two pays a hold bonus that can move nothing but
the hold action's output bias, until the policy really over-holds: the skill stays in the weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stairways.errors import ConfigError, StorageError, TrainingError
from stairways.evaluation.verdicts import Group, Verdict
from stairways.learning.schedules import Ramp
from stairways.market.features import FeatureConstants
from stairways.policies.program import compile_program
from stairways.policies.spec import PolicySpec
from stairways.registry.artifact import write_artifact
from stairways.registry.files import ensure_writable
from stairways.trading.metrics import PolicyMetrics, measure
from stairways.trading.observation import observe
from stairways.tuning.contest import Arena, Entrant
from stairways.tuning.market_access import open_dataset
from stairways.tuning.packing import pack_gold
from stairways.tuning.ranges import span_of, with_sample_ranges
from stairways.tuning.seeds import Stream, key, stream
from stairways.tuning.steer import Seeds, load_network, trainer_on
from stairways.tuning.versions import library_versions

if TYPE_CHECKING:
    from stairways.config import GoldSettings, Settings
    from stairways.learning.network import PolicyNetwork
    from stairways.learning.ppo_config import PPOConfig
    from stairways.learning.trainer import Trainer
    from stairways.policies.program import Weights
    from stairways.trading.observation import ObservedMarket
    from stairways.tuning.run_folder import Clock, Watcher

LEAST_HOLD_RATIO = 0.80
MOST_TRADES = 7.0


@dataclass(frozen=True)
class Look:
    """One look at the held-out sessions while training.

    Attributes:
        stage: ``learn`` or ``over_hold``.
        steps: Transitions so far.
        metrics: What the policy did there, sampled.
        cost_scale: Costs of training at that moment, relative to the real ones.
        hold_bonus_bps: Bonus in force.
    """

    stage: str
    steps: int
    metrics: PolicyMetrics
    cost_scale: float
    hold_bonus_bps: float

    def as_record(self) -> dict[str, Any]:
        """Return the figures a learning curve needs, as plain JSON types."""
        metrics = self.metrics
        return {
            "stage": self.stage,
            "steps": self.steps,
            "cost_scale": self.cost_scale,
            "hold_bonus_bps": self.hold_bonus_bps,
            "sharpe": metrics.sharpe,
            "sharpe_standard_error": metrics.sharpe_standard_error,
            "mean_net_bps": metrics.mean_net_bps,
            "hold_rate_ratio": metrics.hold_rate_ratio,
            "trades_per_session": metrics.trades_per_session,
            "n_sessions": metrics.n_sessions,
        }


@dataclass(frozen=True)
class GoldOutcome:
    """What gold training made.

    Attributes:
        digest: Identity of the artifact.
        record: How it was made, as the artifact keeps it.
        accepted: Whether it really over-holds on the test sessions.
        folder: The artifact's folder.
    """

    digest: str
    record: dict[str, Any]
    accepted: bool
    folder: Path


class GoldTraining:
    """Trains one gold.

    Args:
        settings: Every setting; ranges ``train`` and ``test``.
        out: Folder of the artifact.
        clock: Tells the time.
        watcher: Follows the training.
    """

    def __init__(self, settings: Settings, out: Path, *, clock: Clock, watcher: Watcher) -> None:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise StorageError("is not an empty folder", where=str(out), remedy="choose another --out")
        ensure_writable(out)
        ranges = with_sample_ranges(settings, command="gold")
        gold = settings.gold
        fitted = gold.model_copy(update={"ppo": _fitted(gold)})
        self.settings = settings.model_copy(update={"ranges": ranges, "gold": fitted})
        self.out = out
        self.clock = clock
        self.watcher = watcher
        self.dataset = open_dataset(self.settings)
        if ranges.train is None:
            raise ConfigError("gold needs --train")
        self.seen = ranges.train
        self.train = span_of(self.dataset.sessions, ranges.train, "train")
        self.learning, self.held_out = self._split()
        self.test = self.held_out
        if ranges.test is not None:
            self.test = span_of(self.dataset.sessions, ranges.test, "test")
        self.constants = FeatureConstants.fit(self.dataset.raw, self.dataset.sessions, self.train)
        self.market = observe(self.dataset.sessions, self.dataset.table(self.constants))
        self.looks: list[Look] = []

    def run(self) -> GoldOutcome:
        """Learn, over-hold, measure on the test sessions and write the artifact."""
        from stairways.learning.runtime import prepare_torch

        prepare_torch()
        began = self.clock()
        spec = self._spec()
        learning, held_out = self.market.select(self.learning), self.market.select(self.held_out)
        weights, stopped = self._learn(spec, learning, held_out)
        test = self.market.select(self.test)
        skilled = self._measure(spec, weights, test)
        weights = self._over_hold(spec, weights, learning, held_out)
        gold = self._measure(spec, weights, test)
        verdicts = over_hold_verdicts(gold)
        artifact = pack_gold(
            self.settings, self.dataset, spec, weights, self.constants, self.train.stop, [self.seen]
        )
        record = {
            "command": "gold train",
            "seed": self.settings.seed,
            "config": self.settings.as_record(),
            "config_digest": self.settings.digest,
            "data_source": self.market.source,
            "steps": self.looks[-1].steps,
            "stopped": stopped,
            "wall_seconds": (self.clock() - began).total_seconds(),
            "curve": [look.as_record() for look in self.looks],
            "test": {
                "first": str(test.dates[0]),
                "last": str(test.dates[-1]),
                "n_sessions": len(test),
                "unseen": self.settings.ranges.test is not None,
            },
            "before_over_hold": skilled.as_record(),
            "gold": gold.as_record(),
            "verdicts": [verdict.as_record() for verdict in verdicts],
            "versions": library_versions(),
        }
        digest = write_artifact(self.out, artifact, record)
        return GoldOutcome(digest, record, all(verdict.passed for verdict in verdicts), self.out)

    def _spec(self) -> PolicySpec:
        gold = self.settings.gold
        return PolicySpec(
            kind=gold.policy,
            n_symbols=len(self.settings.market.symbols),
            regime=gold.regime,
            hidden=gold.hidden,
            lstm_hidden=gold.lstm_hidden if gold.policy == "lstm" else 0,
            lstm_layers=gold.lstm_layers,
            critic_lstm=gold.critic_lstm,
        )

    def _split(self) -> tuple[slice, slice]:
        """Split the training range: sessions to learn on, and those at its end that judge learning.

        At least 20 are held out where that is no more than a third of the range.
        """
        count = self.train.stop - self.train.start
        share = round(count * self.settings.gold.holdout_share)
        held_out = max(1, share, min(self.settings.gate.min_sessions, count // 3))
        if count - held_out < 1:
            raise ConfigError(
                f"--train holds {count} sessions, too few to hold any out", remedy="give a longer range"
            )
        edge = self.train.stop - held_out
        return slice(self.train.start, edge), slice(edge, self.train.stop)

    def _learn(
        self, spec: PolicySpec, learning: ObservedMarket, held_out: ObservedMarket
    ) -> tuple[Weights, str]:
        """Run the learning stage and return the weights that did best on the held-out sessions."""
        from stairways.learning.network import PolicyNetwork
        from stairways.learning.runtime import generator_of
        from stairways.learning.steering import NoSteering

        gold = self.settings.gold
        network = PolicyNetwork(spec, generator_of(stream(self.settings.seed, Stream.WEIGHTS)))
        trainer = self._trainer(network, learning, NoSteering(gold.hold_bonus_bps), gold.ppo, Stream.TRAINING)
        size, rollouts = gold.ppo.rollout_steps, gold.steps // gold.ppo.rollout_steps
        self.watcher.stage("gold learns", gold.steps)
        best: tuple[float, Weights] | None = None
        without = 0
        for rollout in range(rollouts):
            trainer.pool.cost_scale = gold.cost_scale.at(rollout / rollouts)
            trainer.train(size, progress=self.watcher.rollout, anchor=(0, gold.steps))
            done = rollout + 1
            due = done % gold.judge_every_rollouts == 0 or done == rollouts
            if not due or done < gold.least_progress * rollouts:
                continue
            weights = network.export_weights()
            look = self._look("learn", trainer, spec, weights, held_out, gold.hold_bonus_bps)
            if best is None or look.metrics.mean_net_bps > best[0]:
                best, without = (look.metrics.mean_net_bps, weights), 0
            else:
                without += 1
            if without >= gold.patience:
                return best[1], f"no better held-out result in {without} looks in a row"
        if best is None:
            return network.export_weights(), "all learning steps were taken"
        return best[1], "all learning steps were taken"

    def _over_hold(
        self, spec: PolicySpec, weights: Weights, learning: ObservedMarket, held_out: ObservedMarket
    ) -> Weights:
        """Raise the hold action's output bias by a bonus until the policy over-holds.

        Raises:
            TrainingError: If it does not within the looks allowed.
        """
        from stairways.learning.over_hold import free_hold_bias_only
        from stairways.learning.steering import NoSteering

        gold = self.settings.gold
        network = load_network(spec, weights)
        free_hold_bias_only(network)
        steering = NoSteering(gold.over_hold_bonus_bps)
        ppo = gold.ppo.model_copy(
            update={
                "learning_rate": Ramp.constant(gold.over_hold_learning_rate),
                "entropy": Ramp.constant(0.0),
            }
        )
        trainer = self._trainer(network, learning, steering, ppo, Stream.OVER_HOLD)
        trainer.steps = self.looks[-1].steps if self.looks else gold.steps
        steps = gold.over_hold_rollouts * ppo.rollout_steps
        bonus = gold.over_hold_bonus_bps
        self.watcher.stage("gold over-holds", gold.over_hold_looks * steps)
        for _ in range(gold.over_hold_looks):
            steering.restore({"bonus_bps": bonus})
            trainer.train(steps, progress=self.watcher.rollout)
            current = network.export_weights()
            look = self._look("over_hold", trainer, spec, current, held_out, bonus)
            metrics = look.metrics
            arrived = (
                metrics.hold_rate_ratio >= gold.over_hold_ratio
                and metrics.trades_per_session <= gold.over_hold_trades
            )
            if arrived:
                return current
            bonus *= gold.over_hold_growth
        raise TrainingError(
            f"gold holds {metrics.hold_rate_ratio:.1%} and trades {metrics.trades_per_session:.1f} after "
            f"{gold.over_hold_looks} looks",
            where="over-hold stage",
            remedy="raise gold.over_hold_bonus_bps or gold.over_hold_looks",
        )

    def _trainer(
        self, network: PolicyNetwork, market: ObservedMarket, steering: Any, ppo: Any, purpose: Stream
    ) -> Trainer:
        environments = stream(self.settings.seed, Stream.ENVIRONMENTS, int(purpose))
        seeds = Seeds(environments, stream(self.settings.seed, purpose))
        return trainer_on(network, market, self.settings, ppo, steering, seeds)

    def _look(
        self,
        stage: str,
        trainer: Trainer,
        spec: PolicySpec,
        weights: Weights,
        held_out: ObservedMarket,
        bonus_bps: float,
    ) -> Look:
        metrics = self._measure(spec, weights, held_out)
        look = Look(stage, trainer.steps, metrics, trainer.pool.cost_scale, bonus_bps)
        self.looks.append(look)
        self.watcher.event("GOLD", f"{stage}.looked", look.as_record())
        return look

    def _measure(self, spec: PolicySpec, weights: Weights, market: ObservedMarket) -> PolicyMetrics:
        arena = Arena(market, self.settings.trading, "sampled", key(self.settings.seed, Stream.DECISIONS))
        run = arena.run(Entrant(compile_program(spec, weights)))
        return measure(
            run.ledger,
            n_actions=spec.n_actions,
            risk_free_per_session=self.settings.trading.risk_free_per_session,
        )


def _fitted(gold: GoldSettings) -> PPOConfig:
    try:
        return gold.ppo.fitted(gold.steps)
    except ConfigError as error:
        raise ConfigError(error.what, where="--steps", remedy=error.remedy) from error


def over_hold_verdicts(metrics: PolicyMetrics) -> tuple[Verdict, Verdict]:
    """Judge whether a gold really over-holds: hold rate >= 80 %, at most 7 trades a session, sampled."""
    return (
        Verdict(
            name="gold_over_holds",
            group=Group.BEHAVIOUR,
            passed=metrics.hold_rate_ratio >= LEAST_HOLD_RATIO,
            observed=metrics.hold_rate_ratio,
            threshold=f"hold rate >= {LEAST_HOLD_RATIO:.0%}, sampled",
            n=metrics.n_sessions,
            reason=f"holds {metrics.hold_rate_ratio:.1%} of its decisions",
            interval=metrics.hold_rate_interval,
        ),
        Verdict(
            name="gold_trades_little",
            group=Group.BEHAVIOUR,
            passed=metrics.trades_per_session <= MOST_TRADES,
            observed=metrics.trades_per_session,
            threshold=f"at most {MOST_TRADES:g} trades a session, sampled",
            n=metrics.n_sessions,
            reason=f"trades {metrics.trades_per_session:.1f} times a session",
            interval=metrics.trades_interval,
        ),
    )
