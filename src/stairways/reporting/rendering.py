"""Pictures as files: one drawing, given out as SVG and as PNG."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING

from stairways.reporting.drawing import PALETTE, blank_figure, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RASTER_DPI = 144


def svg_and_png(
    name: str, size_points: tuple[float, float], draw: Callable[[Figure], None]
) -> dict[str, bytes]:
    """Return a drawing in the house style by suffix; equal input gives equal bytes.

    Args:
        name: Name of the picture; identifiers inside the SVG come from it.
        size_points: Width and height.
        draw: Draws it into an empty figure.
    """
    with styled(name):
        figure = blank_figure(*size_points)
        figure.patch.set_facecolor(PALETTE["paper"][0])
        draw(figure)
        vector, raster = io.BytesIO(), io.BytesIO()
        figure.savefig(vector, format="svg", metadata={"Date": None, "Creator": None})
        figure.savefig(raster, format="png", dpi=RASTER_DPI, metadata={"Software": None})
    return {"svg": vector.getvalue(), "png": raster.getvalue()}
