"""Course: the sessions of a scenario on one market, and everyone who is led through them.

The artifact runs as it is deployed; no tilt is calibrated on the sessions that are judged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stairways.control.actuators import TiltActuator
from stairways.control.tilt import Multipliers
from stairways.evaluation.baselines import uniform
from stairways.evaluation.evidence import ALL_HOLD, GOLD, RANDOM, TILTED_GOLD
from stairways.evaluation.replay import TiltLoop
from stairways.market.samples import sample_spec
from stairways.trading.observation import observe
from stairways.tuning.contest import (
    Arena,
    Entrant,
    calibrated_entrant,
    equal_turnover,
    scripted_baselines,
)
from stairways.tuning.evaluate import (
    CALIBRATION_SESSIONS,
    LEAST_CALIBRATION_SESSIONS,
    POLICY,
    parent_of,
)
from stairways.tuning.market_access import open_for
from stairways.tuning.packing import unpack_for
from stairways.tuning.seeds import Stream, key
from stairways.tuning.seen import seen_sessions
from stairways.unpacking import Packed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stairways.config import Settings
    from stairways.control.setpoints import SetPoints
    from stairways.market.dataset import Dataset
    from stairways.policies.program import Program
    from stairways.trading.observation import ObservedMarket

BUY_AND_HOLD = "buy_and_hold"
BASELINES = (GOLD, TILTED_GOLD, RANDOM, ALL_HOLD, BUY_AND_HOLD)


@dataclass(frozen=True, eq=False)
class Subject:
    """What is led through a scenario.

    Attributes:
        packed: The artifact; a gold runs under the tilt of the settings, a candidate under its own.
        parent: The candidate's gold; None for a gold, or where it is not at hand.
    """

    packed: Packed
    parent: Packed | None

    @classmethod
    def read(cls, folder: Path, settings: Settings) -> Subject:
        """Read an artifact and its gold; the artifact must fit the market of the settings."""
        packed = unpack_for(folder, settings)
        return cls(packed, parent_of(packed, folder, None))

    def seen(self, market: ObservedMarket) -> NDArray[np.bool_]:
        """Return which sessions the artifact or its gold has seen on the same bars, ``(n_sessions,)``."""
        return seen_sessions(self.packed, self.parent, market.source, market.dates)


@dataclass(frozen=True, eq=False)
class Course:
    """The sessions of a scenario on one market.

    Attributes:
        settings: Settings with this market in them.
        dataset: Every session there is.
        everything: The same as an account sees it.
        part: The sessions of the scenario.
    """

    settings: Settings
    dataset: Dataset
    everything: ObservedMarket
    part: slice

    @property
    def market(self) -> ObservedMarket:
        """The sessions of the scenario."""
        return self.everything.select(self.part)

    def arena(self, market: ObservedMarket) -> Arena:
        """Return the conditions of deployment on a market."""
        return Arena.of(self.settings, market, key(self.settings.seed, Stream.DECISIONS))


def on_market(settings: Settings, change: dict[str, Any]) -> Settings:
    """Return settings with other values in their market."""
    return settings.model_copy(update={"market": settings.market.model_copy(update=change)})


def lineup(course: Course, subject: Subject) -> tuple[dict[str, Entrant], dict[str, str]]:
    """Return everyone who runs, and in words where each tilt starts from."""
    packed, parent = subject.packed, subject.parent
    tilts = _Tilts(course, packed)
    is_gold = packed.artifact.role == "gold"
    control = course.settings.control if packed.control is None else packed.control
    actuator, points = control.actuator, control.points
    policy = Entrant(packed.program, packed.loop())
    if policy.loop is not None:
        tilts.words[POLICY] = "saved with the artifact"
    elif is_gold and isinstance(actuator, TiltActuator):
        policy = tilts.entrant(POLICY, packed.program, actuator, points, {})
    if not isinstance(actuator, TiltActuator):
        # a policy that nothing tilts is matched by what it did
        actuator, points = (
            TiltActuator(),
            equal_turnover(course.arena(course.market).run(policy).ledger),
        )
    entrants = {POLICY: policy}
    saved = packed.loaded.record.get("baseline_multipliers", {})
    gold = packed if is_gold else parent
    if gold is not None:
        entrants[GOLD] = Entrant(gold.program)
        if not is_gold:
            entrants[TILTED_GOLD] = tilts.entrant(TILTED_GOLD, gold.program, actuator, points, saved)
    entrants[RANDOM] = tilts.entrant(RANDOM, uniform(course.market.n_symbols), actuator, points, saved)
    entrants |= scripted_baselines(course.market, course.dataset, course.part, course.settings.trading)
    return entrants, tilts.words


class _Tilts:
    """Starts tilts of a course where the judged sessions had no say, and keeps in words where."""

    def __init__(self, course: Course, packed: Packed) -> None:
        self.course = course
        self.packed = packed
        self.words: dict[str, str] = {}
        self._ground: tuple[ObservedMarket | None, str] | None = None

    def entrant(
        self,
        name: str,
        program: Program,
        actuator: TiltActuator,
        points: SetPoints,
        saved: Mapping[str, Sequence[float]],
    ) -> Entrant:
        """Return a policy under a tilt that starts from saved multipliers, a calibration or zero."""
        loop = TiltLoop(actuator, actuator.live, points)
        if name in saved:
            self.words[name] = "saved with the artifact"
            return Entrant(program, loop.starting_at(Multipliers(*saved[name])))
        if self._ground is None:
            self._ground = self._found_ground()
        market, self.words[name] = self._ground
        if market is None:
            return Entrant(program, loop)
        return calibrated_entrant(self.course.arena(market), program, actuator, points)

    def _found_ground(self) -> tuple[ObservedMarket | None, str]:
        """Return the sessions to calibrate on: those before, or another seed of a synthetic market."""
        course = self.course
        stop = course.part.start
        start = max(0, stop - CALIBRATION_SESSIONS)
        if stop - start >= LEAST_CALIBRATION_SESSIONS:
            before = course.everything.select(slice(start, stop))
            return before, f"calibrated on the {len(before)} sessions before, from {before.dates[0]}"
        if course.dataset.synthetic is None:
            return None, "starts at zero and settles within the sessions judged: too few stand before them"
        spec, seed = sample_spec(course.settings.market.sample)
        other = int(np.random.SeedSequence(seed, spawn_key=(1,)).generate_state(1)[0])
        settings = on_market(course.settings, {"sample": f"{spec.name}:{other}"})
        dataset = open_for(self.packed, settings)
        market = observe(dataset.sessions, dataset.table(self.packed.constants))
        return market.select(course.part), f"calibrated on the same dates of another seed, {other}"
