"""The pictures of a run: drawn with matplotlib's object API, given out as SVG that sits inside a page.

Colours leave here as CSS variables with the light value as fallback, so that one drawing serves a light
and a dark page. Equal input gives equal bytes: no date, no random identifier, no global figure.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stairways.reporting.drawing import PALETTE, add_axes, blank_figure, inline_svg, styled
from stairways.reporting.page import POLICY_NOTES, chosen_words, least_bad, outcome, tuning_share

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

POLICIES = ("candidate", "gold", "tilted_gold", "random", "all_hold", "buy_and_hold", "oracle")
REWARD_COLOURS = (*POLICIES, "ink")
DASHES: Mapping[str, Any] = MappingProxyType(
    {
        "tilted_gold": (0, (5, 1.6)), "random": (0, (1.2, 1.6)), "oracle": (0, (2.5, 1.4)),
        "buy_and_hold": (0, (6, 1.6, 1.2, 1.6)),
    }
)  # fmt: skip
IN_DRAWDOWN = ("gold", "tilted_gold", "buy_and_hold", "candidate")
EQUITY_TICKS = (-0.9, -0.75, -0.5, -0.25, 0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
README_SIZE = (1000.0, 712.0)
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
# Sizes in points: half of the page's width, all of it, and all of a telephone's.
PANEL, WIDE, NARROW = (440.0, 270.0), (920.0, 420.0), (430.0, 480.0)
BESIDE = ("axes fraction", "data")
NO_CYCLE = "no cycle was run"
README_TITLES = (
    "Hold rate over the cycles, % of decisions", "Trades per session over the cycles",
    "Net result on the unseen sessions", "Candidate less baseline, bp per session",
)  # fmt: skip
DOTS_PER_CYCLE = 12
BEHAVIOUR_CAPTION = (
    "Open dots: training, at most 12 means a cycle. Filled dots: mean on the select sessions after the "
    "cycle; thick line its 95% interval, thin line 5 to 95% of single sessions. Right of the dashed line: "
    "the unseen sessions, in deployment mode."
)


@dataclass(frozen=True)
class Picture:
    """One picture of the page, or the reason why there is none.

    Attributes:
        name: Identifier, unique in the page.
        title: What it shows.
        caption: How to read it.
        svg: Inline SVG; empty when there is none.
        narrow_svg: The same drawn for a narrow screen; empty where one drawing serves both.
        missing: Why there is none; empty when there is one.
    """

    name: str
    title: str
    caption: str
    svg: str = ""
    narrow_svg: str = ""
    missing: str = ""


@dataclass(frozen=True)
class Behaviour:
    """A controlled quantity as the pictures over the cycles draw it.

    Attributes:
        key: Its name among the metrics of a policy and of a rollout.
        interval_key: Name of the interval of its mean.
        by_session: Name of its values per session in a cycle.
        series: Name of its values per session in the series.
        scale: Factor to the unit that is drawn.
        unit: That unit, on the axis.
        digits: Decimals of a mean.
        bands: (low, high, words) of each band, in the unit drawn, widest first.
    """

    key: str
    interval_key: str
    by_session: str
    series: str
    scale: float
    unit: str
    digits: int
    bands: tuple[tuple[float, float, str], ...]


def all_pictures(summary: Mapping[str, Any]) -> tuple[Picture, ...]:
    """Draw every picture of a run's summary, in the order of the page."""
    return (
        _over_cycles(summary, "hold", "Hold rate over the cycles", hold_behaviour),
        _over_cycles(summary, "trades", "Trades per session over the cycles", trades_behaviour),
        _equity(summary),
        _comparisons(summary),
        _multipliers(summary),
        _regime(summary),
        _reward_shares(summary),
    )


def readme_picture(summary: Mapping[str, Any]) -> bytes:
    """Draw verdict, hold rate, trades, equity and comparisons of a run as one PNG."""
    with styled("readme"):
        figure = blank_figure(*README_SIZE)
        figure.set_facecolor(_light("paper"))
        draw_readme(figure, summary)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=144, metadata={"Software": None})
    return buffer.getvalue()


