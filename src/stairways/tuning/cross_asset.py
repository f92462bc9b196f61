"""Cross asset: a policy on three symbols, through its pairs or as it was trained.

An artifact of two legs acts through the three pairs of the symbols, each with a third of the capital
(`pairs`). An artifact of three legs acts on all three at once. Either fails at a drawdown over 3 % or a
Sharpe ratio of 0 or less.

The drawdown that gates is the largest fall, over every bar's mark, from a peak at most a year before: no
year that lies in the range may fall further. One session's own drawdown has a limit of 2 % in the gates,
so that 3 % within a session would ask nothing new; and the fall over a range without end grows with its
length, until even the best policy there is exceeds any limit. Both stand beside it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from stairways.control.actuators import TiltActuator
from stairways.errors import ConfigError
from stairways.evaluation.baselines import uniform
from stairways.evaluation.bootstrap import ReturnSeries, paired_comparison
from stairways.evaluation.evidence import ALL_HOLD, RANDOM
from stairways.evaluation.verdicts import GateResult, Group, Verdict
from stairways.market.sessions import SESSIONS_PER_YEAR
from stairways.reporting.summary import describe_range
from stairways.trading.metrics import measure
from stairways.trading.observation import observe
from stairways.tuning.contest import (
    Arena,
    Entrant,
    calibrated_entrant,
    equal_turnover,
    scripted_baselines,
)
from stairways.tuning.evaluate import (
    CALIBRATION_SESSIONS,
    LEAST_CALIBRATION_SESSIONS,
    POLICY,
    settings_base,
)
from stairways.tuning.leak_check import behind_seen, own_market
from stairways.tuning.market_access import open_dataset, open_for
from stairways.tuning.packing import unpack_for
from stairways.tuning.pairs import (
    Fitted,
    largest_drawdown,
    make_pairs,
    whole_ledger,
    whole_nav,
)
from stairways.tuning.ranges import span_of
from stairways.tuning.seeds import Stream, key, stream
from stairways.tuning.seen import seen_sessions
from stairways.unpacking import Packed, unpack

if TYPE_CHECKING:
    from stairways.config import Settings
    from stairways.evaluation.bootstrap import PairedComparison
    from stairways.evaluation.replay import Replay
    from stairways.market.dataset import Dataset
    from stairways.trading.ledger import SessionLedger
    from stairways.trading.observation import ObservedMarket

N_SYMBOLS = 3
YEAR_SESSIONS = SESSIONS_PER_YEAR
MAX_DRAWDOWN_RATIO = 0.03
NORMAL_95 = 1.959964
REQUIRED = ("drawdown", "sharpe", "out_of_sample")

Form = Literal["pairs", "native"]


@dataclass(frozen=True, eq=False)
class Account:
    """One account of the form: a pair, or all three symbols.

    Attributes:
        name: Its symbols, with hyphens between.
        arena: The sessions judged and how they are traded.
        before: Sessions that baselines are calibrated on, to an equal turnover.
        dataset: Its market, all sessions.
    """

    name: str
    arena: Arena
    before: ObservedMarket
    dataset: Dataset


@dataclass(frozen=True, eq=False)
class CrossAsset:
    """What an artifact did on three symbols.

    Attributes:
        packed: The artifact.
        form: ``pairs`` or ``native``.
        replays: What each entrant did, by entrant and account; the artifact under ``policy``.
        gate: The verdicts.
        record: Everything as plain JSON types.
    """

    packed: Packed
    form: Form
    replays: dict[str, dict[str, Replay]]
    gate: GateResult
    record: dict[str, Any]

    def ledger(self, entrant: str = POLICY) -> SessionLedger:
        """Return what an entrant did in all of its accounts together."""
        return whole_ledger(self.replays[entrant])


def cross_asset_base(folder: Path) -> dict[str, Any]:
    """Return what an artifact says of its market, its rules and its controller, as settings."""
    base = settings_base(folder)
    base["market"] |= own_market(unpack(folder).artifact.data_source)
    return base


def judge_cross_asset(folder: Path, settings: Settings, *, clock: Callable[[], dt.datetime]) -> CrossAsset:
    """Lead an artifact and the baselines through sessions of three symbols and judge it.

    Args:
        folder: The artifact, of two legs or of three.
        settings: Market of three symbols, sessions, mode and seed; without sessions, all behind those it
            has seen.
        clock: Tells the time.

    Raises:
        ConfigError: If the settings do not name three symbols.
    """
    began = clock()
    packed, dataset = _opened(folder, settings)
    sessions = dataset.sessions
    asked = settings.ranges.sessions
    part = behind_seen(packed.seen, sessions) if asked is None else span_of(sessions, asked, "sessions")
    judged = judge_on(packed, dataset, settings, part)
    judged.record["run"]["wall_seconds"] = (clock() - began).total_seconds()
    return judged


def judge_on(packed: Packed, dataset: Dataset, settings: Settings, part: slice) -> CrossAsset:
    """Judge an artifact on a market that is open.

    Args:
        packed: The artifact, of two legs or of three.
        dataset: All sessions of three symbols.
        settings: Rules, mode and seed.
        part: The sessions judged.
    """
    accounts, fitted = _accounts(packed, dataset, settings, part)
    replays = _run(packed, accounts, part)
    form: Form = "pairs" if len(accounts) > 1 else "native"
    market = accounts[0].arena.market
    seen = int(seen_sessions(packed, None, market.source, market.dates).sum())
    whole = {name: whole_ledger(runs) for name, runs in replays.items()}
    gate = _judge(replays[POLICY], whole[POLICY], settings, seen)
    comparisons = {
        name: paired_comparison(
            ReturnSeries.net(whole[POLICY]),
            ReturnSeries.net(whole[name]),
            confidence=settings.gate.confidence,
            seed=stream(settings.seed, Stream.BOOTSTRAP, 0),
        )
        for name in (RANDOM, ALL_HOLD)
    }
    record = _record(packed, form, accounts, fitted, replays, comparisons, gate, settings, seen)
    return CrossAsset(packed, form, replays, gate, record)


def _opened(folder: Path, settings: Settings) -> tuple[Packed, Dataset]:
    """Read the artifact and open the market of three symbols."""
    symbols = settings.market.symbols
    if len(symbols) != N_SYMBOLS:
        raise ConfigError(
            f"{','.join(symbols)} are {len(symbols)} symbols", where="--symbols", remedy="name three: A,B,C"
        )
    packed = unpack(folder)
    if len(packed.artifact.symbols) == N_SYMBOLS:
        packed = unpack_for(folder, settings)
        return packed, open_for(packed, settings)
    # the artifact must fit in all but its symbols; its saved regime is that of one pair and can't go on
    own = settings.market.model_copy(update={"symbols": packed.artifact.symbols})
    packed = unpack_for(folder, settings.model_copy(update={"market": own}))
    if settings.market.bars is None and not packed.artifact.data_source.startswith("SYNTHETIC"):
        raise ConfigError(
            f"--bars is missing: the artifact was made on {packed.artifact.data_source}",
            remedy="name the folder of the bars",
        )
    return packed, open_dataset(settings)


def _accounts(
    packed: Packed, dataset: Dataset, settings: Settings, part: slice
) -> tuple[list[Account], tuple[Fitted, ...]]:
    before = _calibration_part(part)
    mode = settings.control.mode

    def account(own: Dataset, market: ObservedMarket, rules: Any, decision_key: int) -> Account:
        arena = Arena(market.select(part), rules, mode, decision_key)
        return Account("-".join(market.symbols), arena, market.select(before), own)

    if len(packed.artifact.symbols) == N_SYMBOLS:
        market = observe(dataset.sessions, dataset.table(packed.constants))
        return [account(dataset, market, settings.trading, key(settings.seed, Stream.DECISIONS))], ()
    pairs, fitted = make_pairs(packed, dataset, part)
    share = settings.trading.initial_nav_usd / len(pairs)
    rules = settings.trading.model_copy(update={"initial_nav_usd": share})
    accounts = [
        account(pair.dataset, pair.market, rules, key(settings.seed, Stream.DECISIONS, index))
        for index, pair in enumerate(pairs)
    ]
    return accounts, fitted


def _calibration_part(part: slice) -> slice:
    """Return the sessions before a range; the range itself where there are too few before it.

    Only baselines are calibrated here, to an equal turnover; nothing they learn can flatter the policy.
    """
    first = max(0, part.start - CALIBRATION_SESSIONS)
    return slice(first, part.start) if part.start - first >= LEAST_CALIBRATION_SESSIONS else part


def _run(packed: Packed, accounts: list[Account], part: slice) -> dict[str, dict[str, Replay]]:
    """Lead the artifact and the baselines through every account, each by itself."""
    replays: dict[str, dict[str, Replay]] = {}
    for account in accounts:
        arena = account.arena
        entrants = {POLICY: Entrant(packed.program, packed.loop())}
        entrants |= scripted_baselines(arena.market, account.dataset, part, arena.rules)
        done = arena.run_all(entrants)
        loop = packed.loop()
        if loop is None:
            actuator, points = TiltActuator(), equal_turnover(done[POLICY].ledger)
        else:
            actuator, points = loop.actuator, loop.points
        calm = replace(arena, market=account.before)
        program = uniform(arena.market.n_symbols)
        done[RANDOM] = arena.run(calibrated_entrant(calm, program, actuator, points))
        for name, run in done.items():
            replays.setdefault(name, {})[account.name] = run
    return replays


def _judge(runs: Mapping[str, Replay], ledger: SessionLedger, settings: Settings, seen: int) -> GateResult:
    metrics = measure(
        ledger,
        n_actions=_n_actions(runs),
        risk_free_per_session=settings.trading.risk_free_per_session,
    )
    drawdown = _drawdown(runs, ledger, YEAR_SESSIONS)
    n = len(ledger)
    sharpe, error = metrics.sharpe, metrics.sharpe_standard_error
    interval = None
    if sharpe is not None and error is not None:
        interval = (sharpe - NORMAL_95 * error, sharpe + NORMAL_95 * error)
    verdicts = (
        Verdict(
            name="drawdown",
            group=Group.SAFETY,
            passed=drawdown <= MAX_DRAWDOWN_RATIO,
            observed=drawdown,
            threshold=f"drawdown in any year <= {MAX_DRAWDOWN_RATIO:.0%} of NAV",
            n=n,
            reason=f"fell {drawdown:.2%} from a peak at most {YEAR_SESSIONS} sessions before, "
            f"{_drawdown(runs, ledger, None):.2%} over the whole range and "
            f"{metrics.max_intraday_drawdown_ratio:.2%} within a session",
        ),
        Verdict(
            name="sharpe",
            group=Group.SKILL,
            passed=sharpe is not None and sharpe > 0.0,
            observed=sharpe,
            threshold="net Sharpe ratio > 0",
            n=n,
            reason=f"net Sharpe ratio {metrics.sharpe_text}",
            interval=interval,
        ),
        Verdict(
            name="out_of_sample",
            group=Group.SAFETY,
            passed=seen == 0,
            observed=float(seen),
            threshold="no session that the artifact has seen",
            n=n,
            reason=f"{seen} of the judged sessions were seen in training or tuning",
        ),
    )
    return GateResult(verdicts, REQUIRED)


def _n_actions(runs: Mapping[str, Replay]) -> int:
    return int(3 ** next(iter(runs.values())).market.n_symbols)


def _drawdown(runs: Mapping[str, Replay], ledger: SessionLedger, horizon: int | None) -> float:
    n_bars = next(iter(runs.values())).market.n_bars
    return largest_drawdown(whole_nav(runs), ledger.initial_nav_usd, n_bars, horizon)


def _measured(runs: Mapping[str, Replay], settings: Settings) -> dict[str, Any]:
    """Return the metrics of some accounts together, with their drawdowns over all marks."""
    ledger = whole_ledger(runs)
    metrics = measure(
        ledger, n_actions=_n_actions(runs), risk_free_per_session=settings.trading.risk_free_per_session
    )
    return {
        **metrics.as_record(),
        "year_drawdown_ratio": _drawdown(runs, ledger, YEAR_SESSIONS),
        "range_drawdown_ratio": _drawdown(runs, ledger, None),
    }


def _record(
    packed: Packed,
    form: Form,
    accounts: list[Account],
    fitted: tuple[Fitted, ...],
    replays: Mapping[str, Mapping[str, Replay]],
    comparisons: Mapping[str, PairedComparison],
    gate: GateResult,
    settings: Settings,
    seen: int,
) -> dict[str, Any]:
    market = accounts[0].arena.market
    points = None if packed.control is None else packed.control.points.model_dump(mode="json")
    return {
        "form": form,
        "symbols": list(settings.market.symbols),
        "accounts": [account.name for account in accounts],
        "made_for": list(packed.artifact.symbols),
        "fitted_constants": [vars(one) for one in fitted],
        "data": {
            "source": market.source,
            "interval_minutes": market.interval_minutes,
            "sessions": describe_range(market, slice(0, len(market))),
            "in_sample_sessions": seen,
        },
        "points": points,
        "whole": {name: _measured(runs, settings) for name, runs in replays.items()},
        "by_account": {
            name: {account: _measured({account: run}, settings) for account, run in runs.items()}
            for name, runs in replays.items()
        },
        "comparisons": {name: pair.as_record() for name, pair in comparisons.items()},
        "verdicts": [verdict.as_record() for verdict in gate.verdicts],
        "required": list(gate.required),
        "run": {
            "command": "cross-asset",
            "seed": settings.seed,
            "mode": settings.control.mode,
            "digest": packed.digest,
            "passed": gate.passed,
        },
    }
