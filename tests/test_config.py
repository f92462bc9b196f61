"""Settings: layers, bounds, digests, and messages that name place, value and remedy."""

from __future__ import annotations

import json

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from stairways.config import (
    DateRange,
    GoldSettings,
    RangeSettings,
    Settings,
    load_settings,
    setting_differences,
)
from stairways.control.actuators import RewardActuator, TiltActuator
from stairways.errors import ConfigError, RangeError


def written(folder, content):
    path = folder / "c.yml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content), encoding="utf-8")
    return path


class TestLayers:
    def test_options_count_more_than_the_file_it_more_than_the_preset_and_that_more_than_an_artifact(
        self, tmp_path
    ):
        path = written(tmp_path, {"seed": 2, "tune": {"cycles": 5}, "gate": {"shadow_rule": "default"}})
        base = {"seed": 1, "tune": {"cycles": 1, "min_cycles": 9}, "gate": {"shadow_rule": "default"}}
        made = load_settings(path, {"seed": 3}, "plan", base=base)
        assert (made.seed, made.tune.cycles, made.tune.min_cycles) == (3, 5, 9)
        assert made.gate.shadow_rule == "default"
        assert made.gold.steps == 409_600
        assert load_settings(None, {}, "plan", base=base).gate.shadow_rule == "plan"

    def test_no_file_and_an_empty_one_are_the_defaults(self, tmp_path):
        assert load_settings(None, {}) == load_settings(written(tmp_path, ""), {}) == Settings()

    def test_a_preset_of_the_command_line_counts_more_than_the_file_s(self, tmp_path):
        path = written(tmp_path, {"preset": "plan"})
        assert load_settings(path, {}).preset == "plan"
        assert load_settings(path, {}, "default").preset == "default"
        assert load_settings(path, {}, "default").gate.shadow_rule == "default"

    def test_another_actuator_takes_the_place_of_the_one_before_it(self, tmp_path):
        base = {"control": {"actuator": {"kind": "tilt", "hold_bound": 7.0}}}
        same = load_settings(None, {"control": {"actuator": {"kind": "tilt"}}}, base=base)
        other = load_settings(None, {"control": {"actuator": {"kind": "reward"}}}, base=base)
        assert same.control.actuator == TiltActuator(hold_bound=7.0)
        assert other.control.actuator == RewardActuator()
        kept = load_settings(None, {"control": {"actuator": {"kind": "reward"}}}, "plan")
        assert kept.control.actuator.ki_slow == 0.0


