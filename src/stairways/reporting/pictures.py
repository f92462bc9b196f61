"""The pictures of a run: drawn with matplotlib's object API, given out as SVG that sits inside a page.

Colours leave here as CSS variables with the light value as fallback, so that one drawing serves a light
and a dark page. Equal input gives equal bytes: no date, no random identifier, no global figure.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Role -> (light, dark). Hues after Okabe and Ito (2008), darkened to carry text; every policy also has
# its own dash and its own label, so that no reading rests on colour.
PALETTE: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "ink": ("#1b2430", "#e7eaef"),
        "muted": ("#586272", "#9ca6b4"),
        "grid": ("#e4e7eb", "#2b323c"),
        "paper": ("#ffffff", "#181d25"),
        "band": ("#3f8f5f", "#5fbf86"),
        "candidate": ("#0069a6", "#5ab8f0"),
        "gold": ("#a87400", "#eab948"),
        "tilted_gold": ("#c85200", "#ff9550"),
        "random": ("#a0497f", "#e59bc8"),
        "all_hold": ("#6d7683", "#8b95a4"),
        "buy_and_hold": ("#007a5c", "#40cba3"),
        "oracle": ("#5a45b0", "#ab9cf5"),
    }
)
POLICY_WORDS: Mapping[str, str] = MappingProxyType(
    {
        "candidate": "candidate",
        "gold": "gold",
        "tilted_gold": "tilted gold",
        "random": "random",
        "all_hold": "all hold",
        "buy_and_hold": "buy and hold",
        "oracle": "oracle",
    }
)
DASHES: Mapping[str, Any] = MappingProxyType(
    {
        "tilted_gold": (0, (5, 1.6)),
        "random": (0, (1.2, 1.6)),
        "buy_and_hold": (0, (6, 1.6, 1.2, 1.6)),
        "oracle": (0, (2.5, 1.4)),
    }
)
REWARD_COLOURS = (
    "candidate", "tilted_gold", "buy_and_hold", "random", "gold", "oracle", "all_hold", "ink",
)  # fmt: skip
IN_DRAWDOWN = ("gold", "tilted_gold", "buy_and_hold", "candidate")
EQUITY_TICKS = (-0.9, -0.75, -0.5, -0.25, 0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
PANEL = (440.0, 270.0)
WIDE = (920.0, 420.0)
NARROW = (430.0, 480.0)
STYLE: Mapping[str, Any] = MappingProxyType(
    {
        "svg.fonttype": "none",
        "font.family": "DejaVu Sans",
        "font.size": 10.5,
        "text.parse_math": False,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.linewidth": 0.8,
        "axes.edgecolor": PALETTE["muted"][0],
        "axes.labelcolor": PALETTE["muted"][0],
        "axes.titlecolor": PALETTE["ink"][0],
        "axes.axisbelow": True,
        "xtick.color": PALETTE["muted"][0],
        "ytick.color": PALETTE["muted"][0],
        "xtick.major.size": 3.0,
        "ytick.major.size": 0.0,
        "text.color": PALETTE["ink"][0],
        "grid.color": PALETTE["grid"][0],
        "grid.linewidth": 0.8,
        "lines.solid_capstyle": "round",
        "figure.facecolor": "none",
        "axes.facecolor": "none",
    }
)

Drawer = Callable[["Figure", Mapping[str, Any]], None]


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
        bands: (low, high, words) of each band, in the unit drawn, widest first.
        digits: Decimals of a mean.
    """

    key: str
    interval_key: str
    by_session: str
    series: str
    scale: float
    unit: str
    bands: tuple[tuple[float, float, str], ...]
    digits: int


def all_pictures(summary: Mapping[str, Any]) -> tuple[Picture, ...]:
    """Draw every picture of a run's summary, in the order of the page."""
    return (
        _equity(summary),
        _over_cycles(
            summary, "hold", "Hold rate over the cycles", lambda: hold_behaviour(summary), _BEHAVIOUR_CAPTION
        ),
        _over_cycles(
            summary, "trades", "Trades per session over the cycles", lambda: trades_behaviour(summary),
            _BEHAVIOUR_CAPTION,
        ),
        _comparisons(summary),
        _multipliers(summary),
        _reward_shares(summary),
        _regime(summary),
    )  # fmt: skip


