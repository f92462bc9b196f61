import json
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
from pydantic import ValidationError

from ledgers import good_evidence, make_comparison, make_ledger
from stairways.evaluation.evidence import Evidence, Integrity, ShadowReplay
from stairways.evaluation.gates import (
    BEHAVIOUR_NAMES,
    CYCLE_NAMES,
    JUDGES,
    SAFETY_NAMES,
    SKILL_NAMES,
    GateConfig,
    accepted_without_skill,
    cycle_gate,
    final_gate,
    judge,
    required_names,
)
from stairways.evaluation.verdicts import Group, find

CONFIG = GateConfig()
Change = Callable[[Evidence], Evidence]


def ledger_with(**columns) -> Change:
    made = make_ledger(**{"n": 40, **columns})
    return lambda evidence: replace(evidence, ledger=made)


def without(**fields) -> Change:
    return lambda evidence: replace(evidence, **fields)


def comparison_with(reference: str, **changes) -> Change:
    return lambda evidence: replace(
        evidence, comparisons={**evidence.comparisons, reference: make_comparison(**changes)}
    )


def shadow_with(returns=None, digest: str = "ab", repeated: str = "ab", n: int = 3, **columns) -> Change:
    replay = ShadowReplay(make_ledger(returns, n=n, **columns), digest, repeated)
    return lambda evidence: replace(evidence, shadow=replay)


def no_comparison(reference: str) -> Change:
    return lambda evidence: replace(
        evidence, comparisons={k: v for k, v in evidence.comparisons.items() if k != reference}
    )


@dataclass(frozen=True)
class Case:
    """One judge's bad case and the ways in which it can't judge, each with a word of its reason."""

    bad: Change
    unjudged: tuple[tuple[Change, str], ...]


LEDGER_GAPS = (
    (without(ledger=None), "no sessions"),
    (ledger_with(n=0), "no sessions"),
    (ledger_with(n=19), "not enough sessions: 19"),
    (ledger_with(mode="greedy"), "measured greedy"),
)


def comparison_case(reference: str) -> Case:
    return Case(
        bad=comparison_with(reference, mean=-5.0),
        unjudged=(
            (no_comparison(reference), "not made"),
            (comparison_with(reference, n=19), "not enough sessions: 19"),
            (comparison_with(reference, mean=float("nan")), "not a number"),
            (comparison_with(reference, half=float("inf")), "not a number"),
            (comparison_with(reference, confidence=0.9), "interval at 0.9"),
        ),
    )


CASES = {
    "hold_rate": Case(
        ledger_with(holds=330),
        (
            *LEDGER_GAPS,
            (ledger_with(decisions=0, holds=0), "no decision"),
            (without(hold_target_ratio=float("nan")), "not a number"),
        ),
    ),
    "trades_per_session": Case(ledger_with(trades=7), LEDGER_GAPS),
    "session_trades_band": Case(ledger_with(trades=[4, 29] * 20), LEDGER_GAPS),
    "intraday_drawdown": Case(
        ledger_with(drawdown=0.03), (*LEDGER_GAPS, (ledger_with(drawdown=np.nan), "not a number"))
    ),
    "parameter_drift": Case(
        without(drift_ratio=0.4),
        (
            (without(drift_ratio=None), "not measured"),
            (without(drift_ratio=float("nan")), "no distance"),
            (without(drift_ratio=float("inf")), "no distance"),
            (without(drift_ratio=-0.1), "no distance"),
        ),
    ),
    "shadow_replay": Case(
        shadow_with(drawdown=0.03),
        (
            (without(shadow=None), "no shadow replay"),
            (shadow_with(n=2), "2 sessions"),
            (shadow_with(n=4), "4 sessions"),
            (shadow_with(drawdown=np.nan), "not a number"),
            (shadow_with([0.0, np.nan, 0.0]), "not a number"),
            (shadow_with(mode="greedy"), "replayed greedy"),
        ),
    ),
    "integrity": Case(
        without(integrity=Integrity("g", "h", "a", "a")), ((without(integrity=None), "no digests"),)
    ),
    "beats_gold": comparison_case("gold"),
    "beats_random": comparison_case("random"),
    "beats_all_hold": comparison_case("all_hold"),
    "tuning_adds": comparison_case("tilted_gold"),
}
UNJUDGED = [(name, change, word) for name, case in CASES.items() for change, word in case.unjudged]


