"""Unpacking: an artifact read from disk and taken apart into the types that use it.

It stands beside the rooms because those who tune and those who act both need it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stairways.config import ControlSettings, DateRange
from stairways.control.actuators import TiltActuator
from stairways.control.tilt import Multipliers
from stairways.errors import ArtifactError
from stairways.evaluation.replay import TiltLoop
from stairways.market.features import FeatureConstants
from stairways.market.regime import RegimeConfig
from stairways.policies.program import Program, compile_program
from stairways.policies.spec import PolicySpec
from stairways.registry.artifact import LoadedArtifact, read_artifact
from stairways.trading.rules import TradingRules

if TYPE_CHECKING:
    from stairways.registry.artifact import Artifact

ARTIFACT_FOLDER = "artifact"
"""Where a run folder holds its artifact."""


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


def unpack(folder: Path) -> Packed:
    """Read an artifact and build its parts.

    Raises:
        ArtifactError: If anything in it is damaged or unknown.
    """
    if not (folder / "manifest.json").exists() and (folder / ARTIFACT_FOLDER / "manifest.json").exists():
        raise ArtifactError(
            "is a run folder, no artifact", where=str(folder), remedy=f"name {folder / ARTIFACT_FOLDER}"
        )
    return unpacked(read_artifact(folder), folder)


def unpacked(loaded: LoadedArtifact, folder: Path) -> Packed:
    """Build the parts of an artifact that was read already.

    Raises:
        ArtifactError: If its content is not understood.
    """
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


def _controller(record: dict[str, Any] | None) -> tuple[ControlSettings | None, Multipliers | None]:
    if record is None:
        return None, None
    settings = {name: value for name, value in record.items() if name != "multipliers"}
    saved = record["multipliers"]
    control = ControlSettings.model_validate(settings)
    return control, None if saved is None else Multipliers(float(saved[0]), float(saved[1]))
