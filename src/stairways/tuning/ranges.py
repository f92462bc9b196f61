"""Ranges: which sessions train, which judge, and which are read once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import ValidationError

from stairways.config import DateRange, RangeSettings, Settings
from stairways.errors import RangeError

if TYPE_CHECKING:
    from stairways.market.sessions import Sessions

PLANTED_FAMILY = ("planted", "planted-hard", "noise")
SAMPLE_RANGES = {
    "train": "2012-03-29:2018-03-15",
    "record": "2018-03-16:2020-03-11",
    "tune": "2020-03-12:2021-03-23",
    "test": "2021-03-24:2025-03-17",
}
"""Ranges of the sample market: 60 sessions warm up, 1,500 train, 500 keep gold's record, 260 tune
and 1,000 are unseen until the final gate."""

NEEDED_RANGES = {"gold": ("train", "test"), "tune": ("tune", "test"), "dry-run": ("tune",)}
MIN_TUNE_SESSIONS = 12


def with_sample_ranges(settings: Settings, *, command: str) -> RangeSettings:
    """Fill ranges that were not given with those of the sample market.

    Args:
        settings: The settings of the command.
        command: ``gold``, ``tune`` or ``dry-run``; gold's test sessions are the record's, never the
            final gate's.

    Raises:
        RangeError: If a range is needed and there is no default, because bars or another sample are used,
            or if a default does not fit the ranges given.
    """
    given = settings.ranges
    missing = [name for name in NEEDED_RANGES[command] if getattr(given, name) is None]
    family = settings.market.sample.partition(":")[0]
    sample = settings.market.bars is None and family in PLANTED_FAMILY
    if command == "gold" and missing == ["test"] and not sample:
        # gold's record then stands on the sessions held out of its training range
        return given
    if not missing:
        return given
    if not sample:
        raise RangeError(
            f"--{missing[0]} FROM:TO is missing",
            where="options",
            remedy="name the session dates, both ends included; only the sample market has defaults",
        )
    defaults = dict(SAMPLE_RANGES)
    if command == "gold":
        defaults["test"] = defaults["record"]
    filled = {name: DateRange.model_validate(defaults[name]) for name in missing}
    try:
        return RangeSettings.model_validate({**given.model_dump(), **filled})
    except ValidationError as error:
        raise RangeError(
            error.errors()[0]["msg"].removeprefix("Value error, "),
            where=f"sample market {settings.market.sample}",
            remedy=f"name --{' and --'.join(missing)} too; by default "
            f"{', '.join(f'--{name} is {dates}' for name, dates in filled.items())}",
        ) from error


@dataclass(frozen=True)
class TuneSplit:
    """The tuning range by date; slices into all sessions.

    Attributes:
        train: Weights change here.
        select: Judges every cycle against the best so far.
        shadow: The last sessions, for the shadow replay; never trained on.
    """

    train: slice
    select: slice
    shadow: slice


def split_tune(sessions: Sessions, tune: DateRange, settings: Settings) -> TuneSplit:
    """Split the tuning range into train, select and shadow sessions.

    Select is the last quarter before the shadow sessions, but never fewer sessions than a gate can
    judge, as long as that leaves at least as many to train on.

    Raises:
        RangeError: If it holds too few sessions.
    """
    whole = span_of(sessions, tune, "tune")
    count = whole.stop - whole.start
    shadow = settings.tune.shadow_replay_days
    select = int((count - shadow) * settings.tune.select_share)
    judged = settings.gate.min_sessions
    if select < judged <= (count - shadow) / 2:
        select = judged
    if count < MIN_TUNE_SESSIONS or select < 1 or count - shadow - select < 1:
        raise RangeError(
            f"--tune {tune} holds {count} sessions",
            where=sessions.source,
            remedy=f"give at least {max(MIN_TUNE_SESSIONS, 4 * shadow)} sessions",
        )
    stop = whole.stop
    return TuneSplit(
        train=slice(whole.start, stop - shadow - select),
        select=slice(stop - shadow - select, stop - shadow),
        shadow=slice(stop - shadow, stop),
    )


def span_of(sessions: Sessions, dates: DateRange, name: str) -> slice:
    """Return the sessions of a named range.

    Raises:
        RangeError: If it holds none, naming the option.
    """
    try:
        return sessions.span(dates.first, dates.last)
    except RangeError as error:
        raise RangeError(error.what, where=f"--{name} {dates}", remedy=error.remedy) from error
