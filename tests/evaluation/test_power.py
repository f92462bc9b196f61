import math

import numpy as np
import pytest
from scipy.stats import binomtest, norm

from stairways.errors import InputError
from stairways.evaluation.evidence import GOLD, Evidence
from stairways.evaluation.gate_config import GateConfig
from stairways.evaluation.power import CORRELATIONS, PairedPower, TrueSkill
from stairways.evaluation.power_simulation import Acceptance, Simulation
from stairways.evaluation.skill import beats_gold

SKILL = TrueSkill(2.5, 0.5, -1.5, 0.2, 0.1)


class TestFormula:
    @pytest.mark.parametrize(
        ("difference", "expected"),
        # worked by hand: (1.959964 + 0.841621)² · 2(1 - r) · 252 / D²
        [
            (0.5, [7912, 3165, 1583, 792, 159]),
            (1.0, [1978, 792, 396, 198, 40]),
            (2.0, [495, 198, 99, 50, 10]),
        ],
    )
    def test_sessions_needed(self, difference, expected):
        assert [PairedPower(r).sessions_needed(difference) for r in CORRELATIONS] == expected

    def test_a_two_sided_90_percent_interval_is_a_one_sided_5_percent_test(self):
        found = [PairedPower(0.5, 0.90).sessions_needed(d) for d in (0.5, 0.7, 2.0)]
        assert found == [6233, 3180, 390]

    @pytest.mark.parametrize("difference", [0.5, 1.0, 2.0])
    @pytest.mark.parametrize("correlation", [-0.3, 0.2, 0.9])
    def test_the_three_forms_are_each_other_s_inverse(self, difference, correlation):
        formula = PairedPower(correlation, 0.95)
        n = formula.sessions_needed(difference, 0.8)
        assert formula.power(n, difference) >= 0.8 > formula.power(n - 1, difference)
        assert formula.power(n, formula.least_detectable_annual(n, 0.8)) == pytest.approx(0.8)

    def test_power_without_a_difference_is_the_size(self):
        assert PairedPower(0.7, 0.95).power(500, 0.0) == pytest.approx(0.025)
        assert PairedPower(0.7, 0.80).power(500, 0.0) == pytest.approx(0.10)

    def test_little_power_is_had_from_the_first_session(self):
        assert PairedPower(0.5).sessions_needed(1.0, power=0.02) == 1

    @pytest.mark.parametrize(
        "make",
        [
            lambda: PairedPower(1.0),
            lambda: PairedPower(-1.0),
            lambda: PairedPower(0.5, 1.0),
            lambda: PairedPower(0.5).sessions_needed(0.0),
            lambda: PairedPower(0.5).sessions_needed(-1.0),
            lambda: PairedPower(0.5).sessions_needed(1.0, power=1.0),
            lambda: PairedPower(math.nan),
        ],
    )
    def test_what_makes_no_sense_is_refused(self, make):
        with pytest.raises(InputError):
            make()


