import datetime as dt
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import plain_placing
from stairways.errors import BarsError
from stairways.market.bars import RawBars
from stairways.market.calendar import ExchangeSessions, exchange_sessions
from stairways.market.placing import MINUTE_US, merge_bars, place_bars, session_intervals

CALENDAR = exchange_sessions(dt.date(2025, 6, 2), dt.date(2025, 6, 6))


def stamps(session, offsets_minutes, calendar=CALENDAR):
    opens = calendar.open_utc[session].astype("datetime64[us]")
    return opens + (np.asarray(offsets_minutes, dtype=np.float64) * MINUTE_US).astype("timedelta64[us]")


def raw(start_utc, values=None, symbol="NVDA", file="a.parquet", block=400):
    start = np.asarray(start_utc, dtype="datetime64[us]")
    rows = np.tile([100.0, 101.0, 99.0, 100.5, 10.0], (len(start), 1)) if values is None else values
    blocks = [tuple(part.copy() for part in rows[at : at + block].T) for at in range(0, len(rows), block)]
    return RawBars(file, symbol, start, tuple(blocks))


def plain_interval(offsets):
    """The most frequent distance of one full session's timestamps, ties to the smaller."""
    counts = Counter(int(right - left) for left, right in pairwise(offsets))
    return min(counts, key=lambda distance: (-counts[distance], distance))


def intervals(session, offset_us, calendar=CALENDAR):
    """Find the intervals of rows given by session and microseconds since its open."""
    start = calendar.open_utc[session].astype("datetime64[us]") + np.asarray(offset_us)
    bounds = (np.searchsorted(session, np.arange(len(calendar)), side) for side in ("left", "right"))
    return session_intervals(start, *bounds, calendar)


