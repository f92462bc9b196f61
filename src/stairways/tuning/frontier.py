"""Frontier: what a budget of trades costs and earns, from one set point to the next.

The same policy is led through the same sessions under every set point of trades per session, with the
same numbers drawn, so that only the budget differs. Forced closes are trades: a set point below two or
three can't be reached while positions are held, and what was achieved stands beside what was asked for.

Where policies are tuned too, the gate's bands of trades move with the set point and keep their widths: a
band around 16.5 trades would refuse every policy that keeps to 5. Plan, record and terminal name them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stairways.config import DateRange, MarketSettings, Settings
from stairways.control.actuators import TiltActuator
from stairways.errors import ConfigError, RangeError, StorageError
from stairways.market.samples import sample_spec
from stairways.registry.canonical import canonical_json, parse_json_object
from stairways.registry.files import (
    holds_only_leftovers,
    read_json_object,
    remove_stale,
    write_bytes_atomic,
    write_text_atomic,
)
from stairways.trading.observation import observe
from stairways.tuning.contest import Arena, Entrant, scripted_baselines
from stairways.tuning.evaluate import CALIBRATION_SESSIONS, LEAST_CALIBRATION_SESSIONS
from stairways.tuning.frontier_rows import (
    ALL_HOLD,
    LOWEST,
    RANDOM,
    TILT,
    TUNED,
    UNTILTED,
    Ground,
    Row,
    tilt_frontier,
)
from stairways.tuning.market_access import open_for
from stairways.tuning.packing import refuse_seen, unpack_for
from stairways.tuning.ranges import PLANTED_FAMILY, SAMPLE_RANGES, span_of, split_tune
from stairways.tuning.run_folder import (
    RUN_FILE,
    SUMMARY_FILE,
    Clock,
    RunFolder,
    Watcher,
    differences,
    read_sealed,
    write_sealed,
)
from stairways.tuning.seeds import Stream, key, stream
from stairways.tuning.seen import seen_sessions
from stairways.tuning.versions import library_versions, made_with
from stairways.unpacking import ARTIFACT_FOLDER, Packed, unpack

if TYPE_CHECKING:
    from stairways.evaluation.replay import Replay
    from stairways.market.dataset import Dataset

POINTS = (0.0, 2.0, 5.0, 8.0, 12.0, 16.5, 20.0, 25.0, 30.0)
MOST_POINTS, HIGHEST_POINT = 40, 400.0
PLAN_FILE, RECORD_FILE, TABLE_FILE, PICTURE = "plan.json", "frontier.json", "frontier.csv", "frontier"
TUNED_FOLDER = "tuned"
_ANOTHER_OUT = "choose another --out"
_BANDS = ("trades_band", "session_trades_band", "shadow_trades_band")


@dataclass(frozen=True)
class FrontierOutcome:
    """A finished frontier.

    Attributes:
        record: Content of ``frontier.json``.
        folder: Where everything stands.
    """

    record: dict[str, Any]
    folder: Path


class Frontier:
    """One frontier of an artifact: under the tilt, and, where asked for, tuned at every set point.

    Args:
        settings: Market, sessions, hold set point, mode and seed; with ``tuned`` also the tuning and the
            gate, whose bands of trades move with each set point (:func:`bands_at`).
        artifact: Folder of the policy; the gold where policies are tuned.
        out: Folder that is filled; a call that was stopped goes on there.
        points: Set points of trades per session.
        tuned: Whether a policy is tuned at each of them.
        clock: Tells the time.
        watcher: Follows the work.

    Raises:
        ConfigError: If the points don't ascend or can't be asked for.
        RangeError: If no sessions are named and there is no default, or too few stand before them.
        StorageError: If the folder holds something else.
    """

    def __init__(
        self,
        settings: Settings,
        artifact: Path,
        out: Path,
        *,
        points: Sequence[float] = POINTS,
        tuned: bool = False,
        clock: Clock,
        watcher: Watcher,
    ) -> None:
        self.points = checked_points(points)
        self.folder, self.clock, self.watcher = out, clock, watcher
        self.artifact = artifact
        self.packed = unpack_for(artifact, settings)
        if tuned and self.packed.artifact.role != "gold":
            raise ConfigError("--tuned starts from a gold", where=str(artifact), remedy="name its gold")
        self.dataset = open_for(self.packed, settings)
        sessions = _judged_sessions(settings, self.dataset)
        ranges = settings.ranges.model_copy(update={"sessions": sessions})
        self.settings = settings.model_copy(update={"ranges": ranges})
        self.part = span_of(self.dataset.sessions, sessions, "sessions")
        self.before = sessions_before(self.part)
        self.tuning = self._tuning_range(sessions) if tuned else None
        self.plan = self._plan()
        _check_folder(out, self.plan)

    def run(self) -> FrontierOutcome:
        """Measure every point and write the folder."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with RunFolder(self.folder).held():
            # another process may have filled it between the first look and the lock
            _check_folder(self.folder, self.plan)
            for place in (self.folder, self.folder / TUNED_FOLDER):
                if place.is_dir():
                    remove_stale(place)
            write_bytes_atomic(self.folder / PLAN_FILE, canonical_json(self.plan, indent=1))
            rows = self._rows()
            record = self._record(rows)
            self._write(record)
        return FrontierOutcome(record, self.folder)

    def _rows(self) -> list[Row]:
        ground = self._ground()
        self.watcher.stage(f"tilt at {len(self.points)} set points", 0)
        market, rules = ground.arena.market, ground.arena.rules
        scripted = scripted_baselines(market, self.dataset, self.part, rules)
        rows, tilted = tilt_frontier(ground, self.packed.program, self.points, scripted)
        if self.tuning is None:
            return rows
        fixed = ground.arena.run_all({UNTILTED: Entrant(self.packed.program), ALL_HOLD: scripted[ALL_HOLD]})
        runs: dict[float, Replay] = {}
        for point in self.points:
            made = self._tuned(point, self.tuning)
            runs[point] = ground.arena.run(Entrant(made.program, made.loop()))
            references = {
                **fixed,
                RANDOM: ground.random_like(runs[point]),
                TILT: tilted[point],
                LOWEST: runs[self.points[0]],
            }
            rows.append(ground.row(TUNED, point, runs[point], references))
        return rows

    def _ground(self) -> Ground:
        settings = self.settings
        everything = observe(self.dataset.sessions, self.dataset.table(self.packed.constants))
        arena = Arena.of(settings, everything.select(self.part), key(settings.seed, Stream.DECISIONS))
        actuator = settings.control.actuator
        return Ground(
            arena=arena,
            before=replace(arena, market=everything.select(self.before)),
            actuator=actuator if isinstance(actuator, TiltActuator) else TiltActuator(),
            points=settings.control.points,
            confidence=settings.gate.confidence,
            seed=stream(settings.seed, Stream.BOOTSTRAP, 0),
        )

    def _tuned(self, point: float, tuning: DateRange) -> Packed:
        """Return the policy tuned at a set point; a run that stands already is taken or gone on with.

        Raises:
            StorageError: If a point that was finished is not what it was.
        """
        from stairways.tuning.run import TuneRun

        # the name tells any two points apart
        place = self.folder / TUNED_FOLDER / repr(point)
        seal = place.with_name(f"{place.name}.json")
        settings = settings_at(self.settings, point, tuning)
        identity = {"plan": self.plan["digest"], "set_point": point, "settings": settings.digest}
        if seal.exists() and (place / SUMMARY_FILE).exists():
            made = read_sealed(seal, identity, remedy=_ANOTHER_OUT)
            packed = unpack(place / ARTIFACT_FOLDER)
            if packed.digest != made["artifact"]:
                raise StorageError(
                    f"holds the artifact {packed.digest[:12]}, the tuning made {str(made['artifact'])[:12]}",
                    where=str(place / ARTIFACT_FOLDER),
                    remedy=_ANOTHER_OUT,
                )
            return packed
        self.folder.joinpath(TUNED_FOLDER).mkdir(exist_ok=True)
        low, high = settings.gate.trades_band
        self.watcher.stage(f"tuning at {point:g} trades, gate {low:g} to {high:g}", 0)
        resume = (place / RUN_FILE).exists()
        run = TuneRun(settings, self.artifact, place, clock=self.clock, watcher=self.watcher, resume=resume)
        run.run()
        packed = unpack(place / ARTIFACT_FOLDER)
        write_sealed(seal, identity, {"artifact": packed.digest})
        return packed

    def _tuning_range(self, sessions: DateRange) -> DateRange:
        """Return the sessions to tune on, all of them before those that judge."""
        given = self.settings.ranges.tune
        if given is None:
            if not _is_sample(self.settings):
                raise RangeError(
                    "--tune FROM:TO is missing",
                    where="options",
                    remedy="name the sessions to tune on; only the sample market has defaults",
                )
            usual = DateRange.model_validate(SAMPLE_RANGES["tune"])
            dates = self.dataset.sessions.dates[: self.part.start].astype(object)
            earlier = [date for date in dates if usual.first <= date <= usual.last]
            if not earlier:
                raise RangeError(
                    f"no sessions of {usual} lie before --sessions {sessions}",
                    where="--tune",
                    remedy="name the sessions to tune on",
                )
            given = DateRange(first=earlier[0], last=earlier[-1])
        if given.last >= sessions.first:
            raise RangeError(
                f"--tune {given} does not lie before --sessions {sessions}",
                where="options",
                remedy="a policy is judged on sessions that it has not seen",
            )
        refuse_seen(self.packed, given, "tune")
        return given

    def _plan(self) -> dict[str, Any]:
        """Return what makes the result, code and library versions included."""
        content = {
            **made_with(),
            "settings": self.settings.as_record(),
            "points": list(self.points),
            "tuning": None if self.tuning is None else str(self.tuning),
            "gate_bands": self._gate_bands(),
            "artifact": self.packed.digest,
            "data": self.dataset.sessions.digest,
        }
        plain = canonical_json(content)
        return {**parse_json_object(plain), "digest": hashlib.sha256(plain).hexdigest()}

    def _gate_bands(self) -> list[dict[str, Any]] | None:
        """Return the bands of trades that the gate of each tuning has; None where nothing is tuned."""
        if self.tuning is None:
            return None
        return [{"set_point": point, **bands_at(self.settings, point)} for point in self.points]

    def _record(self, rows: list[Row]) -> dict[str, Any]:
        dates = self.dataset.sessions.dates
        before = self.before
        seen = seen_sessions(self.packed, None, self.dataset.sessions.source, dates[self.part])
        judged = dates[self.part].astype(object)
        test = DateRange.model_validate(SAMPLE_RANGES["test"])
        return {
            "command": "frontier",
            "seed": self.settings.seed,
            "mode": self.settings.control.mode,
            "hold_set_point_ratio": self.settings.control.points.hold_rate_ratio,
            "confidence": self.settings.gate.confidence,
            "gate_bands": self.plan["gate_bands"],
            "cost_bps": self.settings.trading.costs.commission_bps
            + self.settings.trading.costs.half_spread_bps,
            "data": {
                "source": self.dataset.sessions.source,
                "synthetic": self.dataset.sessions.source.startswith("SYNTHETIC"),
                "symbols": list(self.dataset.sessions.symbols),
                "interval_minutes": self.dataset.sessions.interval_minutes,
                "sessions": f"{dates[self.part.start]}:{dates[self.part.stop - 1]}",
                "n_sessions": self.part.stop - self.part.start,
                "calibrated_on": f"{dates[before.start]}:{dates[before.stop - 1]}",
                "n_calibrated_on": before.stop - before.start,
                "tuned_on": None if self.tuning is None else str(self.tuning),
                "seen_sessions": int(seen.sum()),
                "test_sessions": sum(test.first <= date <= test.last for date in judged)
                if _is_the_sample(self.settings)
                else 0,
            },
            "policy": {"role": self.packed.artifact.role, "digest": self.packed.digest},
            "plan_digest": self.plan["digest"],
            "rows": rows,
            "versions": library_versions(),
        }

    def _write(self, record: dict[str, Any]) -> None:
        from stairways.reporting.frontier_picture import PICTURE_SIZE_POINTS, draw_frontier, frontier_csv
        from stairways.reporting.rendering import svg_and_png

        write_text_atomic(self.folder / TABLE_FILE, frontier_csv(record["rows"]))
        pictures = svg_and_png(PICTURE, PICTURE_SIZE_POINTS, lambda figure: draw_frontier(figure, record))
        for suffix, content in pictures.items():
            write_bytes_atomic(self.folder / f"{PICTURE}.{suffix}", content)
        write_bytes_atomic(self.folder / RECORD_FILE, canonical_json(record, indent=1))


