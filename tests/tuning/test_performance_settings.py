"""Performance settings: refused where they can't hold, and no result changes with them."""

from __future__ import annotations

import json
import tracemalloc

import numpy as np
import pytest
import torch

from builders import random_sessions
from markets import SHORT_REGIME, random_market, random_program
from stairways.config import load_settings
from stairways.control import Multipliers, SetPoints, TiltActuator, TiltGains
from stairways.errors import ConfigError
from stairways.evaluation.replay import TiltLoop
from stairways.learning import runtime
from stairways.learning.network import PolicyNetwork
from stairways.learning.ppo import PPOUpdate
from stairways.learning.ppo_config import PPOConfig
from stairways.learning.runtime import CPU, device_of
from stairways.market.features import FeatureConstants, build_table, compute_features
from stairways.operations_config import PerformanceSettings
from stairways.policies.spec import PolicySpec
from stairways.trading.observation import observe
from stairways.trading.rules import TradingRules
from stairways.tuning.contest import Arena, Entrant
from stairways.tuning.market_access import open_dataset
from stairways.tuning.memory import market_bytes, require_memory, rollout_bytes
from stairways.tuning.steer import _require_cpu

LOOP = TiltLoop(TiltActuator(), TiltGains(ki_hold=0.1, ki_trade=0.1), SetPoints(), Multipliers(0.4, 0.3), 0.4)


def settings_with(**performance):
    return load_settings(None, {"performance": performance})


def test_they_are_no_part_of_what_a_run_is():
    plain, changed = settings_with(), settings_with(replay_workers=3, max_memory_gb=1.0, device="cpu")
    assert plain.digest == changed.digest
    assert plain.performance != changed.performance


@pytest.mark.parametrize("other", [{"mixed_precision": True}, {"device": "cuda"}])
def test_other_arithmetic_is_part_of_it(other, tmp_path):
    settings = settings_with(**other)
    assert settings.digest != settings_with().digest
    place = tmp_path / "config.json"
    place.write_text(json.dumps(settings.as_record()))
    assert load_settings(place, {}).digest == settings.digest


class TestMemory:
    def test_a_market_that_needs_too_much_is_refused_before_its_features_are_made(self, monkeypatch):
        made = []
        monkeypatch.setattr(
            "stairways.market.dataset.compute_features", lambda *given, **more: made.append(given)
        )
        with pytest.raises(ConfigError, match=r"3,\d\d\d sessions of 2 symbols need 0\.\d+ GiB .* 0\.1 GiB"):
            open_dataset(settings_with(max_memory_gb=0.1))
        assert not made

    def test_a_rollout_counts_too(self):
        sessions = random_sessions(3, 12)
        large = load_settings(
            None,
            {
                "performance": {"max_memory_gb": 0.5},
                "gold": {"ppo": {"n_envs": 4_096, "n_steps": 1_024, "minibatch": 4_096}},
            },
        )
        with pytest.raises(ConfigError, match=r"a rollout 0\.\d+ GiB, the limit is 0\.5 GiB"):
            require_memory(large, sessions)
        require_memory(settings_with(max_memory_gb=0.5), sessions)

    @pytest.mark.parametrize("n_symbols", [2, 3])
    def test_what_is_reckoned_is_what_is_allocated(self, n_symbols):
        def make():
            sessions = random_sessions(seed=1, n_sessions=200, n_symbols=n_symbols)
            raw = compute_features(sessions, SHORT_REGIME)
            constants = FeatureConstants.fit(raw, sessions, slice(0, 20))
            return sessions, raw, observe(sessions, build_table(raw, constants))

        make()
        tracemalloc.start()
        held = make()
        allocated, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        reckoned = market_bytes(len(held[0]), held[0].max_bars, n_symbols)
        assert 0.6 < allocated / reckoned < 1.1

    def test_a_rollout_is_reckoned_by_its_numbers(self):
        ppo = load_settings(None, {}).gold.ppo
        observation, actions = 26 + 3, 9
        assert rollout_bytes(ppo, 2) == pytest.approx(
            ppo.rollout_steps * (4 * (observation + actions + 10) + actions), rel=0.1
        )


class TestDevice:
    def test_a_gpu_that_is_not_there_is_refused(self, monkeypatch):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        with pytest.raises(ConfigError, match="there is no CUDA device here"):
            device_of("cuda")
        assert device_of("auto") == device_of("cpu") == CPU

    @pytest.mark.parametrize("own", [False, True])
    def test_mixed_precision_needs_a_gpu_or_a_cpu_that_has_it(self, monkeypatch, own):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        monkeypatch.setattr(runtime, "has_bfloat16", lambda: own)
        if own:
            assert device_of("auto", mixed_precision=True) == CPU
        else:
            with pytest.raises(ConfigError, match="this CPU has no bfloat16 products"):
                device_of("auto", mixed_precision=True)

    def test_mixed_precision_is_refused_where_float32_is_faster(self):
        network = PolicyNetwork(PolicySpec(kind="mlp", regime="none"), torch.Generator())
        with pytest.raises(ConfigError, match="trains in float32 on a CPU, which is faster"):
            PPOUpdate(network, PPOConfig(), torch.Generator(), mixed_precision=True)

    def test_a_gpu_is_taken_where_there_is_one(self, monkeypatch):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        assert device_of("auto").type == device_of("cuda", mixed_precision=True).type == "cuda"
        assert device_of("cpu") == CPU

    @pytest.mark.parametrize("asked", [{"device": "cuda"}, {"mixed_precision": True}])
    def test_all_actions_says_that_it_trains_on_the_cpu(self, asked):
        with pytest.raises(ConfigError, match="all_actions trains on the CPU"):
            _require_cpu(settings_with(**asked))
        _require_cpu(settings_with())


def test_replays_beside_each_other_are_those_in_order():
    market = random_market(5, n_sessions=12, interval_minutes=15)
    entrants = {
        f"{kind} {seed}": Entrant(random_program(seed, kind=kind, lstm_hidden=32 * (kind == "lstm")), LOOP)
        for kind in ("mlp", "lstm")
        for seed in range(4)
    }
    alone, beside = (
        Arena(market, TradingRules(), "sampled", 3, workers=workers).run_all(entrants) for workers in (1, 3)
    )
    assert list(alone) == list(beside)
    assert [run.digest for run in alone.values()] == [run.digest for run in beside.values()]
    assert len({run.digest for run in alone.values()}) == len(entrants)


@pytest.mark.parametrize("n_symbols", [2, 3])
def test_features_of_threads_are_those_of_one(n_symbols):
    sessions = random_sessions(seed=3, n_sessions=12, n_symbols=n_symbols)
    one, several = (compute_features(sessions, SHORT_REGIME, threads=threads) for threads in (1, 3))
    np.testing.assert_array_equal(one.values, several.values)
    np.testing.assert_array_equal(one.regime.score, several.regime.score)


@pytest.mark.parametrize(
    "wrong", [{"replay_workers": 0}, {"inference_batch": 0}, {"max_memory_gb": 0}, {"device": "tpu"}]
)
def test_what_makes_no_sense_is_refused(wrong):
    name = next(iter(wrong))
    with pytest.raises(ConfigError, match=f"performance.{name}"):
        settings_with(**wrong)
    assert getattr(PerformanceSettings(), name)
