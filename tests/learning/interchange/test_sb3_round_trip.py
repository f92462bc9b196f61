"""In and out: a trained model, the actor made of its zip, and the model that is exported, act alike."""

from __future__ import annotations

import io
import subprocess
import sys

import numpy as np
import pytest
from sb3_contrib import RecurrentPPO
from stable_baselines3 import PPO

from markets import random_weights
from sb3_models import trained, zip_of
from stairways.errors import ArtifactError
from stairways.learning.interchange.agreement import agreement_of, observations
from stairways.learning.interchange.layout import ForeignOrder, observation_columns, sb3_names
from stairways.learning.interchange.sb3_export import acting, expressible, sb3_model, sb3_zip
from stairways.learning.interchange.sb3_import import read_sb3_zip
from stairways.policies.program import compile_program
from stairways.policies.spec import PolicySpec
from stairways.trading.actions import action_meanings

SYMBOLS = ("AAA", "BBB", "CCC")
SPECS = {
    "mlp": PolicySpec(hidden=(32, 16)),
    "mlp, regime columns": PolicySpec(regime="concat", hidden=(32, 16)),
    "mlp, three symbols": PolicySpec(n_symbols=3, hidden=(32,)),
    "lstm": PolicySpec(kind="lstm", hidden=(32, 16), lstm_hidden=32),
    "lstm, shared": PolicySpec(kind="lstm", hidden=(16,), lstm_hidden=32, critic_lstm="shared"),
    "lstm, two layers": PolicySpec(kind="lstm", regime="concat", hidden=(16,), lstm_hidden=32, lstm_layers=2),
}


def own_order(spec):
    return ForeignOrder.of(spec, SYMBOLS[: spec.n_symbols], None, None)


def loaded(spec, content):
    kind = PPO if spec.kind == "mlp" else RecurrentPPO
    return kind.load(io.BytesIO(content), device="cpu")


def assert_alike(program, spec, model):
    rows = observations(spec)
    found = agreement_of(program, rows, acting(model, spec.n_trunk_inputs))
    assert found.n == 10_000
    assert found.n_equal == found.n, found


@pytest.fixture(scope="module", params=SPECS, ids=lambda name: name.replace(", ", "-").replace(" ", "_"))
def case(request):
    spec = SPECS[request.param]
    model = trained(spec)
    return spec, model, zip_of(model)


class TestRoundTrip:
    def test_the_actor_acts_as_the_model_that_was_saved(self, case):
        spec, model, content = case
        policy = read_sb3_zip(content, "model.zip", spec, own_order(spec))
        assert_alike(compile_program(spec, policy.weights), spec, model)

    def test_an_exported_zip_is_loaded_by_its_library_and_acts_as_the_actor(self, case):
        spec, _, content = case
        weights = read_sb3_zip(content, "model.zip", spec, own_order(spec)).weights
        again = sb3_zip(sb3_model(spec, weights))
        assert_alike(compile_program(spec, weights), spec, loaded(spec, again))

    def test_weights_go_out_and_come_in_bit_for_bit(self, case):
        spec, _, content = case
        first = read_sb3_zip(content, "model.zip", spec, own_order(spec)).weights
        exported = sb3_zip(sb3_model(spec, first))
        second = read_sb3_zip(exported, "model.zip", spec, own_order(spec)).weights
        assert all(first[name].tobytes() == second[name].tobytes() for name in spec.shapes())

    def test_the_value_comes_along(self, case):
        spec, model, content = case
        weights = read_sb3_zip(content, "model.zip", spec, own_order(spec)).weights
        state = model.policy.state_dict()
        assert all((weights[ours] == state[theirs].numpy()).all() for ours, theirs in sb3_names(spec).items())


