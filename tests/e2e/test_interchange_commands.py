"""A policy from elsewhere becomes a gold that is tuned, and artifacts go out to other libraries."""

from __future__ import annotations

import io
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from tools.hostile_zips import HOSTILE, Sound
from workbench import SYMBOLS, json_of, listing, write_yaml

from sb3_models import trained, zip_of
from stairways.learning.interchange.agreement import agreement_of, observations
from stairways.policies.spec import PolicySpec
from stairways.registry.artifact import read_artifact
from stairways.tuning.packing import unpack
from stairways.tuning.policy_export import constants_by_column

POLICIES = {
    "mlp": PolicySpec(hidden=(16,)),
    "lstm": PolicySpec(kind="lstm", hidden=(16,), lstm_hidden=32),
}


@pytest.fixture(scope="module")
def models():
    """A model of each kind and what it saved."""
    made = {name: trained(spec) for name, spec in POLICIES.items()}
    return {name: SimpleNamespace(model=model, content=zip_of(model)) for name, model in made.items()}


def specification(market, kind="mlp", **more):
    spec = POLICIES[kind]
    return {
        "symbols": list(SYMBOLS),
        "interval": "5min",
        "policy": {"kind": kind, "hidden": list(spec.hidden), "lstm_hidden": spec.lstm_hidden},
        "features": {"fit": market.ranges["train"]},
        "provenance": {"trained_by": "the desk", "seen": [market.ranges["train"]]},
        **more,
    }


@pytest.fixture
def place(market, models, tmp_path):
    """Write a zip and its specification, and give the arguments that import them."""

    def made(kind="mlp", content=None, bars=True, **more):
        (tmp_path / "model.zip").write_bytes(models[kind].content if content is None else content)
        spec = write_yaml(tmp_path / "spec.yml", specification(market, kind, **more))
        start = ["gold", "import", str(tmp_path / "model.zip"), "--spec", str(spec)]
        return [*start, "--out", str(tmp_path / "gold"), *(["--bars", str(market.bars)] if bars else [])]

    return made