def draw_readme(figure: Figure, summary: Mapping[str, Any]) -> None:
    """Draw the verdict and four pictures of a run into an empty figure, the legend below them."""
    left, height = 64 / README_SIZE[0], README_SIZE[1]
    title, below = _headline(summary)
    figure.text(left, (height - 27) / height, title, fontsize=14, fontweight="bold")
    figure.text(left, (height - 47) / height, below, fontsize=10.5, color=_light("muted"))
    hold, trades = add_axes(figure, (64, 398, 352, 228)), add_axes(figure, (568, 398, 352, 228))
    equity, pairs = add_axes(figure, (64, 98, 310, 228)), add_axes(figure, (650, 98, 302, 228))
    draw_behaviour(hold, summary, hold_behaviour(summary))
    draw_behaviour(trades, summary, trades_behaviour(summary))
    draw_equity(equity, summary["series"]["test"])
    draw_comparisons(pairs, summary["comparisons"])
    for axes, words in zip((hold, trades, equity, pairs), README_TITLES, strict=True):
        axes.set_title(words, loc="left", fontsize=11.5, fontweight="bold", pad=9)
    legend = textwrap.fill(f"{BEHAVIOUR_CAPTION} {_policies_caption(summary)}", 150)
    figure.text(left, 10 / height, legend, fontsize=10, color=_light("muted"), va="bottom", linespacing=1.4)


def _headline(summary: Mapping[str, Any]) -> tuple[str, str]:
    """Return verdict and market, and below them seed, chosen cycle and what qualifies the verdict."""
    said = outcome(summary)
    n_sessions = f"{summary['candidate']['n_sessions']:,} unseen sessions"
    parts = [f"Run seed {summary['run']['seed']}", f"candidate: {chosen_words(summary)}"]
    if said.tone == "bad":
        parts.append(f"{len(said.failed)} of {len(summary['required'])} required verdicts did not pass")
    elif share := tuning_share(summary["verdicts"]):
        # the interval stands in the picture
        first = share.partition(" (")[0].partition(":")[0].strip()
        parts.append(first[0].lower() + first[1:])
    return f"{said.word}: {summary['data']['source']}, {n_sessions}", "; ".join(parts)


def _policies_caption(summary: Mapping[str, Any]) -> str:
    shown = [name for name in ("tilted_gold", "random", "oracle") if name in summary["series"]["test"]]
    notes = [f"{name.replace('_', ' ').capitalize()}: {POLICY_NOTES[name]}." for name in shown]
    return " ".join([*notes, "Candidate less baseline: the same sessions paired; right of 0 is better."])


def hold_behaviour(summary: Mapping[str, Any]) -> Behaviour:
    """Return the hold rate with the band of its mean."""
    gate = summary["gate"]
    target, tolerance = 100 * gate["hold_target_ratio"], 100 * gate["hold_tolerance_ratio"]
    low, high = target - tolerance, target + tolerance
    words = f"mean\n{low:g} to {high:g}"
    return Behaviour(
        "hold_rate_ratio", "hold_rate_interval", "hold_rate_by_session", "hold_rate_ratio",
        scale=100.0, unit="% of decisions", digits=1, bands=((low, high, words),),
    )  # fmt: skip


def trades_behaviour(summary: Mapping[str, Any]) -> Behaviour:
    """Return the trades per session with the bands of one session and of the mean."""
    gate = summary["gate"]
    bands = ((gate["session_trades_band"], "one session"), (gate["trades_band"], "mean"))
    return Behaviour(
        "trades_per_session", "trades_interval", "trades_by_session", "trades",
        scale=1.0, unit="trades per session", digits=2,
        bands=tuple((low, high, f"{what}\n{low:g} to {high:g}") for (low, high), what in bands),
    )  # fmt: skip