def checked_points(points: Sequence[float]) -> tuple[float, ...]:
    """Return set points that can be asked for, ascending.

    Raises:
        ConfigError: If there are fewer than two or too many, one stands twice, or one is out of bounds.
    """
    found = tuple(sorted(float(point) for point in points))
    where = "--points"
    if not 2 <= len(found) <= MOST_POINTS or len(set(found)) != len(found):
        raise ConfigError(
            f"{len(found)} set points, {len(set(found))} of them different",
            where=where,
            remedy=f"name 2 to {MOST_POINTS} different ones",
        )
    bad = [point for point in found if not 0.0 <= point <= HIGHEST_POINT]
    if bad:
        raise ConfigError(
            f"a set point of {bad[0]:g} trades per session", where=where, remedy=f"0 to {HIGHEST_POINT:g}"
        )
    return found


def sessions_before(part: slice) -> slice:
    """Return the sessions before a range that multipliers are calibrated on.

    Raises:
        RangeError: If there are too few: calibrating on the sessions judged would flatter them.
    """
    first = max(0, part.start - CALIBRATION_SESSIONS)
    if part.start - first < LEAST_CALIBRATION_SESSIONS:
        raise RangeError(
            f"{part.start - first} sessions stand before those judged, at least "
            f"{LEAST_CALIBRATION_SESSIONS} are needed to calibrate",
            where="--sessions",
            remedy="judge later sessions",
        )
    return slice(first, part.start)


