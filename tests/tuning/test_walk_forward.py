"""Windows that roll: where they stand, what they leave, and how a stopped walk goes on."""

from __future__ import annotations

import datetime as dt
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import random_sessions
from stairways.config import DateRange, load_settings
from stairways.errors import ConfigError, RangeError, StorageError, TrainingError
from stairways.registry.artifact import read_artifact, write_artifact
from stairways.registry.database import GateDatabase
from stairways.trading.sharpe import annual_sharpe
from stairways.tuning import walk_forward
from stairways.tuning.run_folder import RunFolder
from stairways.tuning.walk_forward import WalkForward, WindowSizes, roll, walk_record
from stairways.unpacking import unpack

SIZES = WindowSizes(train=24, tune=24, test=20, step=20)
TESTED = DateRange.model_validate("2022-04-01:2022-05-27")
QUICK = {
    "seed": 3,
    "market": {"sample": "2022_bear_market:3", "interval": "5min"},
    "gold": {
        "hidden": [8],
        "steps": 4_000,
        "judge_every_rollouts": 1,
        "over_hold_rollouts": 1,
        "over_hold_learning_rate": 0.3,
        "over_hold_ratio": 0.5,
        "over_hold_trades": 60.0,
        "ppo": {"n_envs": 20, "n_steps": 50, "minibatch": 200, "epochs": 2},
    },
    "tune": {
        "cycles": 2,
    },
}


def still():
    return dt.datetime(2020, 1, 1, tzinfo=dt.UTC)


def walk_in(out, **changes):
    settings = load_settings(None, {**QUICK, **changes})
    return WalkForward(settings, SIZES, out, clock=still, tested=TESTED)


@pytest.fixture(scope="module")
def walked(tmp_path_factory):
    out = tmp_path_factory.mktemp("walk") / "walk"
    walk = walk_in(out)
    return walk, walk.run()


class TestRoll:
    def test_windows_by_hand(self):
        sessions = random_sessions(1, 125, 2, 30)
        windows = roll(sessions, WindowSizes(train=40, tune=20, test=25, step=25))
        assert [(w.number, w.train, w.tune, w.test) for w in windows] == [
            (1, slice(0, 40), slice(40, 60), slice(60, 85)),
            (2, slice(25, 65), slice(65, 85), slice(85, 110)),
        ]

    def test_the_last_test_may_be_shorter_but_not_too_short(self):
        sizes = WindowSizes(train=40, tune=20, test=25, step=25)
        assert roll(random_sessions(1, 105, 2, 30), sizes)[-1].test == slice(85, 105)
        assert roll(random_sessions(1, 104, 2, 30), sizes)[-1].test == slice(60, 85)

    def test_tests_lie_within_the_dates_asked_for(self):
        sessions = random_sessions(1, 200, 2, 30)
        dates = DateRange(first=sessions.dates[100].item(), last=sessions.dates[149].item())
        windows = roll(sessions, WindowSizes(train=40, tune=20, test=25, step=25), dates)
        assert [window.test for window in windows] == [slice(100, 125), slice(125, 150)]
        assert windows[0].train == slice(40, 80)

    @given(
        st.integers(2, 60), st.integers(12, 40), st.integers(20, 40), st.integers(0, 20), st.integers(60, 220)
    )
    def test_windows_never_overlap_where_they_must_not(self, train, tune, test, more, count):
        sizes = WindowSizes(train=train, tune=tune, test=test, step=test + more)
        sessions = random_sessions(1, count, 1, 130)
        if count < train + tune + test:
            with pytest.raises(RangeError):
                roll(sessions, sizes)
            return
        windows = roll(sessions, sizes)
        seen: set[int] = set()
        for window in windows:
            assert window.train.start >= 0
            assert window.train.stop == window.tune.start
            assert window.tune.stop == window.test.start
            assert 20 <= window.test.stop - window.test.start <= test
            assert window.test.stop <= count
            tested = set(range(window.test.start, window.test.stop))
            assert not tested & seen
            seen |= tested

    def test_windows_that_do_not_fit_are_refused(self):
        with pytest.raises(RangeError) as raised:
            roll(random_sessions(1, 100, 2, 30), WindowSizes())
        assert "200 + 60 + 60 sessions does not fit: 100 sessions" in raised.value.line()

    @pytest.mark.parametrize(
        ("sizes", "option"),
        [
            ({"train": 1}, "--train-sessions"),
            ({"tune": 11}, "--tune-sessions"),
            ({"test": 19, "step": 60}, "--test-sessions"),
            ({"step": 59}, "--step-sessions"),
        ],
    )
    def test_lengths_that_can_not_be(self, sizes, option):
        with pytest.raises(ConfigError, match=option):
            WindowSizes(**sizes)


