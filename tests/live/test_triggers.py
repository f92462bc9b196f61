"""The rollback triggers: bounds by hand, gaps that never count as health, one object for every reader."""

from __future__ import annotations

import datetime as dt
import json
import math
import subprocess
import sys
from dataclasses import FrozenInstanceError, replace
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stairways.errors import InputError
from stairways.evaluation.sequential import SequentialState, plain_evidence
from stairways.evaluation.trigger_config import SequentialConfig, TriggerConfig
from stairways.evaluation.verdicts import GateResult, Group, Verdict
from stairways.live.live_evidence import (
    IntegrityFinding,
    LiveEvidence,
    PersonalOrder,
    RecordedFigures,
    SessionRecord,
)
from stairways.live.triggers import (
    TRIGGERS,
    Outcome,
    first_tripped,
    judge,
    judge_figures,
    rolls_back,
    satisfies,
    stopping,
    unmeasured,
)
from stairways.trading.sharpe import annual_sharpe

CONFIG = TriggerConfig()
FIRST = dt.date(2026, 1, 5)
NOON = dt.datetime(2026, 1, 5, 12, tzinfo=dt.UTC)
HALF_DAY = 210


def date(number):
    return FIRST + dt.timedelta(days=number)


def record(number, **changes):
    plain = {
        "n_bars": 390,
        "net_return_ratio": 0.0005,
        "max_drawdown_ratio": 0.004,
        "trades": 16,
        "hold_rate_ratio": 0.55,
    }
    return SessionRecord(date(number), **(plain | changes))


def gate(**passed):
    verdicts = tuple(Verdict(n, Group.SAFETY, ok, 1.0, "1", 20, "words") for n, ok in passed.items())
    return GateResult(verdicts, tuple(passed))


def live(*records, **changes):
    """Return evidence in which everything is measured and healthy, but for what is changed."""
    plain = {
        "sessions": records,
        "exchange_dates": tuple(one.date for one in records),
        "drift_ratio": 0.05,
        "gate": gate(hold_rate=True),
        "controller_alerts": (),
        "integrity": IntegrityFinding(True, "digest and signature fit"),
    }
    return LiveEvidence(**(plain | changes))


def trip(name, evidence, config=CONFIG):
    found = TRIGGERS[name](evidence, config)
    assert found.name == name
    return found


def outcome(name, evidence, config=CONFIG):
    return trip(name, evidence, config).outcome


def returned(values, **changes):
    return live(*(record(i, net_return_ratio=value) for i, value in enumerate(values)), **changes)


def traded(counts, **changes):
    """Return evidence of so many trades a session; None is a session without a record."""
    records = [record(i, trades=count) for i, count in enumerate(counts) if count is not None]
    dates = tuple(date(i) for i in range(len(counts)))
    return live(*records, exchange_dates=dates, **changes)


class TestTheWhole:
    def test_a_healthy_model(self):
        trips = judge(returned(0.003 + 0.001 * np.sin(np.arange(60.0))), CONFIG)
        assert [one.name for one in trips] == list(TRIGGERS)
        assert {one.outcome for one in trips} == {Outcome.HEALTHY}
        assert first_tripped(trips) is None
        assert not rolls_back(trips)
        assert (stopping(trips), unmeasured(trips)) == ((), ())

    def test_nothing_measured_is_never_healthy(self):
        trips = judge(LiveEvidence(exchange_dates=tuple(date(i) for i in range(60))), CONFIG)
        assert unmeasured(trips) == tuple(name for name in TRIGGERS if name != "person")
        assert stopping(trips) == ("integrity", "drawdown")
        assert not rolls_back(trips)

    def test_before_the_first_session_time_is_what_lacks(self):
        trips = judge(live(), CONFIG)
        waiting = {one.name for one in trips if one.outcome is Outcome.NOT_ENOUGH}
        assert waiting == {"drawdown", "net_return", "trades_run", "low_sharpe"}
        assert stopping(trips) == ()

    def test_the_gravest_comes_first(self):
        evidence = live(
            record(0, max_drawdown_ratio=0.5),
            person=PersonalOrder("A. Keeper", "earnings tonight"),
            integrity=IntegrityFinding(False, "signature does not fit"),
        )
        trips = judge(evidence, CONFIG)
        assert [one.name for one in trips if one.rolls_back] == ["person", "integrity", "drawdown"]
        assert first_tripped(trips).reason == "A. Keeper: earnings tonight"

    def test_a_trip_is_plain_json_and_frozen(self):
        for one in judge(live(record(0)), CONFIG):
            plain = one.as_record()
            assert json.loads(json.dumps(plain, allow_nan=False)) == plain
            assert plain["outcome"] == one.outcome.value
        with pytest.raises(FrozenInstanceError):
            one.n = 0

    def test_only_the_sharpe_rule_is_an_alert(self):
        trips = judge(live(record(0)), CONFIG)
        assert [one.name for one in trips if one.consequence == "alert"] == ["low_sharpe"]

    def test_it_is_light(self):
        heavy = {"torch", "numba", "scipy", "sqlalchemy"}
        code = f"import stairways.live.triggers, sys; print({heavy!r} & set(sys.modules))"
        done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
        assert done.stdout.strip() == "set()"


