"""Base features against a plain twin, by hand at their edges, and their constants and table."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from builders import random_sessions
from stairways.errors import ArtifactError, BarsError, MismatchError, RangeError
from stairways.market.features import (
    BASE_FEATURES,
    FEATURE_NAMES,
    FeatureConstants,
    build_table,
    compute_features,
)
from stairways.market.regime import RegimeConfig, RegimeDetector
from stairways.market.sessions import Sessions

# --- the plain twin: every definition written out, one bar at a time -------------------------


def _plain_return(close, first_open, k):
    path = [first_open, *close]
    return path[-1] / path[max(len(path) - 1 - k, 0)] - 1.0


def _plain_volatility(close, first_open):
    path = np.array([first_open, *close])
    returns = (path[1:] / path[:-1] - 1.0)[-20:]
    return math.sqrt(np.mean(returns**2))


def _plain_rsi(closes, first_open):
    changes = np.diff([first_open, *closes])
    gains, losses = np.maximum(changes, 0.0), np.maximum(-changes, 0.0)
    gain, loss = gains[:14].mean(), losses[:14].mean()
    for up, down in zip(gains[14:], losses[14:], strict=True):
        gain, loss = (13 * gain + up) / 14, (13 * loss + down) / 14
    return gain / (gain + loss) if gain + loss > 1e-12 * closes[-1] else 0.5


def _plain_ema_ratio(closes, bars):
    weight = 2 / (bars + 1)
    ages = np.arange(len(closes))[::-1]
    weights = weight * (1 - weight) ** ages
    weights[0] = (1 - weight) ** ages[0]
    return closes[-1] / np.dot(weights, closes) - 1.0


def _plain_vwap_ratio(close, volume):
    return close[-1] / np.average(close, weights=volume) - 1.0 if sum(volume) > 0 else 0.0


def _plain_log_volume(volume, earlier):
    earlier = [v for v in earlier if v > 0]
    return math.log(volume / np.mean(earlier)) if volume > 0 and earlier else 0.0


def _plain_bollinger(close):
    window = np.array(close[-20:])
    if (window == window[0]).all():
        return 0.0
    return (window[-1] - window.mean()) / (2 * window.std())


def _plain_features(sessions: Sessions) -> np.ndarray:
    values = np.zeros((*sessions.close.shape, len(BASE_FEATURES)))
    for i in range(len(sessions)):
        n = sessions.n_bars[i]
        row = [j for j in range(i + 1) if sessions.segment[j] == sessions.segment[i]]
        for s in range(sessions.n_symbols):
            history = np.concatenate([sessions.close[j, : sessions.n_bars[j], s] for j in row])
            before = len(history) - n
            opening, first = sessions.open[i, 0, s], sessions.open[row[0], 0, s]
            for t in range(n):
                close = list(sessions.close[i, : t + 1, s])
                volume = list(sessions.volume[i, : t + 1, s])
                earlier = [sessions.volume[j, t, s] for j in row[:-1][-20:] if t < sessions.n_bars[j]]
                volatility = _plain_volatility(close, opening)
                past = history[: before + t + 1]
                values[i, t, s] = [
                    _plain_return(close, opening, 1),
                    _plain_return(close, opening, 5),
                    _plain_return(close, opening, 15),
                    volatility,
                    _plain_rsi(past, first),
                    _plain_ema_ratio(past, 12),
                    _plain_ema_ratio(past, 26),
                    _plain_vwap_ratio(close, volume),
                    _plain_log_volume(volume[-1], earlier),
                    _plain_bollinger(close),
                    _plain_return(close, opening, 10) / (volatility * math.sqrt(10)) if volatility else 0.0,
                    t / (n - 1),
                ]
    return values


@pytest.mark.parametrize("n_symbols", [1, 2, 3])
def test_compiled_features_equal_the_plain_twin(n_symbols):
    sessions = random_sessions(3, 26, n_symbols, 15, half_days=(2, 9), segments=(3,), filled_ratio=0.15)
    values = compute_features(sessions).values
    assert np.isfinite(values).all()
    np.testing.assert_allclose(values, _plain_features(sessions), rtol=1e-12, atol=1e-12)


def test_compiled_features_equal_the_plain_twin_over_whole_sessions():
    sessions = random_sessions(4, 3, 2, 5, half_days=(1,))
    np.testing.assert_allclose(
        compute_features(sessions).values, _plain_features(sessions), rtol=1e-12, atol=1e-12
    )


# --- edges by hand ---------------------------------------------------------------------------


def _one_symbol(closes, *, opening=None, volumes=None, segment=None) -> Sessions:
    """Sessions of one symbol and 26 bars of 15 minutes; rows shorter than that repeat their last close."""
    base = random_sessions(0, len(closes), 1, 15)
    close = np.array([list(row) + [row[-1]] * (26 - len(row)) for row in closes], dtype=float)[..., None]
    open_ = np.concatenate((close[:, :1], close[:, :-1]), axis=1)
    if opening is not None:
        open_[:, 0, 0] = opening
    volume = np.full(close.shape, 100.0) if volumes is None else np.array(volumes, dtype=float)[..., None]
    rows = np.zeros(len(closes), dtype=np.int64) if segment is None else np.array(segment)
    return replace(base, open=open_, close=close, high=close, low=close, volume=volume, segment=rows)


def _column(sessions: Sessions, name: str) -> np.ndarray:
    return compute_features(sessions).values[:, :, 0, FEATURE_NAMES.index(name)]


def test_twelve_features_with_unique_names_and_two_kinds_that_carry_over():
    assert len(BASE_FEATURES) == len(set(FEATURE_NAMES)) == 12
    carrying = {spec.name for spec in BASE_FEATURES if spec.carries_over}
    assert carrying == {"rsi_14", "ema_12_ratio", "ema_26_ratio"}
    assert all(spec.formula for spec in BASE_FEATURES)


def test_returns_are_cut_at_the_session_start():
    sessions = _one_symbol([[110.0, 121.0], [50.0]], opening=[100.0, 40.0])
    assert _column(sessions, "return_1")[0, :3] == pytest.approx([0.10, 0.10, 0.0])
    assert _column(sessions, "return_5")[0, :7] == pytest.approx([0.10, 0.21, 0.21, 0.21, 0.21, 0.10, 0.0])
    assert _column(sessions, "return_15")[1, 0] == pytest.approx(0.25)  # not 50 / 121 - 1


def test_realised_volatility_counts_the_bars_there_are():
    column = _column(_one_symbol([[101.0, 101.0, 101.0]], opening=[100.0]), "realised_volatility_20")[0]
    assert column[0] == pytest.approx(0.01)
    assert column[3] == pytest.approx(0.01 / 2)  # one move in four bars
    assert column[19] == pytest.approx(0.01 / math.sqrt(20))
    assert column[20] == 0.0


def test_constant_prices_leave_every_price_feature_at_its_rest():
    raw = compute_features(_one_symbol([[100.1], [100.1]])).values[:, :, 0]
    rest = {"rsi_14": 0.5}
    for index, name in enumerate(FEATURE_NAMES):
        if name != "session_time":
            assert (raw[..., index] == rest.get(name, 0.0)).all(), name


def test_rsi_of_only_gains_is_one_and_of_only_losses_zero():
    assert (_column(_one_symbol([100.0 + np.arange(26)], opening=[99.0]), "rsi_14") == 1.0).all()
    assert (_column(_one_symbol([100.0 - np.arange(26)], opening=[101.0]), "rsi_14") == 0.0).all()


def test_rsi_forgets_a_move_that_no_price_shows_any_more():
    column = _column(_one_symbol([[101.0]] + [[101.0]] * 30, opening=[100.0] + [101.0] * 30), "rsi_14")
    assert column[0, 25] == 1.0
    assert column[-1, -1] == 0.5


def test_rsi_and_ema_carry_over_a_session_and_restart_at_a_segment():
    closes = [[100.0, 102.0, 101.0], [110.0, 111.0], [120.0, 119.0]]
    sessions = _one_symbol(closes, opening=[100.0, 109.0, 121.0], segment=[0, 0, 1])
    alone = _one_symbol(closes[2:], opening=[121.0])
    for name in ("rsi_14", "ema_12_ratio", "ema_26_ratio"):
        column = _column(sessions, name)
        assert (column[2] == _column(alone, name)[0]).all()
        assert column[1, 0] != _column(_one_symbol(closes[1:2], opening=[109.0]), name)[0, 0]
    assert _column(sessions, "ema_12_ratio")[2, 0] == 0.0
    assert _column(sessions, "rsi_14")[2, 0] == 0.0  # first change: 120 after an open of 121


def test_vwap_by_hand_and_before_the_first_volume():
    volumes = [[0.0, 300.0, 100.0] + [0.0] * 23]
    column = _column(_one_symbol([[100.0, 110.0, 130.0, 92.0]], volumes=volumes), "vwap_ratio")[0]
    assert column[0] == 0.0
    assert column[1] == 0.0
    assert column[2] == pytest.approx(130 / 115 - 1)
    assert column[3] == pytest.approx(92 / 115 - 1)


def test_log_volume_leaves_empty_bars_out_and_stops_at_a_segment():
    volumes = [[v] * 26 for v in (0.0, 100.0, 300.0, 400.0, 0.0, 50.0)]
    sessions = _one_symbol([[100.0]] * 6, volumes=volumes, segment=[0, 0, 0, 0, 0, 1])
    column = _column(sessions, "log_volume")[:, 7]
    assert column == pytest.approx([0.0, 0.0, math.log(3.0), math.log(2.0), 0.0, 0.0])


def test_log_volume_looks_back_twenty_sessions():
    volumes = [[1e6] * 26] + [[100.0] * 26] * 21
    column = _column(_one_symbol([[100.0]] * 22, volumes=volumes), "log_volume")[:, 0]
    assert column[20] < -5.0
    assert column[21] == pytest.approx(0.0, abs=1e-15)


def test_session_time_follows_the_calendar_on_half_days():
    sessions = random_sessions(1, 2, 1, 15, half_days=(1,))
    column = compute_features(sessions).values[:, :, 0, FEATURE_NAMES.index("session_time")]
    assert column[0, [0, 25]].tolist() == [0.0, 1.0]
    assert column[1, [0, 13]].tolist() == [0.0, 1.0]


def test_nothing_is_written_behind_a_half_days_end():
    sessions = random_sessions(1, 55, 2, 15, half_days=(1, 53))
    raw = compute_features(sessions)
    table = build_table(raw, FeatureConstants.fit(raw, sessions, slice(0, 20)))
    for array in (raw.values, table.values, table.score, table.neutral, table.carried):
        assert not array[[1, 53], 14:].any()
        assert array[:, :14].any()


@pytest.mark.parametrize(
    ("name", "value"),
    [("close", np.nan), ("close", 0.0), ("open", -1.0), ("volume", -1.0), ("volume", np.nan)],
)
def test_an_unusable_number_is_refused_with_symbol_and_date(name, value):
    sessions = random_sessions(1, 3, 2, 15)
    array = np.array(getattr(sessions, name))
    array[1, 4, 1] = value
    with pytest.raises(BarsError, match=r"BBB 2024-01-03: .*bar 4"):
        compute_features(replace(sessions, **{name: array}))


# --- constants and table ---------------------------------------------------------------------


def _raw_and_sessions():
    sessions = random_sessions(5, 60, 2, 15, half_days=(4, 57), filled_ratio=0.1)
    return compute_features(sessions), sessions


def test_constants_are_mean_and_population_deviation_of_the_training_bars():
    raw, sessions = _raw_and_sessions()
    constants = FeatureConstants.fit(raw, sessions, slice(2, 30))
    bars = np.concatenate([raw.values[i, : sessions.n_bars[i]] for i in range(2, 30)])
    np.testing.assert_allclose(constants.mean, bars.mean(axis=0), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(constants.scale, bars.std(axis=0), rtol=1e-12)


def test_constants_know_nothing_outside_their_range():
    raw, sessions = _raw_and_sessions()
    values = np.array(raw.values)
    values[30:] = 1e6
    altered = FeatureConstants.fit(replace(raw, values=values), sessions, slice(0, 30))
    constants = FeatureConstants.fit(raw, sessions, slice(0, 30))
    assert (constants.mean == altered.mean).all()
    assert (constants.scale == altered.scale).all()


def test_a_constant_feature_gets_scale_one():
    sessions = _one_symbol([[100.1]] * 3)
    raw = compute_features(sessions)
    constants = FeatureConstants.fit(raw, sessions, slice(0, 3))
    varying = FEATURE_NAMES.index("session_time")
    assert (np.delete(constants.scale[0], varying) == 1.0).all()
    assert constants.scale[0, varying] < 1.0
    assert constants.mean[0, FEATURE_NAMES.index("rsi_14")] == 0.5


def test_constants_survive_json_bit_for_bit():
    raw, sessions = _raw_and_sessions()
    constants = FeatureConstants.fit(raw, sessions, slice(0, 30))
    restored = FeatureConstants.from_record(json.loads(json.dumps(constants.as_record(), allow_nan=False)))
    assert restored.symbols == constants.symbols
    assert restored.mean.tobytes() == constants.mean.tobytes()
    assert restored.scale.tobytes() == constants.scale.tobytes()


def test_damaged_or_foreign_constants_are_refused():
    raw, sessions = _raw_and_sessions()
    record = FeatureConstants.fit(raw, sessions, slice(0, 30)).as_record()
    with pytest.raises(ArtifactError, match="lacks scale"):
        FeatureConstants.from_record({key: record[key] for key in ("symbols", "features", "mean")})
    with pytest.raises(MismatchError, match="this version has"):
        FeatureConstants.from_record({**record, "features": [*FEATURE_NAMES[:-1], "moon"]})
    with pytest.raises(ArtifactError, match="are not"):
        FeatureConstants.from_record({**record, "mean": record["mean"][:1]})
    with pytest.raises(ArtifactError, match="not positive"):
        FeatureConstants.from_record({**record, "scale": [[0.0] * 12] * 2})
    with pytest.raises(ArtifactError, match="not a table"):
        FeatureConstants.from_record({**record, "mean": [["a"] * 12] * 2})
    with pytest.raises(MismatchError, match="AAA,CCC"):
        build_table(raw, FeatureConstants.from_record({**record, "symbols": ["AAA", "CCC"]}))


def test_an_empty_training_range_and_foreign_sessions_are_refused():
    raw, sessions = _raw_and_sessions()
    with pytest.raises(RangeError, match="no bars in sessions 5:5"):
        FeatureConstants.fit(raw, sessions, slice(5, 5))
    with pytest.raises(MismatchError, match="over 59"):
        FeatureConstants.fit(raw, sessions.select(slice(1, None)), slice(0, 5))


def test_the_table_is_standardised_clipped_and_named():
    raw, sessions = _raw_and_sessions()
    constants = FeatureConstants.fit(raw, sessions, slice(0, 30))
    table = build_table(raw, constants)
    assert table.values.dtype == np.float32
    assert table.names[:2] == ("AAA.return_1", "AAA.return_5")
    assert table.names[12] == "BBB.return_1"
    assert table.names[-3:] == ("regime.momentum", "regime.volatility", "regime.divergence")
    standard = np.clip((raw.values - constants.mean) / constants.scale, -5.0, 5.0)
    plain = np.concatenate((standard.reshape(60, 26, 24), np.clip(raw.regime.z, -5.0, 5.0)), axis=-1).astype(
        np.float32
    )
    plain[np.arange(26) >= sessions.n_bars[:, None]] = 0.0
    np.testing.assert_array_equal(table.values, plain)
    assert np.abs(table.values[..., :24]).max() == 5.0
    assert table.values[50:, :, 24:].any()
    assert not table.values[:50, :, 24:].any()
    assert (table.score == raw.regime.score).all()


def test_arrays_handed_out_are_read_only():
    raw, sessions = _raw_and_sessions()
    constants = FeatureConstants.fit(raw, sessions, slice(0, 30))
    table = build_table(raw, constants)
    for array in (raw.values, constants.mean, constants.scale, table.values, table.score):
        with pytest.raises(ValueError, match="read-only"):
            array.flat[0] = 1.0


def test_features_go_on_from_a_saved_regime_state():
    sessions = random_sessions(6, 12, 2, 15)
    config = RegimeConfig(window_sessions=3, warm_up_sessions=2)
    whole = compute_features(sessions, config).regime
    tail = compute_features(sessions.select(slice(7, None)), config, regime_start=whole.state_before(7))
    assert (tail.regime.score == whole.score[7:]).all()
    with pytest.raises(MismatchError, match="3 symbols"):
        compute_features(sessions, config, regime_start=RegimeDetector(config, 3).state())
