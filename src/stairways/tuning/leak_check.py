"""Check an artifact for leaks: its own pipeline on changed futures, and where its constants come from."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from stairways.config import DateRange
from stairways.errors import RangeError
from stairways.evaluation.leak import LeakReport, ProductPipeline, find_leaks, pooled
from stairways.evaluation.leak_futures import FUTURES, Cut, draw_cuts
from stairways.market.features import FEATURE_NAMES, FeatureConstants
from stairways.tuning.evaluate import parent_of
from stairways.tuning.market_access import open_dataset, open_for
from stairways.tuning.packing import unpack_for
from stairways.tuning.ranges import span_of
from stairways.tuning.seeds import Stream, key
from stairways.unpacking import Packed, unpack

if TYPE_CHECKING:
    from stairways.config import Settings
    from stairways.market.dataset import Dataset
    from stairways.market.sessions import Sessions

BLOCKS, BLOCK_SESSIONS, CUTS_PER_BLOCK = 8, 5, 6
WARM_SESSIONS, LATER_SESSIONS = 60, 10
"""Sessions before a block that warm its features up, and behind it that its future can be taken from."""
CONSTANT_TOLERANCE_RATIO = 1e-9

Origin = Literal["fitted", "leak", "not checked"]
Stage = Callable[[str, int], None]


@dataclass(frozen=True)
class ConstantsCheck:
    """Where an artifact's feature constants come from.

    Attributes:
        origin: ``fitted`` when they were computed again from the range the artifact states, bar for bar;
            ``leak`` when they come from elsewhere, or sessions that are judged lie in that range;
            ``not checked`` when its bars are not there.
        fitted_on: The range.
        reason: One sentence for a person.
    """

    origin: Origin
    fitted_on: str
    reason: str

    @property
    def passed(self) -> bool:
        """Whether they are known to come from the stated range alone."""
        return self.origin == "fitted"

    def as_record(self) -> dict[str, Any]:
        """Return the check as plain JSON types."""
        return {"passed": self.passed, **vars(self)}


@dataclass(frozen=True)
class ArtifactLeakCheck:
    """Everything that ``stairways check leak`` found.

    Attributes:
        report: Features, decisions and fills on changed futures.
        constants: Where the feature constants come from.
        record: Everything as plain JSON types.
    """

    report: LeakReport
    constants: ConstantsCheck
    record: dict[str, Any]

    @property
    def passed(self) -> bool:
        """Whether everything was checked and nothing was found."""
        return self.report.passed and self.constants.passed


def own_market(data_source: str) -> dict[str, Any]:
    """Return the settings of the sample market that an artifact was made on; none for bars from disk."""
    found = re.fullmatch(r"SYNTHETIC (\S+), seed (\d+)", data_source)
    return {"sample": f"{found[1]}:{found[2]}"} if found else {}


def leak_settings_base(folder: Path) -> dict[str, Any]:
    """Return what an artifact says of its market, its rules and its mode, as settings."""
    packed = unpack(folder)
    artifact = packed.artifact
    base: dict[str, Any] = {
        "market": {
            "symbols": list(artifact.symbols),
            "interval": f"{artifact.interval_minutes}min",
            "regime": packed.regime.model_dump(mode="json"),
            **own_market(artifact.data_source),
        },
        "trading": packed.rules.model_dump(mode="json"),
    }
    if packed.control is not None:
        base["control"] = {"mode": packed.control.mode}
    return base


def check_artifact(
    folder: Path,
    settings: Settings,
    *,
    stage: Stage = lambda name, steps: None,
    follow: Callable[[], None] = lambda: None,
) -> ArtifactLeakCheck:
    """Check an artifact for leaks on a seeded sample of sessions.

    Args:
        folder: The artifact.
        settings: Market, sessions to draw from, mode and seed; without sessions, all behind those it has
            seen.
        stage: Told of each part of the work and of how many steps it has.
        follow: Called after each step.

    Raises:
        RangeError: If there is no session to check.
    """
    stage("opening the market", 0)
    packed = unpack_for(folder, settings)
    gold = packed if packed.artifact.role == "gold" else parent_of(packed, folder, None)
    return check_on(packed, open_for(packed, settings), settings, gold=gold, stage=stage, follow=follow)


def check_on(
    packed: Packed,
    dataset: Dataset,
    settings: Settings,
    *,
    gold: Packed | None,
    stage: Stage = lambda name, steps: None,
    follow: Callable[[], None] = lambda: None,
) -> ArtifactLeakCheck:
    """Check an artifact for leaks on a market that is open.

    Args:
        packed: The artifact.
        dataset: All sessions.
        settings: Sessions to draw from, mode and seed.
        gold: The gold its constants come from, itself for a gold; None where it is not at hand.
        stage: As in `check_artifact`.
        follow: As in `check_artifact`.

    Raises:
        RangeError: If there is no session to check.
    """
    sessions = dataset.sessions
    allowed = _judged(packed, settings, sessions)
    seed = np.random.SeedSequence(settings.seed)
    rng = np.random.default_rng(seed)
    blocks = draw_blocks(sessions, allowed, rng)
    stage("changing futures", sum(len(block.cuts) for block in blocks) * len(FUTURES))
    reports = [
        find_leaks(
            sessions.select(block.window),
            product_pipeline(packed, dataset, settings, block.window.start),
            block.part,
            block.cuts,
            seed=np.random.SeedSequence(settings.seed, spawn_key=(index + 1,)),
            follow=follow,
        )
        for index, block in enumerate(blocks)
    ]
    report = pooled(reports)
    stage("computing the constants again", 0)
    constants = check_constants(packed, gold, dataset, home_of(gold, dataset, settings), allowed)
    checked = [_dates(sessions.select(block.window), block.part) for block in blocks]
    record = {
        "passed": report.passed and constants.passed,
        "artifact": packed.digest,
        "seed": settings.seed,
        "mode": settings.control.mode,
        "data": {"source": sessions.source, "range": _dates(sessions, allowed), "checked": checked},
        "futures": report.as_record(),
        "constants": constants.as_record(),
    }
    return ArtifactLeakCheck(report, constants, record)


def product_pipeline(
    packed: Packed, dataset: Dataset, settings: Settings, first_session: int
) -> ProductPipeline:
    """Return an artifact's pipeline as it is deployed, from some session on.

    Args:
        packed: The artifact.
        dataset: Its market; the regime goes on from what it was before the session.
        settings: Rules, mode and seed.
        first_session: Index of the first session the pipeline will be given.
    """
    return ProductPipeline(
        constants=packed.constants,
        regime=packed.regime,
        policy=packed.program,
        rules=settings.trading,
        mode=settings.control.mode,
        run_key=key(settings.seed, Stream.DECISIONS),
        loop=packed.loop(),
        regime_start=dataset.raw.regime.state_before(first_session),
    )


@dataclass(frozen=True)
class Block:
    """Some sessions in a row that an account is led through, and the moments to change the future at.

    Attributes:
        window: The bars a pipeline is given, as sessions of the whole market: what warms features up, the
            block, and what its future can be taken from.
        part: The block, as sessions of the window.
        cuts: Moments within the block, as sessions of the window.
    """

    window: slice
    part: slice
    cuts: tuple[Cut, ...]


def draw_blocks(sessions: Sessions, allowed: slice, rng: np.random.Generator) -> list[Block]:
    """Draw blocks of sessions, apart from each other, with moments in each.

    One lies round a half day and one round a segment's start, where there are any, the others anywhere.

    Args:
        sessions: All sessions.
        allowed: Those to draw from.
        rng: Source of randomness.
    """
    indices = np.arange(allowed.start, allowed.stop)
    half_days = indices[sessions.n_bars[allowed] < sessions.max_bars]
    starts = indices[1:][np.diff(sessions.segment[allowed]) != 0]
    anchors = [int(rng.choice(found)) for found in (half_days, starts) if len(found)]
    anchors += rng.permutation(indices).tolist()
    drawn: list[slice] = []
    for anchor in anchors:
        first = min(anchor - BLOCK_SESSIONS // 2, allowed.stop - BLOCK_SESSIONS)
        first = max(first, allowed.start)
        block = slice(first, min(first + BLOCK_SESSIONS, allowed.stop))
        if all(block.stop <= other.start or other.stop <= block.start for other in drawn):
            drawn.append(block)
        if len(drawn) == BLOCKS:
            break
    return [_block(sessions, part, rng) for part in sorted(drawn, key=lambda part: part.start)]


def _block(sessions: Sessions, part: slice, rng: np.random.Generator) -> Block:
    first = max(0, part.start - WARM_SESSIONS)
    window = slice(first, min(len(sessions), part.stop + LATER_SESSIONS))
    inner = slice(part.start - first, part.stop - first)
    return Block(window, inner, draw_cuts(sessions.select(window), inner, CUTS_PER_BLOCK, rng))


def home_of(gold: Packed | None, dataset: Dataset, settings: Settings) -> Dataset:
    """Return the market a gold was made on: another sample market is generated again, bars stay those given.

    Args:
        gold: The gold; None where it is not at hand.
        dataset: The market that is open.
        settings: The settings it was opened with.
    """
    if gold is None or gold.artifact.data_source == dataset.sessions.source:
        return dataset
    own = own_market(gold.artifact.data_source)
    if not own:
        return dataset
    market = settings.market.model_copy(update={"bars": None, **own})
    return open_dataset(settings.model_copy(update={"market": market}))


def check_constants(
    packed: Packed, gold: Packed | None, dataset: Dataset, home: Dataset, judged: slice
) -> ConstantsCheck:
    """Compute an artifact's constants again from the range they were fitted on, and compare.

    The range is the first that the artifact has seen: its gold's training range.

    Args:
        packed: The artifact.
        gold: The gold its constants come from, itself for a gold; None where it is not at hand.
        dataset: The market that was checked.
        home: The market the constants were fitted on.
        judged: Sessions of ``dataset`` that were drawn from.
    """
    if not packed.seen:
        return ConstantsCheck("not checked", "-", "the artifact does not say what it has seen")
    stated = packed.seen[0]
    if gold is not None and not _equal(gold.constants, packed.constants):
        reason = f"they are not its gold's: {_first_constant(gold.constants, packed.constants)}"
        return ConstantsCheck("leak", str(stated), reason)
    try:
        part = span_of(home.sessions, stated, "sessions")
    except RangeError:
        reason = f"no session of {stated} is in these bars: name those the artifact was made on"
        return ConstantsCheck("not checked", str(stated), reason)
    again = FeatureConstants.fit(home.raw, home.sessions, part)
    if not _equal(again, packed.constants):
        return _other_constants(packed, gold, home, again, stated)
    inside = 0 if home is not dataset else min(part.stop, judged.stop) - max(part.start, judged.start)
    if inside > 0:
        reason = f"{inside} of the sessions to check lie in {stated}, which they were fitted on"
        return ConstantsCheck("leak", str(stated), reason)
    place = "" if home is dataset else f" of {home.sessions.source}"
    reason = f"computed again from the {part.stop - part.start} sessions of {stated}{place}: equal"
    return ConstantsCheck("fitted", str(stated), reason)


def _other_constants(
    packed: Packed, gold: Packed | None, home: Dataset, again: FeatureConstants, stated: DateRange
) -> ConstantsCheck:
    """Tell what constants that are not those of the stated range mean."""
    sessions = home.sessions
    where = _first_constant(again, packed.constants)
    everything = FeatureConstants.fit(home.raw, sessions, slice(0, len(sessions)))
    if _equal(everything, packed.constants):
        reason = f"they are those of all {len(sessions)} sessions, not of {stated}: {where}"
        return ConstantsCheck("leak", str(stated), reason)
    if gold is not None and sessions.digest == gold.artifact.data_digest:
        return ConstantsCheck("leak", str(stated), f"they are not those of {stated}: {where}")
    what = "its gold is not at hand" if gold is None else "these are not the bars gold was made on"
    return ConstantsCheck("not checked", str(stated), f"{what}: {where}")


def _equal(one: FeatureConstants, two: FeatureConstants) -> bool:
    return all(
        np.allclose(a, b, rtol=CONSTANT_TOLERANCE_RATIO, atol=1e-15)
        for a, b in ((one.mean, two.mean), (one.scale, two.scale))
    )


def _first_constant(right: FeatureConstants, found: FeatureConstants) -> str:
    for name in ("mean", "scale"):
        one, two = getattr(right, name), getattr(found, name)
        off = ~np.isclose(one, two, rtol=CONSTANT_TOLERANCE_RATIO, atol=1e-15)
        if off.any():
            leg, feature = np.argwhere(off)[0]
            what = f"{name} of {right.symbols[leg]}.{FEATURE_NAMES[feature]}"
            return f"{what} is {two[leg, feature]:.9g}, not {one[leg, feature]:.9g}"
    return "no constant differs"


def _judged(packed: Packed, settings: Settings, sessions: Sessions) -> slice:
    asked = settings.ranges.sessions
    if asked is not None:
        return span_of(sessions, asked, "sessions")
    return behind_seen(packed.seen, sessions)


def behind_seen(seen: tuple[DateRange, ...], sessions: Sessions) -> slice:
    """Return the sessions behind everything an artifact has seen.

    Raises:
        RangeError: If there is none.
    """
    last = max((dates.last for dates in seen), default=None)
    start = 0 if last is None else int(np.searchsorted(sessions.dates, np.datetime64(last, "D"), "right"))
    if start == len(sessions):
        raise RangeError(
            f"no session lies behind {last}, the last that the artifact has seen",
            where=sessions.source,
            remedy="name --sessions FROM:TO",
        )
    return slice(start, len(sessions))


def _dates(sessions: Sessions, part: slice) -> dict[str, Any]:
    dates = sessions.dates[part]
    return {"first": str(dates[0]), "last": str(dates[-1]), "n_sessions": len(dates)}