class TestIntervals:
    @settings(deadline=None, max_examples=60)
    @given(st.sampled_from([1, 5]), st.sets(st.integers(0, 77), max_size=6))
    def test_a_nearly_full_session_equals_the_plain_form(self, minutes, gone):
        offsets = [bar * minutes * MINUTE_US for bar in range(390 // minutes) if bar not in gone]
        session = np.zeros(len(offsets), dtype=np.int64)
        found, witnessed = intervals(session, offsets)
        assert found.tolist() == [plain_interval(offsets)] * len(CALENDAR)
        assert witnessed == {minutes * MINUTE_US}

    def test_thin_sessions_take_the_interval_of_the_last_full_one(self):
        parts = [(0, [0, 10, 20]), (1, range(390)), (2, [0, 5, 10]), (3, range(0, 390, 5)), (4, [3, 6])]
        session = np.concatenate([np.full(len(offsets), at) for at, offsets in parts])
        offset = np.concatenate([np.array(offsets) * MINUTE_US for _, offsets in parts])
        found, _ = intervals(session, offset)
        assert (found // MINUTE_US).tolist() == [1, 1, 1, 5, 5]

    def test_a_sparse_minute_session_is_no_session_of_two_minutes(self):
        # Three of five minutes: most distances are 2, yet half the bars lie off a grid of 2.
        thin = np.array([minute for minute in range(390) if minute % 5 in {0, 2, 4}])
        session = np.concatenate([np.zeros(390, dtype=np.int64), np.ones(len(thin), dtype=np.int64)])
        offset = np.concatenate([np.arange(390), thin]) * MINUTE_US
        found, witnessed = intervals(session, offset)
        assert (found[:2] // MINUTE_US).tolist() == [1, 1]
        assert witnessed == {MINUTE_US}

    @pytest.mark.parametrize(("off_grid", "witness"), [(6, True), (7, False)])
    def test_nine_in_ten_on_the_grid_make_a_witness(self, off_grid, witness):
        offset = np.r_[0:270:5, 271 : 271 + 5 * off_grid : 5] * MINUTE_US
        found, witnessed = intervals(np.zeros(len(offset), dtype=np.int64), offset)
        assert set(found.tolist()) == {5 * MINUTE_US}
        assert witnessed == ({5 * MINUTE_US} if witness else frozenset())

    def test_lonely_bars_tell_nothing(self):
        found, witnessed = intervals(np.array([0, 1]), [0, 0])
        assert found.tolist() == [0] * len(CALENDAR)
        assert witnessed == frozenset()


class TestPlaces:
    def test_bars_get_their_session_and_index_and_the_rest_is_counted(self):
        saturday = np.datetime64("2025-06-07T14:00:00", "us")
        start = np.concatenate([stamps(0, range(-5, 395)), stamps(1, range(390)), [saturday]])
        (placed,) = place_bars(raw(start), CALENDAR, 1)
        assert placed.session.tolist() == [0] * 390 + [1] * 390
        assert placed.bar.tolist() == list(range(390)) * 2
        assert (placed.outside_hours_bars, placed.no_session_bars) == (10, 1)
        assert placed.intervals_minutes == {1.0}

    def test_two_intervals_of_one_symbol_in_blocks_of_one_file(self):
        start = np.concatenate(
            [stamps(0, range(390)), stamps(0, range(0, 390, 5)), stamps(1, range(0, 390, 5))]
        )
        assert [len(run.bar) for run in place_bars(raw(start), CALENDAR, 1)] == [390, 0]
        assert [len(run.bar) for run in place_bars(raw(start), CALENDAR, 5)] == [0, 156]

    def test_two_intervals_of_one_symbol_after_each_other(self):
        start = np.concatenate([stamps(0, range(390)), stamps(1, range(0, 390, 5))])
        assert [run.session.tolist() for run in place_bars(raw(start), CALENDAR, 5)] == [[1] * 78]

    def test_duplicates_are_refused(self):
        start = np.concatenate([stamps(0, range(200)), stamps(0, range(199, 390))])
        with pytest.raises(
            BarsError, match=r"a.parquet, NVDA: the same timestamp twice .* at 2025-06-02T16:49:00Z"
        ):
            place_bars(raw(start), CALENDAR, 1)

    @pytest.mark.parametrize("order", ["swap", "days", "backward", "shuffle", "whole twice"])
    def test_disorder_is_refused(self, order):
        start = np.concatenate([stamps(0, range(390)), stamps(1, range(390))])
        rows = np.arange(780)
        orders = {
            "swap": np.r_[0:100, 101, 100, 102:780],
            "days": np.r_[390:780, 0:390],
            "backward": rows[::-1],
            "shuffle": np.random.default_rng(1).permutation(rows),
            "whole twice": np.r_[rows, rows],
        }
        with pytest.raises(BarsError, match="unsorted: time steps back at 2025-06-0"):
            place_bars(raw(start[orders[order]]), CALENDAR, 1)

    @pytest.mark.parametrize("minutes", [1, 5])
    @pytest.mark.parametrize("shift_minutes", [0.5, 0.25])
    def test_a_shifted_grid_is_refused(self, minutes, shift_minutes):
        start = np.concatenate([stamps(at, np.arange(0, 390, minutes) + shift_minutes) for at in range(3)])
        with pytest.raises(BarsError, match=rf"not on the grid of {minutes} min .* at 2025-06-02T13:30:"):
            place_bars(raw(start), CALENDAR, minutes)

    def test_one_bar_off_the_grid_is_refused_with_its_time(self):
        start = np.concatenate([stamps(0, [*range(0, 385, 5), 387]), stamps(1, range(0, 390, 5))])
        with pytest.raises(BarsError, match=r"NVDA: not on the grid of 5 min .* at 2025-06-02T19:57:00Z;"):
            place_bars(raw(start), CALENDAR, 5)

    @pytest.mark.parametrize("minutes", [1, 5])
    def test_bar_ends_are_refused(self, minutes):
        start = np.concatenate([stamps(at, range(minutes, 391, minutes)) for at in range(4)])
        with pytest.raises(BarsError, match="timestamps look like bar ends: 4 of 4 sessions"):
            place_bars(raw(start), CALENDAR, minutes)

    def test_with_bars_before_the_open_a_missing_first_bar_is_a_gap(self):
        start = np.concatenate([stamps(at, [-1, *range(1, 391)]) for at in range(4)])
        (placed,) = place_bars(raw(start), CALENDAR, 1)
        assert len(placed.bar) == 4 * 389
        assert placed.outside_hours_bars == 8

    def test_with_a_bar_before_the_first_session_nothing_is_told_of_bar_ends(self):
        sunday = np.datetime64("2025-06-01T14:00:00", "us")
        start = np.concatenate([[sunday], *(stamps(at, range(1, 391)) for at in range(4))])
        (placed,) = place_bars(raw(start), CALENDAR, 1)
        assert (placed.outside_hours_bars, placed.no_session_bars) == (4, 1)

    def test_a_bar_at_the_close_is_only_after_hours(self):
        start = np.concatenate([stamps(at, range(391)) for at in range(4)])
        (placed,) = place_bars(raw(start), CALENDAR, 1)
        assert placed.outside_hours_bars == 4

    FAULTS = (
        ((0, np.nan), "a price that is missing or no finite number"),
        ((3, np.inf), "a price that is missing or no finite number"),
        ((2, 0.0), "a price that is zero or negative"),
        ((0, -1.0), "a price that is zero or negative"),
        ((1, 100.2), "high below open, close or low"),
        ((2, 100.2), "low above open, close or high"),
        ((4, np.nan), "a volume that is missing or no finite number"),
        ((4, np.inf), "a volume that is missing or no finite number"),
        ((4, -1.0), "a negative volume"),
    )

    @pytest.mark.parametrize(("fault", "message"), FAULTS)
    def test_impossible_values_are_refused_at_the_first_row_with_their_number(self, fault, message):
        values = np.tile([100.0, 101.0, 99.0, 100.5, 10.0], (390, 1))
        values[[7, 9], fault[0]] = fault[1]
        with pytest.raises(BarsError) as caught:
            place_bars(raw(stamps(0, range(390)), values), CALENDAR, 1)
        assert caught.value.line().startswith(
            f"a.parquet, NVDA: {message} at 2025-06-02T13:37:00Z, the first of 2 such rows; "
        )

    def test_values_outside_hours_and_at_other_intervals_are_not_looked_at(self):
        start = np.concatenate([stamps(0, range(391)), stamps(1, range(0, 390, 5))])
        values = np.tile([100.0, 101.0, 99.0, 100.5, 10.0], (len(start), 1))
        values[390] = values[391] = np.nan
        (placed,) = place_bars(raw(start, values), CALENDAR, 1)
        assert np.isfinite(placed.values).all()
        with pytest.raises(BarsError, match="at 2025-06-03T13:30:00Z"):
            place_bars(raw(start, values), CALENDAR, 5)


CALENDARS = {
    "a week": CALENDAR,
    "clocks go forward": exchange_sessions(dt.date(2025, 3, 6), dt.date(2025, 3, 12)),
    "clocks go back": exchange_sessions(dt.date(2025, 10, 30), dt.date(2025, 11, 5)),
    "a half day and a holiday": exchange_sessions(dt.date(2025, 7, 1), dt.date(2025, 7, 8)),
    "a late opening": ExchangeSessions(
        CALENDAR.dates,
        CALENDAR.open_utc + np.array([0, 0, 90, 0, 0]) * np.timedelta64(1, "m"),
        CALENDAR.minutes - np.array([0, 0, 90, 0, 0]),
    ),
}
SPECIAL = (np.nan, np.inf, -np.inf, 0.0, -1.0, 1e9, 1e-9)
MIXES = (
    ("whole", "gaps"),
    ("whole", "gaps", "thin", "none", "long day"),
    ("whole", "gaps", "thin", "none", "long day", "ends"),
    ("ends",),
    ("thin", "none"),
)


def random_session(rng, calendar, session, minutes, kinds):
    """Return the timestamps of one session at an interval."""
    length = int(calendar.minutes[session])
    kind = rng.choice(kinds)
    offsets = np.arange(0, length, minutes, dtype=np.float64)
    if kind == "ends":
        offsets += minutes
    if kind == "long day":
        offsets = np.arange(-6 * minutes, length + 6 * minutes, minutes, dtype=np.float64)
    keep = {"gaps": 0.9, "thin": 0.15, "none": 0.0}.get(kind, 1.0)
    offsets = offsets[rng.random(len(offsets)) < keep]
    if len(offsets) and rng.random() < 0.03:
        offsets[rng.integers(len(offsets))] += rng.choice([0.25, 1.0, 0.5])
    return stamps(session, np.unique(offsets), calendar)


def random_rows(rng, calendar, minutes):
    """Return timestamps and values of a run of sessions, now and then with a weekend or a second interval."""
    kinds = MIXES[rng.integers(len(MIXES))]
    every = [random_session(rng, calendar, at, minutes, kinds) for at in range(len(calendar))]
    if rng.random() < 0.3:
        every.append(stamps(len(calendar) - 1, [1440 + 20 * 60, 1440 + 20 * 60 + 1], calendar))
    if rng.random() < 0.2:
        every.insert(0, stamps(0, [-3000, -2999], calendar))
    if rng.random() < 0.3:
        other = int(rng.choice([1, 5, 15]))
        every += [random_session(rng, calendar, at, other, kinds) for at in range(len(calendar))]
    if rng.random() < 0.1:
        every[0], every[-1] = every[-1], every[0]
    start = np.concatenate(every)
    values = np.tile([100.0, 101.0, 99.0, 100.5, 10.0], (len(start), 1))
    if len(start) and rng.random() < 0.3:
        rows = rng.integers(len(start), size=rng.integers(1, 4))
        values[rows, rng.integers(5, size=len(rows))] = rng.choice(SPECIAL, size=len(rows))
    return start, values


class TestPlainForm:
    @settings(deadline=None, max_examples=150)
    @given(
        st.integers(0, 2**32 - 1),
        st.sampled_from(sorted(CALENDARS)),
        st.sampled_from([(1, 1), (5, 5), (1, 5), (5, 1), (15, 5)]),
        st.integers(1, 500),
    )
    def test_places_and_refusals_equal_the_plain_form(self, seed, name, minutes, block):
        calendar, (there, asked) = CALENDARS[name], minutes
        start, values = random_rows(np.random.default_rng(seed), calendar, there)
        if not len(start):
            return
        try:
            expected = plain_placing.place(start.astype(np.int64).tolist(), values.tolist(), calendar, asked)
        except plain_placing.RefusedError as refusal:
            with pytest.raises(BarsError) as caught:
                place_bars(raw(start, values, block=block), calendar, asked)
            assert caught.value.line().startswith(f"a.parquet, NVDA: {refusal}")
            return
        found = place_bars(raw(start, values, block=block), calendar, asked)
        for run, plain in zip(found, expected, strict=True):
            bars = zip(run.session.tolist(), run.bar.tolist(), map(tuple, run.values.tolist()), strict=True)
            assert list(bars) == plain.bars
            assert run.outside_hours_bars == plain.outside_hours_bars
            assert run.no_session_bars == plain.no_session_bars
            assert run.intervals_minutes == plain.intervals_minutes


class TestMerge:
    def merged(self, *starts):
        files = [raw(start, file=f"{number}") for number, start in enumerate(starts)]
        placed = [bars for file in files for bars in place_bars(file, CALENDAR, 1)]
        return merge_bars("NVDA", placed, CALENDAR, 1)

    def test_parts_in_any_order_give_counts_and_the_first_and_last_bar(self):
        earlier = np.concatenate([stamps(0, range(389)), stamps(1, range(2, 388))])
        found = self.merged(stamps(2, range(5, 390)), earlier)
        assert found.files == ("0", "1")
        assert found.counts.tolist() == [389, 386, 385, 0, 0]
        assert found.first_bar[:3].tolist() == [0, 2, 5]
        assert found.last_bar.tolist() == [388, 387, 389, -1, -1]

    def test_halves_of_one_session_in_two_files(self):
        found = self.merged(stamps(0, range(200, 390)), stamps(0, range(200)))
        assert (found.counts[0], found.first_bar[0], found.last_bar[0]) == (390, 0, 389)

    def test_the_same_bar_twice_is_named_with_both_files_and_counted(self):
        message = r"NVDA: the same bar twice: 2025-06-02T16:30:00Z in 0 and 1 \(3 such bars\)"
        with pytest.raises(BarsError, match=message):
            self.merged(stamps(0, range(183)), stamps(0, range(180, 390)))
