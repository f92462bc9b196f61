"""The planted signal: its laws, its drift, its volume, and that it stays out of the bars' arrays."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from stairways.errors import ConfigError
from stairways.market.planted import (
    PlantedSpec,
    active_minutes,
    planted_drift,
    regime_volatility_factor,
    stationary_ar1,
    unit_drift_ratio,
)
from stairways.market.samples import SyntheticMarket, sample_market
from stairways.market.volume import volume_profile


@pytest.fixture(scope="module")
def planted() -> SyntheticMarket:
    return sample_market("planted", n_sessions=600)


@pytest.fixture(scope="module")
def noise() -> SyntheticMarket:
    return sample_market("noise", n_sessions=600)


def ar1_plain(noise: np.ndarray, persistence: float) -> np.ndarray:
    paths = noise.copy()
    for row in paths:
        for step in range(1, len(row)):
            row[step] = persistence * row[step - 1] + (1 - persistence**2) ** 0.5 * row[step]
    return paths


def test_ar1_equals_the_plain_form() -> None:
    noise = np.random.default_rng(5).standard_normal((7, 30))
    assert np.allclose(stationary_ar1(noise, 0.97), ar1_plain(noise, 0.97), rtol=1e-13, atol=1e-13)


def test_ar1_is_stationary_from_the_first_step() -> None:
    paths = stationary_ar1(np.random.default_rng(6).standard_normal((40_000, 6)), 0.9)
    assert paths.std(axis=0) == pytest.approx(np.ones(6), abs=0.02)
    assert np.corrcoef(paths[:, 2], paths[:, 3])[0, 1] == pytest.approx(0.9, abs=0.01)


def test_regime_chain_by_hand() -> None:
    uniform = np.full((2, 390), 0.9)
    uniform[0, 0] = 0.4  # starts active
    uniform[0, 100] = 0.0  # turns quiet
    uniform[1, 0] = 0.0  # turns active overnight
    uniform[1, 300] = 0.0  # lies behind the half day's end
    active = active_minutes(uniform, np.array([390, 210]), 0.01)
    assert active[0, :100].all()
    assert not active[0, 100:].any()
    assert active[1, :210].all()
    assert not active[1, 210:].any()


def test_regime_is_common_and_lasts_780_minutes_on_average(planted: SyntheticMarket) -> None:
    assert planted.truth is not None
    full = planted.sessions.n_bars == 390
    minutes = planted.truth.active[full]
    switches = (minutes[:, 1:] != minutes[:, :-1]).mean()
    assert switches == pytest.approx(1 / 780, rel=0.2)
    assert minutes.mean() == pytest.approx(0.5, abs=0.1)


def test_volatility_factor_has_the_stated_ratio() -> None:
    quiet, active = regime_volatility_factor(np.array([False, True]), 2.0)
    assert active / quiet == pytest.approx(2.0)
    assert np.log(active) == pytest.approx(0.347, abs=0.001)


def test_regime_shows_in_volatility(planted: SyntheticMarket) -> None:
    assert planted.truth is not None
    close = planted.sessions.close
    returns = np.log(close[:, 1:] / close[:, :-1])
    active = planted.truth.active[:, 1:]
    valid = np.isfinite(returns[:, :, 0])
    rms = [np.sqrt((returns[valid & side] ** 2).mean()) for side in (active, ~active)]
    assert rms[0] / rms[1] == pytest.approx(2.0, rel=0.05)


def test_drift_by_hand() -> None:
    signal = np.array([[1.0, -2.0, 3.0]])
    active = np.array([[True, False, True]])
    assert planted_drift(signal, active, 0.5, 0.01).tolist() == [[0.0, 0.005, 0.0]]


def test_returns_differ_from_noise_by_exactly_the_drift(
    planted: SyntheticMarket, noise: SyntheticMarket
) -> None:
    truth = planted.truth
    assert truth is not None
    simple = [m.sessions.close / m.sessions.open - 1.0 for m in (planted, noise)]
    for leg in range(2):
        drift = planted_drift(
            truth.signal[:, :, leg], truth.active, truth.strength, truth.unit_drift_ratio[leg]
        )
        gap = simple[0][:, :, leg] - simple[1][:, :, leg] - drift
        assert np.nanmax(np.abs(gap)) < 1e-14


def test_noise_is_the_planted_market_with_strength_0(
    planted: SyntheticMarket, noise: SyntheticMarket
) -> None:
    assert planted.truth is not None
    assert noise.truth is not None
    assert noise.truth.strength == 0.0
    assert np.array_equal(planted.truth.signal, noise.truth.signal)
    assert np.array_equal(planted.truth.active, noise.truth.active)
    assert np.array_equal(planted.sessions.volume, noise.sessions.volume, equal_nan=True)
    assert planted.sessions.digest != noise.sessions.digest


def test_signal_starts_anew_each_session_and_persists_within(planted: SyntheticMarket) -> None:
    assert planted.truth is not None
    full = planted.sessions.n_bars == 390
    signal = planted.truth.signal[full]
    assert signal.std() == pytest.approx(1.0, abs=0.03)
    assert np.corrcoef(signal[:, :-1].ravel(), signal[:, 1:].ravel())[0, 1] == pytest.approx(0.97, abs=0.005)
    assert abs(np.corrcoef(signal[:-1, -1].ravel(), signal[1:, 0].ravel())[0, 1]) < 0.1
    assert abs(np.corrcoef(signal[:, :, 0].ravel(), signal[:, :, 1].ravel())[0, 1]) < 0.05


def test_volume_shows_the_signal_as_stated(planted: SyntheticMarket) -> None:
    assert planted.truth is not None
    full = planted.sessions.n_bars == 390
    for leg, symbol in enumerate(planted.sessions.symbols):
        mean = planted.spec.symbol(symbol).session_volume_shares / 390 * volume_profile(390)
        log_relative = np.log(planted.sessions.volume[full, :, leg] / mean)
        noise = log_relative - 0.6 * planted.truth.signal[full, :, leg]
        assert noise.mean() == pytest.approx(0.0, abs=0.002)
        assert noise.std() == pytest.approx(0.2, abs=0.002)
        related = np.corrcoef(log_relative.ravel(), planted.truth.signal[full, :, leg].ravel())[0, 1]
        assert related == pytest.approx(0.6 / (0.6**2 + 0.2**2) ** 0.5, abs=0.003)


def test_signal_predicts_the_active_regime_only() -> None:
    market = sample_market("planted", n_sessions=2500)
    assert market.truth is not None
    close = market.sessions.close[:, :, 0]
    ahead = close[:, 30:] / close[:, :-30] - 1.0
    signal, active = market.truth.signal[:, :-30, 0], market.truth.active[:, :-30]
    valid = np.isfinite(ahead)
    in_active = np.corrcoef(signal[valid & active], ahead[valid & active])[0, 1]
    in_quiet = np.corrcoef(signal[valid & ~active], ahead[valid & ~active])[0, 1]
    assert 0.10 < in_active < 0.18
    assert abs(in_quiet) < 0.03


def test_truth_is_apart_frozen_and_zero_behind_half_days(planted: SyntheticMarket) -> None:
    truth = planted.truth
    assert truth is not None
    half = np.flatnonzero(planted.sessions.n_bars == 210)
    assert len(half) > 0
    assert (truth.signal[half, 210:] == 0.0).all()
    assert not truth.active[half, 210:].any()
    assert np.isfinite(truth.signal).all()
    for array in (truth.signal, truth.active, truth.unit_drift_ratio):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
    names = {field.name for field in fields(planted.sessions)}
    assert not names & {"signal", "active", "truth"}


def test_truth_of_five_minute_bars_is_that_of_their_last_minute(planted: SyntheticMarket) -> None:
    coarse = sample_market("planted", n_sessions=600, interval_minutes=5)
    assert planted.truth is not None
    assert coarse.truth is not None
    assert np.array_equal(coarse.truth.signal, planted.truth.signal[:, 4::5])
    assert np.array_equal(coarse.truth.active, planted.truth.active[:, 4::5])


def test_unit_drift() -> None:
    assert unit_drift_ratio(0.020) == pytest.approx(0.020 / 390**0.5)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("strength", -0.1),
        ("persistence", 1.0),
        ("switch_probability", 0.0),
        ("volatility_ratio", 0.5),
        ("volume_noise_sd", -1.0),
    ],
)
def test_constants_out_of_bounds_are_refused(field: str, value: float) -> None:
    with pytest.raises(ConfigError, match=field):
        PlantedSpec(**{"strength": 0.05, field: value})