class TestWalk:
    def test_every_window_trains_tunes_and_tests_in_order(self, walked):
        walk, windows = walked
        assert [window["window"] for window in windows] == [1, 2]
        for window in windows:
            ranges = window["ranges"]
            assert ranges["train"]["last"] < ranges["tune"]["first"]
            assert ranges["tune"]["last"] < ranges["test"]["first"]
            assert [ranges[name]["n_sessions"] for name in ("train", "tune", "test")][:2] == [24, 24]
            folder = walk.out / f"window-{window['window']:02d}"
            gold, candidate = unpack(folder / "gold"), unpack(folder / "run" / "artifact")
            assert [str(r) for r in gold.seen] == [f"{ranges['train']['first']}:{ranges['train']['last']}"]
            assert str(candidate.seen[-1]) == f"{ranges['tune']['first']}:{ranges['tune']['last']}"
            assert candidate.artifact.parent_digest == gold.digest == window["gold"]["digest"]

    def test_a_window_says_what_its_run_says(self, walked):
        walk, windows = walked
        for window in windows:
            folder = walk.out / f"window-{window['window']:02d}" / "run"
            summary = json.loads((folder / "summary.json").read_text())
            assert window["policies"]["candidate"] == summary["candidate"]
            assert window["comparisons"] == summary["comparisons"]
            assert window["run"]["skill_proven"] == summary["run"]["skill_proven"]
            returns = np.array(window["ledgers"]["candidate"]["nav_close_usd"])
            opened = np.array(window["ledgers"]["candidate"]["nav_open_usd"])
            mean = 1e4 * float((returns / opened - 1).mean())
            assert mean == pytest.approx(summary["candidate"]["mean_net_bps"])

    def test_a_window_rehearses_nothing_from_before_it(self, walked):
        walk, windows = walked
        for window in windows:
            folder = walk.out / f"window-{window['window']:02d}" / "run"
            rehearsed = json.loads((folder / "summary.json").read_text())["data"]["ranges"]["rehearsed"]
            first, last = window["ranges"]["train"]["first"], window["ranges"]["tune"]["first"]
            assert first <= rehearsed["first"] <= rehearsed["last"] < last

    def test_every_baseline_runs_in_every_window(self, walked):
        names = {"candidate", "gold", "tilted_gold", "random", "all_hold", "buy_and_hold"}
        for window in walked[1]:
            assert set(window["policies"]) == set(window["ledgers"]) == names

    def test_all_tests_together(self, walked):
        walk, windows = walked
        record = walk_record(walk, windows, 0.6)
        pooled = record["pooled"]
        every = np.array(pooled["series"]["net_bps"]["candidate"])
        assert pooled["policies"]["candidate"]["n_sessions"] == len(every)
        assert len(every) == sum(window["ranges"]["test"]["n_sessions"] for window in windows)
        assert pooled["policies"]["candidate"]["sharpe"] == pytest.approx(annual_sharpe(every))
        assert pooled["series"]["dates"] == sorted(set(pooled["series"]["dates"]))
        assert record["met"] == (annual_sharpe(every) >= 0.6)
        assert "ledgers" not in record["windows"][0]
        json.dumps(record, allow_nan=False)

    def test_looks_are_counted_in_one_place(self, walked):
        walk, windows = walked
        assert (walk.out / "gate.db").is_file()
        assert [window["run"]["looks"] for window in windows] == [1, 1]
        with GateDatabase.open(f"sqlite:///{walk.out / 'gate.db'}") as database:
            assert len(database.models()) == 2


