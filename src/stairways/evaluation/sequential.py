"""A sequential test of the net return per session: it may be read after every session, for ever.

Healthy means: given all that happened before, the mean net return of the next session is at least a floor
``m``, gains above ``m + b`` counted as ``m + b``. Nothing else is assumed: no law, no equal spread, no
independence beyond that conditional mean.

**Evidence of one session.** With the capped excess ``y = min(x - m, b)`` and a bet ``l`` in [0, 1] that is
fixed before the session, ``e = 1 - l·y/b`` is never negative, and its conditional mean is at most 1 while the
model is healthy: betting against it does not pay (Waudby-Smith and Ramdas 2024, "Estimating means of bounded
random variables by betting"). Losses could be clipped without harm, for that only raises the mean, and need
not be, for ``e`` only grows with them. Gains can't be left unbounded: a mean may always be saved by a gain so
large and so rare that no sample shows it, and no test of the mean has power (Bahadur and Savage 1956). A cap
lowers the mean, so the guarantee is on the capped mean; sessions that met the cap are counted.

**Evidence of a change.** Since nobody knows when a model breaks, every session starts a product of its own,
and the evidence is their sum (the e-detector of Shiryaev-Roberts type; Shin, Ramdas and Rinaldo 2024):

    M_t = sum over s <= t of e_s · ... · e_t,        so M_t = (M_{t-1} + 1)·e_t with M_0 = 0.

Several ways of betting run side by side and the evidence is their mean: the bet of each is Kelly's for a
stated annual Sharpe ratio S below the floor, ``l = min(1, b·S / sqrt(252) / v)``, with ``v`` the root of an
exponential mean of past squared excesses. All of it is known before the session, as it must be.

**What is guaranteed.** Alarm at ``M_t >= c = 252 / rate`` and start afresh after an alarm. While the model is
healthy E[M_t | past] <= M_{t-1} + 1, so with A_n the alarms among the first n sessions, c·A_n + M_n - n is a
supermartingale that starts at 0 (an alarm trades at least c of M for one of A), and

    E[A_n] <= n / c = rate · n / 252        for every n.

In words: at most ``rate`` false alarms per year in the mean, counted from the start over any number of years;
hence (Markov) at most a probability of ``rate`` of any in the first year of a model, n / c in its first n
sessions; and (optional stopping) a mean of at least ``252 / rate`` sessions to the first. Not promised: the
same for one later year given what went before it, for evidence that has already gathered stays.

With autocorrelated returns the conditional mean lies below the floor after a loss even where the mean over
all sessions does not. The guarantee does not cover that; ``stairways prove triggers`` measures it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from stairways.errors import ArtifactError, InputError, MismatchError
from stairways.evaluation.trigger_config import SequentialConfig
from stairways.market.sessions import SESSIONS_PER_YEAR

STATE_VERSION = 1
# Evidence cut from above is evidence still; past this it would leave what JSON can hold.
LARGEST = 1e300
_REMEDY = "start it anew from the session returns since the deployment"


def capped_excess(returns_ratio: NDArray[np.float64], config: SequentialConfig) -> NDArray[np.float64]:
    """Return session returns less the floor, gains beyond the bound counted as the bound; any shape."""
    return np.minimum(returns_ratio - config.floor_ratio, config.gain_bound_ratio)


def grow(
    evidence: NDArray[np.float64],
    variance: NDArray[np.float64],
    excess: NDArray[np.float64],
    config: SequentialConfig,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return evidence and variance after one more session, for any number of accounts at once.

    Args:
        evidence: ``(..., n_bets)`` float64, of each way of betting.
        variance: ``(...)`` float64, exponential mean of squared excesses before the session.
        excess: ``(...)`` float64, from :func:`capped_excess`.
        config: The test.
    """
    bound = config.gain_bound_ratio
    wanted = bound * np.array(config.designed_sharpes) / math.sqrt(SESSIONS_PER_YEAR)
    # equal to min(1, wanted / deviation), and sound where the deviation is 0
    bets = wanted / np.maximum(np.sqrt(variance)[..., None], wanted)
    grown = np.minimum((evidence + 1.0) * (1.0 - bets * excess[..., None] / bound), LARGEST)
    seen = np.maximum(excess, -bound) ** 2
    return grown, variance + (seen - variance) / config.volatility_memory_sessions