def readme_picture(summary: Mapping[str, Any]) -> bytes:
    """Draw hold rate, trades, equity and comparisons of a run as one PNG."""
    title = "SYNTHETIC market" if summary["data"]["synthetic"] else str(summary["data"]["source"])
    with _styled("readme"):
        figure = _figure(1000.0, 640.0)
        figure.set_facecolor("white")
        hold, trades = _axes(figure, (64, 348, 356, 228)), _axes(figure, (568, 348, 356, 228))
        equity, pairs = _axes(figure, (64, 48, 316, 228)), _axes(figure, (640, 48, 312, 228))
        parts = (
            (hold, "Hold rate over the cycles, %"), (trades, "Trades per session over the cycles"),
            (equity, "Net result on the unseen sessions, %"), (pairs, "Candidate less baseline, bp per session"),
        )  # fmt: skip
        for axes, text in parts:
            axes.set_title(text, loc="left", fontsize=11.5, fontweight="bold", pad=9)
        draw_behaviour(hold, summary, hold_behaviour(summary))
        draw_behaviour(trades, summary, trades_behaviour(summary))
        draw_equity(equity, _test_series(summary))
        draw_comparisons(pairs, summary["comparisons"])
        n_sessions = summary["candidate"]["n_sessions"]
        figure.text(0.064, 0.962, f"{title}, {n_sessions:,} unseen sessions", fontsize=13, fontweight="bold")
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=144, metadata={"Software": None})
    return buffer.getvalue()


def hold_behaviour(summary: Mapping[str, Any]) -> Behaviour:
    """Return the hold rate with the band of its mean."""
    gate = summary["gate"]
    target, tolerance = 100 * gate["hold_target_ratio"], 100 * gate["hold_tolerance_ratio"]
    words = f"mean\n{target - tolerance:g} to {target + tolerance:g}"
    return Behaviour(
        key="hold_rate_ratio",
        interval_key="hold_rate_interval",
        by_session="hold_rate_by_session",
        series="hold_rate_ratio",
        scale=100.0,
        unit="% of decisions",
        bands=((target - tolerance, target + tolerance, words),),
        digits=1,
    )


def trades_behaviour(summary: Mapping[str, Any]) -> Behaviour:
    """Return the trades per session with the bands of one session and of the mean."""
    gate = summary["gate"]
    bands = ((gate["session_trades_band"], "one session"), (gate["trades_band"], "mean"))
    return Behaviour(
        key="trades_per_session",
        interval_key="trades_interval",
        by_session="trades_by_session",
        series="trades",
        scale=1.0,
        unit="trades per session",
        bands=tuple((low, high, f"{what}\n{low:g} to {high:g}") for (low, high), what in bands),
        digits=2,
    )


def draw_behaviour(axes: Axes, summary: Mapping[str, Any], what: Behaviour) -> None:
    """Draw a controlled quantity: rollouts, means on the select sessions, the unseen sessions."""
    cycles = summary["cycles"]
    ends = np.array([cycle["steps"] for cycle in cycles], dtype=np.float64)
    last, gap = float(ends[-1]), float(np.diff(ends, prepend=0.0).mean())
    divide, edge = last + 0.5 * gap, (last + 0.5 * gap) * 1.46
    for index, (low, high, _) in enumerate(what.bands):
        axes.axhspan(low, high, color=_light("band"), alpha=(0.10, 0.22)[index], lw=0, zorder=0)
    rollouts = [report for cycle in cycles for report in cycle["training"]]
    steps = [report["steps"] for report in rollouts]
    values = [report[what.key] * what.scale for report in rollouts]
    axes.plot(
        steps, values, "o-", color=_light("muted"), lw=0.8, ms=3.6, mfc=_light("paper"), mew=0.9, zorder=2
    )
    for cycle in cycles:
        at = cycle["steps"] + 0.16 * gap
        _spread(axes, at, cycle["select"], cycle[what.by_session], what, "candidate", "o")
    _draw_unseen(axes, summary, what, divide, edge)
    axes.axvline(divide, color=_light("muted"), lw=0.8, ls=(0, (2, 2)))
    axes.set_xlim(-0.05 * gap, edge)
    _cycle_ticks(axes, summary, ends, (divide + edge) / 2)
    axes.set_ylim(*_behaviour_limits(axes, what))
    for index, (low, high, words) in enumerate(what.bands):
        # The words of the outer of two bands stand at its top, where the inner one's do not reach.
        outer = len(what.bands) > 1 and index == 0
        axes.annotate(
            words, (1.0, high if outer else (low + high) / 2), (5, 0), xycoords=("axes fraction", "data"),
            textcoords="offset points", va="top" if outer else "center", fontsize=9.5, color=_light("band"),
        )  # fmt: skip