class TestDriftAndGate:
    failed = gate(hold_rate=False, beats_gold=True)
    passed = gate(hold_rate=True)

    @pytest.mark.parametrize(
        ("drift", "judged", "expected"),
        [
            (0.15, failed, Outcome.HEALTHY),
            (np.nextafter(0.15, 1).item(), failed, Outcome.TRIPPED),
            (0.3, passed, Outcome.WARNED),
            (0.3, None, Outcome.UNMEASURED),
            (0.3, GateResult((), ()), Outcome.UNMEASURED),
            (0.3, GateResult((), ("hold_rate",)), Outcome.TRIPPED),
            (0.1, None, Outcome.HEALTHY),
            (None, passed, Outcome.UNMEASURED),
            (math.nan, failed, Outcome.UNMEASURED),
            (math.inf, failed, Outcome.UNMEASURED),
            (-0.1, failed, Outcome.UNMEASURED),
        ],
    )
    def test_both_together_roll_back(self, drift, judged, expected):
        found = trip("drift_and_gate", live(drift_ratio=drift, gate=judged))
        assert found.outcome is expected
        assert found.rolls_back is (expected is Outcome.TRIPPED)

    def test_the_gates_own_verdict_on_drift_is_no_second_witness(self):
        alone = gate(hold_rate=True, parameter_drift=False)
        assert outcome("drift_and_gate", live(drift_ratio=0.3, gate=alone)) is Outcome.WARNED
        both = gate(hold_rate=False, parameter_drift=False)
        found = trip("drift_and_gate", live(drift_ratio=0.3, gate=both))
        assert found.tripped
        assert "the gate failed: hold_rate" in found.reason
        assert "parameter_drift" not in found.reason

    def test_what_was_not_required_does_not_fail_a_gate(self):
        verdict = Verdict("beats_gold", Group.SKILL, False, 1.0, "1", 20, "words")
        loose = GateResult((*self.passed.verdicts, verdict), ("hold_rate",))
        assert outcome("drift_and_gate", live(drift_ratio=0.3, gate=loose)) is Outcome.WARNED

    def test_a_warning_names_the_waiver(self):
        assert "waiver" in trip("drift_and_gate", live(drift_ratio=0.3, gate=self.passed)).reason