class TestImport:
    @pytest.mark.parametrize("kind", POLICIES)
    def test_a_model_becomes_a_gold_that_acts_as_it_does(self, cli, place, models, market, tmp_path, kind):
        ended = cli(*place(kind))
        assert ended.status == 0, ended.err
        packed = unpack(tmp_path / "gold")
        assert packed.spec == POLICIES[kind]
        assert packed.artifact.role == "gold"
        assert [str(dates) for dates in packed.seen] == [market.ranges["train"]]
        assert packed.artifact.data_source != ""
        from stairways.learning.interchange.sb3_export import acting

        rows = observations(packed.spec)
        found = agreement_of(packed.program, rows, acting(models[kind].model, 26))
        assert found.n_equal == found.n == 10_000
        assert "never opened: data, pytorch_variables.pth" in ended.out
        assert f"fitted on {market.ranges['train']}" in ended.out
        assert "uses_every_column" in ended.out

    def test_the_same_import_gives_the_same_digests(self, cli, place, tmp_path):
        arguments = place()
        assert cli(*arguments).status == 0
        again = [*arguments, "--out", str(tmp_path / "again")]
        assert cli(*again).status == 0
        assert read_artifact(tmp_path / "gold").digest == read_artifact(tmp_path / "again").digest
        assert json_of(tmp_path / "gold" / "record.json") == json_of(tmp_path / "again" / "record.json")

    def test_its_constants_are_those_of_the_range_it_was_fitted_on(self, cli, place, market, tmp_path):
        assert cli(*place()).status == 0
        ours, theirs = unpack(tmp_path / "gold"), unpack(market.gold)
        assert (ours.constants.mean == theirs.constants.mean).all()
        assert ours.artifact.data_digest == theirs.artifact.data_digest
        assert ours.artifact.regime_state == theirs.artifact.regime_state

    @pytest.mark.parametrize("kind", POLICIES)
    def test_it_is_tuned_from_a_warm_start(self, cli, place, market, tmp_path, kind):
        assert cli(*place(kind)).status == 0
        arguments = market.tune(tmp_path / "run", "--cycles", "1")
        arguments[arguments.index("--gold") + 1] = str(tmp_path / "gold")
        ended = cli(*arguments)
        assert ended.status in (0, 1), ended.err
        candidate = unpack(tmp_path / "run" / "artifact")
        assert candidate.artifact.parent_digest == read_artifact(tmp_path / "gold").digest
        summary = json_of(tmp_path / "run" / "summary.json")
        assert "warm" in str(summary).lower()

    def test_it_is_judged_and_checked_for_leaks_as_any_gold(self, cli, place, market, tmp_path):
        assert cli(*place()).status == 0
        ended = cli(*market.evaluate(tmp_path / "gold"))
        assert ended.status in (0, 1), ended.err
        sessions = ["--sessions", market.ranges["test"]]
        ended = cli("check", "leak", str(tmp_path / "gold"), *market.options(), *sessions)
        assert ended.status == 0, ended.out
        assert "no leak found" in ended.out

    def test_constants_that_were_given_can_not_be_checked_and_that_is_said(
        self, cli, place, market, tmp_path
    ):
        constants = constants_by_column(unpack(market.gold).constants)
        constants["NVDA.return_1"]["std"] *= 2.0
        assert cli(*place(features={"constants": constants})).status == 0
        sessions = ["--sessions", market.ranges["test"]]
        ended = cli("check", "leak", str(tmp_path / "gold"), *market.options(), *sessions)
        assert ended.status == 1
        assert "not checked: constants" in ended.out

    def test_sessions_it_has_seen_test_nothing_later(self, cli, place, market, tmp_path):
        seen = [market.ranges["train"], market.ranges["tune"]]
        assert cli(*place(provenance={"trained_by": "x", "seen": seen})).status == 0
        arguments = market.tune(tmp_path / "run")
        arguments[arguments.index("--gold") + 1] = str(tmp_path / "gold")
        complaint = cli(*arguments).complaint
        assert f"does not lie behind {market.ranges['tune']}, which gold has seen" in complaint

    def test_an_untrained_model_is_warned_of_with_figures(self, cli, place, tmp_path):
        from stairways.learning.interchange.sb3_export import sb3_model, sb3_zip

        spec = POLICIES["mlp"]
        weights = {name: np.zeros(shape, np.float32) for name, shape in spec.shapes().items()}
        ended = cli(*place(content=sb3_zip(sb3_model(spec, weights))))
        assert ended.status == 0
        assert "WARNING  is_trained: mean entropy 2.1972 nats, 100.0% of the uniform policy's" in ended.out
        assert "4 warnings" in ended.out
        record = json_of(tmp_path / "gold" / "record.json")
        assert sum(not sign["passed"] for sign in record["vital_signs"]) == 4

    def test_given_constants_need_no_bars(self, cli, place, market, tmp_path):
        gold = unpack(market.gold)
        ended = cli(*place(bars=False, features={"constants": constants_by_column(gold.constants)}))
        assert ended.status == 0, ended.err
        packed = unpack(tmp_path / "gold")
        assert (packed.constants.scale == gold.constants.scale).all()
        assert packed.artifact.data_source == "bars unknown: trained by the desk"
        assert "SYNTHETIC planted" in ended.out
        assert "no bars were named" in ended.out
        # what is known of its bars counts as real: a test on any of them looks at what it has seen
        complaint = cli("evaluate", str(tmp_path / "gold"), "--sessions", market.ranges["test"]).complaint
        assert "--bars is missing" in complaint

    def test_everything_can_stand_in_the_file(self, cli, place, market, tmp_path):
        arguments = place()
        config = write_yaml(
            tmp_path / "c.yml",
            {
                "market": {"bars": str(market.bars)},
                "call": {"model": arguments[2], "spec": arguments[4], "out": str(tmp_path / "other")},
            },
        )
        ended = cli("gold", "import", "--config", str(config))
        assert ended.status == 0, ended.err
        assert (tmp_path / "other" / "manifest.json").is_file()


class TestRefusals:
    @pytest.fixture
    def refused(self, cli, tmp_path):
        def check(arguments, *words):
            before = listing(tmp_path)
            ended = cli(*arguments)
            assert ended.status == 2, ended
            for word in words:
                assert word in ended.complaint
            assert listing(tmp_path) == before

        return check

    @pytest.mark.parametrize(
        "name",
        ["pickle bomb in policy.pth", "zip bomb", "path out of the folder", "10 GB claimed", "truncated"],
    )
    def test_zips_that_mean_harm(self, refused, place, models, tmp_path, name):
        [hostile] = [hostile for hostile in HOSTILE if hostile.name == name]
        content = hostile.make(Sound.of(models["mlp"].content, tmp_path / "marker"))
        refused(place(content=content), hostile.words, "model.zip")

    def test_another_architecture_than_was_said(self, refused, place):
        policy = {"kind": "mlp", "hidden": [8]}
        refused(place(policy=policy), "policy.pth", "asks for (8, 26)", "correct the specification")

    def test_things_left_out(self, refused, place, tmp_path):
        arguments = place()
        refused(arguments[:3] + arguments[5:], "--spec is missing")
        refused(arguments[:5] + arguments[7:], "--out is missing")
        refused(arguments[:2] + arguments[3:], "MODEL is missing")
        refused([*arguments[:2], str(tmp_path / "none.zip"), *arguments[3:]], "none.zip: no such file")
        refused([*arguments[:4], str(tmp_path / "none.yml"), *arguments[5:]], "none.yml: can't be read")
        refused(place(bars=False), "--bars is missing: the constants are to be fitted on")

    def test_settings_that_contradict_the_specification(self, refused, place, tmp_path):
        refused(
            [*place(), "--interval", "1min"], "is for NVDA,MSFT at 5min, the settings say NVDA,MSFT at 1min"
        )
        refused([*place(), "--symbols", "MSFT,NVDA"], "the settings say MSFT,NVDA at 5min")
        config = write_yaml(tmp_path / "c.yml", {"trading": {"unit_fraction": 0.3}})
        arguments = [*place(trading={"unit_fraction": 0.2}), "--config", str(config)]
        refused(arguments, "trading rules of --config: contradict those of the specification")

    def test_a_range_without_sessions(self, refused, place):
        refused(place(features={"fit": "1999-01-04:1999-02-04"}), "--fit 1999-01-04:1999-02-04", "no session")

    def test_a_folder_that_is_taken(self, refused, place, tmp_path):
        (tmp_path / "gold").mkdir()
        (tmp_path / "gold" / "mine.txt").write_text("mine")
        refused(place(), "is not an empty folder")