def draw_equity(axes: Axes, series: Mapping[str, Any], *, right: bool = True) -> None:
    """Draw the net result of every policy since the first unseen session, on a log scale of NAV."""
    names = _policy_order(series)
    curves = {name: _log_nav(series[name]["equity_ratio"]) for name in names}
    for name, curve in curves.items():
        _policy_line(axes, name, np.concatenate(([0.0], curve)))
    low, high = min(c.min() for c in curves.values()), max(c.max() for c in curves.values())
    margin = 0.04 * max(high - low, 1e-4)
    axes.set_ylim(min(low, 0.0) - margin, max(high, 0.0) + margin)
    ticks = _equity_ticks(float(np.expm1(min(low, 0.0))), float(np.expm1(max(high, 0.0))))
    axes.set_yticks([float(np.log1p(tick)) for tick in ticks], [_signed_percent(tick) for tick in ticks])
    _date_axis(axes, series[names[0]]["dates"], lead=1)
    if right:
        ends = {name: float(curve[-1]) for name, curve in curves.items()}
        words = {
            name: f"{POLICY_WORDS.get(name, name)} {_signed_percent(float(np.expm1(end)), 1)}"
            for name, end in ends.items()
        }
        _end_labels(axes, ends, words)


def draw_drawdown(axes: Axes, series: Mapping[str, Any]) -> None:
    """Draw the fall from the peak of NAV by session closes, downwards."""
    for name in [name for name in IN_DRAWDOWN if name in series]:
        fall = -100.0 * np.array([0.0, *series[name]["drawdown_ratio"]])
        if name == "candidate":
            axes.fill_between(np.arange(len(fall)), fall, 0.0, color=_light(name), alpha=0.25, lw=0)
        _policy_line(axes, name, fall)
    axes.set_ylim(top=0.0)
    _few_ticks(axes, 4)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}%".replace("-", "\N{MINUS SIGN}"))
    _date_axis(axes, series["candidate"]["dates"], lead=1)


def draw_comparisons(axes: Axes, comparisons: Mapping[str, Any]) -> None:
    """Draw the paired mean differences with their intervals, one row each."""
    names = list(comparisons)
    cover = {"facecolor": _light("paper"), "edgecolor": "none", "pad": 0.8}
    for row, name in enumerate(reversed(names)):
        pair = comparisons[name]
        low, high = pair["interval_bps"]
        mean = pair["mean_difference_bps"]
        colour = _light(name if name in PALETTE else "ink")
        axes.plot([low, high], [row, row], color=colour, lw=3.2, solid_capstyle="butt")
        axes.plot([mean], [row], "o", color=colour, ms=7.5, mec=_light("paper"), mew=1.2)
        text = f"{mean:+.2f}  ({low:+.2f} to {high:+.2f})".replace("-", "\N{MINUS SIGN}")
        axes.annotate(text, (mean, row), (0, 9), textcoords="offset points", ha="center", fontsize=10, bbox=cover)
    axes.axvline(0.0, color=_light("ink"), lw=1.0)
    axes.set_yticks(range(len(names)), [f"less {POLICY_WORDS.get(n, n)}" for n in reversed(names)])
    axes.tick_params(axis="y", labelsize=10, labelcolor=_light("ink"))
    axes.set_ylim(-0.55, len(names) - 0.35)
    low, high = axes.get_xlim()
    axes.set_xlim(low - 0.12 * (high - low), high + 0.12 * (high - low))
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")