def test_a_zip_loads_where_this_package_is_not_installed(tmp_path):
    spec = SPECS["lstm"]
    (tmp_path / "model.zip").write_bytes(sb3_zip(sb3_model(spec, random_weights(spec, 1))))
    code = (
        "import sys\nsys.modules['stairways'] = None\nfrom sb3_contrib import RecurrentPPO\n"
        "model = RecurrentPPO.load('model.zip')\n"
        "print(model.observation_space.shape, model.action_space.n, 'stairways' in str(model.policy))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.split("\n")[-2] == "(26,) 9 False"


def test_an_exported_model_can_go_on_learning():
    spec = PolicySpec(hidden=(8,))
    model = loaded(spec, sb3_zip(sb3_model(spec, random_weights(spec, 2))))
    model.set_env(trained(spec).get_env())
    model.n_steps = 64
    before = model.policy.action_net.weight.detach().clone()
    model.rollout_buffer.buffer_size = 64
    model.rollout_buffer.reset()
    model.learn(64)
    assert (model.policy.action_net.weight != before).any()


class TestOrder:
    @pytest.mark.parametrize("name", ["mlp", "mlp, regime columns", "lstm", "lstm, shared"])
    def test_columns_and_actions_in_another_order_mean_the_same(self, name):
        """A model of another order, shown the same market in its order, chooses the same meanings."""
        spec = SPECS[name]
        rng = np.random.default_rng(3)
        columns = observation_columns(SYMBOLS[:2], with_regime=spec.regime == "concat")
        theirs = rng.permutation(columns)
        meanings = rng.permutation(action_meanings(2))
        model = trained(spec)
        order = ForeignOrder.of(spec, SYMBOLS[:2], theirs.tolist(), meanings.tolist())
        policy = read_sb3_zip(zip_of(model), "model.zip", spec, order)
        place = [columns.index(column) for column in theirs]
        meaning = np.array([action_meanings(2).index(words) for words in meanings])
        act = acting(model, spec.n_trunk_inputs)
        found = agreement_of(
            compile_program(spec, policy.weights),
            observations(spec),
            lambda rows: meaning[act(np.ascontiguousarray(rows[:, place]))],
        )
        # a sum in another order rounds otherwise, which shows at the closest of ties alone
        assert found.n_equal >= found.n - 2
        assert found.widest_differing_margin < 1e-5


class TestShapes:
    def refusal(self, spec, content):
        with pytest.raises(ArtifactError) as caught:
            read_sb3_zip(content, "model.zip", spec, own_order(spec))
        assert "correct the specification" in caught.value.line()
        return caught.value.line()

    def test_other_widths(self):
        content = zip_of(trained(SPECS["mlp"]))
        line = self.refusal(PolicySpec(hidden=(32, 32)), content)
        assert (
            "mlp_extractor.policy_net.2.weight has shape (16, 32), the specification asks for (32, 32)"
            in line
        )

    def test_more_layers_than_there_are(self):
        line = self.refusal(PolicySpec(hidden=(32, 16, 8, 4)), zip_of(trained(SPECS["mlp"])))
        assert "mlp_extractor.policy_net.4.weight is missing" in line
        assert "; and 4 more; " in line

    def test_an_lstm_that_was_not_said(self):
        line = self.refusal(SPECS["mlp"], zip_of(trained(SPECS["lstm"])))
        assert "lstm_actor.weight_ih_l0 (128, 26) is not in the specification (an LSTM (kind: lstm" in line

    def test_a_critic_without_lstm_beside_an_actor_with_one(self):
        model = trained(SPECS["lstm, shared"], shared_lstm=False, enable_critic_lstm=False)
        line = self.refusal(SPECS["lstm, shared"], zip_of(model))
        assert "critic.weight (32, 26) is not in the specification (a critic without an LSTM" in line

    def test_a_head_of_several_choices(self):
        import gymnasium

        model = trained(SPECS["mlp"], actions=gymnasium.spaces.MultiDiscrete([3, 3]))
        line = self.refusal(SPECS["mlp"], zip_of(model))
        assert "(6 outputs: another number of symbols, or a MultiDiscrete or other head)" in line

    def test_a_continuous_head(self):
        import gymnasium

        model = trained(SPECS["mlp"], actions=gymnasium.spaces.Box(-1, 1, (9,), np.float32))
        line = self.refusal(SPECS["mlp"], zip_of(model))
        assert "log_std (9,) is not in the specification (a continuous or state-dependent head)" in line

    def test_other_observations(self):
        line = self.refusal(SPECS["mlp, regime columns"], zip_of(trained(SPECS["mlp"])))
        assert "has shape (32, 26), the specification asks for (32, 29)" in line


class TestGate:
    def test_a_gate_that_is_the_identity_is_left_out_exactly(self):
        spec = PolicySpec(regime="gate", hidden=(16,))
        weights = random_weights(spec, 5)
        weights["gate.2.weight"][:] = 0.0
        weights["gate.2.bias"][:] = 0.0
        policy = expressible(spec, weights)
        assert policy.spec.regime == "none"
        assert "identity" in policy.folded
        assert_alike(compile_program(spec, weights), policy.spec, sb3_model(policy.spec, policy.weights))

    def test_a_gate_for_gradients_alone_is_left_out_exactly(self):
        spec = PolicySpec(regime="gate_gradient", hidden=(16,))
        weights = random_weights(spec, 5)
        policy = expressible(spec, weights)
        assert "training alone" in policy.folded
        assert_alike(compile_program(spec, weights), policy.spec, sb3_model(policy.spec, policy.weights))

    @pytest.mark.parametrize("part", ["weight", "bias"])
    def test_a_gate_that_does_something_is_refused(self, part):
        spec = PolicySpec(regime="gate", hidden=(16,))
        weights = random_weights(spec, 5)
        weights["gate.2.weight"][:] = 0.0
        weights["gate.2.bias"][:] = 0.0
        weights[f"gate.2.{part}"][..., 0] = 1e-6
        with pytest.raises(ArtifactError, match="--onnx, which can"):
            expressible(spec, weights)
