"""The summary of a run: what happened, as plain JSON, and the series that its pictures draw."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from stairways.config import Settings
    from stairways.evaluation.replay import Replay
    from stairways.market.quality import QualityReport
    from stairways.trading.observation import ObservedMarket
    from stairways.tuning.final import FinalJudgement
    from stairways.tuning.ranges import TuneSplit


def describe_range(market: ObservedMarket, part: slice) -> dict[str, Any]:
    """Return first and last date and the number of sessions of a range."""
    dates = market.dates[part]
    return {"first": str(dates[0]), "last": str(dates[-1]), "n_sessions": len(dates)}


def describe_data(
    market: ObservedMarket, judged: slice, quality: QualityReport | None, *, n_sessions: int | None = None
) -> dict[str, Any]:
    """Return what the data is and whether it is synthetic.

    Args:
        market: The market, or the part of it that is at hand.
        judged: The sessions judged, within ``market``.
        quality: What loading kept, filled and dropped.
        n_sessions: Sessions of the whole market; None where ``market`` is whole.
    """
    return {
        "source": market.source,
        "synthetic": market.source.startswith("SYNTHETIC"),
        "symbols": list(market.symbols),
        "interval_minutes": market.interval_minutes,
        "digest": market.data_digest,
        "n_sessions": len(market) if n_sessions is None else n_sessions,
        "neutral_regime_ratio": market.select(judged).neutral_share_ratio,
        "quality": None if quality is None else quality.as_record(),
    }


def tune_summary(
    *,
    settings: Settings,
    market: ObservedMarket,
    split: TuneSplit,
    rehearsal: slice,
    test: slice,
    quality: QualityReport | None,
    judgement: FinalJudgement,
    cycles: list[dict[str, Any]],
    multiple_testing: dict[str, Any],
    preflight: dict[str, Any],
    run: dict[str, Any],
) -> dict[str, Any]:
    """Return the summary of a tuning run; ``series`` is for the pictures and not for the file."""
    metrics = {name: figures.as_record() for name, figures in judgement.metrics.items()}
    rehearsed = {"rehearsed": describe_range(market, rehearsal)} if rehearsal.stop > rehearsal.start else {}
    ranges = rehearsed | {
        "train": describe_range(market, split.train),
        "select": describe_range(market, split.select),
        "shadow": describe_range(market, split.shadow),
        "test": describe_range(market, test),
    }
    baselines = {name: values for name, values in metrics.items() if name not in ("gold", "candidate")}
    return {
        "data": {
            **describe_data(market, test, quality),
            "folder": None if settings.market.bars is None else str(settings.market.bars),
            "ranges": ranges,
        },
        "gold": metrics["gold"],
        "candidate": metrics["candidate"],
        "baselines": baselines,
        "comparisons": {name: pair.as_record() for name, pair in judgement.comparisons.items()},
        "verdicts": [verdict.as_record() for verdict in judgement.gate.verdicts],
        "required": list(judgement.gate.required),
        "cycles": cycles,
        "multiple_testing": multiple_testing,
        "control": {
            "points": settings.control.points.model_dump(mode="json"),
            "actuator": settings.control.actuator.model_dump(mode="json"),
            "mode": settings.control.mode,
            "preflight": preflight,
            "longest_at_bound_decisions": judgement.replays["candidate"].longest_at_bound,
            "alert": judgement.controller_alert,
        },
        "gate": settings.resolved_gate().model_dump(mode="json"),
        "run": run,
        "series": {
            "test": {name: replay_series(replay) for name, replay in judgement.replays.items()},
            "regime_score": regime_series(market.select(test)),
        },
    }


def replay_series(replay: Replay) -> dict[str, Any]:
    """Return the per-session series of one policy: dates, NAV, drawdown, hold rate and trades."""
    ledger = replay.ledger
    nav = ledger.nav_close_usd
    peak = np.maximum(np.maximum.accumulate(nav), ledger.initial_nav_usd)
    return {
        "dates": ledger.dates.astype(str).tolist(),
        "equity_ratio": (nav / ledger.initial_nav_usd - 1.0).tolist(),
        "drawdown_ratio": ((peak - nav) / peak).tolist(),
        "hold_rate_ratio": (ledger.holds / ledger.decisions).tolist(),
        "trades": ledger.trades.tolist(),
    }


def regime_series(market: ObservedMarket) -> dict[str, Any]:
    """Return the mean regime score of each session and its 5 % and 95 % quantiles."""
    decided = np.arange(market.score.shape[1])[None, :] < (market.n_bars - 1)[:, None]
    rows = [market.score[s][decided[s]] for s in range(len(market))]
    low, high = np.array([np.quantile(row, [0.05, 0.95]) for row in rows]).T
    return {
        "dates": market.dates.astype(str).tolist(),
        "mean": [float(row.mean()) for row in rows],
        "low": low.tolist(),
        "high": high.tolist(),
    }