_BEHAVIOUR_CAPTION = (
    "Open dots: one training rollout each. Filled dots: mean on the select sessions after the cycle; thick "
    "line its 95% interval, thin line 5 to 95% of single sessions. Right of the dashed line: the unseen "
    "sessions, in deployment mode."
)


def _equity(summary: Mapping[str, Any]) -> Picture:
    title = "Net result and drawdown on the unseen sessions"
    caption = (
        "Above: net result since the start, % of initial NAV, on a log scale; figures are those of the last "
        "session. Below: fall from the peak of NAV by session closes, for candidate (filled), gold, tilted "
        "gold and buy and hold; those of the others stand in the table of policies."
    )
    series = _test_series(summary)
    if not series:
        return Picture("equity", title, caption, missing="this summary holds no series of the unseen sessions")

    def draw(figure: Figure, right: float) -> None:
        width, height = 72 * figure.get_size_inches()
        inner = width - 56 - right
        top = _axes(figure, (56, 148, inner, height - 162))
        draw_equity(top, series)
        top.tick_params(axis="x", labelbottom=False)
        draw_drawdown(_axes(figure, (56, 26, inner, 98)), series)

    wide = _svg("equity", title, WIDE, lambda figure: draw(figure, 160))
    narrow = _svg("equity-narrow", title, NARROW, lambda figure: draw(figure, 148))
    return Picture("equity", title, caption, svg=wide, narrow_svg=narrow)


def _over_cycles(
    summary: Mapping[str, Any], name: str, title: str, behaviour: Callable[[], Behaviour], caption: str
) -> Picture:
    if not summary.get("cycles"):
        return Picture(name, title, caption, missing="no cycle was run")
    what = behaviour()

    def draw(figure: Figure) -> None:
        axes = _axes(figure, (40, 36, PANEL[0] - 106, PANEL[1] - 64))
        draw_behaviour(axes, summary, what)
        _unit(axes, what.unit)

    return Picture(name, title, caption, svg=_svg(name, title, PANEL, draw))


def _comparisons(summary: Mapping[str, Any]) -> Picture:
    title = "Candidate less each baseline, session by session"
    pairs = summary.get("comparisons") or {}
    if not pairs:
        return Picture("comparisons", title, "", missing="no paired comparison was made")
    confidence = next(iter(pairs.values()))["confidence"]
    caption = (
        f"Mean difference of net results on the same unseen sessions, bp of NAV per session; lines are "
        f"{confidence:.0%} intervals of a paired stationary bootstrap. An interval right of 0 is better."
    )

    def draw(figure: Figure) -> None:
        axes = _axes(figure, (104, 38, PANEL[0] - 118, PANEL[1] - 48))
        draw_comparisons(axes, pairs)
        axes.set_xlabel("bp of NAV per session", fontsize=10)

    return Picture("comparisons", title, caption, svg=_svg("comparisons", title, PANEL, draw))


def _multipliers(summary: Mapping[str, Any]) -> Picture:
    tilted = summary["control"]["actuator"]["kind"] == "tilt"
    title = "Multipliers over the cycles" if tilted else "Hold bonus over the cycles"
    caption = (
        "Lines: mean in force in each training rollout. Diamonds: calibrated after the cycle, in deployment "
        "mode. A hold multiplier below 0 makes the policy hold less than its weights alone would."
        if tilted
        else "Mean bonus paid on hold actions in each training rollout, bp of NAV per decision."
    )
    if not summary.get("cycles"):
        return Picture("multipliers", title, caption, missing="no cycle was run")

    def draw(figure: Figure) -> None:
        axes = _axes(figure, (40, 36, PANEL[0] - 114, PANEL[1] - 64))
        _draw_multipliers(axes, summary, tilted=tilted)
        _unit(axes, "logits" if tilted else "bp per hold decision")

    return Picture("multipliers", title, caption, svg=_svg("multipliers", title, PANEL, draw))


