"""A live process: artifact and state from disk, then one decision per bar; prints what it took as JSON.

    python -m benchmarks.live_process ARTIFACT FOLDER [--lstm HIDDEN]

FOLDER holds the state between two sessions and the bars of the sessions to come, as ``prepare`` writes them.

Run by ``benchmarks.decisions`` and ``benchmarks.startup`` in a process of its own. A decision is timed from
the bar's prices to the sized intent.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stairways.market.sessions import Sessions
    from stairways.registry.generations import Damage

BEGAN = time.perf_counter()
STATE = "state.json"


def main() -> None:
    """Get ready, decide, and say what it took."""
    from stairways.compiled_cache import use_own_cache

    use_own_cache()
    import numpy as np

    from stairways.live.decider import Decider
    from stairways.live.state import read_state
    from stairways.operations_config import PerformanceSettings
    from stairways.trading.account import Account
    from stairways.unpacking import unpack

    artifact, folder = Path(sys.argv[1]), Path(sys.argv[2])
    packed = unpack(artifact)
    state = read_state(folder / STATE, packed.constants, packed.digest, alarm=_refuse)
    prices = np.load(folder / "prices.npy", allow_pickle=False)
    n_bars, dates = np.load(folder / "n_bars.npy"), np.load(folder / "dates.npy")
    program = packed.program
    if "--lstm" in sys.argv:
        program = lstm_program(int(sys.argv[sys.argv.index("--lstm") + 1]))
    performance = PerformanceSettings()
    decider = Decider(
        program,
        state.stream,
        packed.rules,
        mode="sampled",
        run_seed=0,
        loop=packed.loop(),
        bars_known=performance.market_buffer_minutes // packed.artifact.interval_minutes,
        readings_known=performance.regime_cache_bars,
    )
    account = Account(packed.rules, prices.shape[-1])
    times: list[float] = []
    ready = 0.0
    # a live process collects between sessions, not within a decision
    gc.collect()
    gc.freeze()
    gc.disable()
    for i in range(len(dates)):
        last = int(n_bars[i]) - 1
        decider.start_session(dates[i].item(), last + 1)
        intent = None
        for b in range(last + 1):
            opens, closes, volumes = prices[i, b]
            if intent is not None:
                fills = [
                    account.fill(order, float(opens[order.symbol_index]), float(volumes[order.symbol_index]))
                    for order in intent.orders
                ]
                if b == last:
                    fills += account.flatten(closes, volumes)
                decider.settle(len(fills))
            began = time.perf_counter()
            intent = decider.decide(opens, closes, volumes, account)
            times.append(time.perf_counter() - began)
            ready = ready or time.perf_counter() - BEGAN
        decider.end_session()
        gc.collect()
    every = np.array(times[1:]) * 1e6
    print(json.dumps(_record(every, times[0], ready)))


def _refuse(damage: Damage) -> None:
    """Stop: what is timed is a start from a whole state."""
    from stairways.errors import ArtifactError

    raise ArtifactError(damage.line())


def prepare(artifact: Path, sessions: Sessions, n_live: int, folder: Path) -> None:
    """Write the state behind a history, and the bars of the sessions after it."""
    import numpy as np

    from stairways.control.tilt import Multipliers, tilt_state
    from stairways.live.state import LiveState, write_state
    from stairways.market.feature_stream import FeatureStream
    from stairways.market.regime import RegimeDetector
    from stairways.unpacking import unpack

    packed = unpack(artifact)
    first = len(sessions) - n_live
    detector = RegimeDetector.from_state(packed.artifact.regime_state)
    stream = FeatureStream.after(sessions.select(slice(0, first)), packed.constants, detector=detector)
    state = LiveState(stream, tilt_state(Multipliers()), sessions.dates[first - 1].item())
    write_state(folder / STATE, state, packed.digest, alarm=_refuse)
    live = sessions.select(slice(first, None))
    np.save(folder / "prices.npy", np.stack((live.open, live.close, live.volume), axis=2))
    np.save(folder / "n_bars.npy", live.n_bars)
    np.save(folder / "dates.npy", live.dates)


def _record(micros: Any, first_seconds: float, ready: float) -> dict[str, Any]:
    import numpy as np

    status = Path("/proc/self/status").read_text(encoding="utf-8")
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return {
        "p50_us": float(np.percentile(micros, 50)),
        "p99_us": float(np.percentile(micros, 99)),
        "max_us": float(micros.max()),
        "n": len(micros),
        "first_ms": 1e3 * first_seconds,
        "ready_seconds": ready,
        "peak_mb": int(peak.split()[1]) / 1024,
        "torch": "torch" in sys.modules,
        "pid": os.getpid(),
    }


def lstm_program(hidden: int) -> Any:
    """Return an LSTM of random weights: its speed is that of any other."""
    import numpy as np

    from stairways.policies.program import compile_program
    from stairways.policies.spec import PolicySpec

    spec = PolicySpec(kind="lstm", regime="gate", hidden=(64, 64), lstm_hidden=hidden)
    rng = np.random.default_rng(0)
    return compile_program(
        spec, {n: rng.normal(0.0, 0.1, shape).astype(np.float32) for n, shape in spec.shapes().items()}
    )


if __name__ == "__main__":
    main()
