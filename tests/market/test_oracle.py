"""The oracle: against plain enumeration, against finer grids, against simulation, and its pinned values."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest

from stairways.errors import ConfigError, MismatchError
from stairways.market.oracle import (
    OracleSolution,
    backward_induction,
    bar_drift_bps,
    net_sharpe,
    oracle_actions,
    signal_transition,
    simulate_oracle,
    solve_oracle,
)
from stairways.market.planted import PlantedSpec
from stairways.market.samples import (
    BEAR_2022,
    NOISE,
    PLANTED,
    PLANTED_HARD,
    PLANTED_HARD_ORACLE,
    PLANTED_ORACLE,
    OracleRecord,
    SyntheticMarket,
    sample_market,
)
from stairways.market.synthetic import MarketSpec

PINNED = [(PLANTED, PLANTED_ORACLE), (PLANTED_HARD, PLANTED_HARD_ORACLE)]


@lru_cache(maxsize=8)
def solved(
    spec: MarketSpec, symbols: tuple[str, ...] = ("NVDA", "MSFT"), interval: int = 1
) -> OracleSolution:
    return solve_oracle(spec, symbols, interval_minutes=interval)


@lru_cache(maxsize=2)
def market_of(name: str) -> SyntheticMarket:
    return sample_market(name)


# A tiny market with all that matters: three values of s, a regime that flips, a cost that bites.
TINY_DRIFT = np.array([[-0.1, 0.0, 0.2], [-2.5, 0.3, 3.0]])
TINY_TRANSITION = np.array([[0.7, 0.2, 0.1], [0.25, 0.5, 0.25], [0.05, 0.25, 0.7]])
TINY_SWITCH = 0.15
TINY_COST = 1.2


def plain_value(to_go: int, regime: int, signal: int, position: int) -> float:
    """Return the best expected result by trying every action at every node of the tree."""
    if to_go == 0:
        return -TINY_COST * abs(position)
    outcomes = []
    for change in (-1, 0, 1):
        after = position + change
        if abs(after) > 1:
            continue
        value = after * TINY_DRIFT[regime, signal] - TINY_COST * abs(change)
        for next_regime in (0, 1):
            chance = TINY_SWITCH if next_regime != regime else 1 - TINY_SWITCH
            for next_signal in range(3):
                step = chance * TINY_TRANSITION[signal, next_signal]
                value += step * plain_value(to_go - 1, next_regime, next_signal, after)
        outcomes.append(value)
    return max(outcomes)


def induced(
    drift: np.ndarray, transition: np.ndarray, switch: float, cost: float, n_decisions: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return values and values held of all decisions, ``(n_decisions, ..., 2, 3, n)`` each."""
    values, held = zip(*backward_induction(drift, transition, switch, cost, n_decisions), strict=True)
    return np.array(values), np.array(held)


def test_induction_equals_plain_enumeration() -> None:
    values, _ = induced(TINY_DRIFT, TINY_TRANSITION, TINY_SWITCH, TINY_COST, 4)
    for regime in (0, 1):
        for signal in range(3):
            for position in (-1, 0, 1):
                plain = plain_value(4, regime, signal, position)
                assert values[3, regime, position + 1, signal] == pytest.approx(plain, rel=1e-12, abs=1e-12)


def test_one_decision_by_hand() -> None:
    values, held = induced(TINY_DRIFT, TINY_TRANSITION, TINY_SWITCH, TINY_COST, 1)
    # From flat: buying at drift 3 earns 3 - 1.2 and pays 1.2 for the close.
    assert values[0, 1, 1, 2] == pytest.approx(0.6)
    assert values[0, 1, 1, 0] == pytest.approx(0.1)
    assert values[0, 0, 1, 2] == 0.0
    assert held[0, 1, :, 2].tolist() == pytest.approx([-4.2, 0.0, 1.8])