def _draw_multipliers(axes: Axes, summary: Mapping[str, Any], *, tilted: bool) -> None:
    cycles = summary["cycles"]
    rollouts = [report for cycle in cycles for report in cycle["training"]]
    steps = np.array([report["steps"] for report in rollouts], dtype=np.float64)
    if tilted:
        lines = {
            "hold": ("candidate", [r["multipliers"][0] for r in rollouts]),
            "trade": ("tilted_gold", [r["multipliers"][1] for r in rollouts]),
        }
    else:
        lines = {"hold bonus": ("candidate", [r["hold_bonus_bps"] for r in rollouts])}
    for index, (colour, values) in enumerate(lines.values()):
        axes.plot(steps, values, "o-", color=_light(colour), lw=1.5, ms=3.2)
        found = [(c["steps"], c["multipliers"][index]) for c in cycles if tilted and c["multipliers"]]
        if found:
            axes.plot(*zip(*found, strict=True), "D", color=_light(colour), ms=6, mec=_light("paper"), mew=1.2)
    axes.axhline(0.0, color=_light("muted"), lw=0.8)
    axes.margins(y=0.12)
    ends = np.array([cycle["steps"] for cycle in cycles], dtype=np.float64)
    axes.set_xlim(0.0, float(ends[-1]) * 1.02)
    _cycle_ticks(axes, summary, ends, None)
    _few_ticks(axes, 5)
    axes.grid(axis="y")
    _end_labels(
        axes,
        {name: float(values[-1]) for name, (_, values) in lines.items()},
        {name: f"{name} {values[-1]:+.2f}".replace("-", "\N{MINUS SIGN}") for name, (_, values) in lines.items()},
        {name: colour for name, (colour, _) in lines.items()},
    )


def _reward_shares(summary: Mapping[str, Any]) -> Picture:
    title = "Shares of the reward over the cycles"
    caption = "Share of each term in the mean absolute reward of the cycle's training."
    cycles = summary.get("cycles") or []
    shares = [cycle.get("reward_shares") for cycle in cycles]
    if not cycles or not any(shares):
        why = "this summary does not record the shares of the reward terms" if cycles else "no cycle was run"
        return Picture("rewards", title, caption, missing=why)
    names = list(dict.fromkeys(name for share in shares for name in share or {}))
    names = [name for name in names if any((share or {}).get(name) for share in shares)]

    def draw(figure: Figure) -> None:
        axes = _axes(figure, (40, 36, PANEL[0] - 164, PANEL[1] - 64))
        _draw_reward_shares(axes, [share or {} for share in shares], names)
        axes.set_xticks(*_thinned([cycle["cycle"] for cycle in cycles]))
        axes.set_xlabel("cycle", fontsize=10)
        _unit(axes, "% of the mean absolute reward")

    return Picture("rewards", title, caption, svg=_svg("rewards", title, PANEL, draw))


def _draw_reward_shares(axes: Axes, shares: Sequence[Mapping[str, float]], names: Sequence[str]) -> None:
    at = np.arange(len(shares), dtype=np.float64)
    foot = np.zeros(len(shares))
    middles: dict[str, float] = {}
    colours = {name: REWARD_COLOURS[i % len(REWARD_COLOURS)] for i, name in enumerate(names)}
    for name in names:
        height = 100.0 * np.array([share.get(name, 0.0) for share in shares])
        axes.bar(
            at, height, 0.72, foot, color=_light(colours[name]), edgecolor=_light("paper"), linewidth=0.8
        )
        middles[name] = float(foot[-1] + height[-1] / 2)
        foot += height
    axes.set_ylim(0.0, max(100.0, float(foot.max())))
    axes.set_xlim(-0.55, len(shares) - 0.45)
    last = shares[-1]
    words = {name: f"{name.replace('_', ' ')} {100 * last.get(name, 0.0):.1f}%" for name in names}
    _end_labels(axes, middles, words, colours)


