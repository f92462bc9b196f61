"""Windows read together as one account."""

from __future__ import annotations

import json
from dataclasses import fields, replace

import numpy as np
import pytest

from ledgers import make_ledger
from stairways.config import load_settings
from stairways.errors import RangeError
from stairways.trading.ledger import SessionLedger
from stairways.trading.sharpe import annual_sharpe
from stairways.tuning.pooling import chain, ledger_of, ledger_record, pool

RNG = np.random.default_rng(4)
FIRST, SECOND = RNG.normal(0.0, 0.004, 30), RNG.normal(0.0, 0.004, 25)


def shifted(ledger, days):
    return replace(ledger, dates=ledger.dates + np.timedelta64(days, "D"))


@pytest.fixture
def ledgers():
    return [make_ledger(FIRST), shifted(make_ledger(SECOND), 400)]


def window_of(number, ledgers, *, skilled=False, accepted=False):
    return {
        "window": number,
        "ledgers": {name: ledger_record(ledger) for name, ledger in ledgers.items()},
        "run": {"accepted": accepted, "verdicts": [{"name": "skill_proven", "passed": skilled}]},
    }


@pytest.fixture
def windows(ledgers):
    made = []
    for number, ledger in enumerate(ledgers, 1):
        flat = make_ledger(np.zeros(len(ledger)))
        others = {"all_hold": replace(flat, dates=ledger.dates), "candidate": ledger, "oracle": ledger}
        made.append(window_of(number, others, skilled=number == 2))
    del made[1]["ledgers"]["oracle"]
    return made


class TestChain:
    def test_returns_and_counts_stay(self, ledgers):
        joined = chain(ledgers)
        expected = np.concatenate([ledger.returns_ratio for ledger in ledgers])
        assert joined.returns_ratio == pytest.approx(expected, abs=1e-14)
        for name in ("decisions", "holds", "trades", "max_drawdown_ratio", "dates", "round_trips"):
            parts = np.concatenate([getattr(ledger, name) for ledger in ledgers])
            assert np.array_equal(getattr(joined, name), parts)

    def test_the_account_goes_on(self, ledgers):
        joined = chain(ledgers)
        assert np.array_equal(joined.nav_open_usd[1:], joined.nav_close_usd[:-1])
        assert joined.initial_nav_usd == ledgers[0].initial_nav_usd
        total = np.prod(1 + np.concatenate([FIRST, SECOND]))
        assert joined.nav_close_usd[-1] / joined.initial_nav_usd == pytest.approx(total)

    def test_amounts_keep_their_share_of_the_account(self, ledgers):
        joined = chain(ledgers)
        for name in ("traded_notional_usd", "commission_usd", "costs_usd"):
            shares = np.concatenate([getattr(x, name) / x.nav_open_usd for x in ledgers])
            assert getattr(joined, name) / joined.nav_open_usd == pytest.approx(shares)

    def test_one_alone_stays_what_it_is(self, ledgers):
        alone = chain(ledgers[:1])
        for field in fields(SessionLedger):
            assert np.array_equal(getattr(alone, field.name), getattr(ledgers[0], field.name))

    def test_sessions_must_stand_in_order(self, ledgers):
        for wrong in (ledgers[::-1], [ledgers[0], ledgers[0]]):
            with pytest.raises(RangeError, match="does not lie behind"):
                chain(wrong)


def test_a_ledger_survives_json(ledgers):
    again = ledger_of(json.loads(json.dumps(ledger_record(ledgers[1]))))
    for field in fields(SessionLedger):
        assert np.array_equal(getattr(again, field.name), getattr(ledgers[1], field.name))
        value = getattr(again, field.name)
        assert not isinstance(value, np.ndarray) or value.dtype == getattr(ledgers[1], field.name).dtype


class TestPool:
    def test_the_figures_are_those_of_all_sessions(self, windows):
        pooled = pool(windows, load_settings(None, {}), target_sharpe=0.6, n_actions=9)
        metrics = pooled.record["policies"]["candidate"]
        every = np.concatenate([FIRST, SECOND])
        assert metrics["n_sessions"] == 55
        assert metrics["sharpe"] == pytest.approx(annual_sharpe(every))
        assert metrics["mean_net_bps"] == pytest.approx(1e4 * every.mean())
        assert pooled.target.observed == pytest.approx(metrics["sharpe"])
        assert pooled.record["series"]["net_bps"]["candidate"] == pytest.approx(1e4 * every)

    def test_the_candidate_is_compared_with_everyone(self, windows):
        record = pool(windows, load_settings(None, {}), target_sharpe=0.6, n_actions=9).record
        assert list(record["comparisons"]) == ["all_hold"]
        difference = record["comparisons"]["all_hold"]["mean_difference_bps"]
        assert difference == pytest.approx(record["policies"]["candidate"]["mean_net_bps"])

    def test_who_did_not_run_everywhere_is_left_out(self, windows):
        record = pool(windows, load_settings(None, {}), target_sharpe=0.6, n_actions=9).record
        assert list(record["policies"]) == ["candidate", "all_hold"]

    def test_what_the_gates_said_is_counted(self, windows):
        record = pool(windows, load_settings(None, {}), target_sharpe=0.6, n_actions=9).record
        assert (record["windows_with_skill"], record["windows_accepted"], record["n_windows"]) == (1, 0, 2)

    def test_windows_must_not_share_a_session(self, windows):
        with pytest.raises(RangeError):
            pool([windows[0], windows[0]], load_settings(None, {}), target_sharpe=0.6, n_actions=9)