def settings_at(settings: Settings, trades_per_session: float, tuning: DateRange) -> Settings:
    """Return the settings of a tuning at a set point; the gate's bands of trades move with it.

    Args:
        settings: The settings of the frontier; its sessions are the unseen ones of the tuning.
        trades_per_session: The set point.
        tuning: Sessions to tune on.
    """
    content = settings.model_dump(exclude_unset=True)
    control = content.setdefault("control", {})
    control.setdefault("points", {})["trades_per_session"] = trades_per_session
    content.setdefault("gate", {}).update(bands_at(settings, trades_per_session))
    content["ranges"] = {"tune": str(tuning), "test": str(settings.ranges.sessions)}
    return Settings.model_validate(content)


def bands_at(settings: Settings, trades_per_session: float) -> dict[str, list[float]]:
    """Return the gate's bands of trades around a set point, at the distances they have in the settings.

    A band that the settings name keeps its distances from their own set point, and a default one from the
    default set point. No band begins below 0.

    Args:
        settings: Gate and set point.
        trades_per_session: The set point that the bands move to.

    Returns:
        Lower and upper end of each band by its name; those of single sessions are whole numbers.
    """
    usual = Settings()
    bands: dict[str, list[float]] = {}
    for name in _BANDS:
        of = settings if name in settings.gate.model_fields_set else usual
        band, centre = getattr(of.gate, name), of.control.points.trades_per_session
        # one subtraction from the set point each, so that rounding can't leave it outside
        low, high = trades_per_session - (centre - band[0]), trades_per_session + (band[1] - centre)
        if name == "trades_band":
            bands[name] = [max(0.0, low), max(0.0, high)]
        else:
            bands[name] = [max(0, round(low)), max(1, round(high))]
    return bands


