"""Known answers: what share of the best possible result is reached, by what, and what tuning adds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from stairways.proof.experiment import Cell, Experiment, Findings, Job

if TYPE_CHECKING:
    from stairways.config import Settings

REGIMES = ("none", "gate", "gate_gradient", "concat")
SEEDS: Mapping[str, int] = {"none": 2, "gate": 2, "gate_gradient": 1, "concat": 1}
"""Golds by how regime inputs enter."""
KEYS, QUICK_KEYS = (11, 12, 13), (11,)
QUICK_TEST = "2021-03-24:2022-03-23"
LARGE = {
    "n_envs": 256,
    "n_steps": 130,
    "minibatch": 8_320,
    "epochs": 10,
    "learning_rate": {"start": 3e-4, "end": 3e-4},
    "clip_gradients": "each",
    "normalise_advantages": "rollout",
}
PPO = {"algorithm": "ppo", "rehearsal_sessions": 0}
LARGE_PPO = {"algorithm": "ppo", "rehearsal_sessions": 2_000, "steps_per_cycle": 33_280, "ppo": LARGE}
ARMS: Mapping[str, dict[str, Any]] = {
    "ppo": {**PPO, "steps_per_cycle": 6_000},
    "all_actions_own": {"algorithm": "all_actions", "rehearsal_sessions": 0},
    "ppo_large_fresh": LARGE_PPO,
    "all_actions_fresh": {"algorithm": "all_actions"},
}
COUNTS: Mapping[str, int] = {"ppo": 2, "all_actions_own": 2, "ppo_large_fresh": 2, "all_actions_fresh": 10}
FRESH_MARKET = "planted:2"
"""A market of the same law that the shipped gold has not learned from; arms named fresh tune there."""
LOOKS: Mapping[str, tuple[int, ...]] = {
    "ppo": (1, 2, 4, 8),
    "all_actions_own": (1, 2, 4, 8),
    "ppo_large_fresh": (1, 2, 4, 8),
    "all_actions_fresh": (1, 2),
}
"""Cycles after which an arm is judged; no arm is chosen by what it showed."""


class KnownAnswers(Experiment):
    """Gold, gold under the tilt and tuned candidates against the exact oracle of planted markets."""

    name: ClassVar[str] = "known_answers"
    title: ClassVar[str] = "Known answers: share of the oracle, the regime gate, what tuning adds"
    question: ClassVar[str] = (
        "On markets whose best possible result is known exactly: how much of it is reached by gold, by the "
        "tilt alone and by tuning, what are regime inputs worth, and when does tuning add to the tilt?"
    )

    def cells(self, job: Job) -> Sequence[Cell]:
        """Return golds first, then tunings on them, then the curves of tuning."""
        first = job.seed
        if job.quick:
            return [_tune("planted", None, first, stage=0)]
        golds = [
            _gold("planted", regime, first + s) for regime in REGIMES for s in range(1, 1 + SEEDS[regime])
        ]
        golds.append(_gold("planted-hard", "none", first + 1))
        tunes = [_tune("planted", None, first + s, stage=1) for s in range(10)]
        tunes.append(_tune("planted-hard", f"gold-planted-hard-none-{first + 1}", first, stage=1))
        curves = [
            Cell(f"curve-{arm}-{first + s}", _curve(arm, first + s), stage=1)
            for arm, count in COUNTS.items()
            for s in range(count)
        ]
        return [*golds, *tunes, *curves]

    def run(self, cell: Cell, job: Job) -> dict[str, Any]:
        """Train a gold, tune, or follow a tuning, and judge everyone on the unseen sessions."""
        from stairways.proof import known_runs

        kind = cell.arguments["kind"]
        if kind == "gold":
            return known_runs.train_and_judge(cell.arguments, job)
        if kind == "tune":
            return known_runs.tune_and_judge(cell.arguments, job)
        return known_runs.follow(cell.arguments, job)

    def conclude(self, job: Job, results: Mapping[str, dict[str, Any]]) -> Findings:
        """Set the shares beside their bars and the curves beside each other."""
        from stairways.proof.known_findings import concluded

        return concluded(job, results)


def _curve(arm: str, seed: int) -> dict[str, Any]:
    market = FRESH_MARKET if arm.endswith("_fresh") else "planted"
    return {"kind": "curve", "arm": arm, "seed": seed, "market": market}


def _gold(market: str, regime: str, seed: int) -> Cell:
    key = f"gold-{market}-{regime}-{seed}"
    return Cell(key, {"kind": "gold", "market": market, "regime": regime, "seed": seed, "folder": key})


def _tune(market: str, gold: str | None, seed: int, *, stage: int) -> Cell:
    key = f"tune-{market}-{'shipped' if gold is None else gold.split('-')[-2]}-{seed}"
    return Cell(key, {"kind": "tune", "market": market, "gold": gold, "seed": seed}, stage=stage)


def settings_of(job: Job, arguments: Mapping[str, Any], more: dict[str, Any]) -> Settings:
    """Return the settings of a cell."""
    from stairways.config import load_settings

    ranges = {"test": QUICK_TEST} if job.quick else {}
    base = {"seed": arguments["seed"], "market": {"sample": arguments.get("market", "planted")}}
    return load_settings(None, {**base, "ranges": {**ranges, **more.pop("ranges", {})}, **more})


def gold_folder(job: Job, name: str | None) -> Path:
    """Return where a gold stands: one that an earlier cell trained, or the shipped one."""
    from stairways.tuning.shipped import shipped_gold

    return shipped_gold() if name is None else job.work / name
