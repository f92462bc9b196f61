"""What every test folder shares: builders beside this file, compiled code cached by its sources."""

import os
import sys
from pathlib import Path

from hypothesis import HealthCheck, settings

from stairways.compiled_cache import use_own_cache

use_own_cache()
sys.path.insert(0, str(Path(__file__).resolve().parent))
# a loaded machine must not fail a property, and a property that fails there must fail here again
settings.register_profile(
    "ci", derandomize=True, database=None, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
if os.environ.get("CI"):
    settings.load_profile("ci")