def _regime(summary: Mapping[str, Any]) -> Picture:
    title = "Regime score over the unseen sessions"
    caption = "Line: mean score of the session's decisions. Band: 5 to 95% of them. The score lies within ±3."
    regime = (summary.get("series") or {}).get("regime_score")
    if not regime:
        return Picture("regime", title, caption, missing="this summary holds no regime series")

    def draw(figure: Figure) -> None:
        axes = _axes(figure, (40, 26, PANEL[0] - 54, PANEL[1] - 52))
        at = np.arange(len(regime["mean"]))
        axes.fill_between(at, regime["low"], regime["high"], color=_light("candidate"), alpha=0.22, lw=0)
        marker = "o" if len(at) < 3 else ""
        axes.plot(at, regime["mean"], color=_light("candidate"), lw=0.9, marker=marker)
        axes.axhline(0.0, color=_light("muted"), lw=0.8)
        axes.grid(axis="y")
        _few_ticks(axes, 5)
        _date_axis(axes, regime["dates"])
        _unit(axes, "score")

    return Picture("regime", title, caption, svg=_svg("regime", title, PANEL, draw))


def _spread(
    axes: Axes,
    at: float,
    metrics: Mapping[str, Any],
    sessions: Sequence[float] | None,
    what: Behaviour,
    colour: str,
    marker: str,
) -> None:
    """Draw a mean with its interval and the 5 and 95 % quantiles of single sessions."""
    if sessions:
        low, high = np.quantile(np.asarray(sessions, dtype=np.float64) * what.scale, [0.05, 0.95])
        axes.plot([at, at], [low, high], color=_light(colour), lw=1.0, zorder=3)
    interval = metrics.get(what.interval_key)
    if interval is not None:
        ends = [end * what.scale for end in interval]
        axes.plot([at, at], ends, color=_light(colour), lw=3.6, solid_capstyle="butt", zorder=3)
    mean = metrics[what.key] * what.scale
    axes.plot([at], [mean], marker, color=_light(colour), ms=6.5, mec=_light("paper"), mew=1.0, zorder=4)


def _draw_unseen(
    axes: Axes, summary: Mapping[str, Any], what: Behaviour, divide: float, edge: float
) -> None:
    """Draw candidate and gold between two places right of the cycles."""
    series = _test_series(summary)
    for name, share in (("candidate", 0.11), ("gold", 0.70)):
        place = divide + share * (edge - divide)
        sessions = series[name][what.series] if name in series else None
        _spread(axes, place, summary[name], sessions, what, name, "D")
        mean = summary[name][what.key] * what.scale
        axes.annotate(
            f"{name}\n{mean:.{what.digits}f}", (place, mean), (7, 0), textcoords="offset points",
            va="center", fontsize=10, color=_light(name),
        )  # fmt: skip


def _behaviour_limits(axes: Axes, what: Behaviour) -> tuple[float, float]:
    low, high = axes.get_ylim()
    low, high = min(low, what.bands[0][0]), max(high, what.bands[0][1])
    room = 0.04 * (high - low)
    top = high + room
    return max(0.0, low - room), min(100.0, top) if what.scale == 100.0 else top


def _cycle_ticks(axes: Axes, summary: Mapping[str, Any], ends: NDArray[np.float64], unseen: float | None) -> None:
    """Name the cycles where they end, the chosen one marked, and the unseen sessions."""
    chosen = summary["run"].get("cycle")
    names = [
        f"{cycle['cycle']}\nchosen" if cycle["cycle"] == chosen else str(cycle["cycle"])
        for cycle in summary["cycles"]
    ]
    kept = [i for i in _kept(len(ends), 9) if names[i].endswith("chosen") or _far_from_chosen(i, names)]
    kept = sorted({*kept, *(i for i, name in enumerate(names) if name.endswith("chosen"))})
    places, words = [float(ends[i]) for i in kept], [names[i] for i in kept]
    if unseen is not None:
        places, words = [*places, unseen], [*words, "unseen\nsessions"]
    axes.set_xticks(places, words)
    axes.annotate(
        "cycle", (0.0, 0.0), (-6, -6), xycoords="axes fraction", textcoords="offset points",
        ha="right", va="top", color=_light("muted"), fontsize=10,
    )  # fmt: skip


