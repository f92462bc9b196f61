"""The decider: a bar comes in, an order intent goes out; the replay's decisions, one at a time.

Features, regime, policy and tilt are those that judged the artifact, called bar by bar, so that what is live
and what was replayed are the same to the bit. Nothing here needs torch.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from stairways.control.tilt import HOLD, TILT_STATE, TRADE, Multipliers, advance, tilt_state
from stairways.errors import BarsError, StairwaysError
from stairways.evaluation.replay import loop_numbers
from stairways.live.recall import Recall
from stairways.policies.actor import keyed_uniform
from stairways.policies.decision import NOT_FINITE, buffers_of, decide, not_finite, require_symbols
from stairways.trading.actions import hold_action, order_table
from stairways.trading.observation import position_columns

if TYPE_CHECKING:
    from stairways.evaluation.replay import TiltLoop
    from stairways.market.feature_stream import FeatureStream, Numbers
    from stairways.market.regime import RegimeReading
    from stairways.policies.program import Program
    from stairways.trading.account import Account, Order
    from stairways.trading.ledger import Mode
    from stairways.trading.rules import TradingRules

_WHERE = "decider"


@dataclass(frozen=True)
class Intent:
    """What to do after a bar's close.

    Attributes:
        bar: Bar of the decision, from 0.
        action: Action id.
        held: Whether it is hold.
        orders: Sized orders, to fill at the next bar's open.
        score: Regime score of the decision.
        neutral: Whether the regime was still warming up.
        multipliers: Tilt in force, 0 without a loop.
    """

    bar: int
    action: int
    held: bool
    orders: tuple[Order, ...]
    score: float
    neutral: bool
    multipliers: Multipliers


class Decider:
    """Takes one decision per bar of one account.

    Args:
        program: The policy.
        stream: Features and regime, brought to the present.
        rules: Sizes and bounds of the orders.
        mode: ``sampled`` or ``greedy``.
        run_seed: Seed of the numbers that actions are drawn with.
        loop: The tilt to run; None leaves the policy as it is.
        state: ``(TILT_STATE,)`` state of that loop to go on from; None starts where the loop starts.
        bars_known: Bars behind it whose answer it still gives when they come again.
        readings_known: Bars behind it of which it still knows the regime.

    Raises:
        MismatchError: If policy and stream are of different numbers of symbols.
    """

    def __init__(
        self,
        program: Program,
        stream: FeatureStream,
        rules: TradingRules,
        *,
        mode: Mode,
        run_seed: int,
        loop: TiltLoop | None,
        state: NDArray[np.float64] | None = None,
        bars_known: int = 60,
        readings_known: int = 1_000,
    ) -> None:
        n_symbols = len(stream.constants.symbols)
        require_symbols(program, n_symbols, _WHERE)
        self.rules = rules
        self.mode = mode
        self.stream = stream
        self._program = program
        self._numbers, self._points = loop_numbers(loop, stream.max_bars - 1)
        self._controlled = loop is not None
        self._loop = np.zeros(TILT_STATE)
        if loop is not None:
            self._loop = tilt_state(loop.start, loop.anchor or 0.0) if state is None else state.copy()
        self._key = np.uint64(run_seed % 2**64)
        self._orders = order_table(n_symbols, rules.long_only)
        self._columns = position_columns(n_symbols)
        self._hold = hold_action(n_symbols)
        self._buffers = buffers_of(program, stream.n_inputs)
        self._date, self._bar, self._last = 0, 0, -1
        self._open: Intent | None = None
        self._answered: Recall[tuple[bytes, Intent | None]] = Recall(bars_known)
        self._readings: Recall[RegimeReading] = Recall(readings_known)

    @property
    def multipliers(self) -> Multipliers:
        """The loop's integrals as they stand."""
        return Multipliers(float(self._loop[HOLD]), float(self._loop[TRADE]))

    @property
    def loop_state(self) -> NDArray[np.float64]:
        """The whole state of the loop, ``(TILT_STATE,)``: fast lane, start-up and anchor too."""
        return self._loop.copy()

    def start_session(self, date: dt.date, n_bars: int, *, new_segment: bool = False) -> None:
        """Begin a session: the policy's memory is empty, the loop goes on.

        Args:
            date: Exchange date.
            n_bars: Bars it has by the calendar.
            new_segment: Whether the sessions before are not its past.
        """
        self.stream.start_session(n_bars, new_segment=new_segment)
        self._buffers.recurrent[:] = 0.0
        self._date = _days(date)
        self._bar, self._last = 0, n_bars - 1

    def decide(self, opens: Numbers, closes: Numbers, volumes: Numbers, account: Account) -> Intent | None:
        """Take a bar and return what to do at its close; None at the session's last, when all is closed.

        Args:
            opens: ``(n_symbols,)`` USD.
            closes: ``(n_symbols,)`` USD.
            volumes: ``(n_symbols,)`` shares.
            account: As it stands at the bar's close; read.

        Raises:
            StairwaysError: If the intent before was not settled.
            ArtifactError: If the policy's output is not finite.
        """
        if self._open is not None:
            raise StairwaysError(
                f"the intent of bar {self._open.bar} is not settled", where=_WHERE, remedy="call settle"
            )
        row, reading = self.stream.update(opens, closes, volumes)
        bar = self._bar
        self._bar = bar + 1
        self._readings.note(self._date, bar, reading)
        if bar < self._last:
            self._open = self._chosen(bar, row, reading, closes, account)
        self._answered.note(self._date, bar, (_print_of(opens, closes, volumes), self._open))
        return self._open

    def repeated(
        self, date: dt.date, bar: int, opens: Numbers, closes: Numbers, volumes: Numbers
    ) -> Intent | None:
        """Return what a bar was answered with, for who sends it again; nothing moves.

        Args:
            date: Exchange date of its session.
            bar: From 0.
            opens: As it was sent, ``(n_symbols,)`` USD; likewise closes and volumes.
            closes: USD.
            volumes: Shares.

        Raises:
            BarsError: If it is not known, or its numbers are others than those that were decided on.
        """
        known = self._answered.of(_days(date), bar)
        where = f"{_WHERE}, bar {bar} of {date}"
        if known is None:
            raise BarsError(
                "the bar is not known here",
                where=where,
                remedy=f"only the last {self._answered.size} bars are; send new bars to decide",
            )
        if known[0] != _print_of(opens, closes, volumes):
            raise BarsError(
                "it was decided on with other prices or volumes",
                where=where,
                remedy="a bar that was decided on can't change; find out which source is right",
            )
        return known[1]

    def reading(self, date: dt.date, bar: int) -> RegimeReading | None:
        """Return the regime at the close of a bar; None where it is not known any more."""
        return self._readings.of(_days(date), bar)

    def _chosen(
        self,
        bar: int,
        row: NDArray[np.float32],
        reading: RegimeReading,
        closes: Numbers,
        account: Account,
    ) -> Intent:
        observation = self._buffers.observation
        observation[:] = row
        observation[self._columns] = account.units
        position = 0
        for units in account.units:
            position = 3 * position + units + 1
        trade = float(self._loop[TRADE])
        action, hold = decide(
            self._program,
            self._numbers,
            self._points,
            self._controlled,
            self.mode == "greedy",
            self._orders[position],
            reading.score,
            keyed_uniform(self._key, self._date, bar),
            self._loop,
            self._buffers,
        )
        if action == NOT_FINITE:
            raise not_finite(f"{_WHERE}, bar {bar}")
        return Intent(
            bar=bar,
            action=action,
            held=action == self._hold,
            orders=tuple(account.orders(action, np.asarray(closes, np.float64))),
            score=reading.score,
            neutral=reading.neutral,
            multipliers=Multipliers(hold, trade),
        )

    def settle(self, executed: int) -> None:
        """Tell what became of the last intent: the loop moves by it.

        Args:
            executed: Orders that were executed, forced closes at the session's end included.

        Raises:
            StairwaysError: If there is no open intent.
        """
        if self._open is None:
            raise StairwaysError("there is no intent to settle", where=_WHERE)
        if self._controlled:
            held = 1.0 if self._open.held else 0.0
            advance(self._loop, self._numbers, self._points, self._open.score, held, float(executed))
        self._open = None

    def end_session(self) -> None:
        """Complete the session."""
        self.stream.end_session()


def _days(date: dt.date) -> int:
    return (date - dt.date(1970, 1, 1)).days


def _print_of(opens: Numbers, closes: Numbers, volumes: Numbers) -> bytes:
    """Return the bar's numbers as bytes, to tell whether they are the same ones."""
    return np.array((opens, closes, volumes), np.float64).tobytes()