def plain_induction(
    drift: np.ndarray, transition: np.ndarray, switch: float, cost: float, n_decisions: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return what ``induced`` does for one symbol, by whole products."""
    positions = np.array([-1.0, 0.0, 1.0])
    steps = np.abs(positions[:, None] - positions)[..., None]
    values, held = [np.broadcast_to(-cost * np.abs(positions)[:, None], (2, 3, drift.shape[-1]))], []
    for _ in range(n_decisions):
        mixed = (1 - switch) * values[-1] + switch * values[-1][::-1]
        held.append(drift[:, None] * positions[:, None] + np.einsum("ij,rpj->rpi", transition, mixed))
        after = np.where(steps <= 1, held[-1][:, None] - cost * steps, -np.inf)
        values.append(after.max(axis=2))
    return np.array(values[1:]), np.array(held)


@pytest.mark.parametrize("persistence", [0.0, 0.97, 0.97**5])
@pytest.mark.parametrize("n_grid", [51, 301])
def test_symbols_side_by_side_equal_plain_induction_of_each(persistence: float, n_grid: int) -> None:
    signal = np.linspace(-6, 6, n_grid)
    transition = signal_transition(signal, persistence)
    drift = np.random.default_rng(1).normal(0.0, 0.5, (3, 2, 1)) * signal
    found = induced(drift, transition, TINY_SWITCH, TINY_COST, 40)
    for symbol in range(3):
        plain = plain_induction(drift[symbol], transition, TINY_SWITCH, TINY_COST, 40)
        for one, other in zip(found, plain, strict=True):
            assert np.abs(one[:, symbol] - other).max() < 1e-12 * np.abs(other).max()


def test_a_part_has_the_actions_of_the_whole() -> None:
    market = sample_market("planted", n_sessions=40)
    whole = oracle_actions(solved(PLANTED), market)
    assert np.array_equal(oracle_actions(solved(PLANTED), market, slice(7, 31)), whole[7:31])


def test_without_cost_the_sign_of_the_drift_is_followed() -> None:
    free = solve_oracle(PLANTED, ("NVDA",), cost_bps=0.0, n_decisions=5)
    active = free.buy_above[0, 0, 1]
    assert active[:2] == pytest.approx([0.0, 0.0], abs=1e-8)
    # The last decision earns E|drift| / 2 from the active half; E|s| = sqrt(2 / pi).
    drift = bar_drift_bps(PLANTED.planted or pytest.fail(), 0.020 / 390**0.5, np.array([1.0]), 1)[1, 0]
    assert free.session_mean_bps(2) == pytest.approx(0.15 * drift * (2 / np.pi) ** 0.5 / 2, rel=1e-4)


def test_transition_keeps_the_stationary_law() -> None:
    signal = np.linspace(-6, 6, 1201)
    transition = signal_transition(signal, 0.97)
    law = np.exp(-0.5 * signal**2)
    law /= law.sum()
    assert transition.sum(axis=1) == pytest.approx(np.ones(1201))
    assert np.abs(law @ transition - law).max() < 1e-8
    assert transition[700] @ signal == pytest.approx(0.97 * signal[700], abs=1e-9)


@pytest.mark.parametrize(("spec", "record"), PINNED, ids=("planted", "planted-hard"))
def test_exact_mean_is_pinned(spec: MarketSpec, record: OracleRecord) -> None:
    solution = solved(spec)
    assert solution.full_session_mean_bps == pytest.approx(record.full_session_mean_bps, rel=1e-6)
    assert solution.half_day_mean_bps == pytest.approx(record.half_day_mean_bps, rel=1e-6)


def test_grid_has_converged() -> None:
    finer = solve_oracle(PLANTED, ("NVDA",), n_grid=1601)
    here = solved(PLANTED, ("NVDA",))
    assert here.mean_bps[:, -1] == pytest.approx(finer.mean_bps[:, -1], rel=3e-6)
    usual = np.isfinite(here.buy_above) & np.isfinite(finer.buy_above) & (np.abs(finer.buy_above) < 3)
    assert usual.mean() > 0.3
    assert np.abs(here.buy_above[usual] - finer.buy_above[usual]).max() < 1e-3


@pytest.mark.parametrize(("spec", "record"), PINNED, ids=("planted", "planted-hard"))
def test_sharpe_is_as_stated_and_simulation_meets_the_exact_mean(
    spec: MarketSpec, record: OracleRecord
) -> None:
    solution = solved(spec)
    runs = []
    for seed in (1, 2):
        market = market_of(f"{spec.name}:{seed}")
        run = simulate_oracle(solution, market)
        full = market.sessions.n_bars == 390
        runs.append(run.result_bps[full])
        assert run.trades_per_session == pytest.approx(16.4 if spec is PLANTED else 13.1, abs=1.2)
        assert run.hold_rate_ratio == pytest.approx(0.961 if spec is PLANTED else 0.969, abs=0.003)
    result = np.concatenate(runs)
    assert len(result) >= 4500
    standard_error = result.std() / len(result) ** 0.5
    assert abs(result.mean() - solution.full_session_mean_bps) < 4 * standard_error
    assert net_sharpe(solution.full_session_mean_bps, result) == pytest.approx(record.sharpe, abs=0.3)


def test_the_policy_earns_its_value_in_the_states_alone() -> None:
    """Run the thresholds over fresh paths of (s, regime) without price noise: a far sharper check."""
    market = market_of("planted:1")
    assert market.truth is not None
    solution = solved(PLANTED)
    full = np.flatnonzero(market.sessions.n_bars == 390)
    total = np.zeros(len(full))
    for leg in range(2):
        units = np.zeros(len(full))
        slope = market.truth.strength * market.truth.unit_drift_ratio[leg] * 1e4
        for bar in range(389):
            s, active = market.truth.signal[full, bar, leg], market.truth.active[full, bar].astype(int)
            index = (leg, 388 - bar, active, units.astype(int) + 1)
            change = (s > solution.buy_above[index]).astype(float) - (s < solution.sell_below[index])
            units += change
            total += units * slope * s * active - np.abs(change)
        total -= np.abs(units)
    total *= 0.15
    standard_error = total.std() / len(total) ** 0.5
    # Sessions share regimes with their neighbours, hence the wide factor.
    assert abs(total.mean() - solution.full_session_mean_bps) < 5 * standard_error
    assert standard_error < 0.4


def test_no_nearby_policy_is_better() -> None:
    market = market_of("planted:1")
    solution = solved(PLANTED)
    best = drift_only_mean(solution, market)
    for shift in (-0.4, 0.4):
        shifted = replace(
            solution, sell_below=solution.sell_below - shift, buy_above=solution.buy_above + shift
        )
        assert drift_only_mean(shifted, market) < best


def drift_only_mean(solution: OracleSolution, market: SyntheticMarket) -> float:
    """Return the mean result over the market's states, each bar's return replaced by its drift."""
    truth, sessions = market.truth, market.sessions
    assert truth is not None
    drift = truth.strength * truth.unit_drift_ratio * truth.signal * truth.active[:, :, None]
    growth = np.ones_like(sessions.close)
    growth[:, 1:] += drift[:, :-1]
    noiseless = replace(sessions, close=np.cumprod(growth, axis=1))
    return float(simulate_oracle(solution, replace(market, sessions=noiseless)).result_bps.mean())


def test_thresholds_are_ordered() -> None:
    solution = solved(PLANTED)
    assert np.isneginf(solution.sell_below[:, :, :, 0]).all()
    assert np.isposinf(solution.buy_above[:, :, :, 2]).all()
    assert (solution.sell_below <= solution.buy_above).all()
    # A short is given up sooner than a long is opened.
    assert (solution.buy_above[:, :, :, 0] <= solution.buy_above[:, :, :, 1]).all()
    assert (np.diff(solution.mean_bps, axis=1) > 0).all()


def test_quiet_and_flat_the_oracle_waits() -> None:
    assert np.isposinf(solved(PLANTED).buy_above[:, :, 0, 1]).all()


def test_ties_keep() -> None:
    """At the last decision of a quiet session, closing now costs what the forced close costs."""
    solution = solved(PLANTED)
    assert np.isposinf(solution.buy_above[:, 0, 0, 0]).all()
    assert np.isneginf(solution.sell_below[:, 0, 0, 2]).all()


def test_long_and_short_mirror_each_other() -> None:
    solution = solved(PLANTED)
    mirrored = -solution.sell_below[:, :, :, ::-1]
    finite = np.isfinite(mirrored)
    assert np.array_equal(finite, np.isfinite(solution.buy_above))
    assert solution.buy_above[finite] == pytest.approx(mirrored[finite], abs=1e-7)


def test_unit_scales_the_value_and_changes_no_decision() -> None:
    whole, part = (
        solve_oracle(PLANTED, ("NVDA",), unit_fraction_ratio=unit, n_grid=201) for unit in (1.0, 0.15)
    )
    assert part.full_session_mean_bps == pytest.approx(0.15 * whole.full_session_mean_bps)
    assert np.array_equal(part.buy_above, whole.buy_above)


def test_symbols_add_up() -> None:
    both, first, second = (
        solve_oracle(PLANTED, names, n_grid=201).full_session_mean_bps
        for names in (("NVDA", "MSFT"), ("NVDA",), ("MSFT",))
    )
    assert both == pytest.approx(first + second, rel=1e-12)


def test_noise_is_worth_nothing_and_never_traded() -> None:
    solution = solve_oracle(NOISE, n_grid=201)
    assert solution.full_session_mean_bps == 0.0
    run = simulate_oracle(solution, sample_market("noise", n_sessions=30))
    assert run.trades.sum() == 0
    assert run.hold_rate_ratio == 1.0


class TestActions:
    @pytest.mark.parametrize("symbols", [("NVDA",), ("NVDA", "MSFT"), ("AAPL", "NVDA", "MSFT")])
    def test_joint_actions_equal_the_legs(self, symbols: tuple[str, ...]) -> None:
        market = sample_market("planted", symbols=symbols, n_sessions=245)
        solution = solve_oracle(PLANTED, symbols, n_grid=301)
        actions = oracle_actions(solution, market)
        k = len(symbols)
        assert actions.shape == (245, 390, 3**k)
        assert actions.dtype == np.int8
        truth, rng = market.truth, np.random.default_rng(1)
        assert truth is not None
        half = int(np.flatnonzero(market.sessions.n_bars == 210)[0])
        for session in (0, half, 100):
            n_bars = int(market.sessions.n_bars[session])
            for bar in [*rng.integers(0, n_bars - 1, 60), n_bars - 2]:
                units = rng.integers(-1, 2, k)
                position = sum((int(u) + 1) * 3 ** (k - 1 - leg) for leg, u in enumerate(units))
                expected = 0
                for leg, unit in enumerate(units):
                    index = (leg, n_bars - 2 - bar, int(truth.active[session, bar]), int(unit) + 1)
                    s = truth.signal[session, bar, leg]
                    choice = 1 + int(s > solution.buy_above[index]) - int(s < solution.sell_below[index])
                    expected += choice * 3 ** (k - 1 - leg)
                assert actions[session, bar, position] == expected

    def test_last_bar_keeps(self) -> None:
        market = sample_market("planted", n_sessions=245)
        actions = oracle_actions(solved(PLANTED), market)
        for session, n_bars in enumerate(market.sessions.n_bars):
            assert (actions[session, n_bars - 1 :] == 4).all()
        assert (actions != 4).any()

    def test_replay_equals_a_plain_account(self) -> None:
        market = sample_market("planted", n_sessions=245)
        solution = solved(PLANTED)
        actions = oracle_actions(solution, market)
        run = simulate_oracle(solution, market)
        half = int(np.flatnonzero(market.sessions.n_bars == 210)[0])
        for session in (0, 7, half, 100):
            n_bars, units, result, trades = int(market.sessions.n_bars[session]), [0, 0], 0.0, 0
            for bar in range(n_bars - 1):
                action = int(actions[session, bar, 3 * (units[0] + 1) + units[1] + 1])
                after = [
                    max(-1, min(1, u + leg - 1)) for u, leg in zip(units, divmod(action, 3), strict=True)
                ]
                price = market.sessions.close[session, bar : bar + 2]
                for leg in (0, 1):
                    trades += abs(after[leg] - units[leg])
                    result += after[leg] * (price[1, leg] / price[0, leg] - 1) * 1e4
                    result -= abs(after[leg] - units[leg])
                units = after
            trades += sum(map(abs, units))
            result -= sum(map(abs, units))
            assert run.result_bps[session] == pytest.approx(0.15 * result, rel=1e-9, abs=1e-12)
            assert run.trades[session] == trades
            assert run.decisions[session] == n_bars - 1


class TestFiveMinutes:
    def test_drift_sums_the_minutes(self) -> None:
        planted = PlantedSpec(strength=0.05, persistence=0.9, switch_probability=0.1)
        drift = bar_drift_bps(planted, 0.001, np.array([2.0]), 2)
        # Next minute: s as it is, active or not; the one after: 0.9 * s, and 0.1 or 0.9 active.
        assert drift[1, 0] == pytest.approx(0.05 * 0.001 * 1e4 * 2.0 * (1 + 0.9 * 0.9))
        assert drift[0, 0] == pytest.approx(0.05 * 0.001 * 1e4 * 2.0 * (0 + 0.9 * 0.1))

    def test_simulation_meets_the_exact_mean_below_that_of_minutes(self) -> None:
        solution = solved(PLANTED, interval=5)
        assert solution.n_decisions == 77
        market = sample_market("planted", interval_minutes=5)
        full = market.sessions.n_bars == 78
        result = simulate_oracle(solution, market).result_bps[full]
        assert abs(result.mean() - solution.full_session_mean_bps) < 4 * result.std() / full.sum() ** 0.5
        assert solution.full_session_mean_bps < solved(PLANTED).full_session_mean_bps


class TestRefused:
    def test_market_without_a_signal(self) -> None:
        with pytest.raises(ConfigError, match="no planted signal"):
            solve_oracle(BEAR_2022)
        with pytest.raises(MismatchError, match="no planted signal"):
            oracle_actions(solved(PLANTED), sample_market("2022_bear_market", n_sessions=3))

    @pytest.mark.parametrize(
        "options", [{"n_decisions": 0}, {"n_grid": 50}, {"cost_bps": -1.0}, {"unit_fraction_ratio": 0.0}]
    )
    def test_numbers_out_of_bounds(self, options: dict) -> None:
        with pytest.raises(ConfigError, match="are needed"):
            solve_oracle(PLANTED, **options)

    def test_other_symbols_interval_or_length(self) -> None:
        solution = solved(PLANTED)
        with pytest.raises(MismatchError, match="symbols"):
            oracle_actions(solution, sample_market("planted", symbols=("MSFT", "NVDA"), n_sessions=3))
        with pytest.raises(MismatchError, match="interval_minutes"):
            oracle_actions(solution, sample_market("planted", interval_minutes=5, n_sessions=3))
        short = solve_oracle(PLANTED, n_decisions=20, n_grid=101)
        with pytest.raises(MismatchError, match="20 decisions"):
            oracle_actions(short, sample_market("planted", n_sessions=3))
        with pytest.raises(ConfigError, match="1 to 21 bars"):
            _ = short.half_day_mean_bps
