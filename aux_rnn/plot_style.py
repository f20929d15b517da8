"""What all figures have in common: colours, fonts, and how a figure becomes a file. To be imported only to draw.

Figures are objects of their own and never pyplot's, which keeps them in global lists and may open windows.
"""

import contextlib
import io
from collections.abc import Iterator
from typing import Any

import matplotlib
from matplotlib.figure import Figure

RC: dict[Any, Any] = {
    "font.size": 8,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "svg.fonttype": "none",
}

# Colours of Okabe and Ito (2008), which the colour-blind tell apart.
BLACK, BLUE, VERMILION, GREEN, PURPLE, SKY = "#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9"

# For lines in one panel, which differ in marker and dashes as well, so that they can be told apart in grey.
COLORS = (BLUE, VERMILION, GREEN, BLACK, PURPLE, SKY)
MARKERS = ("s", "^", "P", "o", "v", "X")
DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1, 1, 1)))

PNG_DOTS = 200  # an inch


@contextlib.contextmanager
def plot_style(name: str) -> Iterator[None]:
    """Within it figures look alike, and the same figure becomes the same bytes.

    Args:
      name: of the drawing, by which the inner names of an SVG are chosen.
    """
    with matplotlib.rc_context({**RC, "svg.hashsalt": name}):
        yield


def render(figure: Figure, ending: str) -> bytes:
    """The figure as 'png' (200 dots an inch) or 'svg' (text as text), without date and program."""
    stream = io.BytesIO()
    if ending == "png":
        figure.savefig(stream, format=ending, dpi=PNG_DOTS, metadata={"Software": None})
    else:
        figure.savefig(stream, format=ending, metadata={"Date": None, "Creator": None})
    return stream.getvalue()
