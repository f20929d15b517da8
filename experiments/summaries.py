"""Estimates over seeds with 95 % confidence intervals, and what the figures of reproduce.py and compare.py share."""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D
from scipy import stats

from aux_rnn.plots.style import Axes, Figure, MaxNLocator, render
from aux_rnn.storage.workdir import write_atomically

GRID = "0.9"
CAPTION: dict[str, Any] = dict(fontsize=7, color="0.35")
Style = dict[str, Any]  # color, marker and linestyle of a line, so that lines differ in grey print as well


def estimate_means(groups: "pd.api.typing.SeriesGroupBy") -> pd.DataFrame:
    """Returns the `mean` of each group and `half` the width of its interval by the t distribution, NaN if unknown."""
    table = groups.agg(["mean", "sem", "count"])
    table["half"] = table["sem"] * stats.t.ppf(0.975, table["count"] - 1)
    return table[["mean", "half"]]


def estimate_curve(curves: Iterable[pd.Series]) -> pd.DataFrame:
    """Returns `mean` and `half` of curves, one per seed and indexed by epoch; NaN where one of them is NaN."""
    points = pd.concat(curves)
    groups = points.groupby(points.index.to_numpy(float).round(6))
    return estimate_means(groups).where(groups.count() == groups.size())


def format_estimate(mean: float, half: float = math.nan, form: str = ".1f") -> str:
    """Returns '79.7 ± 2.4', the mean alone without an interval, and '-' if there is no value."""
    if math.isnan(mean):
        return "-"
    return f"{mean:{form}}" + ("" if math.isnan(half) else f" ± {half:{form.lstrip('+')}}")


def save_figure(path: Path, figure: Figure) -> None:
    """Writes `path` with .png and .svg. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for ending in ("png", "svg"):
        write_atomically(path.with_name(f"{path.name}.{ending}"), render(figure, ending))


def draw_curve(axis: Axes, curve: pd.DataFrame, style: Style, has_band: bool = False) -> None:
    """Draws the means of a curve (see `estimate_curve`) with about ten markers, and their intervals as a band.

    On a logarithmic axis the band ends at a tenth of the mean.
    """
    means, halves = curve["mean"], curve["half"]
    axis.plot(means.index, means, markevery=max(1, len(means) // 10), linewidth=1.2, **style)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    if has_band:
        low = np.maximum(means - halves, means / 10) if axis.get_yscale() == "log" else means - halves
        axis.fill_between(means.index, low, means + halves, color=style["color"], alpha=0.13, linewidth=0)


def limit_percent(axis: Axes, name: str = "y") -> None:
    """Ends an axis of percentages at 0 and 100, however wide the interval of two or three seeds is."""
    low, high = getattr(axis, f"get_{name}lim")()
    axis.set(**{f"{name}lim": (max(low, -1), min(high, 101))})


def finish_figure(figure: Figure, entries: Mapping[str, Style], caption: str, columns: int = 4) -> None:
    """Adds grids, a legend of lines, by name, above all panels, and a small line below them."""
    for axis in figure.axes:
        axis.grid(color=GRID)
        if "%" in axis.get_ylabel():
            limit_percent(axis)
    handles = [Line2D([], [], label=name, **{"markersize": 4.5, **style}) for name, style in entries.items()]
    figure.legend(handles=handles, loc="outside upper center", ncols=min(len(handles), columns))
    figure.supxlabel(caption, **CAPTION)
