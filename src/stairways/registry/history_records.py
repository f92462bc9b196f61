"""What the history of models holds: stages, and a record for each thing that happened to one."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from enum import StrEnum

from stairways.registry.canonical import JsonObject


class Stage(StrEnum):
    """Where a model stands: gold stays gold, also while it is live, and quarantine is for good."""

    GOLD = "gold"
    CANDIDATE = "candidate"
    CHALLENGER = "challenger"
    CHAMPION = "champion"
    QUARANTINED = "quarantined"


class Cause(StrEnum):
    """Why a model became live."""

    PROMOTION = "promotion"
    ROLLBACK = "rollback"
    DRILL = "drill"
    RECONCILIATION = "reconciliation"


@dataclass(frozen=True)
class PromotionRecord:
    """One step of a model from a stage to another.

    Attributes:
        operation_id: Name of the step, unique for good.
        model_id: Digest of the artifact.
        stage_from: Where it stood.
        stage_to: Where it stands since.
        previous_champion: What was live before; None for nothing.
        at: When.
        authorized_by: Who.
        reason: Why.
        signer: Key that vouched for the artifact, and whose it is.
        verdicts: What the gate had said, as records.
        waivers: What was let pass, as records.
    """

    operation_id: str
    model_id: str
    stage_from: str
    stage_to: str
    previous_champion: str | None
    at: dt.datetime
    authorized_by: str
    reason: str
    signer: str
    verdicts: tuple[JsonObject, ...]
    waivers: tuple[JsonObject, ...]


@dataclass(frozen=True)
class LayerChange:
    """How far one tensor stands from the same of another model.

    Attributes:
        reference_id: Digest of the other.
        layer: Name of the tensor.
        n_parameters: Its size.
        n_changed: How many differ.
        l2_norm: L2 norm of the difference.
        relative: The same over the norm of the reference; None where that is 0 or has no such tensor.
        largest: Largest absolute difference.
        authorized_by: Who promoted it.
        validation_passed: Whether every required verdict had passed.
    """

    reference_id: str
    layer: str
    n_parameters: int
    n_changed: int
    l2_norm: float
    relative: float | None
    largest: float
    authorized_by: str
    validation_passed: bool


@dataclass(frozen=True)
class TenureRecord:
    """A time in which one model was live.

    Attributes:
        model_id: Digest.
        began_at: When it became live.
        ended_at: When another did; None for the present one.
        put_by: Who put it there.
        cause: Why it became live, a :class:`Cause`.
        operation_id: The promotion, rollback, drill or reconciliation that made it so.
    """

    model_id: str
    began_at: dt.datetime
    ended_at: dt.datetime | None
    put_by: str
    cause: str
    operation_id: str


@dataclass(frozen=True)
class RollbackRecord:
    """One way back.

    Attributes:
        operation_id: Its name.
        trigger: What it was triggered by.
        reason: In words, with what was observed.
        failed_model: Digest of what was live.
        target_model: Digest of what is live since; None where nothing was left to go back to.
        detected_at: When the trigger was seen.
        swapped_at: When the link was replaced; None if it could not be.
        ordered_by: Who, or the part of the product that watches.
        steps: Each step with its outcome, JSON.
        seconds_to_swap: From detection to the link.
        seconds_to_serving: From detection to the first answer of the target; None if it was not seen.
        is_drill: Whether it was a rehearsal.
        resumed_at: When a person let promotions go on; None while it latches.
        resumed_by: Who.
        resume_reason: Why.
    """

    operation_id: str
    trigger: str
    reason: str
    failed_model: str
    target_model: str | None
    detected_at: dt.datetime
    swapped_at: dt.datetime | None
    ordered_by: str
    steps: tuple[JsonObject, ...]
    seconds_to_swap: float | None = None
    seconds_to_serving: float | None = None
    is_drill: bool = False
    resumed_at: dt.datetime | None = None
    resumed_by: str | None = None
    resume_reason: str | None = None


@dataclass(frozen=True)
class WaiverRecord:
    """A person's signed word that a failed verdict of a model may pass.

    Attributes:
        waiver_id: Its name.
        model_id: Digest of the artifact.
        verdict: Name of the verdict.
        name: Who.
        reason: Why.
        at: When.
        signature: Over all of that, JSON.
    """

    waiver_id: str
    model_id: str
    verdict: str
    name: str
    reason: str
    at: dt.datetime
    signature: JsonObject


@dataclass(frozen=True)
class DrillRecord:
    """One rehearsal of the way back.

    Attributes:
        drill_id: Its name.
        at: When.
        ordered_by: Who.
        n: How often it was gone.
        median_seconds_to_serving: From detection to the first answer of the target.
        passed: Whether each of them arrived, within the limit, without a wrong or lost answer.
        on_sample: Whether registry and service were made for it.
        details: All figures, JSON.
    """

    drill_id: str
    at: dt.datetime
    ordered_by: str
    n: int
    median_seconds_to_serving: float | None
    passed: bool
    on_sample: bool
    details: JsonObject = field(default_factory=dict)
