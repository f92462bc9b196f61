"""Closed forms against sources of their own: printed examples, and libraries that are run beside them."""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stairways.errors import ConfigError
from stairways.evaluation.overfitting import Overfitting, overfitting_probability
from stairways.evaluation.track_record import TrackRecord, Trials, deflated_sharpe
from stairways.market.sessions import SESSIONS_PER_YEAR
from stairways.trading.sharpe import probabilistic_sharpe

CLOSED_FORM = 1e-6
YEAR = math.sqrt(SESSIONS_PER_YEAR)
SERIES = 40
FRONTIER = "Bailey and Lopez de Prado 2012, as printed"
DEFLATED = "Bailey and Lopez de Prado 2014, as printed"
CHARLATANISM = "Bailey and others 2014 (minimum backtest length), as printed"
PYPBO = "pypbo, commit ddbc631, recorded"
FYNANCE = "fynance 2.13.1, recorded"

RECORDED_OVERFITTING = (
    # sessions, trials, blocks, edge of one trial; probability, loss, slope, mean logit
    (96, 7, 8, 0.0, 0.5, 0.34285714285714286, -0.2211121265785475, -0.0021412044544013545),
    (240, 12, 10, 0.0, 0.6349206349206349, 0.5674603174603174, -0.8323444673933366, -0.34430721168902206),
    (160, 20, 16, 5e-4, 0.09215229215229215, 0.09184149184149185, -0.28866599946257154, 2.4459210588904634),
)
"""What two other implementations of the cross-validation found on :func:`formula_matrix`; both agree to 12
digits. Neither is installed here: the figures were taken once, and anyone can take them again."""


@dataclass(frozen=True)
class Check:
    """One figure beside that of another source.

    Attributes:
        statistic: What is computed.
        case: On what.
        source: Where the other figure comes from.
        ours: Our figure.
        theirs: The other.
        tolerance: Largest difference allowed: 1e-6, or half a unit of the last digit that was printed.
    """

    statistic: str
    case: str
    source: str
    ours: float
    theirs: float
    tolerance: float = CLOSED_FORM

    @property
    def printed(self) -> bool:
        """Whether the other figure was rounded for print, so that it can't show 1e-6."""
        return self.tolerance > CLOSED_FORM

    def as_record(self) -> dict[str, Any]:
        """Return the check as plain JSON types."""
        difference = abs(self.ours - self.theirs)
        return asdict(self) | {
            "difference": difference,
            "printed": self.printed,
            "passed": difference <= self.tolerance,
        }


def library(name: str) -> Any:
    """Import a library that the statistics are checked against.

    Raises:
        ConfigError: If it is not installed: a check without its source shows nothing.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise ConfigError(
            f"{package} is not installed, and the statistics are checked against it",
            remedy=f"pip install {package}, or install stairways[dev]",
        ) from error


def closed_checks(seed: np.random.SeedSequence) -> list[Check]:
    """Return every check of a closed form.

    Args:
        seed: Seed of the series that libraries are run on.

    Raises:
        ConfigError: If one of the libraries is missing.
    """
    return [*_printed(), *_recorded(), *_against_skfolio(seed), *_overfitting()]


def _paper_trials(n_trials: int) -> Trials:
    """Return the trials of the example of 2014: a variance of 1/2 a year of 250 days."""
    return Trials(n_trials, 0.5 / 250 * SESSIONS_PER_YEAR)


def _paper_record(skewness: float = -3.0, kurtosis: float = 10.0) -> TrackRecord:
    """Return the track record of that example: 2.5 a year on 1,250 days."""
    return TrackRecord.from_moments(
        n_sessions=1250, sharpe_per_session=2.5 / math.sqrt(250), skewness=skewness, kurtosis=kurtosis
    )


def _two_from_one(periods: int, skewness: float = 0.0, kurtosis: float = 3.0) -> float:
    """Return the years that tell an annual Sharpe ratio of 2 from 1, at so many periods a year."""
    root = math.sqrt(periods)
    record = TrackRecord.from_moments(
        n_sessions=periods, sharpe_per_session=2 / root, skewness=skewness, kurtosis=kurtosis
    )
    return _needed(record.least_sessions(YEAR / root)) / periods


def _needed(least: float | None) -> float:
    if least is None:
        raise ValueError("an example that is above its bar has a length")
    return least


def _printed() -> Iterator[Check]:
    """Check the worked examples of the papers, to the digits they print."""
    two_years = {"n_sessions": 24, "sharpe_per_session": 0.458}
    psr, length, best = "probabilistic Sharpe", "minimum track record, years", "expected maximum Sharpe"
    yield Check(
        psr, "24 months, normal", FRONTIER,
        TrackRecord.from_moments(**two_years).probability_above(), 0.982, 5e-4,
    )  # fmt: skip
    yield Check(
        psr, "24 months, skewness -2.448, kurtosis 10.164", FRONTIER,
        TrackRecord.from_moments(**two_years, skewness=-2.448, kurtosis=10.164).probability_above(),
        0.913, 5e-4,
    )  # fmt: skip
    for periods, years, word in ((250, 2.73, "days"), (52, 2.83, "weeks"), (12, 3.24, "months")):
        yield Check(length, f"2 from 1, {word}, normal", FRONTIER, _two_from_one(periods), years, 5e-3)
    yield Check(
        length, "2 from 1, months, skewness -0.72, kurtosis 5.78", FRONTIER,
        _two_from_one(12, -0.72, 5.78), 4.99, 5e-3,
    )  # fmt: skip
    ten = Trials(10, 1.0).expected_max_annual
    yield Check(best, "10 trials, variance 1", CHARLATANISM, ten, 1.57, 5e-3)
    yield Check(
        best, "100 trials, per day", DEFLATED, _paper_trials(100).expected_max_annual / YEAR, 0.1132, 5e-5
    )
    for n_trials, expected in ((100, 0.9004), (46, 0.9505)):
        ours = _paper_record().deflated(_paper_trials(n_trials))
        yield Check("deflated Sharpe", f"{n_trials} trials", DEFLATED, ours, expected, 5e-5)


def _recorded() -> Iterator[Check]:
    """Check full digits that another implementation gives for the papers' examples."""
    best = Trials(100, 1.0).expected_max_annual
    yield Check("expected maximum Sharpe", "100 trials, variance 1", PYPBO, best, 2.5306028932016846)
    record = TrackRecord.from_moments(
        n_sessions=24, sharpe_per_session=1.585 / math.sqrt(12), skewness=-2.448, kurtosis=10.164
    )
    yield Check(
        "probabilistic Sharpe", "24 months, skewed", PYPBO, record.probability_above(), 0.91323430688486018
    )
    ours = _paper_record().deflated(_paper_trials(100))
    yield Check("deflated Sharpe", "100 trials", PYPBO, ours, 0.90039683444939034)
    length = "minimum track record, years"
    yield Check(length, "2 from 1, days, normal", PYPBO, _two_from_one(250), 2.7311878017281761)
    yield Check(length, "2 from 1, weeks, normal", PYPBO, _two_from_one(52), 2.8288335869452368)
    skewed = TrackRecord.from_moments(
        n_sessions=12, sharpe_per_session=3 / math.sqrt(12), skewness=-0.72, kurtosis=5.78
    )
    years = _needed(skewed.least_sessions(2.5 * YEAR / math.sqrt(12))) / 12
    yield Check(length, "3 from 2.5, months, skewed", PYPBO, years, 27.352920196040301)


