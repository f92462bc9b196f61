"""The experiments there are: names, and where each stands."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

EXPERIMENTS: Mapping[str, str] = MappingProxyType({})
"""Name -> ``module:Class``, in the order of the evidence page."""
