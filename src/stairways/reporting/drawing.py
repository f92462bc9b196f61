"""Drawing in the house style: one palette, matplotlib's object API, equal input gives equal bytes.

No global figure, no date and no random identifier: a picture that did not change does not differ.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from html import escape
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Role -> (light, dark). Hues after Okabe and Ito (2008), darkened to carry text; every policy also has
# its own dash and its own label, so that no reading rests on colour.
PALETTE: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "ink": ("#1b2430", "#e7eaef"), "muted": ("#586272", "#9ca6b4"), "grid": ("#e4e7eb", "#2b323c"),
        "paper": ("#ffffff", "#181d25"), "band": ("#37835a", "#5fbf86"),
        "candidate": ("#0069a6", "#5ab8f0"), "gold": ("#966600", "#eab948"),
        "tilted_gold": ("#c85200", "#ff9550"), "random": ("#a0497f", "#e59bc8"),
        "all_hold": ("#6d7683", "#8b95a4"), "buy_and_hold": ("#007a5c", "#40cba3"),
        "oracle": ("#5a45b0", "#ab9cf5"),
    }
)  # fmt: skip
STYLE: Mapping[Any, Any] = MappingProxyType(
    {
        "svg.fonttype": "none", "font.family": "DejaVu Sans", "font.size": 10.5, "text.parse_math": False,
        "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.8, "axes.axisbelow": True,
        "axes.edgecolor": PALETTE["muted"][0], "axes.labelcolor": PALETTE["muted"][0],
        "axes.titlecolor": PALETTE["ink"][0], "text.color": PALETTE["ink"][0], "axes.facecolor": "none",
        "xtick.color": PALETTE["muted"][0], "ytick.color": PALETTE["muted"][0], "figure.facecolor": "none",
        "xtick.major.size": 3.0, "ytick.major.size": 0.0, "lines.solid_capstyle": "round",
        "grid.color": PALETTE["grid"][0], "grid.linewidth": 0.8,
    }
)  # fmt: skip


def blank_figure(width_points: float, height_points: float) -> Figure:
    """Return an empty figure of so many points."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width_points / 72.0, height_points / 72.0), dpi=72)


def add_axes(figure: Figure, box_points: tuple[float, float, float, float]) -> Axes:
    """Return axes at (left, bottom, width, height)."""
    box = np.array(box_points) / np.tile(72 * figure.get_size_inches(), 2)
    return figure.add_axes((box[0], box[1], box[2], box[3]))


@contextmanager
def styled(salt: str) -> Iterator[None]:
    """Draw under the house style, whatever the user's own settings of matplotlib are."""
    import matplotlib as mpl

    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update({**STYLE, "svg.hashsalt": salt})
        yield


def inline_svg(name: str, title: str, size: tuple[float, float], draw: Callable[[Figure], None]) -> str:
    """Draw a picture as SVG that sits inside a page, its colours CSS variables."""
    with styled(name):
        figure = blank_figure(*size)
        draw(figure)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return _inlined(buffer.getvalue(), name, title)


def _inlined(text: str, name: str, title: str) -> str:
    """Make a stand-alone SVG fit to stand in a page beside others.

    Identifiers become unique to the picture, colours CSS variables; coordinates keep two decimals.
    """
    text = text[text.index("<svg") :]
    text = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", text, flags=re.DOTALL)
    text = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", text).replace("xlink:href", "href")
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = text.replace("url(#", f"url(#{name}-").replace('href="#', f'href="#{name}-')
    text = re.sub(r'(?<= d=")[^"]*', _rounded, text)
    head = f'role="img" aria-label="{escape(title)}"'
    text = re.sub(r'<svg[^>]*(viewBox="[^"]*")[^>]*>', lambda box: f"<svg {box[1]} {head}>", text, count=1)
    for role, (light, _) in PALETTE.items():
        text = text.replace(light, f"var(--p-{role.replace('_', '-')},{light})")
    return re.sub(r"\n\s*", "\n", text).strip()


def _rounded(path: re.Match[str]) -> str:
    short = re.sub(r"-?\d+\.\d{3,}", lambda number: f"{float(number[0]):.2f}", path[0])
    return " ".join(short.split())