class TestDrawdown:
    def test_the_limit_itself_is_borne(self):
        assert outcome("drawdown", live(record(0, max_drawdown_ratio=0.02))) is Outcome.HEALTHY
        over = np.nextafter(0.02, 1).item()
        assert outcome("drawdown", live(record(0, max_drawdown_ratio=over))) is Outcome.TRIPPED

    def test_one_session_of_many_is_enough_and_is_named(self):
        falls = [0.01, 0.031, 0.024, 0.001]
        found = trip("drawdown", live(*(record(i, max_drawdown_ratio=f) for i, f in enumerate(falls))))
        assert (found.tripped, found.observed, found.n) == (True, 0.031, 4)
        assert found.reason == "NAV fell by 3.10% on 2026-01-06"

    def test_the_open_session_counts(self):
        evidence = live(record(0), record(1, max_drawdown_ratio=0.03, closed=False))
        assert trip("drawdown", evidence).rolls_back

    @pytest.mark.parametrize("fall", [None, math.nan, -0.01])
    def test_a_fall_nobody_saw_stops_trading(self, fall):
        found = trip("drawdown", live(record(0), record(1, max_drawdown_ratio=fall)))
        assert (found.outcome, found.stops, found.observed) == (Outcome.UNMEASURED, True, 0.004)

    def test_a_missing_session_stops_trading(self):
        evidence = live(record(0), exchange_dates=(date(0), date(1)))
        assert trip("drawdown", evidence).stops

    def test_a_gap_hides_no_fall(self):
        assert trip(
            "drawdown", live(record(0, max_drawdown_ratio=None), record(1, max_drawdown_ratio=0.03))
        ).tripped


class TestTradesRun:
    @pytest.mark.parametrize(
        ("counts", "expected"),
        [
            ([4, 4, 4], Outcome.TRIPPED),
            ([26, 26, 26], Outcome.TRIPPED),
            ([4, 26, 0], Outcome.TRIPPED),
            ([5, 5, 5], Outcome.HEALTHY),
            ([25, 25, 25], Outcome.HEALTHY),
            ([4, 4, 5], Outcome.HEALTHY),
            ([4, 4, 16, 4, 4], Outcome.HEALTHY),
            ([4, 4], Outcome.NOT_ENOUGH),
            ([4, 4, 4, 16, 16], Outcome.TRIPPED),
            ([16, 4, 4, 4], Outcome.TRIPPED),
            # a missing session never joins a run and never breaks one
            ([4, None, 4], Outcome.UNMEASURED),
            ([4, 4, None], Outcome.UNMEASURED),
            ([4, None, 4, 4, 4], Outcome.TRIPPED),
            ([None, None, None], Outcome.UNMEASURED),
            # a session inside the band ends the doubt
            ([16, None, 4, 16, 4], Outcome.HEALTHY),
            ([16, 16, None], Outcome.HEALTHY),
            ([16, 4, None, 16], Outcome.HEALTHY),
            ([16, 4, None, 4, 16], Outcome.UNMEASURED),
        ],
    )
    def test_three_in_a_row(self, counts, expected):
        assert outcome("trades_run", traded(counts)) is expected

    @given(st.lists(st.sampled_from([None, 4, 5, 16, 25, 26]), min_size=3, max_size=8))
    def test_a_gap_is_doubt_exactly_where_filling_it_may_trip(self, counts):
        """Fill the gaps with every extreme: all inside, all outside."""
        fill = {way: [way if count is None else count for count in counts] for way in (16, 0)}
        surely = outcome("trades_run", traded(fill[16])) is Outcome.TRIPPED
        possibly = outcome("trades_run", traded(fill[0])) is Outcome.TRIPPED
        expected = {
            (True, True): Outcome.TRIPPED,
            (False, True): Outcome.UNMEASURED,
            (False, False): Outcome.HEALTHY,
        }
        assert outcome("trades_run", traded(counts)) is expected[surely, possibly]

    def test_calendar_days_between_are_no_gap(self):
        weekend = [record(i, trades=4) for i in (3, 4, 7)]
        assert outcome("trades_run", live(*weekend)) is Outcome.TRIPPED

    @pytest.mark.parametrize(
        ("trades", "outside"),
        # 5 and 25 times 210 / 390: 2.69 and 13.46
        [(2, True), (3, False), (13, False), (14, True), (16, True)],
    )
    def test_half_days_are_held_against_their_share_of_the_band(self, trades, outside):
        half = record(1, trades=trades, n_bars=HALF_DAY)
        found = outcome("trades_run", live(record(0, trades=4), half, record(2, trades=4)))
        assert (found is Outcome.TRIPPED) is outside

    def test_bars_of_five_minutes(self):
        half = {"n_bars": 42, "trades": 14}
        evidence = live(*(record(i, **half) for i in range(3)), full_session_bars=78)
        assert outcome("trades_run", evidence) is Outcome.TRIPPED

    def test_less_than_half_a_session_is_a_gap(self):
        for n_bars, expected in ((195, Outcome.TRIPPED), (194, Outcome.UNMEASURED)):
            evidence = live(record(0, trades=4), record(1, trades=0, n_bars=n_bars), record(2, trades=4))
            assert outcome("trades_run", evidence) is expected

    def test_the_open_session_does_not_count_yet(self):
        evidence = live(record(0, trades=4), record(1, trades=4), record(2, trades=0, closed=False))
        assert outcome("trades_run", evidence) is Outcome.NOT_ENOUGH

    def test_the_reason_shows_the_sessions(self):
        found = trip("trades_run", traded([16, 4, 30, 2]))
        assert found.observed == 3.0
        assert found.reason.startswith("2026-01-06: 4 trades at a hold rate of 55.0%; 2026-01-07: 30 trades")

    def test_the_longest_run_shown_goes_through_no_gap(self):
        assert trip("trades_run", traded([4, None, 4])).observed == 1.0
        assert trip("trades_run", traded([16, 4, 4, 16, 4, None])).observed == 2.0

    @given(st.lists(st.integers(0, 40), min_size=3, max_size=10), st.integers(0, 9))
    def test_a_wider_band_never_trips_more(self, counts, wider):
        loose = TriggerConfig(session_trades_band=(max(5 - wider, 0), 25 + wider))
        if outcome("trades_run", traded(counts), loose) is Outcome.TRIPPED:
            assert outcome("trades_run", traded(counts)) is Outcome.TRIPPED


