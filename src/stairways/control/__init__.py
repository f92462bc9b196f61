"""Set points, lanes, gains and authority: plain values and pure functions."""

from stairways.control.actuators import RewardActuator, TiltActuator, TiltGains, plan_reward_actuator
from stairways.control.dual_lane import DualLaneController
from stairways.control.lanes import SlowLane, SlowState
from stairways.control.setpoints import SetPoints, hold_error
from stairways.control.tilt import Multipliers

__all__ = [
    "DualLaneController",
    "Multipliers",
    "RewardActuator",
    "SetPoints",
    "SlowLane",
    "SlowState",
    "TiltActuator",
    "TiltGains",
    "hold_error",
    "plan_reward_actuator",
]