class TestRefusals:
    @pytest.mark.parametrize(
        ("content", "where", "what", "remedy"),
        [
            ({"tune": {"cycels": 3}}, "tune.cycels", "no such setting", "did you mean cycles?"),
            ({"nope": 1}, "nope", "no such setting", "settings there: call, control, dry_run"),
            ({"tune": {"cycles": 0}}, "tune.cycles", "greater than or equal to 1, not 0", "correct"),
            ({"seed": "a"}, "seed", "valid integer", "correct"),
            ({"seed": 2**63}, "seed", f"less than or equal to {2**63 - 1}", "correct"),
            (
                {"market": {"interval": "3min"}},
                "market.interval",
                "unknown value 3min",
                "choose 1min or 5min",
            ),
            ({"market": None}, "market", "not None", "correct"),
            (
                {"tune": {"ppo": {"learning_rate": {"start": 0, "end": 0}}}},
                "tune.ppo.learning_rate",
                "above 0",
                "correct",
            ),
            ({"gate": {"trades_band": [5, 1]}}, "gate", "from a lower to a higher count", "correct"),
            (
                {"control": {"actuator": {"hold_bound": 3}}},
                "control.actuator",
                "kind is missing",
                "kind: tilt",
            ),
            (
                {"control": {"actuator": {"kind": "tilt", "hold_boun": 3}}},
                "control.actuator.tilt.hold_boun",
                "no such setting",
                "did you mean hold_bound?",
            ),
        ],
    )
    def test_file_place_value_and_remedy_are_named(self, tmp_path, content, where, what, remedy):
        path = written(tmp_path, content)
        with pytest.raises(ConfigError) as caught:
            load_settings(path, {})
        assert caught.value.where == f"{path}, {where}"
        assert what in caught.value.what
        assert remedy in caught.value.remedy

    def test_what_stands_on_the_command_line_is_not_blamed_on_the_file(self, tmp_path):
        path = written(tmp_path, {"seed": 3, "tune": {"cycles": 4}})
        with pytest.raises(ConfigError) as caught:
            load_settings(path, {"tune": {"cycles": 0}})
        assert caught.value.where == "tune.cycles"

    def test_a_long_value_is_cut(self):
        with pytest.raises(ConfigError) as caught:
            load_settings(None, {"seed": "x" * 500})
        assert len(caught.value.line()) < 250

    @pytest.mark.parametrize("content", ["- 1", "seed: [", "\tseed: 1", "seed"])
    def test_a_file_that_is_no_mapping(self, tmp_path, content):
        with pytest.raises(ConfigError, match=r"c\.yml"):
            load_settings(written(tmp_path, content), {})

    def test_a_file_that_is_no_text_or_not_there(self, tmp_path):
        (tmp_path / "c.yml").write_bytes(b"\xff\xfe\x00")
        for path in (tmp_path / "c.yml", tmp_path / "none.yml", tmp_path):
            with pytest.raises(ConfigError, match="can't be read"):
                load_settings(path, {})

    @pytest.mark.parametrize(
        ("content", "place"),
        [
            ("gold: {hold_bonus_bps: .inf}", "gold.hold_bonus_bps"),
            ("reward: {nav: -.inf}", "reward.nav"),
            ("gate: {trades_band: [5, .inf]}", "gate"),
            ("tune: {ppo: {learning_rate: {start: .inf, end: 1}}}", "tune.ppo.learning_rate.start"),
            ("trading: {initial_nav_usd: .nan}", "trading.initial_nav_usd"),
        ],
    )
    def test_numbers_without_bound(self, tmp_path, content, place):
        with pytest.raises(ConfigError) as caught:
            load_settings(written(tmp_path, content), {})
        assert place in caught.value.where

    @pytest.mark.parametrize("symbols", [["NVDA"], ["A", "B", "C", "D"], ["NVDA", "NVDA"]])
    def test_two_or_three_different_symbols(self, symbols):
        with pytest.raises(ConfigError, match="two or three different symbols"):
            load_settings(None, {"market": {"symbols": symbols}})

    def test_units_that_exceed_the_gross_limit(self):
        with pytest.raises(ConfigError, match=r"2 units of 0\.6 exceed max_gross 1\.0"):
            load_settings(None, {"trading": {"unit_fraction": 0.6}})
        three = {"market": {"symbols": ["A", "B", "C"]}, "trading": {"unit_fraction": 0.34}}
        with pytest.raises(ConfigError, match="3 units"):
            load_settings(None, three)


class TestRanges:
    def test_written_as_text(self):
        made = DateRange.model_validate(" 2025-05-12 : 2025-07-31 ")
        assert str(made) == "2025-05-12:2025-07-31"
        assert DateRange.model_validate(str(made)) == made

    @pytest.mark.parametrize(
        "text", ["2025-05-12", "a:b", "2025-07-31:2025-05-12", "", "2025-02-30:2025-03-01"]
    )
    def test_what_is_no_range(self, text):
        with pytest.raises(RangeError) as caught:
            load_settings(None, {"ranges": {"tune": text}})
        assert caught.value.where.startswith("ranges.tune")

    @settings(deadline=None, max_examples=50)
    @given(st.lists(st.dates(), min_size=6, max_size=6, unique=True).map(sorted), st.permutations(range(3)))
    def test_they_are_disjoint_and_in_order_or_refused(self, dates, order):
        parts = [f"{dates[2 * i]}:{dates[2 * i + 1]}" for i in order]
        made = dict(zip(("train", "tune", "test"), parts, strict=True))
        if list(order) == [0, 1, 2]:
            assert str(RangeSettings.model_validate(made).tune) == parts[1]
            return
        with pytest.raises(RangeError, match="disjoint and in this order"):
            load_settings(None, {"ranges": made})

    def test_ranges_that_share_one_day_overlap(self):
        shared = {"tune": "2025-01-02:2025-02-03", "test": "2025-02-03:2025-03-03"}
        with pytest.raises(RangeError, match="--tune 2025-01-02:2025-02-03 and --test 2025-02-03:2025-03-03"):
            load_settings(None, {"ranges": shared})

    def test_train_and_test_are_held_apart_without_tune_between(self):
        with pytest.raises(RangeError):
            load_settings(
                None, {"ranges": {"train": "2025-02-03:2025-03-03", "test": "2025-01-02:2025-02-02"}}
            )


