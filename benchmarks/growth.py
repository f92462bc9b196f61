"""Growth: time and memory against sessions, symbols and accounts; nothing may grow faster than its input."""

from __future__ import annotations

import math
import time
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from functools import cache
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.harness import Bar, Row
from benchmarks.workloads import dataset, pool, settings
from stairways.evaluation.replay import replay
from stairways.market.features import FeatureConstants, build_table, compute_features
from stairways.market.regime_history import regime_history
from stairways.market.samples import sample_market
from stairways.market.sessions import Sessions
from stairways.trading.observation import observe

PICTURE = Path(__file__).parent / "results" / "growth.svg"
SESSION_COUNTS = (10, 100, 1_000, 10_000)
SYMBOLS = ("NVDA", "MSFT", "AAPL")
SYMBOL_COUNTS = (2, 3)
ENV_COUNTS = (1, 16, 256, 4_096)
LARGEST_EXPONENT = 1.1
ROUNDS = 3

Measure = Callable[[int], Callable[[], object]]


def seconds_and_bytes(work: Callable[[], object]) -> tuple[float, float]:
    """Return the median time of some work and the peak of what it allocates."""
    work()
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return median(times), float(peak)


def exponent(sizes: Sequence[int], values: Sequence[float]) -> float:
    """Return the slope between the last two points in logarithms: 1 is linear."""
    return math.log(values[-1] / values[-2]) / math.log(sizes[-1] / sizes[-2])


@cache
def endless() -> Sessions:
    """Return the sample market's sessions four times over, a day after a day: more than ten thousand."""
    once = dataset().sessions
    days = once.dates[0] + np.arange(4 * len(once))
    arrays = {
        field.name: np.concatenate([getattr(once, field.name)] * 4)
        for field in fields(once)
        if isinstance(getattr(once, field.name), np.ndarray)
    }
    return replace(once, **{**arrays, "dates": days})


def part(count: int) -> Sessions:
    """Return so many sessions."""
    return endless().select(slice(0, count))


@cache
def of_symbols(count: int) -> Sessions:
    """Return a thousand sessions of two or three symbols."""
    return sample_market("planted", symbols=SYMBOLS[:count], n_sessions=1_000).sessions


def replaying(count: int) -> Callable[[], object]:
    """Return a replay of so many sessions."""
    from benchmarks.decisions import random_program

    sessions = part(count)
    raw = compute_features(sessions)
    market = observe(sessions, build_table(raw, FeatureConstants.fit(raw, sessions, slice(0, 10))))
    program = random_program("mlp")
    return lambda: replay(market, program, settings().trading)


def stepping(count: int) -> Callable[[], object]:
    """Return a hundred vector steps of so many accounts."""
    made = pool(count)
    actions = np.random.default_rng(0).integers(0, 9, (100, count))

    def work() -> None:
        for row in actions:
            made.step(row)

    return work


MEASURES: dict[str, tuple[tuple[int, ...], Measure]] = {
    "features against sessions": (SESSION_COUNTS, lambda n: lambda: compute_features(part(n))),
    "regime against sessions": (SESSION_COUNTS, lambda n: lambda: regime_history(part(n))),
    "replay against sessions": (SESSION_COUNTS, replaying),
    "features against symbols": (SYMBOL_COUNTS, lambda n: lambda: compute_features(of_symbols(n))),
    "pool steps against accounts": (ENV_COUNTS, stepping),
}


def rows() -> list[Row]:
    """Measure each step at growing sizes; the exponent between the two largest is judged."""
    found, curves = [], {}
    for name, (sizes, measure) in MEASURES.items():
        points = [seconds_and_bytes(measure(size)) for size in sizes]
        times, memory = [p[0] for p in points], [p[1] for p in points]
        curves[name] = (sizes, times, memory)
        slope = exponent(sizes, times)
        found.append(
            Row(
                name=f"growth: {name}",
                unit="exponent of time",
                ours=slope,
                peer=None,
                against="",
                observed=slope,
                spread=(slope, slope),
                bar=Bar(LARGEST_EXPONENT, at_least=False, text=f"<= {LARGEST_EXPONENT}: not superlinear"),
                rounds=ROUNDS,
                note=f"{sizes[0]:,} to {sizes[-1]:,}: {1e3 * times[0]:.2f} to {1e3 * times[-1]:.1f} ms; "
                f"memory grows with exponent {exponent(sizes, [max(m, 1.0) for m in memory]):.2f}",
            )
        )
    draw(curves)
    return found


def draw(curves: dict[str, tuple[tuple[int, ...], list[float], list[float]]]) -> None:
    """Draw time and memory against size, both axes logarithmic."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, (sizes, times, memory) in curves.items():
        left.loglog(sizes, [1e3 * t for t in times], marker="o", label=name)
        right.loglog(sizes, [max(m, 1.0) / 2**20 for m in memory], marker="o", label=name)
    left.set(xlabel="size", ylabel="ms")
    right.set(xlabel="size", ylabel="MiB allocated at the peak")
    left.legend(fontsize=7)
    PICTURE.parent.mkdir(exist_ok=True)
    figure.savefig(PICTURE)