def _against_skfolio(seed: np.random.SeedSequence) -> Iterator[Check]:
    """Run skfolio on the same series; of each statistic the worst of the series is kept."""
    measures = library("skfolio.measures")
    source = f"skfolio {library('skfolio').__version__}, run here"
    pairs: dict[str, list[tuple[float, float]]] = {}
    for run in seed.spawn(SERIES):
        rng = np.random.default_rng(run)
        returns = rng.standard_t(4, int(rng.integers(30, 500))) * 0.004 + 0.0003
        trials = rng.normal(0.02, 0.06, int(rng.integers(2, 60)))
        bar = float(rng.normal(0.0, 0.05))
        found = Trials.of(trials * YEAR)
        known = {
            "probabilistic Sharpe": (
                probabilistic_sharpe(returns, bar * YEAR),
                measures.probabilistic_sharpe_ratio(returns, bar),
            ),
            "expected maximum Sharpe": (
                found.expected_max_annual / YEAR,
                measures.expected_max_sharpe_ratio(len(trials), trials.std(ddof=1)),
            ),
            "deflated Sharpe": (
                deflated_sharpe(returns, found),
                measures.deflated_sharpe_ratio(returns, trials),
            ),
        }
        for name, (ours, theirs) in known.items():
            pairs.setdefault(name, []).append((math.nan if ours is None else ours, float(theirs)))
    yield from _worst(pairs, f"worst of {SERIES} t(4) series", source)


def _worst(pairs: dict[str, list[tuple[float, float]]], case: str, source: str) -> Iterator[Check]:
    for name, values in pairs.items():
        # a figure that is missing is the worst of all
        ours, theirs = max(values, key=lambda pair: _distance(*pair))
        yield Check(name, case, source, ours, theirs)


def _distance(ours: float, theirs: float) -> float:
    distance = abs(ours - theirs)
    return math.inf if math.isnan(distance) else distance


def formula_matrix(n_sessions: int, n_trials: int, edge: float) -> NDArray[np.float64]:
    """Return returns that a formula gives exactly, so that anyone can make them again.

    Session t and trial k, both from 1: ((31 t² + 7919 t k + 104729 k² + 13 t k²) mod 1009) - 504, times
    1e-5; the fourth trial earns ``edge`` more in every session.
    """
    t, k = np.arange(1, n_sessions + 1)[:, None], np.arange(1, n_trials + 1)[None, :]
    whole = (31 * t * t + 7919 * t * k + 104729 * k * k + 13 * t * k * k) % 1009 - 504
    returns: NDArray[np.float64] = whole * 1e-5
    returns[:, 3] += edge
    return returns


def _overfitting() -> Iterator[Check]:
    for n_sessions, n_trials, n_blocks, edge, probability, loss, slope, logit in RECORDED_OVERFITTING:
        found: Overfitting = overfitting_probability(formula_matrix(n_sessions, n_trials, edge), n_blocks)
        case = f"{n_sessions} sessions, {n_trials} trials, {n_blocks} blocks"
        figures = (
            ("probability of overfitting", found.probability, probability),
            ("probability of loss", found.loss_probability, loss),
            ("degradation slope", found.degradation_slope, slope),
            ("mean logit", float(found.logits.mean()), logit),
        )
        for name, ours, theirs in figures:
            yield Check(name, case, f"{PYPBO}; {FYNANCE}", math.nan if ours is None else ours, theirs)