def draw_behaviour(axes: Axes, summary: Mapping[str, Any], what: Behaviour) -> None:
    """Draw a controlled quantity: rollouts, means on the select sessions, the unseen sessions."""
    cycles = summary["cycles"]
    last = float(cycles[-1]["steps"])
    gap = last / len(cycles)
    divide, edge = last + 0.5 * gap, (last + 0.5 * gap) * 1.46
    for index, (low, high, _) in enumerate(what.bands):
        axes.axhspan(low, high, color=_light("band"), alpha=(0.10, 0.22)[index], lw=0, zorder=0)
    dots = _training_dots(cycles)
    values = [dot[what.key] * what.scale for dot in dots]
    style: dict[str, Any] = {"color": _light("muted"), "mfc": _light("paper"), "mew": 0.9}
    axes.plot([dot["steps"] for dot in dots], values, "o-", lw=0.8, ms=3.6, zorder=2, **style)
    for cycle in cycles:
        at = cycle["steps"] + 0.16 * gap
        _spread(axes, at, cycle["select"], cycle[what.by_session], what, "candidate", "o")
    _draw_unseen(axes, summary, what, divide, edge)
    axes.axvline(divide, color=_light("muted"), lw=0.8, ls=(0, (2, 2)))
    axes.set_xlim(-0.05 * gap, edge)
    _cycle_ticks(axes, summary, (divide + edge) / 2)
    low, high = min(axes.get_ylim()[0], what.bands[0][0]), max(axes.get_ylim()[1], what.bands[0][1])
    highest = 100.0 if what.scale == 100.0 else np.inf
    axes.set_ylim(max(0.0, low - 0.04 * (high - low)), min(highest, high + 0.04 * (high - low)))
    for index, (low, high, words) in enumerate(what.bands):
        # The words of the outer of two bands stand at its top, where the inner one's do not reach.
        outer = len(what.bands) > 1 and index == 0
        place = (1.0, high if outer else (low + high) / 2)
        _say(axes, words, place, (5, 0), "band", 9.5, va="top" if outer else "center", xycoords=BESIDE)


