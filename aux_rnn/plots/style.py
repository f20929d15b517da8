"""Colours, fonts and rendering that all figures share. Imported only to draw.

Modules that draw import Matplotlib's names from here. Figures are objects of their own and never pyplot's, which keeps
them in global lists and may open windows.
"""

import contextlib
import importlib.util
import io
import os
from collections.abc import Iterator
from typing import Any

# Notebooks set MPLBACKEND to a module that another interpreter, such as one started by `!python`, may not have, and
# Matplotlib then refuses to be imported. No figure here needs the backend.
_backend = os.environ.get("MPLBACKEND", "")
_module = _backend.removeprefix("module://").partition(".")[0]
_is_missing = _backend.startswith("module://") and importlib.util.find_spec(_module) is None
if _is_missing:
    del os.environ["MPLBACKEND"]
import matplotlib  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.colors import PowerNorm  # noqa: E402
from matplotlib.figure import Figure, SubFigure  # noqa: E402
from matplotlib.ticker import LogLocator, MaxNLocator  # noqa: E402

if _is_missing:
    os.environ["MPLBACKEND"] = _backend

__all__ = ["Axes", "Figure", "LogLocator", "MaxNLocator", "PowerNorm", "SubFigure", "plot_style", "render"]

RC: dict[Any, Any] = {
    "font.size": 8,
    "axes.titlesize": 9,
    "figure.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "text.usetex": False,
    "text.parse_math": False,  # a class or a data set may have any name
}
# Figures of many small panels.
SMALL: dict[Any, Any] = {
    "font.size": 7,
    "axes.titlesize": 7,
    "axes.titlepad": 2,
    "xtick.labelsize": 6,
    "ytick.labelsize": 6,
}

# Colours of Okabe and Ito (2008), which the colour-blind tell apart.
BLACK, BLUE, VERMILION, GREEN, PURPLE, SKY = "#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9"

# For lines in one panel, which differ in marker and dashes as well, so that they can be told apart in grey.
COLORS = (BLUE, VERMILION, GREEN, BLACK, PURPLE, SKY)
MARKERS = ("s", "^", "P", "o", "v", "X")
DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1, 1, 1)))

PNG_DPI = 200


@contextlib.contextmanager
def plot_style(name: str) -> Iterator[None]:
    """Gives figures the same look, and equal figures the same bytes; the name is in the elements of an SVG."""
    small = SMALL if name == "reconstructions" else {}
    with matplotlib.rc_context({**RC, **small, "svg.hashsalt": name}):
        yield


def render(figure: Figure, ending: str) -> bytes:
    """Returns the figure as 'png' (200 dots per inch) or 'svg' (text as text), without date and program."""
    stream = io.BytesIO()
    metadata = {"Software": None} if ending == "png" else {"Date": None, "Creator": None}
    figure.savefig(stream, format=ending, dpi=PNG_DPI, metadata=metadata)
    return stream.getvalue()
