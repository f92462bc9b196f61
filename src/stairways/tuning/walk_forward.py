"""Walk-forward: train gold, tune it, test once, and roll on; every test session is unseen.

Each window runs the product's own gold training and its own main job in a folder of its own. What its
policies did on the test sessions is kept there, so that a stopped walk goes on, and the windows are read
together at the end, in date order, as one account. What is kept is sealed with everything it depends on,
code and library versions included: nothing that another walk made, or that was changed, is read.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stairways.config import DateRange, RangeSettings
from stairways.errors import ConfigError, RangeError, StorageError, TrainingError
from stairways.registry.artifact import read_artifact
from stairways.registry.canonical import canonical_json, parse_json_object
from stairways.registry.connection import sqlite_url
from stairways.registry.files import read_json_object, remove_stale, storage_error, write_folder_atomic
from stairways.tuning.evaluate import POLICY, evaluate
from stairways.tuning.final import CANDIDATE
from stairways.tuning.gold import GoldTraining
from stairways.tuning.market_access import open_dataset
from stairways.tuning.pooling import ledger_record, pool
from stairways.tuning.ranges import MIN_TUNE_SESSIONS
from stairways.tuning.run import TuneRun
from stairways.tuning.run_folder import (
    DATABASE_FILE,
    RUN_FILE,
    RunFolder,
    Silent,
    differences,
    read_sealed,
    write_sealed,
)
from stairways.tuning.steer import rehearsal_of
from stairways.tuning.versions import made_with
from stairways.unpacking import ARTIFACT_FOLDER

if TYPE_CHECKING:
    from stairways.config import Settings
    from stairways.market.sessions import Sessions
    from stairways.tuning.run_folder import Clock, Watcher

WALK_FILE, WINDOW_FILE, GOLD_FILE = "walk.json", "window.json", "gold.json"
GOLD_PLACE, RUN_PLACE = "gold", "run"
KEPT_OF_GOLD = ("steps", "stopped", "wall_seconds", "gold", "verdicts")
KEPT_OF_RUN = ("digest", "steps", "cycle", "accepted", "skill_proven", "looks")
LEAST_TEST_SESSIONS = 20
"""The last window may be shorter than the others, but never too short for a Sharpe ratio."""

Watch = Callable[[str], AbstractContextManager["Watcher"]]


@dataclass(frozen=True)
class WindowSizes:
    """Lengths of a window, in sessions.

    Attributes:
        train: Gold's training.
        tune: The candidate's tuning, behind it.
        test: The unseen sessions, behind that.
        step: How far the next window lies behind; at least ``test``, or a session would count twice.
    """

    train: int = 200
    tune: int = 60
    test: int = 60
    step: int = 60

    def __post_init__(self) -> None:
        least = {"train": 2, "tune": MIN_TUNE_SESSIONS, "test": LEAST_TEST_SESSIONS, "step": self.test}
        for name, low in least.items():
            if getattr(self, name) < low:
                raise ConfigError(
                    f"{getattr(self, name)} sessions, at least {low} are needed", where=f"--{name}-sessions"
                )


@dataclass(frozen=True)
class Window:
    """One window; slices into all sessions.

    Attributes:
        number: From 1.
        train: Sessions of gold's training.
        tune: Sessions of the tuning.
        test: Sessions of the test.
    """

    number: int
    train: slice
    tune: slice
    test: slice


def roll(sessions: Sessions, sizes: WindowSizes, dates: DateRange | None = None) -> tuple[Window, ...]:
    """Place windows one behind the other, as many as fit.

    Args:
        sessions: All sessions there are, in date order; windows count sessions and run across gaps.
        sizes: Lengths.
        dates: Dates that every test session must lie in; None for all.

    Returns:
        Windows in date order. The last test is shorter where the sessions end, but has at least 20.

    Raises:
        RangeError: If not one window fits.
    """
    inside = slice(0, len(sessions)) if dates is None else sessions.span(dates.first, dates.last)
    before = sizes.train + sizes.tune
    windows: list[Window] = []
    first = max(inside.start, before)
    while inside.stop - first >= LEAST_TEST_SESSIONS:
        tune = first - sizes.tune
        windows.append(
            Window(
                number=len(windows) + 1,
                train=slice(tune - sizes.train, tune),
                tune=slice(tune, first),
                test=slice(first, min(first + sizes.test, inside.stop)),
            )
        )
        first += sizes.step
    if not windows or windows[0].test.stop - windows[0].test.start < sizes.test:
        raise RangeError(
            f"a window of {sizes.train} + {sizes.tune} + {sizes.test} sessions does not fit: "
            f"{inside.stop} sessions end with {sessions.dates[inside.stop - 1]}, "
            f"{inside.stop - inside.start} of them may be tested",
            where=sessions.source,
            remedy="lower --train-sessions, --tune-sessions or --test-sessions",
        )
    return tuple(windows)


class WalkForward:
    """One walk.

    Args:
        settings: Every setting but the ranges, which the windows set.
        sizes: Lengths of a window.
        out: Folder of the walk; a walk of the same settings, sessions, sizes, code and libraries goes on
            there.
        clock: Tells the time.
        watch: Opens a watcher for a named stage; by default nobody watches.
        tested: Dates that every test session must lie in; None for all.

    Raises:
        ConfigError: If the folder holds another walk; what differs is named.
        RangeError: If not one window fits.
        StorageError: If the folder holds something else, or its ``walk.json`` is damaged.
    """

    def __init__(
        self,
        settings: Settings,
        sizes: WindowSizes,
        out: Path,
        *,
        clock: Clock,
        watch: Watch | None = None,
        tested: DateRange | None = None,
    ) -> None:
        self.settings = settings
        self.sizes = sizes
        self.out = out
        self.clock = clock
        self.watch: Watch = watch or (lambda _: contextlib.nullcontext(Silent()))
        self.dataset = open_dataset(settings)
        self.windows = roll(self.dataset.sessions, sizes, tested)
        self.identity = self._identity()
        self._begin()

    def run(self) -> list[dict[str, Any]]:
        """Run every window that is not there yet and return the records of all.

        Raises:
            StorageError: As in :meth:`run_window`.
            TrainingError: As in :meth:`run_window`.
        """
        with self._held():
            return [self._window(window) for window in self.windows]

    def run_window(self, window: Window) -> dict[str, Any]:
        """Train, tune and test one window, or read what it left.

        Raises:
            StorageError: If another process works in the folder, or what stands there is damaged, was
                changed or was made by another walk.
            TrainingError: If the tuned artifact, judged again, does not do what the run says it did.
        """
        with self._held():
            return self._window(window)

    @contextlib.contextmanager
    def _held(self) -> Iterator[None]:
        with RunFolder(self.out).held():
            remove_stale(self.out)
            yield

    def _window(self, window: Window) -> dict[str, Any]:
        folder = self.out / f"window-{window.number:02d}"
        place = folder / WINDOW_FILE
        identity = {"walk": self.identity, **self._ground(window)}
        if folder.is_dir():
            remove_stale(folder)
        if place.exists():
            return read_sealed(place, identity, remedy=_again(folder))
        name = f"window {window.number} of {len(self.windows)}"
        gold = self._gold(folder, window, name, identity)
        summary = self._tuned(folder, window, name)
        ranges = {"sessions": self._dates(window.test)}
        again = evaluate(
            folder / RUN_PLACE / ARTIFACT_FOLDER, self._with(ranges), gold=None, clock=self.clock
        )
        if again.record["run"]["fills_digest"] != summary["run"]["fills_digest"]:
            raise TrainingError(
                "the artifact does not repeat what its run reported", where=str(folder / RUN_PLACE)
            )
        record = {
            **self._ground(window),
            "neutral_regime_ratio": summary["data"]["neutral_regime_ratio"],
            "gold": gold,
            "run": {
                **{key: summary["run"][key] for key in KEPT_OF_RUN},
                "verdicts": summary["verdicts"],
            },
            "comparisons": summary["comparisons"],
            "policies": {
                CANDIDATE: summary["candidate"],
                "gold": summary["gold"],
                **summary["baselines"],
            },
            "ledgers": {
                CANDIDATE if policy == POLICY else policy: ledger_record(run.ledger)
                for policy, run in again.replays.items()
            },
        }
        return write_sealed(place, identity, record)

    def _ground(self, window: Window) -> dict[str, Any]:
        """Return where a window stands: its ranges, and the gaps between sessions within it."""
        sessions = self.dataset.sessions
        ranges = {}
        for name in ("train", "tune", "test"):
            part: slice = getattr(window, name)
            dates = self._dates(part)
            ranges[name] = {
                "first": str(dates.first),
                "last": str(dates.last),
                "n_sessions": part.stop - part.start,
            }
        return {
            "window": window.number,
            "source": sessions.source,
            "ranges": ranges,
            "gaps": int(np.ptp(sessions.segment[window.train.start : window.test.stop])),
        }

    def _identity(self) -> dict[str, Any]:
        """Return everything that the windows depend on, as it is read from JSON."""
        identity = {
            **made_with(),
            "settings": self._with({}).as_record(),
            "data_digest": self.dataset.sessions.digest,
            "sizes": asdict(self.sizes),
            "tests": [str(self._dates(window.test)) for window in self.windows],
        }
        return dict(parse_json_object(canonical_json(identity)))

    def _begin(self) -> None:
        place = self.out / WALK_FILE
        if not place.is_file():
            write_folder_atomic(self.out, {WALK_FILE: canonical_json(self.identity, indent=1)})
            return
        found = differences(read_json_object(place, remedy="choose another --out"), self.identity)
        if found:
            raise ConfigError(
                f"holds another walk: {found}",
                where=str(self.out),
                remedy="go on with the same, or choose another --out",
            )

    def _gold(self, folder: Path, window: Window, name: str, identity: dict[str, Any]) -> dict[str, Any]:
        """Train the window's gold, or take the one it trained; its record rests on the tuning sessions."""
        place, seal = folder / GOLD_PLACE, folder / GOLD_FILE
        if seal.exists():
            kept = read_sealed(seal, identity, remedy=_again(folder))
            digest = read_artifact(place).digest
            if digest != kept["digest"]:
                raise StorageError(
                    f"holds the artifact {digest[:12]}, the window trained {str(kept['digest'])[:12]}",
                    where=str(place),
                    remedy=_again(folder),
                )
            return kept
        if place.exists():
            _discard_unsealed(place)
        ranges = {"train": self._dates(window.train), "test": self._dates(window.tune)}
        with self.watch(f"{name}: gold on {ranges['train']}") as watcher:
            GoldTraining(self._with(ranges), place, clock=self.clock, watcher=watcher).run()
        loaded = read_artifact(place)
        kept = {"digest": loaded.digest, **{key: loaded.record[key] for key in KEPT_OF_GOLD}}
        return write_sealed(seal, identity, kept)

    def _tuned(self, folder: Path, window: Window, name: str) -> dict[str, Any]:
        place = folder / RUN_PLACE
        ranges = {"tune": self._dates(window.tune), "test": self._dates(window.test)}
        database = self.settings.call.database or sqlite_url(self.out.resolve() / DATABASE_FILE)
        settings = self._rolling(ranges, window)
        call = settings.call.model_copy(update={"database": database})
        with self.watch(f"{name}: tune on {ranges['tune']}, test on {ranges['test']}") as watcher:
            run = TuneRun(
                settings.model_copy(update={"call": call}),
                folder / GOLD_PLACE,
                place,
                clock=self.clock,
                watcher=watcher,
                resume=(place / RUN_FILE).exists(),
            )
            return run.run().summary

    def _rolling(self, ranges: dict[str, DateRange], window: Window) -> Settings:
        """Return the settings of a window's tuning, which rehearses nothing from before the window."""
        settings = self._with(ranges)
        most = window.tune.start - window.train.start
        rehearsed = min(most, rehearsal_of(settings, settings.gold.policy))
        tune = settings.tune.model_copy(update={"rehearsal_sessions": rehearsed})
        return settings.model_copy(update={"tune": tune})

    def _with(self, ranges: dict[str, DateRange]) -> Settings:
        return self.settings.model_copy(update={"ranges": RangeSettings(**ranges)})

    def _dates(self, part: slice) -> DateRange:
        dates = self.dataset.sessions.dates[part]
        return DateRange(first=dates[0].item(), last=dates[-1].item())