def _training_dots(cycles: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return what training showed: at most ``DOTS_PER_CYCLE`` means of neighbours in each cycle."""
    dots = []
    for cycle in cycles:
        reports = cycle["training"]
        for part in np.array_split(np.arange(len(reports)), min(len(reports), DOTS_PER_CYCLE)):
            some = [reports[index] for index in part]
            means = {
                name: float(np.mean([report[name] for report in some]))
                for name in ("hold_rate_ratio", "trades_per_session", "hold_bonus_bps")
            }
            multipliers = np.mean([report["multipliers"] for report in some], axis=0).tolist()
            dots.append({"steps": some[-1]["steps"], "multipliers": multipliers, **means})
    return dots


def draw_equity(axes: Axes, series: Mapping[str, Any]) -> None:
    """Draw the net result of every policy since the first unseen session, on a log scale of NAV."""
    names = [*(n for n in POLICIES if n in series), *(n for n in series if n not in POLICIES)]
    curves = {name: np.log1p(np.array([0.0, *series[name]["equity_ratio"]])) for name in names}
    for name, curve in curves.items():
        _policy_line(axes, name, curve)
    low, high = min(c.min() for c in curves.values()), max(c.max() for c in curves.values())
    margin = 0.04 * max(high - low, 1e-4)
    axes.set_ylim(low - margin, high + margin)
    ticks = _equity_ticks(float(np.expm1(low)), float(np.expm1(high)))
    axes.set_yticks([float(np.log1p(tick)) for tick in ticks], [_signed_percent(tick) for tick in ticks])
    _date_axis(axes, series[names[0]]["dates"], lead=1)
    ends = {name: float(curve[-1]) for name, curve in curves.items()}
    results = {name: _signed_percent(float(np.expm1(end)), 1) for name, end in ends.items()}
    _end_labels(axes, ends, {n: f"{n.replace('_', ' ')} {result}" for n, result in results.items()})


def draw_drawdown(axes: Axes, series: Mapping[str, Any]) -> None:
    """Draw the fall from the peak of NAV by session closes, downwards."""
    for name in [name for name in IN_DRAWDOWN if name in series]:
        fall = -100.0 * np.array([0.0, *series[name]["drawdown_ratio"]])
        if name == "candidate":
            axes.fill_between(np.arange(len(fall)), fall, 0.0, color=_light(name), alpha=0.25, lw=0)
        _policy_line(axes, name, fall)
    axes.set_ylim(top=0.0)
    axes.locator_params(axis="y", nbins=4)
    axes.yaxis.set_major_formatter(lambda value, _: _minus(f"{value:g}%"))
    _date_axis(axes, series["candidate"]["dates"], lead=1)


def draw_comparisons(axes: Axes, comparisons: Mapping[str, Any]) -> None:
    """Draw the paired mean differences with their intervals, one row each."""
    names = list(comparisons)[::-1]
    cover = {"facecolor": _light("paper"), "edgecolor": "none", "pad": 0.8}
    for row, name in enumerate(names):
        low, high = comparisons[name]["interval_bps"]
        mean = comparisons[name]["mean_difference_bps"]
        colour = _light(name if name in PALETTE else "ink")
        axes.plot([low, high], [row, row], color=colour, lw=3.2, solid_capstyle="butt")
        axes.plot([mean], [row], "o", color=colour, ms=7.5, mec=_light("paper"), mew=1.2)
        text = _minus(f"{mean:+,.2f}  ({low:+,.2f} to {high:+,.2f})")
        _say(axes, text, (mean, row), (0, 9), "ink", 10, ha="center", va="bottom", bbox=cover)
    axes.axvline(0.0, color=_light("ink"), lw=1.0)
    words = [f"less {name.replace('_', ' ')}" for name in names]
    axes.set_yticks(range(len(names)), words, fontsize=10, color=_light("ink"))
    axes.set_ylim(-0.55, len(names) - 0.35)
    axes.margins(x=0.22)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")


def _panel(name: str, title: str, caption: str, missing: str, draw: Callable[[Figure], None]) -> Picture:
    """Return a picture of half the page's width, or the reason why there is none."""
    svg = "" if missing else inline_svg(name, title, PANEL, draw)
    return Picture(name, title, caption, svg=svg, missing=missing)


def _over_cycles(
    summary: Mapping[str, Any], name: str, title: str, behaviour: Callable[[Mapping[str, Any]], Behaviour]
) -> Picture:
    def draw(figure: Figure) -> None:
        axes = add_axes(figure, (40, 36, PANEL[0] - 106, PANEL[1] - 64))
        draw_behaviour(axes, summary, behaviour(summary))
        _unit(axes, behaviour(summary).unit)

    missing = "" if summary.get("cycles") else NO_CYCLE
    return _panel(name, title, BEHAVIOUR_CAPTION, missing, draw)


def _equity(summary: Mapping[str, Any]) -> Picture:
    title = "Net result and drawdown on the unseen sessions"
    caption = (
        "Above: net result since the start, % of initial NAV, on a log scale, ending in the figures shown. "
        "Below: fall from the peak of NAV by session closes, of candidate (filled), gold, tilted gold, buy "
        "and hold; those of the others stand in the table of policies."
    )
    series = (summary.get("series") or {}).get("test")
    if not series:
        missing = "this summary holds no series of the unseen sessions"
        return Picture("equity", title, caption, missing=missing)

    def draw(figure: Figure, right: float) -> None:
        width, height = 72 * figure.get_size_inches()
        inner = width - 56 - right
        top = add_axes(figure, (56, 148, inner, height - 162))
        draw_equity(top, series)
        top.tick_params(axis="x", labelbottom=False)
        draw_drawdown(add_axes(figure, (56, 26, inner, 98)), series)

    wide = inline_svg("equity", title, WIDE, lambda figure: draw(figure, 160))
    narrow = inline_svg("equity-narrow", title, NARROW, lambda figure: draw(figure, 148))
    return Picture("equity", title, caption, svg=wide, narrow_svg=narrow)


def _comparisons(summary: Mapping[str, Any]) -> Picture:
    pairs = summary.get("comparisons") or {}
    levels = " and ".join(sorted({f"{pair['confidence']:.0%}" for pair in pairs.values()}))
    caption = (
        f"Mean difference of net results on the same unseen sessions, bp of NAV per session; lines are "
        f"{levels} intervals of a paired stationary bootstrap. An interval right of 0 is better."
    )

    def draw(figure: Figure) -> None:
        axes = add_axes(figure, (104, 38, PANEL[0] - 118, PANEL[1] - 48))
        draw_comparisons(axes, pairs)
        axes.set_xlabel("bp of NAV per session", fontsize=10)

    missing = "" if pairs else "no paired comparison was made"
    return _panel("comparisons", "Candidate less each baseline, session by session", caption, missing, draw)


def _multipliers(summary: Mapping[str, Any]) -> Picture:
    tilted = summary["control"]["actuator"]["kind"] == "tilt"
    title = "Multipliers over the cycles" if tilted else "Hold bonus over the cycles"
    caption = (
        "Lines: means in force while training, at most 12 a cycle. Diamonds: calibrated after the cycle, in "
        "deployment mode. A hold multiplier below 0 makes the policy hold less than its weights alone would."
        if tilted
        else "Mean bonus paid on hold actions while training, bp of NAV per decision."
    )

    def draw(figure: Figure) -> None:
        axes = add_axes(figure, (40, 36, PANEL[0] - 114, PANEL[1] - 64))
        _draw_multipliers(axes, summary, tilted=tilted)
        _unit(axes, "logits" if tilted else "bp per hold decision")

    missing = "" if summary.get("cycles") else NO_CYCLE
    return _panel("multipliers", title, caption, missing, draw)


def _draw_multipliers(axes: Axes, summary: Mapping[str, Any], *, tilted: bool) -> None:
    cycles = summary["cycles"]
    dots = _training_dots(cycles)
    names = {"hold": "candidate", "trade": "tilted_gold"} if tilted else {"bonus": "candidate"}
    ends, words = {}, {}
    for index, (name, colour) in enumerate(names.items()):
        values = [dot["multipliers"][index] if tilted else dot["hold_bonus_bps"] for dot in dots]
        axes.plot([dot["steps"] for dot in dots], values, "o-", color=_light(colour), lw=1.5, ms=3.2)
        found = [(c["steps"], c["multipliers"][index]) for c in cycles if tilted and c["multipliers"]]
        style: dict[str, Any] = {"color": _light(colour), "mec": _light("paper"), "mew": 1.2}
        axes.plot([at for at, _ in found], [value for _, value in found], "D", ms=6, **style)
        ends[name], words[name] = float(values[-1]), _minus(f"{name} {values[-1]:+.2f}")
    axes.axhline(0.0, color=_light("muted"), lw=0.8)
    axes.margins(y=0.12)
    axes.set_xlim(0.0, cycles[-1]["steps"] * 1.02)
    _cycle_ticks(axes, summary, None)
    axes.locator_params(axis="y", nbins=5)
    axes.grid(axis="y")
    _end_labels(axes, ends, words, names)


def _reward_shares(summary: Mapping[str, Any]) -> Picture:
    caption = (
        "Share of each term in the mean absolute reward of the cycle's training; where all actions were "
        "weighed, of its last batch."
    )
    cycles = summary.get("cycles") or []
    shares = [cycle.get("reward_shares") or {} for cycle in cycles]
    names = list(dict.fromkeys(name for share in shares for name, value in share.items() if value))
    missing = "" if names else "this summary does not record the shares of the reward terms"

    def draw(figure: Figure) -> None:
        axes = add_axes(figure, (40, 36, PANEL[0] - 164, PANEL[1] - 64))
        _draw_reward_shares(axes, shares, names)
        axes.set_xticks(kept := _kept(len(cycles), 12), [str(cycles[i]["cycle"]) for i in kept])
        axes.set_xlabel("cycle", fontsize=10)
        _unit(axes, "% of the mean absolute reward")

    title = "Shares of the reward over the cycles"
    return _panel("rewards", title, caption, missing if cycles else NO_CYCLE, draw)


def _draw_reward_shares(axes: Axes, shares: Sequence[Mapping[str, float]], names: Sequence[str]) -> None:
    at, foot, middles = np.arange(len(shares)), np.zeros(len(shares)), {}
    colours = {name: REWARD_COLOURS[i % len(REWARD_COLOURS)] for i, name in enumerate(names)}
    for name in names:
        height = 100.0 * np.array([share.get(name, 0.0) for share in shares])
        axes.bar(at, height, 0.72, foot, color=_light(colours[name]), ec=_light("paper"), lw=0.8)
        middles[name] = float(foot[-1] + height[-1] / 2)
        foot += height
    axes.set_ylim(0.0, max(100.0, float(foot.max())))
    axes.set_xlim(-0.55, len(shares) - 0.45)
    last = shares[-1]
    words = {name: f"{name.replace('_', ' ')} {100 * last.get(name, 0.0):.1f}%" for name in names}
    _end_labels(axes, middles, words, colours)


def _regime(summary: Mapping[str, Any]) -> Picture:
    caption = "Line: mean score of the session's decisions. Band: 5 to 95% of them. The score lies within ±3."
    regime = (summary.get("series") or {}).get("regime_score") or {}

    def draw(figure: Figure) -> None:
        axes = add_axes(figure, (40, 26, PANEL[0] - 54, PANEL[1] - 52))
        at = np.arange(len(regime["mean"]))
        axes.fill_between(at, regime["low"], regime["high"], color=_light("candidate"), alpha=0.22, lw=0)
        axes.plot(at, regime["mean"], "o-" if len(at) < 3 else "-", color=_light("candidate"), lw=0.9)
        axes.axhline(0.0, color=_light("muted"), lw=0.8)
        axes.locator_params(axis="y", nbins=5)
        _date_axis(axes, regime["dates"])
        _unit(axes, "score")

    missing = "" if regime else "this summary holds no regime series"
    return _panel("regime", "Regime score over the unseen sessions", caption, missing, draw)


def _spread(
    axes: Axes, at: float, metrics: Mapping[str, Any], sessions: Any, what: Behaviour, role: str, marker: str
) -> None:
    """Draw a mean with its interval and the 5 and 95 % quantiles of single sessions."""
    if sessions:
        low, high = np.quantile(np.asarray(sessions, dtype=np.float64) * what.scale, [0.05, 0.95])
        axes.plot([at, at], [low, high], color=_light(role), lw=1.0, zorder=3)
    if metrics[what.interval_key] is not None:
        ends = [end * what.scale for end in metrics[what.interval_key]]
        axes.plot([at, at], ends, color=_light(role), lw=3.6, solid_capstyle="butt", zorder=3)
    mean = metrics[what.key] * what.scale
    axes.plot([at], [mean], marker, color=_light(role), ms=6.5, mec=_light("paper"), mew=1.0, zorder=4)


def _draw_unseen(axes: Axes, summary: Mapping[str, Any], what: Behaviour, divide: float, edge: float) -> None:
    """Draw candidate and gold between two places right of the cycles."""
    series = (summary.get("series") or {}).get("test") or {}
    for name, share in (("candidate", 0.11), ("gold", 0.70)):
        place = divide + share * (edge - divide)
        sessions = series[name][what.series] if name in series else None
        _spread(axes, place, summary[name], sessions, what, name, "D")
        mean = summary[name][what.key] * what.scale
        _say(axes, f"{name}\n{mean:.{what.digits}f}", (place, mean), (7, 0), name, 10)


def _cycle_ticks(axes: Axes, summary: Mapping[str, Any], unseen: float | None) -> None:
    """Name the cycles where they end, the chosen one marked, and the unseen sessions."""
    cycles, chosen = summary["cycles"], summary["run"].get("cycle")
    marked = [i for i, cycle in enumerate(cycles) if cycle["cycle"] == chosen]
    # Thinned names keep clear of the chosen one, which always stands.
    room = len(cycles) / 12 if len(cycles) > 9 else 0.0
    clear = [i for i in _kept(len(cycles), 9) if all(abs(i - m) > room for m in marked)]
    shown = [cycles[i] for i in sorted({*clear, *marked})]
    places = [float(cycle["steps"]) for cycle in shown]
    mark = "least bad" if least_bad(summary) else "chosen"
    words = [f"{c['cycle']}\n{mark}" if c["cycle"] == chosen else str(c["cycle"]) for c in shown]
    if unseen is not None:
        places, words = [*places, unseen], [*words, "unseen\nsessions"]
    axes.set_xticks(places, words)
    _say(axes, "cycle", (0.0, 0.0), (-6, -6), "muted", 10, ha="right", va="top", xycoords="axes fraction")


def _kept(count: int, most: int) -> list[int]:
    return list(range(0, count, max(1, -(-count // most))))


def _policy_line(axes: Axes, name: str, values: NDArray[np.float64]) -> None:
    width, order = (2.0, 4) if name == "candidate" else (1.2, 3)
    colour, dash = _light(name if name in PALETTE else "ink"), DASHES.get(name, "-")
    axes.plot(np.arange(len(values)), values, color=colour, lw=width, ls=dash, zorder=order)


def _end_labels(
    axes: Axes, ends: Mapping[str, float], words: Mapping[str, str], roles: Mapping[str, str] | None = None
) -> None:
    """Write words beside the right end of each line, pushed apart where they would overlap."""
    low, high = axes.get_ylim()
    height_points = axes.get_window_extent().height * 72.0 / axes.figure.dpi
    step = 13.5 * (high - low) / height_points
    names = sorted(ends, key=lambda name: ends[name])
    places = _pushed_apart([ends[name] for name in names], step, low + step / 2, high - step / 2)
    for name, place in zip(names, places, strict=True):
        role = (roles or {}).get(name, name)
        more = {"fontweight": "bold" if name == "candidate" else "normal", "annotation_clip": False}
        role = role if role in PALETTE else "ink"
        _say(axes, words[name], (1.0, place), (6, 0), role, 10.5, xycoords=BESIDE, **more)


def _pushed_apart(values: Sequence[float], step: float, low: float, high: float) -> list[float]:
    """Move ascending values so that neighbours are a step apart and all lie in range, where they can."""
    places: list[float] = []
    for value in values:
        places.append(max(value, low, places[-1] + step if places else low))
    ceiling = high
    for index in range(len(places) - 1, -1, -1):
        places[index] = min(places[index], ceiling)
        ceiling = places[index] - step
    return places


def _say(axes: Axes, words: str, place: Any, offset_points: Any, role: str, size: float, **more: Any) -> None:
    """Write words at an offset from a place."""
    style = {"va": "center", "color": _light(role), "fontsize": size, **more}
    axes.annotate(words, place, offset_points, textcoords="offset points", **style)


def _equity_ticks(low: float, high: float) -> list[float]:
    from matplotlib.ticker import MaxNLocator

    if high - low > 0.6:
        ticks = [tick for tick in EQUITY_TICKS if low <= tick <= high]
        return [tick for tick in ticks if abs(tick) != 0.25] if len(ticks) > 7 else ticks
    return [float(tick) for tick in MaxNLocator(5).tick_values(low, high) if tick > -1.0]


def _signed_percent(ratio: float, digits: int | None = None) -> str:
    percent = round(100.0 * ratio, 6 if digits is None else digits) + 0.0
    text = f"{percent:+,.{digits}f}%" if digits is not None else f"{percent:+,.10g}%"
    return text.lstrip("+") if percent == 0.0 else _minus(text)


def _minus(text: str) -> str:
    return text.replace("-", "\N{MINUS SIGN}")


def _date_axis(axes: Axes, dates: Sequence[str], *, lead: int = 0) -> None:
    """Name sessions on an axis of session numbers; ``lead`` points stand before the first session."""
    places, words = _date_ticks(dates)
    axes.set_xticks([place + lead for place in places], words)
    last = len(dates) - 1 + lead
    axes.set_xlim(*((0.0, last) if last > 0 else (-0.5, 0.5)))
    axes.grid(axis="y")


def _date_ticks(dates: Sequence[str]) -> tuple[list[int], list[str]]:
    """Return places and words of years, quarters, months or days, as coarse as leaves three of them."""
    months = np.array(dates, dtype="datetime64[M]").astype(np.int64)
    for length, form in ((12, "year"), (3, "month"), (1, "month")):
        starts = [int(i) for i in np.flatnonzero(np.diff(months // length) > 0) + 1]
        if len(starts) >= 3:
            starts = [starts[i] for i in _kept(len(starts), 6)]
            return starts, [_date_words(dates[i], form) for i in starts]
    picks = sorted({round(float(x)) for x in np.linspace(0, len(dates) - 1, min(4, len(dates)))})
    return picks, [_date_words(dates[i], "day") for i in picks]


def _date_words(iso_date: str, form: str) -> str:
    year, month, day = iso_date.split("-")
    name = MONTHS[int(month) - 1]
    return {"year": year, "month": f"{name} {year}", "day": f"{day} {name} {year}"}[form]


def _unit(axes: Axes, words: str) -> None:
    axes.set_title(words, loc="left", fontsize=10, color=_light("muted"), pad=6)


def _light(role: str) -> str:
    return PALETTE[role][0]