def _far_from_chosen(index: int, names: Sequence[str]) -> bool:
    """Tell whether a thinned tick leaves room for the words of the chosen one."""
    if len(names) <= 9:
        return True
    return all(abs(index - i) * 12 > len(names) for i, name in enumerate(names) if name.endswith("chosen"))


def _kept(count: int, most: int) -> list[int]:
    stride = max(1, -(-count // most))
    return list(range(0, count, stride))


def _thinned(names: Sequence[Any]) -> tuple[list[int], list[str]]:
    kept = _kept(len(names), 12)
    return kept, [str(names[i]) for i in kept]


def _policy_line(axes: Axes, name: str, values: NDArray[np.float64]) -> None:
    axes.plot(
        np.arange(len(values)), values, color=_light(name if name in PALETTE else "ink"),
        lw=2.0 if name == "candidate" else 1.2, ls=DASHES.get(name, "-"),
        zorder=4 if name == "candidate" else 3,
    )  # fmt: skip


def _end_labels(
    axes: Axes,
    ends: Mapping[str, float],
    words: Mapping[str, str],
    colours: Mapping[str, str] | None = None,
) -> None:
    """Write words beside the right end of each line, pushed apart where they would overlap."""
    low, high = axes.get_ylim()
    height = 72 * axes.figure.get_size_inches()[1] * axes.get_position().height
    step = 13.5 * (high - low) / height
    names = sorted(ends, key=lambda name: ends[name])
    places = _pushed_apart([ends[name] for name in names], step, low + step / 2, high - step / 2)
    for name, place in zip(names, places, strict=True):
        role = (colours or {}).get(name, name)
        axes.annotate(
            words[name], (1.0, place), (6, 0), xycoords=("axes fraction", "data"),
            textcoords="offset points", va="center", fontsize=10.5, annotation_clip=False,
            color=_light(role if role in PALETTE else "ink"),
            fontweight="bold" if name == "candidate" else "normal",
        )  # fmt: skip


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


def _policy_order(series: Mapping[str, Any]) -> list[str]:
    known = [name for name in POLICY_WORDS if name in series]
    return [*known, *(name for name in series if name not in POLICY_WORDS)]


def _test_series(summary: Mapping[str, Any]) -> Mapping[str, Any]:
    series: Mapping[str, Any] = (summary.get("series") or {}).get("test") or {}
    return series


def _log_nav(equity_ratio: Sequence[float]) -> NDArray[np.float64]:
    logs: NDArray[np.float64] = np.log1p(np.asarray(equity_ratio, dtype=np.float64))
    return logs


def _equity_ticks(low: float, high: float) -> list[float]:
    if high - low > 0.6:
        ticks = [tick for tick in EQUITY_TICKS if low <= tick <= high]
        return [tick for tick in ticks if abs(tick) != 0.25] if len(ticks) > 7 else ticks
    from matplotlib.ticker import MaxNLocator

    steps = MaxNLocator(5).tick_values(low, high)
    return [float(tick) for tick in steps if -1.0 < tick]


def _signed_percent(ratio: float, digits: int | None = None) -> str:
    percent = round(100.0 * ratio, 6 if digits is None else digits) + 0.0
    text = f"{percent:+.{digits}f}%" if digits is not None else f"{percent:+g}%"
    return text.lstrip("+") if percent == 0.0 else text.replace("-", "\N{MINUS SIGN}")


def _few_ticks(axes: Axes, most: int) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.yaxis.set_major_locator(MaxNLocator(most))


def _date_axis(axes: Axes, dates: Sequence[str], *, lead: int = 0) -> None:
    """Name sessions on an axis of session numbers: years, quarters, months or days, as they fit.

    Args:
        axes: Axes whose x is the number of the session.
        dates: ISO dates of the sessions.
        lead: Points before the first session.
    """
    places, words = _date_ticks(dates)
    axes.set_xticks([place + lead for place in places], words)
    last = len(dates) - 1 + lead
    axes.set_xlim(0.0, last) if last > 0 else axes.set_xlim(-0.5, 0.5)
    if not axes.yaxis.get_gridlines()[0].get_visible():
        axes.grid(axis="y")


def _date_ticks(dates: Sequence[str]) -> tuple[list[int], list[str]]:
    days = np.array(dates, dtype="datetime64[D]")
    months = days.astype("datetime64[M]").astype(np.int64)
    for length, form in ((12, "year"), (3, "month"), (1, "month")):
        units = months // length
        starts = [int(i) for i in np.flatnonzero(np.diff(units) > 0) + 1]
        if len(starts) >= 3:
            starts = [starts[i] for i in _kept(len(starts), 6)]
            return starts, [_date_words(days[i], form) for i in starts]
    picks = sorted({int(round(x)) for x in np.linspace(0, len(days) - 1, min(4, len(days)))})
    return picks, [_date_words(days[i], "day") for i in picks]


def _date_words(day: np.datetime64, form: str) -> str:
    date = day.item()
    return date.strftime({"year": "%Y", "month": "%b %Y", "day": "%d %b %Y"}[form])


def _unit(axes: Axes, words: str) -> None:
    axes.set_title(words, loc="left", fontsize=10, color=_light("muted"), pad=6)


def _light(role: str) -> str:
    return PALETTE[role][0]


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width / 72.0, height / 72.0), dpi=72)