class TestExport:
    def test_a_zip_goes_out_and_comes_in_as_the_same_policy(self, cli, place, market, tmp_path):
        assert cli(*place("lstm", trading={"unit_fraction": 0.1})).status == 0
        ended = cli("export", str(tmp_path / "gold"), "--sb3", str(tmp_path / "out.zip"))
        assert ended.status == 0, ended.err
        assert "equal to the actor's on 10,000 of 10,000 observations" in ended.out
        assert "no controller belongs to it" in ended.out
        spec = tmp_path / "out.zip.spec.yml"
        again = [
            "gold",
            "import",
            str(tmp_path / "out.zip"),
            "--spec",
            str(spec),
            "--out",
            str(tmp_path / "again"),
        ]
        assert cli(*again, "--bars", str(market.bars)).status == 0
        first, second = read_artifact(tmp_path / "gold").artifact, read_artifact(tmp_path / "again").artifact
        assert first.weights_digest == second.weights_digest
        assert (first.features, first.policy) == (second.features, second.policy)
        assert first.environment == second.environment

    def test_the_library_loads_it(self, cli, market, tmp_path):
        from stable_baselines3 import PPO

        from stairways.learning.interchange.sb3_export import acting

        assert cli("export", str(market.gold), "--sb3", str(tmp_path / "out.zip")).status == 0
        content = (tmp_path / "out.zip").read_bytes()
        model = PPO.load(io.BytesIO(content), device="cpu")  # noqa: TID251 - made above
        packed = unpack(market.gold)
        found = agreement_of(packed.program, observations(packed.spec), acting(model, 26))
        assert found.n_equal == found.n == 10_000

    def test_a_tuned_policy_goes_out_without_its_controller_and_says_so(self, cli, tuned, tmp_path):
        pytest.importorskip("onnx", reason="the extra interchange is not installed")
        pytest.importorskip("onnxruntime", reason="the extra interchange is not installed")
        artifact = tuned / "artifact"
        assert unpack(artifact).spec.regime == "gate"
        ended = cli("export", str(artifact), "--onnx", str(tmp_path / "out.onnx"))
        assert ended.status == 0, ended.err
        assert "equal to the actor's on 10,000 of 10,000 observations" in ended.out
        assert "The controller's tilt (lambda_hold" in ended.out
        assert "is not part of it" in ended.out
        import onnx

        props = onnx.load_model_from_string((tmp_path / "out.onnx").read_bytes()).metadata_props
        told = {prop.key: prop.value for prop in props}
        assert told["artifact_digest"] == unpack(artifact).digest
        assert yaml.safe_load(told["columns"])[-1] == "regime.divergence"
        assert len(yaml.safe_load(told["constants"])) == 24
        assert "not part of it" in told["tilt"]

    def test_a_gate_that_was_trained_is_refused_where_it_can_not_be_expressed(self, cli, tuned, tmp_path):
        ended = cli("export", str(tuned / "artifact"), "--sb3", str(tmp_path / "out.zip"))
        assert ended.status == 2
        assert "its regime gate multiplies each price input" in ended.complaint
        assert "--onnx" in ended.complaint
        assert listing(tmp_path) == {}

    def test_one_form_at_a_time_and_nothing_is_overwritten(self, cli, market, tmp_path):
        out = tmp_path / "out.zip"
        assert "name one of --sb3 FILE and --onnx FILE" in cli("export", str(market.gold)).complaint
        both = cli("export", str(market.gold), "--sb3", str(out), "--onnx", str(tmp_path / "x"))
        assert "name one of" in both.complaint
        out.write_text("mine")
        assert (
            "something stands there already" in cli("export", str(market.gold), "--sb3", str(out)).complaint
        )
        assert out.read_text() == "mine"
        beside = tmp_path / "new.zip.spec.yml"
        beside.write_text("mine")
        ended = cli("export", str(market.gold), "--sb3", str(tmp_path / "new.zip"))
        assert "new.zip.spec.yml: something stands there already" in ended.complaint
        assert (
            "no such" in cli("export", str(tmp_path / "none"), "--sb3", str(tmp_path / "y")).complaint.lower()
        )
