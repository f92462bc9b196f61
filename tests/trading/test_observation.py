"""What an account sees: every feature of every symbol where the policy expects it."""

from __future__ import annotations

import numpy as np
import pytest

from builders import random_sessions
from markets import SHORT_REGIME, random_market
from stairways.market.features import FeatureConstants, build_table, compute_features
from stairways.trading.observation import n_inputs, n_price_inputs, observe, position_columns


@pytest.mark.parametrize("n_symbols", [2, 3])
def test_columns_by_name(n_symbols):
    sessions = random_sessions(1, 4, n_symbols, 10, half_days=[2])
    raw = compute_features(sessions, SHORT_REGIME)
    table = build_table(raw, FeatureConstants.fit(raw, sessions, slice(0, 2)))
    market = observe(sessions, table)
    names = []
    for symbol in range(n_symbols):
        names += [*table.names[12 * symbol : 12 * symbol + 12], None]
    names += table.names[12 * n_symbols :]
    assert len(names) == n_inputs(n_symbols) == market.rows.shape[2]
    for column, name in enumerate(names):
        if name is None:
            assert column in position_columns(n_symbols)
            assert not market.rows[..., column].any()
        else:
            expected = table.values[..., table.names.index(name)]
            np.testing.assert_array_equal(market.rows[..., column], expected)
    assert names[n_price_inputs(n_symbols)].startswith("regime.")
    np.testing.assert_array_equal(market.score, table.score)
    assert market.data_digest == sessions.digest


@pytest.mark.parametrize(("n_symbols", "price", "inputs"), [(2, 26, 29), (3, 39, 42)])
def test_lengths(n_symbols, price, inputs):
    assert (n_price_inputs(n_symbols), n_inputs(n_symbols)) == (price, inputs)
    assert position_columns(n_symbols).tolist() == [12, 25, 38][:n_symbols]


def test_a_selection_is_a_view_of_its_sessions():
    market = random_market(1, 6, half_days=[2])
    part = market.select(slice(2, 4))
    assert len(part) == 2
    assert part.n_bars.tolist() == [21, 39]
    assert np.shares_memory(part.rows, market.rows)
    np.testing.assert_array_equal(part.close, market.close[2:4])
    assert part.data_digest == market.data_digest
    with pytest.raises(ValueError, match="read-only"):
        part.rows[0, 0, 0] = 1.0


def test_the_neutral_share_counts_decisions_alone():
    market = random_market(3, 5, half_days=[1])
    flags = [bool(market.neutral[s, b]) for s in range(5) for b in range(market.n_bars[s] - 1)]
    assert market.neutral_share_ratio == pytest.approx(np.mean(flags))
    assert market.full_session_decisions == 38