def _judged_sessions(settings: Settings, dataset: Dataset) -> DateRange:
    """Return the sessions asked for, or the sample's select sessions; never the test range unasked.

    Raises:
        RangeError: If none were named and there is no default.
    """
    if settings.ranges.sessions is not None:
        return settings.ranges.sessions
    if not _is_sample(settings):
        raise RangeError(
            "--sessions FROM:TO is missing",
            where="options",
            remedy="name the session dates; only the sample market has a default",
        )
    tune = DateRange.model_validate(SAMPLE_RANGES["tune"])
    select = split_tune(dataset.sessions, tune, settings).select
    dates = dataset.sessions.dates
    return DateRange(first=dates[select.start].item(), last=dates[select.stop - 1].item())


def _is_sample(settings: Settings) -> bool:
    market = settings.market
    return market.bars is None and market.sample.partition(":")[0] in PLANTED_FAMILY


def _is_the_sample(settings: Settings) -> bool:
    """Tell whether this is the very market that the shipped gold and the default ranges are for."""
    if not _is_sample(settings):
        return False
    usual = MarketSettings()
    spec, seed = sample_spec(settings.market.sample)
    return (spec.name, seed, settings.market.interval) == (usual.sample, spec.seed, usual.interval)


def _check_folder(folder: Path, plan: Mapping[str, Any]) -> None:
    """Refuse a folder that holds anything but this very frontier, or what a kill left of its first write.

    Raises:
        StorageError: If it does; what differs is named.
    """
    place = folder / PLAN_FILE
    if place.is_file():
        standing = read_json_object(place, remedy=_ANOTHER_OUT)
        # the digest follows from the rest, and says nothing to a person
        found = differences({**standing, "digest": plan["digest"]}, plan)
        if found:
            raise StorageError(f"holds another frontier: {found}", where=str(folder), remedy=_ANOTHER_OUT)
    elif folder.exists() and (not folder.is_dir() or not holds_only_leftovers(folder, PLAN_FILE)):
        raise StorageError("is not an empty folder", where=str(folder), remedy=_ANOTHER_OUT)