@dataclass(frozen=True)
class SequentialState:
    """Where the test stands after some sessions.

    Attributes:
        n_sessions: Sessions seen.
        n_capped: Those among them whose gain was beyond the bound.
        variance: Exponential mean of squared excesses.
        evidence: Of each way of betting.
        alarm_session: Number, from 1, of the session that raised the first alarm; None without one.
    """

    n_sessions: int
    n_capped: int
    variance: float
    evidence: tuple[float, ...]
    alarm_session: int | None = None

    @classmethod
    def start(cls, config: SequentialConfig) -> Self:
        """Return the state before the first session."""
        return cls(0, 0, config.volatility_ratio**2, (0.0,) * len(config.designed_sharpes))

    @property
    def total(self) -> float:
        """The evidence: mean over the ways of betting."""
        return mixed(np.array(self.evidence)).item()

    def after(self, returns_ratio: Iterable[float], config: SequentialConfig) -> Self:
        """Return the state after more sessions.

        An alarm stays; the sum goes on.

        Raises:
            InputError: If a return is not finite, or the state is of another number of bets.
        """
        state = self
        if len(self.evidence) != len(config.designed_sharpes):
            raise InputError(
                f"{len(self.evidence)} ways of betting stand beside {len(config.designed_sharpes)} designed",
                remedy=_REMEDY,
            )
        for value in returns_ratio:
            state = state._after_one(value, config)
        return state

    def _after_one(self, return_ratio: float, config: SequentialConfig) -> Self:
        if not math.isfinite(return_ratio):
            raise InputError(
                f"the return {return_ratio} of session {self.n_sessions + 1} is not finite",
                remedy="a session without a return is no session of the test",
            )
        excess = capped_excess(np.array(return_ratio), config)
        evidence, variance = grow(np.array(self.evidence), np.array(self.variance), excess, config)
        n_sessions = self.n_sessions + 1
        alarm = self.alarm_session
        if alarm is None and mixed(evidence).item() >= config.threshold:
            alarm = n_sessions
        met = return_ratio - config.floor_ratio > config.gain_bound_ratio
        return type(self)(
            n_sessions, self.n_capped + int(met), variance.item(), tuple(evidence.tolist()), alarm
        )

    def as_record(self, config: SequentialConfig) -> dict[str, Any]:
        """Return the state and its test as plain JSON types."""
        return {
            "version": STATE_VERSION,
            "config": config.model_dump(mode="json"),
            "n_sessions": self.n_sessions,
            "n_capped": self.n_capped,
            "variance": self.variance,
            "evidence": list(self.evidence),
            "alarm_session": self.alarm_session,
        }

    @classmethod
    def from_record(cls, record: dict[str, Any], config: SequentialConfig) -> Self:
        """Return the state behind :meth:`as_record`, to the bit.

        Raises:
            MismatchError: If it is of other settings: evidence of one test says nothing in another.
            ArtifactError: If it is damaged or of another version.
        """
        if record.get("version") != STATE_VERSION:
            raise ArtifactError(f"version {record.get('version')} is not {STATE_VERSION}", remedy=_REMEDY)
        if record.get("config") != config.model_dump(mode="json"):
            raise MismatchError("the state of a sequential test of other settings", remedy=_REMEDY)
        try:
            state = cls(**({n: record[n] for n in _NUMBERS} | {"evidence": tuple(record["evidence"])}))
            sound = state._sound(config)
        except (KeyError, TypeError) as error:
            raise ArtifactError(f"the state can't be read ({error!r})", remedy=_REMEDY) from error
        if not sound:
            raise ArtifactError(f"no test can stand at {state}", remedy=_REMEDY)
        return state

    def _sound(self, config: SequentialConfig) -> bool:
        numbers = (self.variance, *self.evidence)
        return (
            all(isinstance(value, float) and 0.0 <= value <= LARGEST for value in numbers)
            and isinstance(self.n_sessions, int)
            and isinstance(self.n_capped, int)
            and isinstance(self.alarm_session, int | None)
            and len(self.evidence) == len(config.designed_sharpes)
            and 0 <= self.n_capped <= self.n_sessions
            and (self.alarm_session is None or 1 <= self.alarm_session <= self.n_sessions)
        )


_NUMBERS = ("n_sessions", "n_capped", "variance", "alarm_session")


def mixed(evidence: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean over the ways of betting, ``(..., n_bets)`` to ``(...)``.

    A mean of e-detectors is an e-detector, for the bound on each of them is one on a mean.
    """
    return np.asarray(evidence.sum(axis=-1) / evidence.shape[-1])


def plain_evidence(returns_ratio: NDArray[np.float64], config: SequentialConfig) -> NDArray[np.float64]:
    """Return the evidence after each session straight from its definition, a sum of products.

    Takes time in the square of the sessions; :class:`SequentialState` gives the same, one at a time.

    Args:
        returns_ratio: ``(n_sessions,)`` float64, finite.
        config: The test.

    Returns:
        ``(n_sessions,)`` float64.
    """
    excess = [min(float(value) - config.floor_ratio, config.gain_bound_ratio) for value in returns_ratio]
    kept = 1.0 - 1.0 / config.volatility_memory_sessions
    total = np.zeros(len(excess))
    for sharpe in config.designed_sharpes:
        factors = []
        for t, value in enumerate(excess):
            older = [
                kept ** (t - 1 - i) * max(past, -config.gain_bound_ratio) ** 2
                for i, past in enumerate(excess[:t])
            ]
            variance = kept**t * config.volatility_ratio**2 + (1.0 - kept) * math.fsum(older)
            wanted = config.gain_bound_ratio * sharpe / math.sqrt(SESSIONS_PER_YEAR)
            bet = 1.0 if variance == 0.0 else min(1.0, wanted / math.sqrt(variance))
            factors.append(1.0 - bet * value / config.gain_bound_ratio)
        for t in range(len(excess)):
            products = [math.prod(factors[start : t + 1]) for start in range(t + 1)]
            total[t] += math.fsum(products) / len(config.designed_sharpes)
    return total