class TestGoingOn:
    @pytest.fixture
    def copy(self, walked, tmp_path):
        out = tmp_path / "walk"
        shutil.copytree(walked[0].out, out)
        return out

    def test_finished_windows_are_kept(self, walked, copy, monkeypatch):
        def never(*_, **__):
            raise AssertionError("a finished window was run again")

        monkeypatch.setattr(walk_forward, "GoldTraining", never)
        monkeypatch.setattr(walk_forward, "TuneRun", never)
        assert walk_in(copy).run() == walked[1]

    def test_a_missing_window_is_made_again_the_same(self, walked, copy):
        shutil.rmtree(copy / "window-02")
        assert without_looks(walk_in(copy).run()) == without_looks(walked[1])

    def test_a_gold_that_stands_is_not_trained_again(self, walked, copy, monkeypatch):
        def never(*_, **__):
            raise AssertionError("gold was trained again")

        shutil.rmtree(copy / "window-02" / "run")
        (copy / "window-02" / "window.json").unlink()
        monkeypatch.setattr(walk_forward, "GoldTraining", never)
        assert without_looks(walk_in(copy).run()) == without_looks(walked[1])

    def test_an_artifact_that_does_not_repeat_stops_the_walk(self, copy, monkeypatch):
        (copy / "window-02" / "window.json").unlink()
        judged = walk_forward.evaluate

        def other(folder, settings, **more):
            return judged(folder, settings.model_copy(update={"seed": 77}), **more)

        monkeypatch.setattr(walk_forward, "evaluate", other)
        with pytest.raises(TrainingError, match="does not repeat"):
            walk_in(copy).run()

    def test_another_walk_is_refused(self, copy):
        with pytest.raises(ConfigError, match=r"holds another walk: settings\.seed is 4, not 3; go on with"):
            walk_in(copy, seed=4)

    def test_another_code_or_library_is_refused(self, copy, monkeypatch):
        made = walk_forward.made_with()
        other = made | {"versions": made["versions"] | {"scipy": "0.1"}}
        for changed, words in (
            (made | {"code": "0" * 64}, "code is 0000"),
            (other, "versions.scipy is 0.1,"),
        ):
            monkeypatch.setattr(walk_forward, "made_with", lambda changed=changed: changed)
            with pytest.raises(ConfigError, match=f"holds another walk: {words}"):
                walk_in(copy)

    @pytest.mark.parametrize("content", ["", "{", "[]"])
    def test_a_damaged_walk_is_one_line(self, copy, content):
        (copy / "walk.json").write_text(content)
        with pytest.raises(StorageError, match=r"walk\.json: is damaged .*; choose another --out"):
            walk_in(copy)

    @pytest.mark.parametrize("name", ["window.json", "gold.json"])
    def test_a_damaged_or_changed_window_is_refused(self, copy, name):
        folder = copy / "window-02"
        place = folder / name
        if name == "gold.json":
            (folder / "window.json").unlink()
        sealed = json.loads(place.read_text())
        text = place.read_text()
        better = text.replace('"wall_seconds": 0.0', '"wall_seconds": 1.0')
        assert better != text
        for content, words in (
            (text[: len(text) // 2], "is damaged"),
            (better, "was changed after it was written"),
            (json.dumps(sealed["result"]), "was changed after it was written"),
        ):
            place.write_text(content)
            with pytest.raises(StorageError) as raised:
                walk_in(copy).run()
            assert raised.value.line().startswith(f"{place}: {words}")
            assert f"remove {folder} to have its window run again" in raised.value.line()

    def test_a_window_of_another_walk_is_refused(self, copy):
        walk = walk_in(copy)
        walk.identity["code"] = "0" * 64
        with pytest.raises(StorageError, match=r"made with something else: walk\.code is 0+"):
            walk.run()

    def test_a_window_in_the_place_of_another_is_refused(self, copy):
        shutil.copy(copy / "window-01" / "window.json", copy / "window-02" / "window.json")
        with pytest.raises(StorageError, match="made with something else: ranges"):
            walk_in(copy).run()

    def test_another_gold_is_refused(self, copy):
        folder = copy / "window-02"
        (folder / "window.json").unlink()
        standing = read_artifact(folder / "gold")
        weights = {name: value * 2 for name, value in standing.artifact.weights.items()}
        other = replace(standing.artifact, weights=weights)
        write_artifact(folder / "gold", other, standing.record, replace=True)
        with pytest.raises(StorageError) as raised:
            walk_in(copy).run()
        assert f"holds the artifact {other.digest[:12]}, the window trained {standing.digest[:12]}" in str(
            raised.value
        )

    def test_a_gold_that_was_not_sealed_is_trained_again(self, walked, copy):
        folder = copy / "window-02"
        (folder / "window.json").unlink()
        (folder / "gold.json").unlink()
        shutil.rmtree(folder / "run")
        shutil.rmtree(folder / "gold")
        shutil.copytree(copy / "window-01" / "gold", folder / "gold")
        assert without_looks(walk_in(copy).run()) == without_looks(walked[1])

    def test_two_processes_can_not_walk_in_one_folder(self, copy):
        walk = walk_in(copy)
        with RunFolder(copy).held():
            for work in (walk.run, lambda: walk.run_window(walk.windows[0])):
                with pytest.raises(StorageError, match="another process works on this run"):
                    work()

    def test_what_killed_writers_left_is_taken_away(self, walked, copy):
        left = [copy / ".backtest.json.00.tmp", copy / "window-01" / ".window.json.00.tmp"]
        for path in left:
            path.write_text("{")
        assert walk_in(copy).run() == walked[1]
        assert not any(path.exists() for path in left)

    def test_a_folder_of_something_else_is_refused(self, tmp_path):
        (tmp_path / "mine.txt").write_text("mine")
        with pytest.raises(StorageError):
            walk_in(tmp_path)
        assert (tmp_path / "mine.txt").read_text() == "mine"


def without_looks(windows):
    """A second look at the same sessions is counted, and is the only difference."""
    return [{**window, "run": {**window["run"], "looks": 0}} for window in windows]
