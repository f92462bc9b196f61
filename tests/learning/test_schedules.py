"""Schedules: values by hand, and settings that make no sense."""

import pytest
from pydantic import ValidationError

from stairways.learning.ppo_config import PPOConfig
from stairways.learning.schedules import Ramp


def test_a_ramp_by_hand() -> None:
    ramp = Ramp(start=8.0, end=2.0, begin=0.25, until=0.75)
    shares = (-1.0, 0.0, 0.25, 0.375, 0.5, 0.75, 1.0, 7.0)
    assert [ramp.at(share) for share in shares] == [8.0, 8.0, 8.0, 6.5, 5.0, 2.0, 2.0, 2.0]


def test_a_constant_never_moves() -> None:
    assert {Ramp.constant(0.3).at(share / 10) for share in range(11)} == {0.3}


@pytest.mark.parametrize(("begin", "until"), [(0.5, 0.5), (0.6, 0.5), (-0.1, 1.0), (0.0, 1.1)])
def test_a_ramp_that_ends_before_it_begins_is_refused(begin: float, until: float) -> None:
    with pytest.raises(ValidationError):
        Ramp(start=1.0, end=0.0, begin=begin, until=until)


def test_unknown_settings_are_refused_and_a_rollout_is_envs_by_steps() -> None:
    with pytest.raises(ValidationError, match="extra"):
        PPOConfig.model_validate({"n_env": 3})
    assert PPOConfig(n_envs=20, n_steps=100).rollout_steps == 2_000
