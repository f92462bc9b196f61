"""RecurrentPPO as it could be: its loop over time steps replaced by as few LSTM calls as there are starts.

The stock policy steps through a minibatch one bar at a time as soon as any sequence in it begins an episode,
which every minibatch has. States need to be set to zero only at those bars: between them one call is exact.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, ClassVar

import torch
from sb3_contrib import RecurrentPPO
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy


class OneCallPolicy(RecurrentActorCriticPolicy):
    """The stock policy with the exact shortcut."""

    @staticmethod
    def _process_sequence(
        features: torch.Tensor,
        lstm_states: tuple[torch.Tensor, torch.Tensor],
        episode_starts: torch.Tensor,
        lstm: torch.nn.LSTM,
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
        n_sequences = lstm_states[0].shape[1]
        steps = features.reshape((n_sequences, -1, lstm.input_size)).swapaxes(0, 1)
        starts = episode_starts.reshape((n_sequences, -1)).swapaxes(0, 1)
        begun = starts.any(dim=1)
        edges = [0, *(1 + torch.nonzero(begun[1:]).flatten()).tolist(), len(steps)]
        outputs, (h, c) = [], lstm_states
        for first, stop in pairwise(edges):
            if begun[first]:
                carried = (1.0 - starts[first]).view(1, n_sequences, 1)
                h, c = carried * h, carried * c
            output, (h, c) = lstm(steps[first:stop], (h, c))
            outputs.append(output)
        return torch.flatten(torch.cat(outputs).transpose(0, 1), start_dim=0, end_dim=1), (h, c)


class OneCallRecurrentPPO(RecurrentPPO):
    """RecurrentPPO with that policy."""

    policy_aliases: ClassVar[dict[str, Any]] = {"MlpLstmPolicy": OneCallPolicy}