def test_every_judge_is_under_contract():
    assert set(CASES) == set(JUDGES)


@pytest.mark.parametrize("name", JUDGES)
class TestContract:
    def test_the_verdict_bears_the_name_it_is_found_by(self, name):
        for evidence in (good_evidence(), Evidence()):
            verdict = JUDGES[name](evidence, CONFIG)
            assert verdict.name == name
            assert verdict.threshold
            assert verdict.reason

    def test_the_verdict_stands_in_its_group(self, name):
        groups = {
            **dict.fromkeys(BEHAVIOUR_NAMES, Group.BEHAVIOUR),
            **dict.fromkeys(SAFETY_NAMES, Group.SAFETY),
            **dict.fromkeys(SKILL_NAMES, Group.SKILL),
        }
        assert JUDGES[name](good_evidence(), CONFIG).group == groups.get(name, Group.INFORMATION)

    def test_a_clear_good_case_passes(self, name):
        verdict = JUDGES[name](good_evidence(), CONFIG)
        assert verdict.passed, verdict.reason
        assert verdict.observed is not None
        assert verdict.n > 0

    def test_a_clear_bad_case_fails_with_what_was_observed(self, name):
        verdict = JUDGES[name](CASES[name].bad(good_evidence()), CONFIG)
        assert not verdict.passed
        assert verdict.observed is not None

    def test_a_bad_case_fails_no_other_judge_of_another_kind(self, name):
        evidence = CASES[name].bad(good_evidence())
        failed = {other for other, ask in JUDGES.items() if not ask(evidence, CONFIG).passed}
        related = {
            "trades_per_session": {"session_trades_band"},
            "session_trades_band": {"trades_per_session"},
        }
        assert failed - related.get(name, set()) == {name}

    def test_nothing_known_fails(self, name):
        verdict = JUDGES[name](Evidence(), CONFIG)
        assert not verdict.passed
        assert verdict.observed is None

    def test_the_record_is_plain_json(self, name):
        record = JUDGES[name](good_evidence(), CONFIG).as_record()
        assert json.loads(json.dumps(record, allow_nan=False)) == record


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize(("name", "change", "word"), UNJUDGED)
def test_what_cant_be_judged_fails_and_says_why(name, change, word):
    verdict = JUDGES[name](change(good_evidence()), CONFIG)
    assert not verdict.passed
    assert verdict.observed is None
    assert word in verdict.reason


