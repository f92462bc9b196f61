"""Over-hold: a hold bonus that may move nothing but the hold action's output bias.

The skill a policy has learned stays in its weights, only buried: taking the bias away (which is what
a tilt does) brings it back. A bonus on the whole network would destroy it.
"""

from __future__ import annotations

from typing import Any

import torch

from stairways.learning.network import PolicyNetwork
from stairways.trading.actions import hold_action

VALUE_PREFIX = "value."
OUTPUT_BIAS = "policy.head.bias"


def free_hold_bias_only(network: PolicyNetwork) -> None:
    """Freeze a network but for its value function and the output bias of hold, in place.

    The other entries of the bias keep their values because their gradient is set to 0 before the
    optimizer sees it.
    """
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name.startswith(VALUE_PREFIX) or name == OUTPUT_BIAS)
    mask = torch.zeros(network.spec.n_actions)
    mask[hold_action(network.spec.n_symbols)] = 1.0
    bias: Any = network.get_parameter(OUTPUT_BIAS)
    bias.register_hook(lambda gradient: gradient * mask)
