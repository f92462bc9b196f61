"""Packing: artifacts made of what training produced, and taken apart again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stairways.config import ControlSettings, DateRange, Settings
from stairways.control.actuators import TiltActuator
from stairways.control.tilt import Multipliers
from stairways.envs.reward import REWARD_VERSION
from stairways.errors import ArtifactError, MismatchError, RangeError
from stairways.evaluation.replay import TiltLoop
from stairways.market.features import FeatureConstants
from stairways.market.regime import RegimeConfig
from stairways.policies.program import Program, compile_program
from stairways.policies.spec import PolicySpec
from stairways.registry.artifact import Artifact, LoadedArtifact, ensure_matches, read_artifact
from stairways.trading.actions import action_meanings
from stairways.trading.rules import TradingRules
from stairways.tuning.run_folder import ARTIFACT_FOLDER

if TYPE_CHECKING:
    from stairways.market.dataset import Dataset
    from stairways.policies.program import Weights


@dataclass(frozen=True, eq=False)
class Packed:
    """An artifact, and its parts in the types that use them.

    Attributes:
        loaded: The artifact with its record and digest.
        spec: Architecture.
        program: The actor's program.
        constants: Feature constants.
        regime: How the regime score is made.
        rules: Sizes, bounds and costs it was made for.
        control: Set points, actuator and mode; None for gold.
        multipliers: Saved multipliers; None where nothing is tilted.
        seen: Ranges of sessions that it has seen.
    """

    loaded: LoadedArtifact
    spec: PolicySpec
    program: Program
    constants: FeatureConstants
    regime: RegimeConfig
    rules: TradingRules
    control: ControlSettings | None
    multipliers: Multipliers | None
    seen: tuple[DateRange, ...]

    @property
    def artifact(self) -> Artifact:
        """The artifact itself."""
        return self.loaded.artifact

    @property
    def digest(self) -> str:
        """The artifact's identity."""
        return self.loaded.digest

    def loop(self) -> TiltLoop | None:
        """Return the tilt it is deployed with, None when it acts as it is."""
        if self.control is None or not isinstance(self.control.actuator, TiltActuator):
            return None
        actuator = self.control.actuator
        loop = TiltLoop(actuator, actuator.live, self.control.points)
        return loop if self.multipliers is None else loop.starting_at(self.multipliers)


def environment_record(settings: Settings, seen: Sequence[DateRange]) -> dict[str, Any]:
    """Return what the environment needs, as an artifact states it.

    Args:
        settings: The settings it was made with.
        seen: Ranges of sessions that its weights, constants or multipliers have seen.
    """
    return {
        "seen": [str(dates) for dates in seen],
        "trading": settings.trading.model_dump(mode="json"),
        "reward": settings.reward.model_dump(mode="json"),
        "regime": settings.market.regime.model_dump(mode="json"),
        "action_meanings": list(action_meanings(len(settings.market.symbols))),
        "recurrent_state": "zero at each session's open",
    }


def pack_gold(
    settings: Settings,
    dataset: Dataset,
    spec: PolicySpec,
    weights: Weights,
    constants: FeatureConstants,
    last_session: int,
    seen: Sequence[DateRange],
) -> Artifact:
    """Return the artifact of a gold; ``last_session`` is the index behind its training range."""
    return _pack(settings, dataset, spec, weights, constants, last_session, seen, role="gold")


def pack_candidate(
    settings: Settings,
    dataset: Dataset,
    spec: PolicySpec,
    weights: Weights,
    constants: FeatureConstants,
    last_session: int,
    seen: Sequence[DateRange],
    *,
    parent_digest: str,
    multipliers: Multipliers | None,
) -> Artifact:
    """Return the artifact of a candidate, with its controller."""
    controller = {
        **settings.control.model_dump(mode="json"),
        "multipliers": None if multipliers is None else list(multipliers),
    }
    return _pack(
        settings,
        dataset,
        spec,
        weights,
        constants,
        last_session,
        seen,
        role="candidate",
        controller=controller,
        parent_digest=parent_digest,
    )


def _pack(
    settings: Settings,
    dataset: Dataset,
    spec: PolicySpec,
    weights: Weights,
    constants: FeatureConstants,
    last_session: int,
    seen: Sequence[DateRange],
    **extra: Any,
) -> Artifact:
    return Artifact(
        **{"controller": None, "parent_digest": None, **extra},
        policy=spec.model_dump(mode="json"),
        weights=dict(weights),
        symbols=dataset.sessions.symbols,
        interval_minutes=dataset.sessions.interval_minutes,
        n_actions=spec.n_actions,
        reward_version=REWARD_VERSION,
        features=constants.as_record(),
        regime_state=dataset.raw.regime.state_before(last_session),
        environment=environment_record(settings, seen),
        data_digest=dataset.sessions.digest,
        data_source=dataset.sessions.source,
    )


def unpack(folder: Path) -> Packed:
    """Read an artifact and build its parts.

    Raises:
        ArtifactError: If anything in it is damaged or unknown.
    """
    if not (folder / "manifest.json").exists() and (folder / ARTIFACT_FOLDER / "manifest.json").exists():
        raise ArtifactError(
            "is a run folder, no artifact", where=str(folder), remedy=f"name {folder / ARTIFACT_FOLDER}"
        )
    loaded = read_artifact(folder)
    artifact = loaded.artifact
    try:
        spec = PolicySpec.model_validate(artifact.policy)
        constants = FeatureConstants.from_record(artifact.features)
        rules = TradingRules.model_validate(artifact.environment["trading"])
        regime = RegimeConfig.model_validate(artifact.environment["regime"])
        control, multipliers = _controller(artifact.controller)
        seen = tuple(DateRange.model_validate(dates) for dates in artifact.environment["seen"])
    except (KeyError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ArtifactError(f"its content is not understood ({reason})", where=str(folder)) from error
    program = compile_program(spec, artifact.weights)
    return Packed(loaded, spec, program, constants, regime, rules, control, multipliers, seen)


def unpack_for(folder: Path, settings: Settings) -> Packed:
    """Read an artifact that must fit the market of the settings.

    Raises:
        MismatchError: If it was made for other symbols, interval, actions or reward version.
    """
    packed = unpack(folder)
    ensure_matches(
        packed.artifact,
        symbols=settings.market.symbols,
        interval_minutes=settings.market.interval_minutes,
        n_actions=3 ** len(settings.market.symbols),
        reward_version=REWARD_VERSION,
    )
    if packed.regime != settings.market.regime:
        raise MismatchError(
            f"its regime score is made with {packed.regime}, the settings say {settings.market.regime}",
            where=str(folder),
            remedy="leave market.regime as the artifact has it",
        )
    return packed


def refuse_seen(packed: Packed, dates: DateRange, name: str) -> None:
    """Refuse a range that does not lie behind every session an artifact has seen.

    Raises:
        RangeError: Naming both ranges.
    """
    for seen in packed.seen:
        if dates.first <= seen.last:
            raise RangeError(
                f"--{name} {dates} does not lie behind {seen}, which gold has seen",
                where="options",
                remedy="choose later sessions; train, tune and test are disjoint and in this order",
            )


def _controller(record: dict[str, Any] | None) -> tuple[ControlSettings | None, Multipliers | None]:
    if record is None:
        return None, None
    settings = {name: value for name, value in record.items() if name != "multipliers"}
    saved = record["multipliers"]
    control = ControlSettings.model_validate(settings)
    return control, None if saved is None else Multipliers(float(saved[0]), float(saved[1]))
