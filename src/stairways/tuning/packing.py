"""Packing: artifacts made of what training produced, and taken apart again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stairways.config import DateRange, Settings
from stairways.control.tilt import Multipliers
from stairways.envs.reward import REWARD_VERSION
from stairways.errors import MismatchError, RangeError
from stairways.market.features import FeatureConstants
from stairways.policies.spec import PolicySpec
from stairways.registry.artifact import Artifact, ensure_matches
from stairways.trading.actions import action_meanings
from stairways.unpacking import Packed, unpack

if TYPE_CHECKING:
    from stairways.market.dataset import Dataset
    from stairways.policies.program import Weights


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
