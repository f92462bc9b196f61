"""The pictures of the noise experiment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from stairways.proof.noise_procedure import SKILL
from stairways.proof.noise_trials import FAMILIES, SESSIONS
from stairways.reporting.drawing import PALETTE, add_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

VERDICT_STYLE = {
    "beats_gold": ("gold", "o"),
    "beats_random": ("random", "s"),
    "beats_all_hold": ("all_hold", "^"),
    SKILL: ("candidate", "D"),
}


def _light(role: str) -> str:
    return PALETTE[role][0]


def draw_acceptance(figure: Figure, shares: Sequence[Mapping[str, Any]], level: float) -> None:
    """Draw the share accepted of every reading with its exact interval.

    Args:
        figure: An empty figure.
        shares: Rows of the acceptance table.
        level: False acceptance that is allowed.
    """
    kept = [row for row in shares if row["share"] is not None]
    axes = add_axes(figure, (250, 46, 380, 274))
    axes.axvline(100 * level, color=_light("muted"), lw=0.9, ls=(0, (4, 2)))
    for place, row in enumerate(reversed(kept)):
        planted = row["arm"] in ("hard", "planted")
        seen = row["sessions"] == "select"
        colour = _light("candidate" if planted else "tilted_gold" if seen else "random")
        axes.plot([100 * row["low"], 100 * row["high"]], [place, place], color=colour, lw=2.0)
        axes.plot(
            [100 * row["share"]], [place], "o", color=colour, ms=6.5, mfc=_light("paper") if seen else colour
        )
        axes.annotate(
            f"{row['accepted']} of {row['n_judged']}",
            (1.0, place),
            xytext=(8, 0),
            textcoords="offset points",
            xycoords=("axes fraction", "data"),
            va="center",
        )
    words = [
        f"{row['market']}, {row['reading']}, {'selecting' if row['sessions'] == 'select' else 'unseen'}"
        for row in reversed(kept)
    ]
    axes.set_yticks(range(len(kept)), words)
    axes.set_ylim(-0.6, len(kept) - 0.4)
    axes.set_xlim(-2, 102)
    axes.set_xlabel("runs with skill accepted, % (dashed: 5 %)")
    axes.grid(axis="x")


def draw_curse(figure: Figure, pairs: Sequence[tuple[float, float]]) -> None:
    """Draw what tuning adds on the selecting sessions against what it adds on unseen ones.

    Args:
        figure: An empty figure.
        pairs: (selecting, unseen), net bp per session, one per run.
    """
    axes = add_axes(figure, (64, 48, 436, 334))
    axes.axhline(0.0, color=_light("muted"), lw=0.8)
    axes.axvline(0.0, color=_light("muted"), lw=0.8)
    if pairs:
        reach = 1.08 * max(abs(value) for pair in pairs for value in pair)
        axes.plot([-reach, reach], [-reach, reach], color=_light("muted"), lw=0.8, ls=(0, (4, 2)))
        axes.annotate("equal", (0.86 * reach, 0.92 * reach), color=_light("muted"), ha="right")
        selecting, unseen = zip(*pairs, strict=True)
        axes.plot(selecting, unseen, "o", color=_light("candidate"), ms=4.5, alpha=0.55, mew=0)
        axes.plot([fmean(selecting)], [fmean(unseen)], "+", color=_light("ink"), ms=16, mew=2.0)
        axes.set_xlim(-reach, reach)
        axes.set_ylim(-reach, reach)
    axes.set_xlabel("on the sessions that selected it, bp per session")
    axes.set_ylabel("on unseen sessions, bp per session")
    axes.grid()


def draw_trials(figure: Figure, tested: Sequence[Mapping[str, Any]], level: float) -> None:
    """Draw false acceptance of the test alone, a panel for each family.

    Args:
        figure: An empty figure.
        tested: Rows of the trials.
        level: False acceptance that is allowed.
    """
    highest = max(100 * row["high"] for row in tested) * 1.05
    for panel, family in enumerate(FAMILIES):
        axes = add_axes(figure, (56 + 238 * panel, 84, 208, 220))
        axes.axhline(50 * level, color=_light("muted"), lw=0.9, ls=(0, (1, 2)))
        axes.axhline(100 * level, color=_light("muted"), lw=0.9, ls=(0, (4, 2)))
        for index, (name, (role, marker)) in enumerate(VERDICT_STYLE.items()):
            for place, n_sessions in enumerate(SESSIONS):
                for row in tested:
                    if (row["family"], row["n_sessions"], row["verdict"]) != (family, n_sessions, name):
                        continue
                    at = place + 0.16 * (index - 1.5)
                    axes.plot([at, at], [100 * row["low"], 100 * row["high"]], color=_light(role), lw=1.6)
                    axes.plot([at], [100 * row["share"]], marker, color=_light(role), ms=5.5)
        axes.set_title(family, loc="left", fontsize=11)
        axes.set_xticks(range(len(SESSIONS)), [f"{n:,}" for n in SESSIONS])
        axes.set_xlim(-0.5, len(SESSIONS) - 0.5)
        axes.set_ylim(-0.03 * highest, highest)
        axes.set_xlabel("sessions")
        if panel == 0:
            axes.set_ylabel("accepted, %")
        axes.grid(axis="y")
    words = {name: name.replace("_", " ") for name in VERDICT_STYLE} | {SKILL: "all three"}
    for index, (name, (role, marker)) in enumerate(VERDICT_STYLE.items()):
        left = 0.1 + 0.22 * index
        figure.text(left + 0.02, 0.035, words[name], color=_light(role), va="center")
        axes = add_axes(figure, (760 * left - 6, 4, 16, 16))
        axes.plot([0], [0], marker, color=_light(role), ms=6)
        axes.set_axis_off()