class TestRecord:
    @pytest.mark.parametrize("preset", ["default", "plan"])
    def test_it_loads_back_with_the_same_digest(self, preset):
        made = load_settings(
            None, {"ranges": {"tune": "2025-01-02:2025-02-03"}, "market": {"bars": "x"}}, preset
        )
        again = Settings.model_validate(json.loads(json.dumps(made.as_record())))
        assert again == made
        assert again.digest == made.digest

    def test_the_digest_is_one_of_content(self):
        assert Settings().digest == load_settings(None, {"seed": 0}).digest
        assert Settings().digest != load_settings(None, {"seed": 1}).digest

    def test_the_gate_follows_the_controller(self):
        made = load_settings(
            None,
            {
                "control": {"points": {"hold_rate_ratio": 0.6}, "mode": "greedy"},
                "tune": {"shadow_replay_days": 5},
            },
        ).resolved_gate()
        assert (made.hold_target_ratio, made.deployment_mode, made.shadow_sessions) == (0.6, "greedy", 5)


def test_differences_name_place_and_both_values():
    one, other = Settings().as_record(), load_settings(None, {"seed": 4, "tune": {"cycles": 3}}).as_record()
    assert setting_differences(one, one) == []
    assert setting_differences(one, other) == ["seed is 4, not 0", "tune.cycles is 3, not 8"]
    assert setting_differences({}, {"a": 1}) == ["a is 1, not None"]


class TestGateAndControl:
    def test_the_gate_takes_over_what_is_controlled(self):
        points = {"hold_rate_ratio": 0.6}
        settings = load_settings(None, {"control": {"points": points, "mode": "greedy"}})
        gate = settings.resolved_gate()
        assert (gate.hold_target_ratio, gate.deployment_mode) == (0.6, "greedy")
        assert load_settings(None, settings.as_record()).digest == settings.digest

    @pytest.mark.parametrize(
        ("gate", "place"),
        [
            ({"hold_target_ratio": 0.9}, "control.points.hold_rate_ratio"),
            ({"deployment_mode": "greedy"}, "control.mode"),
            ({"shadow_sessions": 7}, "tune.shadow_replay_days"),
            ({"trades_band": [2, 4]}, "control.points.trades_per_session"),
        ],
    )
    def test_a_gate_that_contradicts_the_controller_is_refused(self, gate, place):
        with pytest.raises(ConfigError, match=place):
            load_settings(None, {"gate": gate})

    def test_what_belongs_to_one_call_is_no_part_of_the_result(self):
        here = load_settings(None, {"call": {"out": "here", "database": "postgresql://a:secret@b/c"}})
        assert here.digest == load_settings(None, {}).digest
        assert "secret" not in str(here.as_record())


class TestGoldPasses:
    def test_an_lstm_passes_less_often_over_a_rollout(self):
        assert GoldSettings().ppo.epochs == 10
        assert GoldSettings(policy="lstm").ppo.epochs == 4
        assert load_settings(None, {"gold": {"policy": "lstm"}}).gold.ppo.epochs == 4

    def test_what_was_given_stands(self):
        given = {**GoldSettings().ppo.model_dump(), "epochs": 7}
        assert GoldSettings(policy="lstm", ppo=given).ppo.epochs == 7
        record = load_settings(None, {"gold": {"policy": "lstm"}}).as_record()
        assert load_settings(None, {"gold": record["gold"]}).gold == GoldSettings(policy="lstm")
