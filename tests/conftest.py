"""Make the builders beside this file importable from every test folder, and cache compiled code by source."""

import sys
from pathlib import Path

from stairways.compiled_cache import use_own_cache

use_own_cache()
sys.path.insert(0, str(Path(__file__).resolve().parent))