def _again(folder: Path) -> str:
    return f"remove {folder} to have its window run again, or choose another --out"


def _discard_unsealed(place: Path) -> None:
    """Remove a gold whose training was killed before it was sealed; trained again, it is the same."""
    try:
        shutil.rmtree(place)
    except OSError as error:
        raise storage_error(error, place) from error


def walk_record(walk: WalkForward, windows: Sequence[dict[str, Any]], target_sharpe: float) -> dict[str, Any]:
    """Return a finished walk as plain JSON types: every window, and all of their unseen sessions together.

    Args:
        walk: The walk.
        windows: Records of all of its windows.
        target_sharpe: Annual net Sharpe ratio to reach, for the candidates as one account.
    """
    settings, sessions = walk.settings, walk.dataset.sessions
    pooled = pool(windows, settings, target_sharpe=target_sharpe, n_actions=3**sessions.n_symbols)
    tested = [window["ranges"]["test"]["n_sessions"] for window in windows]
    neutral = [window["neutral_regime_ratio"] for window in windows]
    return {
        "sizes": asdict(walk.sizes),
        "target_sharpe": target_sharpe,
        "data": {
            "source": sessions.source,
            "synthetic": sessions.synthetic,
            "symbols": list(sessions.symbols),
            "interval_minutes": sessions.interval_minutes,
            "digest": sessions.digest,
            "n_sessions": len(sessions),
            "neutral_regime_ratio": float(np.average(neutral, weights=tested)),
            "quality": None if walk.dataset.quality is None else walk.dataset.quality.as_record(),
        },
        "windows": [{key: value for key, value in w.items() if key != "ledgers"} for w in windows],
        "pooled": pooled.record,
        "met": pooled.target.passed,
        "run": {"command": "backtest --walk-forward", "seed": settings.seed, "mode": settings.control.mode},
    }