class TestBounds:
    @pytest.mark.parametrize(("holds", "passed"), [(520, True), (519, False), (580, True), (581, False)])
    def test_the_tolerance_of_the_hold_rate_includes_its_ends(self, holds, passed):
        evidence = Evidence(ledger=make_ledger(decisions=1000, holds=holds))
        assert JUDGES["hold_rate"](evidence, CONFIG).passed is passed

    def test_a_moving_target_takes_the_place_of_the_fixed_one(self):
        evidence = Evidence(ledger=make_ledger(decisions=1000, holds=620), hold_target_ratio=0.61)
        verdict = JUDGES["hold_rate"](evidence, CONFIG)
        assert verdict.passed
        assert "0.610" in verdict.threshold

    @pytest.mark.parametrize(("trades", "passed"), [(14, False), (15, True), (18, True), (19, False)])
    def test_the_band_of_mean_trades_includes_its_ends(self, trades, passed):
        evidence = Evidence(ledger=make_ledger(trades=trades))
        assert JUDGES["trades_per_session"](evidence, CONFIG).passed is passed

    @pytest.mark.parametrize(("n_out", "passed"), [(8, True), (9, False)])
    def test_four_sessions_of_five_must_lie_in_their_band(self, n_out, passed):
        evidence = Evidence(ledger=make_ledger(trades=[26] * n_out + [16] * (40 - n_out)))
        assert JUDGES["session_trades_band"](evidence, CONFIG).passed is passed

    @pytest.mark.parametrize(("n", "n_over", "passed"), [(100, 1, True), (99, 1, False), (200, 3, False)])
    def test_one_session_of_a_hundred_may_fall_further(self, n, n_over, passed):
        drawdown = np.full(n, 0.02)
        drawdown[:n_over] = 0.0201
        evidence = Evidence(ledger=make_ledger(n=n, drawdown=drawdown))
        assert JUDGES["intraday_drawdown"](evidence, CONFIG).passed is passed

    @pytest.mark.parametrize(("drift", "passed"), [(0.0, True), (0.15, True), (0.1501, False)])
    def test_drift_fails_over_its_threshold_only(self, drift, passed):
        assert JUDGES["parameter_drift"](Evidence(drift_ratio=drift), CONFIG).passed is passed

    @pytest.mark.parametrize("reference", ["gold", "random", "all_hold"])
    def test_an_interval_that_touches_zero_is_no_skill(self, reference):
        evidence = comparison_with(reference, mean=2.0, half=2.0)(good_evidence())
        assert not JUDGES[f"beats_{reference}"](evidence, CONFIG).passed

    @pytest.mark.parametrize("digests", ["ghaa", "ggab"])
    def test_one_changed_digest_fails(self, digests):
        verdict = JUDGES["integrity"](Evidence(integrity=Integrity(*digests)), CONFIG)
        assert verdict.observed == 1.0

    def test_digests_that_were_not_taken_fail(self):
        verdict = JUDGES["integrity"](Evidence(integrity=Integrity("", "", "", "")), CONFIG)
        assert not verdict.passed
        assert verdict.observed == 2.0


class TestShadowReplay:
    PLAN = GateConfig(shadow_rule="plan")

    def judged(self, config: GateConfig, **columns):
        return JUDGES["shadow_replay"](shadow_with(**columns)(Evidence()), config)

    def test_a_second_replay_must_be_the_same(self):
        assert "second replay differed" in self.judged(CONFIG, repeated="other").reason
        assert not self.judged(CONFIG, repeated="other").passed

    def test_no_digest_is_no_proof(self):
        assert not self.judged(CONFIG, digest="", repeated="").passed

    def test_one_session_over_the_drawdown_fails(self):
        assert not self.judged(CONFIG, drawdown=[0.0, 0.0201, 0.0]).passed
        assert self.judged(CONFIG, drawdown=[0.0, 0.02, 0.0]).passed

    @pytest.mark.parametrize(
        ("trades", "default", "plan"),
        [([2, 16, 30], True, False), ([5, 25, 16], True, True), ([4] * 3, False, False)],
    )
    def test_the_default_asks_for_mean_trades_and_the_plan_for_each_session(self, trades, default, plan):
        assert self.judged(CONFIG, trades=trades).passed is default
        assert self.judged(self.PLAN, trades=trades).passed is plan

    @pytest.mark.parametrize(("result", "plan"), [(-1e-4, False), (0.0, True), (1e-4, True)])
    def test_a_loss_is_reported_and_gates_in_the_plan_only(self, result, plan):
        returns = [0.001, result, 0.001]
        assert self.judged(CONFIG, returns=returns).passed
        assert self.judged(self.PLAN, returns=returns).passed is plan
        assert f"{result * 1e4:+.1f}" in self.judged(CONFIG, returns=returns).reason

    def test_the_power_stands_beside_the_rule(self):
        assert "without skill passes with probability" in self.judged(self.PLAN).reason