class TestNetReturn:
    losing = (-0.004,) * 60

    def first_alarm(self, returns):
        return int(np.argmax(plain_evidence(np.array(returns), CONFIG.net_return) >= 1008.0)) + 1

    def test_it_trips_where_the_definition_says_so(self):
        number = self.first_alarm(self.losing)
        assert 5 < number < 60
        assert outcome("net_return", returned(self.losing[: number - 1])) is Outcome.HEALTHY
        found = trip("net_return", returned(self.losing[:number]))
        assert found.rolls_back
        assert f"alarm in session {number};" in found.reason

    def test_an_alarm_stays_when_luck_returns(self):
        number = self.first_alarm(self.losing)
        later = returned((*self.losing[:number], *(0.02,) * 40))
        assert trip("net_return", later).observed < 1008.0
        assert trip("net_return", later).tripped

    def test_a_window_goes_on_from_a_stored_state(self):
        before = SequentialState.start(CONFIG.net_return).after(self.losing[:10], CONFIG.net_return)
        whole = trip("net_return", returned(self.losing[:15]))
        part = trip("net_return", returned(self.losing[10:15], tested=before))
        assert (part.observed, part.n, part.outcome) == (whole.observed, 15, whole.outcome)

    @pytest.mark.parametrize("gap", [None, math.nan])
    def test_a_return_that_is_missing_is_doubt_until_it_is_filled_in(self, gap):
        found = trip("net_return", returned((0.001, gap, 0.001)))
        assert (found.outcome, found.n, found.stops) == (Outcome.UNMEASURED, 2, False)
        assert outcome("net_return", returned((0.001, 0.0, 0.001))) is Outcome.HEALTHY

    def test_a_gap_hides_no_alarm(self):
        assert trip("net_return", returned((None, *self.losing))).tripped

    def test_the_open_session_does_not_count_yet(self):
        evidence = live(record(0), record(1, net_return_ratio=None, closed=False))
        assert trip("net_return", evidence).n == 1
        assert outcome("net_return", evidence) is Outcome.HEALTHY

    def test_gains_over_the_bound_are_told(self):
        assert "2 with a gain over the bound" in trip("net_return", returned((0.03, 0.02, 0.05))).reason

    @given(st.lists(st.floats(-0.03, 0.03), min_size=1, max_size=30))
    def test_a_rarer_false_alarm_never_trips_more(self, returns):
        rare = TriggerConfig(net_return=SequentialConfig(false_alarms_per_year=20.0))
        frequent = TriggerConfig(net_return=SequentialConfig(false_alarms_per_year=100.0))
        if trip("net_return", returned(returns), rare).tripped:
            assert trip("net_return", returned(returns), frequent).tripped