def _axes(figure: Figure, box: tuple[float, float, float, float]) -> Axes:
    """Return axes at (left, bottom, width, height) in points."""
    width, height = 72 * figure.get_size_inches()
    left, bottom, inner_width, inner_height = box
    return figure.add_axes((left / width, bottom / height, inner_width / width, inner_height / height))


@contextmanager
def _styled(salt: str) -> Iterator[None]:
    """Draw under the house style, whatever the user's own settings of matplotlib are."""
    import matplotlib as mpl

    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update({**STYLE, "svg.hashsalt": salt})
        yield


def _svg(name: str, title: str, size: tuple[float, float], draw: Callable[[Figure], None]) -> str:
    with _styled(name):
        figure = _figure(*size)
        draw(figure)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return _inlined(buffer.getvalue(), name, title)


def _inlined(text: str, name: str, title: str) -> str:
    """Make a stand-alone SVG fit to stand in a page beside others.

    Its head, its metadata and its global style go; identifiers become unique to the picture; colours
    become CSS variables; coordinates keep two decimals, a hundredth of a point.
    """
    text = text[text.index("<svg") :]
    text = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>|<defs>\s*<style.*?</style>\s*</defs>", "", text, flags=re.S)
    text = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", text).replace("xlink:href", "href")
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = text.replace("url(#", f"url(#{name}-").replace('href="#', f'href="#{name}-')
    text = re.sub(r'(?<= d=")[^"]*', lambda found: _rounded(found.group()), text)
    box = re.search(r'viewBox="[^"]*"', text)
    if box is None:
        raise ValueError(f"the drawing {name} has no viewBox")
    head = f'<svg {box.group()} role="img" aria-label="{escape(title)}">'
    text = re.sub(r"<svg[^>]*>", lambda _: head, text, count=1)
    for role, (light, _) in PALETTE.items():
        text = text.replace(light, f"var(--p-{role.replace('_', '-')},{light})")
    return re.sub(r"\n\s*", "\n", text).strip()


def _rounded(path: str) -> str:
    short = re.sub(r"-?\d+\.\d{3,}", lambda found: f"{float(found.group()):.2f}".rstrip("0").rstrip("."), path)
    return " ".join(short.split())