class TestFinalGate:
    def test_a_good_candidate_passes_with_proven_skill(self):
        result = final_gate(good_evidence(), CONFIG)
        assert result.passed
        assert find(result.verdicts, "skill_proven").passed
        assert not accepted_without_skill(result)

    def test_every_judge_speaks_once(self):
        names = [verdict.name for verdict in final_gate(good_evidence(), CONFIG).verdicts]
        assert names == [*JUDGES, "skill_proven"]
        assert [verdict.name for verdict in judge(Evidence(), CONFIG)] == list(JUDGES)

    def test_nothing_known_fails_every_requirement(self):
        result = final_gate(Evidence(), CONFIG)
        assert not result.passed
        assert result.failures() == required_names(CONFIG)

    @pytest.mark.parametrize("name", [*BEHAVIOUR_NAMES, *SAFETY_NAMES, *SKILL_NAMES])
    def test_each_requirement_alone_stops_a_candidate(self, name):
        result = final_gate(CASES[name].bad(good_evidence()), CONFIG)
        assert not result.passed
        assert name in result.failures()

    def test_what_tuning_adds_never_gates(self):
        result = final_gate(CASES["tuning_adds"].bad(good_evidence()), CONFIG)
        assert result.passed
        assert not find(result.verdicts, "tuning_adds").passed

    def test_without_required_skill_a_candidate_is_accepted_and_marked(self):
        config = GateConfig(require_skill=False)
        evidence = CASES["beats_random"].bad(good_evidence())
        result = final_gate(evidence, config)
        assert result.passed
        assert accepted_without_skill(result)
        mark = find(result.verdicts, "skill_proven")
        assert not mark.passed
        assert "beats_random" in mark.reason
        assert not final_gate(evidence, CONFIG).passed

    def test_without_required_skill_proven_skill_leaves_no_mark(self):
        assert not accepted_without_skill(final_gate(good_evidence(), GateConfig(require_skill=False)))

    def test_a_refused_candidate_is_not_accepted_without_skill(self):
        assert not accepted_without_skill(final_gate(Evidence(), GateConfig(require_skill=False)))


class TestCycleGate:
    def test_a_good_cycle_passes(self):
        assert cycle_gate(good_evidence(), CONFIG).passed

    def test_drift_is_judged_and_not_required(self):
        result = cycle_gate(CASES["parameter_drift"].bad(good_evidence()), CONFIG)
        assert result.passed
        assert not find(result.verdicts, "parameter_drift").passed

    @pytest.mark.parametrize("name", CYCLE_NAMES)
    def test_each_requirement_alone_stops_a_cycle(self, name):
        assert name in cycle_gate(CASES[name].bad(good_evidence()), CONFIG).failures()


class TestConfig:
    def test_the_defaults_are_those_of_the_plan(self):
        assert CONFIG.hold_target_ratio == 0.55
        assert CONFIG.trades_band == (15, 18)
        assert CONFIG.session_trades_band == (5, 25)
        assert CONFIG.drift_threshold_ratio == 0.15
        assert CONFIG.max_drawdown_ratio == 0.02
        assert CONFIG.require_skill

    @pytest.mark.parametrize(
        "wrong",
        [
            {"unknown": 1},
            {"hold_target_ratio": 1.2},
            {"trades_band": (18, 15)},
            {"session_trades_band": (-1, 5)},
            {"shadow_trades_band": (9, 8)},
            {"confidence": 1.0},
            {"drift_threshold_ratio": float("inf")},
            {"shadow_rule": "kind"},
            {"min_sessions": 0},
        ],
    )
    def test_settings_out_of_bounds_are_refused(self, wrong):
        with pytest.raises(ValidationError):
            GateConfig(**wrong)

    def test_it_is_frozen(self):
        with pytest.raises(ValidationError):
            CONFIG.confidence = 0.5


@pytest.mark.parametrize("name", ["trades_per_session", "session_trades_band", "intraday_drawdown"])
def test_thousands_of_sessions_are_separated_in_a_reason(name):
    evidence = replace(good_evidence(), ledger=make_ledger(n=1_200))
    assert " 1,200 sessions" in JUDGES[name](evidence, GateConfig()).reason