class TestLowSharpe:
    def series(self, last):
        """Return 36 sessions whose Sharpe ratio is high at every close but the ``last`` ones."""
        base = 0.004 * np.sin(np.arange(36.0) * 2.4) + 0.002
        base[36 - last :] -= 0.2
        return base.tolist()

    def test_seven_low_closes_alert_and_never_roll_back(self):
        values = self.series(7)
        assert sum(annual_sharpe(np.array(values[i : i + 30])) < 0.5 for i in range(7)) == 7
        found = trip("low_sharpe", returned(values))
        assert (found.outcome, found.rolls_back) == (Outcome.TRIPPED, False)
        assert found.observed == pytest.approx(annual_sharpe(np.array(values[-30:])))

    def test_six_low_closes_do_not(self):
        assert outcome("low_sharpe", returned(self.series(6))) is Outcome.HEALTHY

    def test_35_sessions_are_not_enough(self):
        assert outcome("low_sharpe", returned(self.series(7)[1:])) is Outcome.NOT_ENOUGH

    def test_a_ratio_at_the_bar_is_not_low(self):
        values = np.tile([0.01, -0.009], 18).tolist()
        bar = annual_sharpe(np.array(values[:30]))
        at = TriggerConfig(sharpe_bar_annual=bar)
        above = TriggerConfig(sharpe_bar_annual=np.nextafter(bar, 9).item())
        assert outcome("low_sharpe", returned(values), at) is Outcome.HEALTHY
        assert outcome("low_sharpe", returned(values), above) is Outcome.TRIPPED

    def test_only_the_last_sessions_matter(self):
        assert outcome("low_sharpe", returned([None, *self.series(7)])) is Outcome.TRIPPED
        assert outcome("low_sharpe", returned([*self.series(7)[:-1], None])) is Outcome.UNMEASURED

    def test_no_variance_is_no_number(self):
        found = trip("low_sharpe", returned([0.0] * 36))
        assert (found.outcome, found.observed) == (Outcome.UNMEASURED, None)

    def test_the_ratio_stands_beside_its_error_and_sessions(self):
        assert "± " in trip("low_sharpe", returned(self.series(7))).reason
        assert "(n = 30)" in trip("low_sharpe", returned(self.series(7))).reason