class TestThreeVerdicts:
    def test_with_two_sure_ones_the_third_decides(self):
        # random far below and a candidate that holding can't match leave the verdict against gold
        skill = TrueSkill(30.0, 29.0, -30.0, 0.9, 0.0)
        assert skill.power(396) == pytest.approx(PairedPower(0.9).power(396, 1.0), abs=1e-6)
        assert skill.sessions_needed() == 396

    def test_uncorrelated_policies_of_one_kind_give_the_known_orthant(self):
        skill = TrueSkill(0.0, 0.0, 0.0, 0.0, 0.0)
        # differences against gold and random correlate .5, each with the candidate itself 1/sqrt(2)
        draws = np.random.default_rng(0).standard_normal((2_000_000, 3)) @ np.array(
            [[1.0, 1.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]
        )
        passed = (draws / np.sqrt([2.0, 2.0, 1.0]) > norm.ppf(0.975)).all(axis=1).mean()
        assert skill.power(250) == pytest.approx(passed, abs=3 * math.sqrt(passed / 2_000_000))

    def test_volatilities_count(self):
        skill = TrueSkill(1.0, 0.5, -1.0, 0.3, 0.1, 0.05, 0.7, 1.2)
        means = np.array([1.0, 0.5 * 0.7, -1.0 * 1.2]) / math.sqrt(252)
        spread = np.diag([1.0, 0.7, 1.2])
        correlations = np.array([[1, 0.3, 0.1], [0.3, 1, 0.05], [0.1, 0.05, 1]])
        returns = np.random.default_rng(1).multivariate_normal(
            means, spread @ correlations @ spread / 400, 400_000
        )
        differences = np.column_stack(
            [returns[:, 0] - returns[:, 1], returns[:, 0] - returns[:, 2], returns[:, 0]]
        )
        errors = np.sqrt([1 + 0.49 - 2 * 0.3 * 0.7, 1 + 1.44 - 2 * 0.1 * 1.2, 1.0]) / math.sqrt(400)
        passed = (differences > norm.ppf(0.975) * errors).all(axis=1).mean()
        assert skill.power(400) == pytest.approx(passed, abs=0.002)

    def test_the_least_number_of_sessions_is_the_least(self):
        n = SKILL.sessions_needed(0.8)
        assert SKILL.power(n) >= 0.8 > SKILL.power(n - 1)

    def test_what_is_not_there_is_never_shown(self):
        assert TrueSkill(0.0, -1.0, -1.0, 0.2, 0.1).sessions_needed() is None

    def test_drawn_returns_are_as_asked(self):
        skill = TrueSkill(10.0, 5.0, -5.0, 0.6, 0.3, 0.2, 0.5, 2.0)
        drawn = skill.draw(200_000, np.random.default_rng(2), degrees_of_freedom=8.0)
        assert drawn.shape == (200_000, 3)
        deviations = drawn.std(axis=0)
        np.testing.assert_allclose(deviations, 0.005 * np.array([1.0, 0.5, 2.0]), rtol=0.02)
        np.testing.assert_allclose(drawn.mean(axis=0) / deviations * math.sqrt(252), [10, 5, -5], atol=0.2)
        correlations = np.corrcoef(drawn.T)
        assert correlations[0, 1] == pytest.approx(0.6, abs=0.01)
        assert correlations[0, 2] == pytest.approx(0.3, abs=0.02)
        assert correlations[1, 2] == pytest.approx(0.2, abs=0.02)
        # kurtosis of t(8) is 4.5, of a normal law 3
        centred = drawn[:, 0] - drawn[:, 0].mean()
        assert (centred**4).mean() / (centred**2).mean() ** 2 == pytest.approx(4.5, abs=0.4)

    @pytest.mark.parametrize("correlations", [(1.0, 0.0, 0.0), (0.9, 0.9, -0.9), (math.nan, 0.0, 0.0)])
    def test_correlations_that_contradict_each_other_are_refused(self, correlations):
        with pytest.raises((InputError, np.linalg.LinAlgError)):
            TrueSkill(1.0, 0.0, 0.0, *correlations)

    def test_a_volatility_of_zero_is_refused(self):
        with pytest.raises(InputError, match="above 0"):
            TrueSkill(1.0, 0.0, 0.0, 0.2, 0.1, gold_volatility_ratio=0.0)


class TestSimulation:
    def test_it_asks_the_gate_s_own_judge(self):
        asked = []

        def spy(evidence, config):
            asked.append((evidence.comparisons[GOLD].n_sessions, config.confidence))
            return beats_gold(evidence, config)

        simulation = Simulation(3, GateConfig(confidence=0.8), 100)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("stairways.evaluation.power_simulation.JUDGES", {"beats_gold": spy})
            simulation.one_verdict(30, 1.0, 0.9, np.random.SeedSequence(0))
        assert asked == [(30, 0.8)] * 3

    def test_fewer_sessions_than_the_gate_asks_for_are_never_accepted(self):
        simulation = Simulation(5, n_resamples=100)
        assert simulation.one_verdict(19, 500.0, 0.99, np.random.SeedSequence(0)).accepted == 0
        assert simulation.one_verdict(20, 500.0, 0.99, np.random.SeedSequence(0)).accepted == 5

    def test_power_is_what_the_formula_says(self):
        found = Simulation(600, n_resamples=300).one_verdict(198, 1.0, 0.95, np.random.SeedSequence(1))
        assert found.ratio == pytest.approx(0.80, abs=3 * found.standard_error(0.80))

    def test_all_verdicts_are_what_the_formula_says(self):
        skill = TrueSkill(4.0, 0.0, -3.0, 0.2, 0.1)
        n = skill.sessions_needed()
        found = Simulation(400, n_resamples=200).all_verdicts(n, skill, np.random.SeedSequence(2))
        assert found.ratio == pytest.approx(0.80, abs=3 * found.standard_error(0.80))

    def test_one_verdict_is_easier_than_all(self):
        simulation, seed = Simulation(200, n_resamples=200), np.random.SeedSequence(3)
        skill = TrueSkill(2.5, 0.5, 0.0, 0.2, 0.1)
        one = simulation.verdicts(250, skill, ("beats_gold",), seed)
        assert simulation.all_verdicts(250, skill, seed).accepted <= one.accepted

    def test_the_same_seed_gives_the_same(self):
        simulation = Simulation(40, n_resamples=100)
        runs = [simulation.one_verdict(40, 2.0, 0.95, np.random.SeedSequence(4)) for _ in range(2)]
        assert runs[0] == runs[1]
        assert 0 < runs[0].accepted < 40

    def test_without_a_difference_few_are_accepted(self):
        found = Simulation(500, n_resamples=300).one_verdict(100, 0.0, 0.9, np.random.SeedSequence(5))
        assert found.ratio <= 0.025 + 3 * found.standard_error(0.025)


@pytest.mark.parametrize(("accepted", "n_runs"), [(0, 30), (12, 30), (999, 1_000)])
def test_the_interval_of_a_share_is_wilson_s(accepted, n_runs):
    share = Acceptance(accepted, n_runs)
    expected = binomtest(accepted, n_runs).proportion_ci(0.95, method="wilson")
    assert share.interval() == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert share.as_record()["low_ratio"] == share.interval()[0]
    assert share.standard_error(0.5) == pytest.approx(0.5 / math.sqrt(n_runs))


def test_without_a_comparison_the_judge_fails():
    assert not beats_gold(Evidence(), GateConfig()).passed
