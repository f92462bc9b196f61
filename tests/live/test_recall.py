"""What a live process remembers, and a bar that comes twice."""

from __future__ import annotations

import numpy as np
import pytest

from builders import random_sessions
from markets import SHORT_REGIME, random_program
from stairways.errors import BarsError, ConfigError
from stairways.live.decider import Decider
from stairways.live.recall import Recall
from stairways.market.feature_stream import FeatureStream
from stairways.market.features import FeatureConstants, compute_features
from stairways.trading.account import Account
from stairways.trading.rules import TradingRules

RULES, WARM = TradingRules(), 4


def test_the_oldest_is_forgotten_first():
    recall = Recall(2)
    for bar in range(3):
        recall.note(1, bar, bar)
    assert [recall.of(1, bar) for bar in range(4)] == [None, 1, 2, None]
    assert len(recall) == 2
    with pytest.raises(ConfigError, match="0 bars can't be remembered"):
        Recall(0)


@pytest.fixture
def led():
    """A decider in the last session, behind its eighth bar; four bars known."""
    sessions = random_sessions(seed=8, n_sessions=6, n_symbols=2, interval_minutes=10)
    raw = compute_features(sessions, SHORT_REGIME)
    constants = FeatureConstants.fit(raw, sessions, slice(0, WARM))
    stream = FeatureStream.after(sessions.select(slice(0, 5)), constants, SHORT_REGIME)
    decider = Decider(
        random_program(3),
        stream,
        RULES,
        mode="sampled",
        run_seed=7,
        loop=None,
        bars_known=4,
        readings_known=6,
    )
    account, intents = Account(RULES, 2), []
    decider.start_session(sessions.dates[5].item(), int(sessions.n_bars[5]))
    for b in range(8):
        intents.append(decider.decide(*bar_of(sessions, b), account))
        decider.settle(0)
    return decider, sessions, intents, raw


def bar_of(sessions, b):
    return sessions.open[5, b], sessions.close[5, b], sessions.volume[5, b]


def test_a_bar_that_comes_again_is_answered_with_what_it_got(led):
    decider, sessions, intents, _ = led
    date = sessions.dates[5].item()
    for b in range(4, 8):
        assert decider.repeated(date, b, *bar_of(sessions, b)) is intents[b]
    following = decider.decide(*bar_of(sessions, 8), Account(RULES, 2))
    assert following.bar == 8


def test_a_bar_with_other_numbers_or_out_of_memory_is_refused(led):
    decider, sessions, _, _ = led
    date = sessions.dates[5].item()
    opens, closes, volumes = bar_of(sessions, 7)
    with pytest.raises(BarsError, match="decided on with other prices"):
        decider.repeated(date, 7, opens, np.nextafter(closes, np.inf), volumes)
    for unknown in (3, 8):
        with pytest.raises(BarsError, match="not known here; only the last 4"):
            decider.repeated(date, unknown, *bar_of(sessions, unknown))


def test_the_regime_of_the_last_bars_is_known(led):
    decider, sessions, _, raw = led
    date = sessions.dates[5].item()
    found = [decider.reading(date, b) for b in range(9)]
    assert [reading is None for reading in found] == [True, True, *[False] * 6, True]
    assert [r.score for r in found[2:8]] == raw.regime.score[5, 2:8].tolist()


def test_the_answer_at_the_close_is_that_all_is_closed(led):
    decider, sessions, _, _ = led
    last = int(sessions.n_bars[5]) - 1
    for b in range(8, last + 1):
        decider.decide(*bar_of(sessions, b), Account(RULES, 2))
        if b < last:
            decider.settle(0)
    assert decider.repeated(sessions.dates[5].item(), last, *bar_of(sessions, last)) is None