class TestControllerAlerts:
    def at(self, *hours):
        return live(controller_alerts=tuple(NOON + dt.timedelta(hours=hour) for hour in hours))

    @pytest.mark.parametrize(
        ("hours", "expected"),
        [
            ((), Outcome.HEALTHY),
            ((0, 1, 2), Outcome.HEALTHY),
            ((0, 1, 2, 3), Outcome.TRIPPED),
            ((0, 0, 0, 0), Outcome.TRIPPED),
            ((0, 1, 2, 24), Outcome.HEALTHY),
            ((0, 1, 2, 23.99), Outcome.TRIPPED),
            ((0, 20, 30, 40, 43), Outcome.TRIPPED),
            ((43, 0, 40, 30, 20), Outcome.TRIPPED),
        ],
    )
    def test_more_than_three_within_24_hours(self, hours, expected):
        assert outcome("controller_alerts", self.at(*hours)) is expected

    def test_hours_are_those_of_the_clock_that_never_changes(self):
        """On the night of 8 March 2026 New York has 23 hours from 10 to 10."""
        zone = ZoneInfo("America/New_York")
        night = tuple(dt.datetime(2026, 3, 7 + i // 3, 10, tzinfo=zone) for i in range(4))
        assert outcome("controller_alerts", live(controller_alerts=night)) is Outcome.TRIPPED

    def test_nobody_listening_is_not_silence(self):
        assert outcome("controller_alerts", live(controller_alerts=None)) is Outcome.UNMEASURED

    def test_a_naive_instant_is_refused(self):
        with pytest.raises(InputError, match="has no timezone"):
            live(controller_alerts=(dt.datetime(2026, 1, 5),))

    @given(st.lists(st.integers(0, 300), max_size=12), st.integers(0, 300))
    def test_one_more_alert_never_heals(self, hours, more):
        if trip("controller_alerts", self.at(*hours)).tripped:
            assert trip("controller_alerts", self.at(*hours, more)).tripped


class TestFacts:
    def test_integrity(self):
        broken = live(integrity=IntegrityFinding(False, "weights.safetensors differs"))
        assert trip("integrity", broken).rolls_back
        assert trip("integrity", broken).reason == "weights.safetensors differs"
        assert trip("integrity", live(integrity=None)).stops
        assert outcome("integrity", live()) is Outcome.HEALTHY

    def test_a_person(self):
        assert trip("person", live(person=PersonalOrder("A. Keeper", "drill"))).rolls_back
        assert outcome("person", live()) is Outcome.HEALTHY

    @pytest.mark.parametrize(("name", "reason"), [("", "drill"), ("A. Keeper", " ")])
    def test_a_person_has_a_name_and_a_reason(self, name, reason):
        with pytest.raises(InputError, match="give a name and a reason"):
            PersonalOrder(name, reason)


class TestRefusals:
    @pytest.mark.parametrize(
        ("make", "complaint"),
        [
            (lambda: live(record(1), record(0)), "sessions do not ascend"),
            (lambda: live(record(0), record(0)), "sessions do not ascend"),
            (lambda: live(exchange_dates=(date(1), date(0))), "exchange dates do not ascend"),
            (
                lambda: live(record(1), exchange_dates=(date(0),)),
                "session 2026-01-06 is none of the exchange's",
            ),
            (lambda: live(record(0, n_bars=0)), "has 0 of 1 to 390 bars"),
            (lambda: live(record(0, n_bars=391)), "has 391 of 1 to 390 bars"),
            (lambda: live(record(0, trades=-1)), "has -1 trades"),
            (lambda: live(record(0, closed=False), record(1)), "session 2026-01-05 is open"),
        ],
    )
    def test_impossible_evidence(self, make, complaint):
        with pytest.raises(InputError, match=complaint):
            make()

    def test_the_last_session_may_be_open(self):
        assert live(record(0), record(1, closed=False)).closed_days == (record(0),)


class TestStoredModels:
    sound = RecordedFigures(16.4, 0.012, 1_000, 0.05, gate(hold_rate=True))

    def test_a_sound_record(self):
        assert satisfies(self.sound, CONFIG)
        assert [one.name for one in judge_figures(self.sound, CONFIG)] == [
            "drawdown", "trades_run", "drift_and_gate",
        ]  # fmt: skip

    @pytest.mark.parametrize(
        ("changes", "kept"),
        [
            ({"trades_per_session": 5.0}, True),
            ({"trades_per_session": 25.0}, True),
            ({"trades_per_session": 4.55}, False),
            ({"trades_per_session": 25.01}, False),
            ({"trades_per_session": None}, False),
            ({"trades_per_session": math.nan}, False),
            ({"max_intraday_drawdown_ratio": 0.02}, True),
            ({"max_intraday_drawdown_ratio": 0.0201}, False),
            ({"max_intraday_drawdown_ratio": None}, False),
            ({"max_intraday_drawdown_ratio": -1.0}, False),
            ({"drift_ratio": 0.15, "gate": None}, True),
            ({"drift_ratio": 0.2}, True),
            ({"drift_ratio": 0.2, "gate": None}, False),
            ({"drift_ratio": 0.2, "gate": gate(hold_rate=False)}, False),
            ({"drift_ratio": None}, False),
        ],
    )
    def test_what_the_target_of_a_rollback_must_show(self, changes, kept):
        assert satisfies(replace(self.sound, **changes), CONFIG) is kept

    def test_gold_as_it_is_trained_would_trip_at_once(self):
        """The over-holder of the plan: 4.55 trades a session, drift 0 from itself."""
        gold = RecordedFigures(4.55, 0.014, 1_000, 0.0, None)
        assert [one.name for one in judge_figures(gold, CONFIG) if one.tripped] == ["trades_run"]
