"""The specification of a foreign policy: what it takes, and one clear line for what it does not."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import yaml

from stairways.errors import ConfigError
from stairways.learning.interchange.layout import observation_columns
from stairways.market.features import FEATURE_NAMES
from stairways.trading.actions import action_meanings
from stairways.tuning.import_spec import load_import_spec

SYMBOLS = ["NVDA", "MSFT"]
CONSTANTS = {
    f"{symbol}.{name}": {"mean": leg + 0.1 * at, "std": 1.0 + at}
    for leg, symbol in enumerate(SYMBOLS)
    for at, name in enumerate(FEATURE_NAMES)
}
SOUND = {
    "symbols": SYMBOLS,
    "interval": "5min",
    "policy": {"kind": "lstm", "hidden": [32], "lstm_hidden": 64, "critic_lstm": "shared"},
    "features": {"constants": CONSTANTS},
    "trading": {"unit_fraction": 0.1},
    "provenance": {"trained_by": "the desk", "seen": ["2020-01-02:2020-12-31", "2021-02-01:2021-03-01"]},
}


def load(tmp_path, content):
    path = tmp_path / "spec.yml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content), encoding="utf-8")
    return load_import_spec(path)


def changed(place, value):
    content = copy.deepcopy(SOUND)
    *parts, last = place.split("/")
    at = content
    for part in parts:
        at = at[part]
    if value is None:
        del at[last]
    else:
        at[last] = value
    return content


def test_a_sound_one(tmp_path):
    spec = load(tmp_path, SOUND)
    policy = spec.policy_spec()
    assert (policy.kind, policy.hidden, policy.lstm_hidden) == ("lstm", (32,), 64)
    assert policy.critic_lstm == "shared"
    assert spec.order().columns == tuple(range(26))
    assert spec.order().actions == tuple(range(9))
    assert spec.as_settings()["trading"]["unit_fraction"] == 0.1
    constants = spec.constants_of(spec.features.source)
    assert constants.symbols == ("NVDA", "MSFT")
    assert constants.mean[1].tolist() == [1 + 0.1 * at for at in range(12)]
    assert constants.scale[0].tolist() == [1.0 + at for at in range(12)]
    with pytest.raises(Exception, match="frozen"):
        spec.interval = "1min"


def test_rules_that_are_not_stated_are_left_to_the_settings(tmp_path):
    assert "trading" not in load(tmp_path, changed("trading", None)).as_settings()


def test_another_order_is_a_permutation(tmp_path):
    rng = np.random.default_rng(0)
    columns = observation_columns(SYMBOLS, with_regime=False)
    theirs, meanings = rng.permutation(columns).tolist(), rng.permutation(action_meanings(2)).tolist()
    order = load(tmp_path, SOUND | {"observation": theirs, "actions": meanings}).order()
    assert [theirs[place] for place in order.columns] == list(columns)
    assert [meanings[place] for place in order.actions] == list(action_meanings(2))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (changed("policy/activation", "relu"), "activation relu can't be expressed: only tanh is"),
        (
            changed("policy/head", "multi_discrete"),
            "head multi_discrete can't be expressed: only discrete is",
        ),
        (changed("policy/lstm_hidden", 16), "lstm_hidden is 16, it must lie in 32..256"),
        (changed("policy/hidden", []), "hidden widths"),
        (changed("policy/depth", 3), "policy.depth: extra inputs are not permitted"),
        (changed("symbols", ["NVDA"]), "name two or three different symbols"),
        (changed("symbols", None), "symbols: field required"),
        (changed("interval", "1h"), "interval: input should be '1min' or '5min'"),
        (changed("features", {}), "give either constants, or the range"),
        (
            changed("features/fit", "2020-01-02:2020-02-03"),
            "give either constants, or the range",
        ),
        (changed("features/constants/NVDA.rsi_14", None), "missing: NVDA.rsi_14; unknown: none"),
        (changed("features/constants/NVDA.position", {"mean": 0.0, "std": 1.0}), "unknown: NVDA.position"),
        (changed("features/constants/NVDA.rsi_14", {"mean": 0.0, "std": 0.0}), "greater than 0"),
        (changed("features/constants/NVDA.rsi_14", {"mean": float("nan"), "std": 1.0}), "finite"),
        (changed("provenance/seen", []), "provenance.seen"),
        (changed("provenance/trained_by", ""), "provenance.trained_by"),
        (SOUND | {"observation": ["NVDA.return_1"]}, "observation: missing: MSFT.bollinger_20"),
        (SOUND | {"actions": ["sell,sell"] * 9}, "actions: missing: buy,buy"),
        (SOUND | {"actions": [*action_meanings(2), "keep,keep"]}, "keep,keep stands twice"),
        ("!!python/object/apply:os.system ['true']", "is no YAML"),
        ("- a list", "must hold a mapping"),
    ],
)
def test_what_is_refused(tmp_path, content, words):
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, content)
    line = caught.value.line()
    assert words in line
    assert "spec.yml" in line
    assert "\n" not in line


def test_a_file_that_is_far_too_large(tmp_path):
    with pytest.raises(ConfigError, match="has more than 1,048,576 bytes"):
        load(tmp_path, "#" * (2**20 + 1))
