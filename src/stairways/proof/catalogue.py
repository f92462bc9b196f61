"""The experiments there are: names, and where each stands."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

EXPERIMENTS: Mapping[str, str] = MappingProxyType(
    {
        "step_response": "stairways.proof.step_response:StepResponse",
        "tracking": "stairways.proof.tracking:Tracking",
        "known_answers": "stairways.proof.known_answers:KnownAnswers",
        "noise": "stairways.proof.noise:Noise",
        "power": "stairways.proof.power:Power",
        "statistics": "stairways.proof.statistics:Statistics",
        "triggers": "stairways.proof.triggers:Triggers",
        "frontier": "stairways.proof.frontier:FrontierProof",
        "scenarios": "stairways.proof.scenarios:Scenarios",
        "cross_asset": "stairways.proof.cross_asset:CrossAsset",
        "leaks": "stairways.proof.leaks:Leaks",
        "real_bars": "stairways.proof.real_bars:RealBars",
    }
)
"""Name -> ``module:Class``, in the order of the evidence page."""
